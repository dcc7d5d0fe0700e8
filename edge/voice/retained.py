"""Topics of which only the newest value matters: it is remembered here, and said again at every connect.

A broker may have lost them, so each connection is told all of them, and after that what changes. Words come before
figures and figures before pictures: what is large, and worth least, holds nothing up. What announces the figures comes
before them: where nothing is remembered, nobody else would know what they are.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum

from edge.voice.message import Message


class Worth(IntEnum):
    """In which order they are said."""

    WORD = 0
    ANNOUNCEMENT = 1
    FIGURES = 2
    PICTURE = 3


class Retained:
    """The newest value of each retained topic, and the topics whose newest value the present connection has not seen.

    Any thread may call any method; `changed` guards both, and wakes the publisher's thread.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._newest: OrderedDict[str, Message] = OrderedDict()
        self._worth: dict[str, Worth] = {}
        self._unsaid: dict[Worth, OrderedDict[str, None]] = {worth: OrderedDict() for worth in Worth}

    def say(self, topic: str, text: str | bytes, worth: Worth) -> None:
        """Have a value said, now or at the next connect, unless a newer one comes before."""
        with self._changed:
            self._newest[topic] = Message(topic, text, retain=True)
            self._worth[topic] = worth
            self._unsaid[worth][topic] = None  # in the order of their change
            self._changed.notify_all()

    def begin(self) -> None:
        """Have all of them said to a new connection, in the order in which they came first."""
        with self._changed:
            for topic in self._newest:
                self._unsaid[self._worth[topic]].pop(topic, None)
                self._unsaid[self._worth[topic]][topic] = None

    def repeat(self) -> None:
        """Have the words said once more, for those who came later to a broker that remembers nothing."""
        with self._changed:
            for topic, worth in self._worth.items():
                if worth is Worth.WORD:
                    self._unsaid[worth].setdefault(topic)

    def again(self, topic: str) -> None:
        """Have it said once more: the broker has not taken it, or somebody asks for it."""
        with self._changed:
            if topic in self._newest:
                self._unsaid[self._worth[topic]].setdefault(topic)
                self._changed.notify_all()

    def next(self, lets: Callable[[Message], bool], *, most: Worth) -> Message | None:
        """Return what is to be said now, of this worth or more, and take it as said; None if there is nothing.

        lets: whether a message may be said; the others wait.
        """
        with self._changed:
            for worth in Worth:
                for topic in list(self._unsaid[worth]) if worth <= most else ():
                    if lets(self._newest[topic]):
                        del self._unsaid[worth][topic]
                        return self._newest[topic]
            return None
