"""What is said next over a connection: the events, that we are here, what was answered, what changed; goodbye last.
Where nothing of all that is left: an event that was set aside.

Events come before everything: nothing that the broker may hate stands before them. It marks events as `delayed` and
closes the episodes of a run that was killed, and reads nothing else of a payload (`edge/schemas/`). Sending is the
connection's business.
"""

import json

from edge.voice.blame import Blame
from edge.voice.dialect import Terms
from edge.voice.message import Message, as_json
from edge.voice.orders import Orders
from edge.voice.outbox import Outbox
from edge.voice.retained import Retained, Worth
from edge.voice.second_try import SecondTry
from edge.voice.topics import Topics


class Agenda:
    """How much the present link was told. From `begin` on, the publisher's thread alone owns it; `changed` is held."""

    def __init__(
        self,
        topics: Topics,
        retained: Retained,
        orders: Orders,
        outbox: Outbox,
        blame: Blame,
        second_try: SecondTry,
        wishes: tuple[str, ...] = (),
    ) -> None:
        """wishes: the topics that are to be heard."""
        self.wishes = wishes
        self._topics = topics
        self._retained = retained
        self._orders = orders
        self._outbox = outbox
        self._blame = blame
        self._second_try = second_try
        self._terms = Terms()
        self._link: object | None = None
        self._said_online = False
        self._said_offline = False
        self._wished: set[str] = set()
        self._last_number = 0
        self._on_their_way: set[int] = set()
        self._releases = 0

    @property
    def said_goodbye(self) -> bool:
        """Whether `offline` was said, after which nothing follows."""
        return self._said_offline

    def begin(self, link: object) -> None:
        """Start from the top, for a new link: the `born` of the events put while it is up."""
        self._link = link
        self._said_online = self._said_offline = False
        self._wished.clear()
        self._last_number = 0
        self._on_their_way.clear()
        self._retained.begin()
        self._orders.begin()
        self._second_try.begin()

    def next(self, terms: Terms, *, closing: bool) -> Message | None:
        """Return what is to be said now, and take it as said; None if there is nothing. `closing`: say goodbye too."""
        self._terms = terms
        self._blame.release()
        message = self._next_event() or self._online() or self._orders.next_result(self._lets)
        message = message or self._retained.next(self._lets, most=Worth.WORD) or self._wish_to_hear(closing=closing)
        message = message or self._retained.next(self._lets, most=Worth.PICTURE)
        if message is None and closing and not self._said_offline:
            self._said_offline = True
            farewell = self._status("offline")
            return farewell if self._lets(farewell) else None
        return message

    def once_more(self) -> Message | None:
        """Return an event that was set aside and is to be said once more now; only where `next` has nothing."""
        return self._second_try.next(self._blame.lets, self._terms.most_bytes)

    @property
    def once_more_seconds(self) -> float | None:
        """Until there is one, None if that is not known."""
        return self._second_try.due_seconds(self._blame.lets, self._terms.most_bytes)

    def repeat(self) -> None:
        """Say once more that we are here and how things are, if the broker does not remember it."""
        if not self._terms.retain:
            self._said_online = False
            self._retained.repeat()

    def answered(self, message: Message, *, taken: bool) -> None:
        """The broker has answered a message: what it has not taken is said again when it is let in again."""
        if message.number is not None:
            self._on_their_way.discard(message.number)
        elif taken:
            return
        elif message.hears:
            self._wished.discard(message.topic)
        else:
            self._retained.again(message.topic)

    def close_interrupted(self) -> None:
        """Say of every episode that an earlier run left open that it is over, as of when it was last heard of."""
        for topic, payload in self._outbox.orphans():
            self._outbox.put(topic, {**payload, "kind": "closed", "reason": "interrupted"})

    def _next_event(self) -> Message | None:
        if self._releases != self._blame.releases:  # what was passed over may be said now
            self._releases, self._last_number = self._blame.releases, 0
        while (event := self._outbox.after(self._last_number)) is not None:
            self._last_number = event.number
            if event.number in self._on_their_way or not self._blame.lets(event.topic):
                continue
            on_time = event.born is self._link
            text = event.text if on_time else as_json({**json.loads(event.text), "delayed": True})
            message = Message(event.topic, text, retain=False, number=event.number)
            if self._blame.fits(message, self._terms.most_bytes):
                self._on_their_way.add(event.number)
                return message
        return None

    def _online(self) -> Message | None:
        message = self._status("online")
        if self._said_online or not self._lets(message):
            return None
        self._said_online = True
        return message

    def _wish_to_hear(self, *, closing: bool) -> Message | None:
        for topic in () if closing else self.wishes:
            if topic not in self._wished and self._blame.lets(topic):
                self._wished.add(topic)
                return Message(topic, "", retain=False, hears=True)
        return None

    def _lets(self, message: Message) -> bool:
        return self._blame.lets(message.topic) and self._blame.fits(message, self._terms.most_bytes)

    def _status(self, text: str) -> Message:
        return Message(self._topics.status, text, retain=True)
