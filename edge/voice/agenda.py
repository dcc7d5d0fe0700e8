"""What is said next over a connection: that we are here, what changed, what was answered, the events, goodbye last.

It marks events as `delayed` and closes the episodes of a run that was killed, and reads nothing else of a payload
(`edge/schemas/`). Sending is the connection's business.
"""

import json

from edge.voice.message import Message, as_json
from edge.voice.orders import Orders
from edge.voice.outbox import Outbox
from edge.voice.retained import Retained
from edge.voice.topics import Topics


class Agenda:
    """How much the present link was told. From `begin` on, the publisher's thread alone owns it."""

    def __init__(self, topics: Topics, retained: Retained, orders: Orders, outbox: Outbox) -> None:
        self._topics = topics
        self._retained = retained
        self._orders = orders
        self._outbox = outbox
        self._link: object | None = None
        self._said_online = False
        self._said_offline = False
        self._last_number = 0

    @property
    def said_goodbye(self) -> bool:
        """Whether `offline` was said, after which nothing follows."""
        return self._said_offline

    def begin(self, link: object) -> None:
        """Start from the top, for a new link: the `born` of the events put while it is up. `changed` is held."""
        self._link = link
        self._said_online = self._said_offline = False
        self._last_number = 0
        self._retained.begin()
        self._orders.begin()

    def next(self, *, closing: bool) -> Message | None:
        """Return what is to be said now, and take it as said; None if there is nothing. `closing`: say goodbye too."""
        if not self._said_online:
            self._said_online = True
            return self._status("online")
        message = self._retained.next() or self._orders.next_result() or self._next_event()
        if message is None and closing and not self._said_offline:
            self._said_offline = True
            return self._status("offline")
        return message

    def tend_the_outbox(self) -> float | None:
        """Let it do what is due on disk; return the seconds until something will be, None if nothing will."""
        due_seconds = self._outbox.flush()
        self.close_interrupted()  # a disk that could not be read at the start may have come back
        return due_seconds

    def close_interrupted(self) -> None:
        """Say of every episode that an earlier run left open that it is over, as of when it was last heard of."""
        for topic, payload in self._outbox.orphans():
            self._outbox.put(topic, {**payload, "kind": "closed", "reason": "interrupted"})

    def _next_event(self) -> Message | None:
        event = self._outbox.after(self._last_number)
        if event is None:
            return None
        self._last_number = event.number
        on_time = event.born is self._link
        text = event.text if on_time else as_json({**json.loads(event.text), "delayed": True})
        return Message(event.topic, text, qos=1, retain=False, number=event.number)

    def _status(self, text: str) -> Message:
        return Message(self._topics.status, text, qos=1, retain=True)
