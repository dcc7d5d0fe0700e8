"""What is on its way over one link, until when it should be answered, and what of it is to blame if the link ends."""

import math
import time
from dataclasses import dataclass
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from edge.voice.message import Message

ANSWER_SECONDS: Final = 30.0
"""For an acknowledgement, and SLOWEST_BYTES_PER_SECOND for all that is before it on a line that crawls."""

SLOWEST_BYTES_PER_SECOND: Final = 2000

SETTLE_SECONDS: Final = 2.0
"""What a broker remembered for us comes right after a subscription, and may be what breaks the link."""

AFTERMATH_SECONDS: Final = 0.2
"""An end so soon after an acknowledgement has to do with it."""


@dataclass
class _Sent:
    message: Message
    due: float
    """`time.monotonic()` until which it should be acknowledged."""
    passed: bool = False
    """Whether one that was handed over later was."""


class Flight:
    """The messages that are not acknowledged, by paho's ids; our wishes to hear, and what was acknowledged last.

    Whoever calls holds the connection's lock.
    """

    def __init__(self) -> None:
        self._sent: dict[int, _Sent] = {}  # the oldest first
        self._early: dict[int, ReasonCode] = {}  # answered before `publish` has returned the id
        self._boarding: Message | None = None
        self._wishes: list[Message] = []
        self._granted_at = -math.inf
        self._latest: tuple[Message | None, float] = None, 0.0

    def __len__(self) -> int:
        """Return how many are on their way."""
        return len(self._sent)

    @property
    def settled_in_seconds(self) -> float | None:
        """Until what the broker remembered for us has come, None if it has, or nothing is awaited."""
        left_seconds = self._granted_at + SETTLE_SECONDS - time.monotonic()
        return left_seconds if left_seconds > 0 else None

    @property
    def heard_for_seconds(self) -> float:
        """For how long we have been let hear; 0 if we are not."""
        return 0.0 if self._granted_at == -math.inf else time.monotonic() - self._granted_at

    @property
    def due(self) -> float:
        """The `time.monotonic()` at which an answer is overdue."""
        return min((each.due for each in self._sent.values()), default=math.inf)

    def overdue(self) -> tuple[Message, bool] | None:
        """Return the message whose answer should have come, and whether a later one's did; None if none should."""
        now = time.monotonic()
        return next(((each.message, each.passed) for each in self._sent.values() if each.due <= now), None)

    def board(self, message: Message) -> None:
        """Take note of what is about to be handed over: the link may end before it has got its id."""
        self._boarding = message
        if message.hears:
            self._wishes.append(message)

    def take_off(self, mid: int, message: Message) -> ReasonCode | None:
        """Take note of a message that was handed over; return the answer if it has overtaken us."""
        self._boarding = None
        if mid in self._early:
            self._note(message, code := self._early.pop(mid))
            return code
        n_bytes = message.n_bytes + sum(each.message.n_bytes for each in self._sent.values())
        self._sent[mid] = _Sent(message, time.monotonic() + ANSWER_SECONDS + n_bytes / SLOWEST_BYTES_PER_SECOND)
        return None

    def land(self, mid: int, code: ReasonCode) -> Message | None:
        """Take note of an answer; return the message that is answered, None if it is not handed over yet."""
        if mid not in self._sent:
            self._early[mid] = code
            return None
        for number, each in self._sent.items():
            if number == mid:
                break
            each.passed = True
        message = self._sent.pop(mid).message
        self._note(message, code)
        return message

    def suspects(self, *, poisoned: bool) -> list[Message]:
        """Return what may be why the link has ended. poisoned: by what came to us."""
        if poisoned:
            return list(self._wishes)
        found = [each.message for each in self._sent.values()]
        if self._boarding is not None:
            found.append(self._boarding)
        if self.settled_in_seconds is not None:
            found += [wish for wish in self._wishes if wish not in found]
        return found or self._just_taken()

    def _just_taken(self) -> list[Message]:
        """Mosquitto 2.0.11 acknowledges in 3.1.1 what its access list forbids, throws it away, and hangs up."""
        message, taken_at = self._latest
        is_late = time.monotonic() - taken_at > AFTERMATH_SECONDS
        return [] if message is None or message.number is not None or is_late else [message]

    def _note(self, message: Message, code: ReasonCode) -> None:
        self._latest = message, time.monotonic()
        if message.hears and not code.is_failure:
            self._granted_at = time.monotonic()
