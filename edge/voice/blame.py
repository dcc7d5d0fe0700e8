"""What costs us the connection is said no more: a message that a broker hangs up at twice is left out, and told of.

Which message it was nobody says, so the ones that were on their way are suspects, and are said one at a time until they
are acknowledged. What is left out is a topic, or an event (the outbox keeps it aside, for a second try); or our wish to
hear commands.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edge.voice.message import Message
from edge.voice.outbox import Outbox
from edge.voice.second_try import SecondTry
from edge.voice.waiting import Cause

log = logging.getLogger(__name__)

LEFT_OUT_SECONDS: Final = 3600.0
"""Then it is tried again, and one more end is enough: access lists are mended, and poison is taken away."""

REFUSED_SECONDS: Final = 600.0
"""The same where the broker said no and kept the connection: to ask again costs nothing."""

CLEAR, UNCLEAR, ENOUGH = 3, 1, 6
"""Weights: the end of a connection counts in full where the broker was there again at once, and little where it was
away itself. Two clear ones are enough."""

ROW: Final = 3
"""Events of a topic that are to blame one after the other, with none acknowledged between: then it is not the event."""


FLAPPING_SECONDS, PARDON = 120.0, 2
"""Connections that live shorter, and end unexplained: after so many in a row whoever is left out because connections
ended is let in again: they end without it too, as where two clients have one id."""


@dataclass(frozen=True)
class LeftOut:
    """A topic of which nothing is said now. n_bytes: of the message that was too much; until: `time.monotonic()`."""

    n_bytes: int
    cause: Cause
    reason: str
    until: float


class Blame:
    """Who is under suspicion and how much speaks against them, which topics are left out, and the last dead in a row.

    `changed` guards it, and is held when a method is called.
    """

    def __init__(
        self,
        outbox: Outbox,
        second_try: SecondTry,
        changed: threading.Condition,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._second_try = second_try
        self._changed = changed
        self._clock = clock
        self._suspects: set[str | int] = set()
        self._strikes: dict[str | int, int] = {}
        self._charged: list[tuple[Message, str]] = []
        self._left_out: dict[str, LeftOut] = {}
        self._rows: dict[str, list[int]] = {}
        self._latest: str | int | None = None
        self._releases = 0
        self._ended_without = 0

    @property
    def careful(self) -> bool:
        """Whether one message at a time is to be said."""
        return bool(self._suspects)

    @property
    def left_out(self) -> list[dict[str, object]]:
        """What is not said now, for a health message."""
        with self._changed:
            found = sorted(self._left_out.items())
        return [{"topic": topic, "bytes": each.n_bytes, "reason": each.reason} for topic, each in found]

    @property
    def due_seconds(self) -> float | None:
        """Until the first of them is tried again."""
        first = min((each.until for each in self._left_out.values()), default=None)
        return None if first is None else max(0.0, first - self._clock())

    @property
    def releases(self) -> int:
        """How often something that was left out was let in again: what was passed over is to be looked at anew."""
        return self._releases

    def release(self) -> None:
        """Let in again what was left out for long enough."""
        now = self._clock()
        for topic in [topic for topic, each in self._left_out.items() if now >= each.until]:
            del self._left_out[topic]
            self._releases += 1

    def lets(self, topic: str) -> bool:
        """Whether something may be said on a topic now."""
        return topic not in self._left_out

    def fits(self, message: Message, most_bytes: int | None) -> bool:
        """Whether a broker with this limit would take it; if not, it is left out, or set aside."""
        if most_bytes is None or message.n_bytes <= most_bytes:
            return True
        reason = f"{message.n_bytes} bytes, and the broker takes {most_bytes}"
        self._condemn(message, Cause.TOO_LARGE, reason, LEFT_OUT_SECONDS)
        return False

    def charge(self, on_their_way: Sequence[Message], reason: str) -> None:
        """The broker has ended a link while these were on their way. What it is worth, `weigh` will tell."""
        each = {message.key: message for message in on_their_way}  # a topic of which three were is no more to blame
        self._suspects.update(each)
        self._charged = [(message, reason) for message in each.values()]
        self._latest = None

    def ignored(self, message: Message, reason: str) -> None:
        """It was never acknowledged, while others after it were."""
        self._strike(message, Cause.UNANSWERED, reason, CLEAR)

    def ended_without_it(self, lived_seconds: float) -> None:
        """A link has ended unexplained (see Link), so without whoever is left out."""
        self._ended_without = self._ended_without + 1 if lived_seconds < FLAPPING_SECONDS else 0
        blamed = [topic for topic, each in self._left_out.items() if each.cause is Cause.HUNG_UP]
        if self._ended_without < PARDON or not blamed:
            return
        for topic in blamed:
            log.info("mqtt: %s: connections end without it too: it is tried again", topic)
            del self._left_out[topic]
            self._acquit(topic)
        self._ended_without = 0
        self._releases += 1

    def weigh(self, *, was_there: bool) -> None:
        """Say whether the broker was there at the next attempt; it decides how much the last end counts."""
        charged, self._charged = self._charged, []
        for message, reason in charged:
            self._strike(message, Cause.HUNG_UP, reason, CLEAR if was_there else UNCLEAR)

    def acknowledged(self, message: Message) -> None:
        """Nothing speaks against it any more; against our wish to hear only time will tell, see `trusted`."""
        self._suspects.discard(message.key)
        if message.hears:
            return
        if message.number is None:  # some acknowledge, and then hang up: the next one proves that they did not
            latest, self._latest = self._latest, message.key
            if latest not in (None, message.key):
                self._strikes.pop(latest, None)
        else:
            self._acquit(message.key)
            self._rows.pop(message.topic, None)

    def refused(self, message: Message, reason: str, *, only_this: bool) -> None:
        """The broker has said no, and why. only_this: it is the message it does not like, and not the topic."""
        self._acquit(message.key)
        if message.number is None or not only_this:
            self._leave_out(message, Cause.REFUSED, f"refused by the broker: {reason}", REFUSED_SECONDS)
        else:
            self._condemn(message, Cause.REFUSED, f"refused by the broker: {reason}", REFUSED_SECONDS)

    def trusted(self, topic: str) -> None:
        """What is heard on a topic has done no harm for long."""
        self._acquit(topic)

    def all_said(self) -> None:
        """Nothing is left that could be said: suspects that are not there any more are none."""
        self._suspects.clear()

    def _strike(self, message: Message, cause: Cause, reason: str, weight: int) -> None:
        strikes = self._strikes[message.key] = self._strikes.get(message.key, 0) + weight
        if strikes >= ENOUGH:
            self._acquit(message.key)
            self._condemn(message, cause, reason, LEFT_OUT_SECONDS)

    def _acquit(self, key: str | int) -> None:
        self._suspects.discard(key)
        self._strikes.pop(key, None)

    def _condemn(self, message: Message, cause: Cause, reason: str, seconds: float) -> None:
        if message.number is None:
            self._leave_out(message, cause, reason, seconds)
            self._strikes[message.key] = ENOUGH - CLEAR  # when it is tried again, once is enough
            return
        log.error("mqtt: %s: an event of %d bytes is set aside: %s", message.topic, message.n_bytes, reason)
        self._second_try.set_aside(message.number, cause, reason)
        if cause is Cause.TOO_LARGE:
            return  # it is this one's size, and says nothing of the topic
        row = self._rows.setdefault(message.topic, [])
        row.append(message.number)
        if len(row) >= ROW:
            self._revive(self._rows.pop(message.topic))
            self._leave_out(message, cause, f"{reason}; {ROW} events in a row", seconds)

    def _revive(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._outbox.take_back(number)
        self._releases += 1

    def _leave_out(self, message: Message, cause: Cause, reason: str, seconds: float) -> None:
        self._ended_without = 0
        before = self._left_out.get(message.topic)
        self._left_out[message.topic] = LeftOut(message.n_bytes, cause, reason, self._clock() + seconds)
        if before is None or before.reason.split(";")[0] != reason.split(";")[0]:
            what = "it cannot be heard" if message.hears else f"a message of {message.n_bytes} bytes"
            log.warning("mqtt: %s: %s: left out for %g min: %s", message.topic, what, round(seconds / 60, 1), reason)
