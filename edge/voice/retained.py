"""Topics of which only the newest value matters: it is remembered here, and said again at every connect.

A broker may have lost them, so each connection is told all of them, and after that what changes.
"""

import threading
from collections import OrderedDict

from edge.voice.message import Message


class Retained:
    """The newest value of each retained topic, and the topics whose newest value the present connection has not seen.

    Any thread may call any method; `changed` guards both, and wakes the publisher's thread.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._newest: OrderedDict[str, Message] = OrderedDict()
        self._unsaid: OrderedDict[str, None] = OrderedDict()  # in the order of their change

    def say(self, topic: str, text: str | bytes, *, qos: int) -> None:
        """Have a value said, now or at the next connect, unless a newer one comes before."""
        with self._changed:
            self._newest[topic] = Message(topic, text, qos, retain=True)
            self._unsaid[topic] = None
            self._changed.notify_all()

    def begin(self) -> None:
        """Have all of them said to a new connection, in the order in which they came first."""
        with self._changed:
            self._unsaid = OrderedDict.fromkeys(self._newest)

    def next(self) -> Message | None:
        """Return what is to be said now, and take it as said; None if there is nothing."""
        with self._changed:
            if not self._unsaid:
                return None
            topic, _ = self._unsaid.popitem(last=False)
            return self._newest[topic]
