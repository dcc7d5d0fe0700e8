"""Events in their order, and how many of them there is room for: bounded in events, bytes and days."""

import json
import logging
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.config import OutboxSettings
from edge.voice.message import Payload

log = logging.getLogger(__name__)

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that the broker has not acknowledged.

    number   its place in the order of all events, also over a restart
    text     the payload, JSON
    created  seconds of running time, on a scale that a restart continues
    born     what `put` was given; None if it was of an earlier run
    """

    number: int
    topic: str
    text: str
    kind: str | None
    created: float
    born: object | None

    @property
    def payload(self) -> Payload:
        """The payload, read."""
        payload: Payload = json.loads(self.text)
        return payload

    @property
    def n_bytes(self) -> int:
        return len(self.topic) + len(self.text)  # both are ASCII


class Cause(StrEnum):
    """Why an event waits no longer."""

    TOO_LARGE = "too_large"
    """It is more than the broker has said that it takes, or `mqtt.max_packet_bytes`: it was not said."""
    REFUSED = "refused"
    """The answer was a no that means this one, and the connection went on."""
    HUNG_UP = "hung_up"
    """It cost the connection."""
    UNANSWERED = "unanswered"
    """It was not acknowledged, while others after it were."""


@dataclass(frozen=True, slots=True)
class Dead:
    """An event that was set aside, and why. reason: for a person; n_tries: how often it was said once more, in vain."""

    event: Waiting
    cause: Cause
    reason: str
    n_tries: int = 0


class Queue:
    """The events that wait, by their numbers, and how many were given up. Not locked: the backlog's lock guards it."""

    def __init__(self, most: OutboxSettings) -> None:
        self._most = most
        self._events: dict[int, Waiting] = {}
        self._numbers: list[int] = []  # the keys of _events, ascending
        self._updates: dict[int, None] = {}  # those of kind `updated`: they go first when there is no room
        self._n_bytes = 0
        self._dropped = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._events)

    def __getitem__(self, number: int) -> Waiting:
        """Return one that waits."""
        return self._events[number]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of all that wait, ascending."""
        return tuple(self._numbers)

    @property
    def dropped(self) -> int:
        """Events given up since the start."""
        return self._dropped

    def after(self, number: int) -> Waiting | None:
        """Return the oldest event that is newer than `number`; None if there is none."""
        place = bisect_right(self._numbers, number)
        return self._events[self._numbers[place]] if place < len(self._numbers) else None

    def add(self, event: Waiting) -> None:
        """Take in an event, in the place of its number."""
        self._events[event.number] = event
        insort(self._numbers, event.number)
        self._n_bytes += event.n_bytes
        if event.kind == "updated":
            self._updates[event.number] = None

    def take_out(self, number: int) -> bool:
        """Forget an event; return whether it was there."""
        event = self._events.pop(number, None)
        if event is None:
            return False
        del self._numbers[bisect_left(self._numbers, number)]
        self._n_bytes -= event.n_bytes
        self._updates.pop(number, None)
        return True

    def is_too_old(self, event: Waiting, now: float) -> bool:
        """Whether an event may wait no longer."""
        return now - event.created > DAY_SECONDS * self._most.max_days

    def make_room(self, now: float) -> list[int]:
        """Drop the too old, then the oldest `updated`, then the oldest: what opens or closes is worth more.

        Returns the numbers of what was dropped.
        """
        dropped, most = [], self._most
        while self._numbers and self.is_too_old(self._events[self._numbers[0]], now):
            dropped.append(self._drop(self._numbers[0]))
        while len(self._events) > most.max_events or self._n_bytes > 1e6 * most.max_megabytes:
            dropped.append(self._drop(next(iter(self._updates), self._numbers[0])))
        if dropped:
            first = self._dropped == len(dropped)
            log.log(
                logging.WARNING if first else logging.DEBUG,
                "outbox: more than %d events, %g MB or %g days of events are waiting: the least worth are dropped",
                most.max_events,
                most.max_megabytes,
                most.max_days,
            )
        return dropped

    def _drop(self, number: int) -> int:
        self.take_out(number)
        self._dropped += 1
        return number
