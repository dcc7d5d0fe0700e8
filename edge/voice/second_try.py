"""When an event that was set aside is said once more: brokers are mended, and nobody tells us.

Of what a broker did not take, and a phone's server. Last of all, when nothing else is to be said and nothing is on its
way, and one at a time; what comes meanwhile does not wait for it. What the broker takes now by its own word costs
nothing, and is said at once; so is, at each start of ours, everything, because whoever has mended something starts
anew. Else there is a pause, which doubles with each try. What costs the connection again has all the others pause with
it: a hundred of its kind cost one connection a pause, and not a hundred. What has waited for longer than the outbox
keeps anything is kept, and said no more.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from edge.voice.message import MOST_OVERHEAD_BYTES, Message, as_json
from edge.voice.outbox import Outbox
from edge.voice.waiting import Cause, Dead, Waiting

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 3600.0
"""From the moment in which it was set aside to the first try; doubled with each that is in vain."""

LONGEST_PAUSE_SECONDS: Final = 86_400.0


class SecondTry:
    """What is said once more just now, until when each of the rest has to wait, and how much has arrived after all.

    `changed` guards it, and is held when a method is called; the properties ask for it themselves. What is set aside
    stays in the outbox, where a kill finds it, until the broker has acknowledged it.
    """

    def __init__(
        self,
        outbox: Outbox,
        changed: threading.Condition,
        clock: Callable[[], float] = time.monotonic,
        *,
        who: str = "mqtt",
    ) -> None:
        """who: says it, for the log."""
        self._who = who
        self._outbox = outbox
        self._changed = changed
        self._clock = clock
        self._on_its_way: Dead | None = None
        self._again_at: dict[int, float] = {}
        self._costs_in_a_row = 0
        self._quiet_until = clock()
        self._arrived = 0

    @property
    def figures(self) -> dict[str, object]:
        """How things stand, for the `mqtt` of a health message (schemas/health.json)."""
        dead = self._outbox.dead
        with self._changed:
            return {
                "dead_letters": len(dead),
                "dead_letter_causes": dict(sorted(Counter(each.cause for each in dead).items())),
                "dead_letters_arrived": self._arrived,
            }

    def begin(self) -> None:
        """Start over a new link."""
        self._on_its_way = None

    def set_aside(self, number: int, cause: Cause, reason: str) -> None:
        """Have an event wait no longer, and be said once more after a pause."""
        self._outbox.set_aside_event(number, cause, reason)
        self._again_at[number] = self._clock() + FIRST_PAUSE_SECONDS

    def next(self, lets: Callable[[str], bool], most_bytes: int | None) -> Message | None:
        """Return what is to be said once more now, and take it as on its way; None if there is nothing.

        lets: whether something may be said on a topic; most_bytes: of a packet, that the broker takes, None: any.
        """
        event = self.take(lets, most_bytes)
        if event is None:
            return None
        return Message(event.topic, as_json({**event.payload, "delayed": True}), retain=False, number=event.number)

    def take(self, lets: Callable[[str], bool] = lambda _: True, most_bytes: int | None = None) -> Waiting | None:
        """Return the event that is to be said once more now, and take it as on its way; else as `next`."""
        due = [dead for dead, seconds in self._waits(lets, most_bytes).items() if seconds <= 0]
        dead = min(due, key=lambda each: each.n_tries, default=None)  # one that is hopeless holds no other up
        if dead is None:
            return None
        self._on_its_way = dead
        log.info("%s: %s: an event that was set aside is said once more", self._who, dead.event.topic)
        return dead.event

    def due_seconds(self, lets: Callable[[str], bool] = lambda _: True, most_bytes: int | None = None) -> float | None:
        """Return the seconds until there is something to be said once more, None if that is not known."""
        return min(self._waits(lets, most_bytes).values(), default=None)

    def acknowledged(self, message: Message | Waiting) -> None:
        """The other side has taken a message: whether it was this one."""
        if self._is_on_its_way(message):
            self._on_its_way = None
            self._arrived += 1
            self._costs_in_a_row = 0
            self._quiet_until = self._clock()
            log.info("%s: %s: an event that was set aside has arrived", self._who, message.topic)

    def refused(self, message: Message | Waiting, reason: str) -> bool:
        """The other side has said no to a message, and kept the connection; return whether it was this one."""
        if not self._is_on_its_way(message):
            return False
        self._failed(Cause.REFUSED, reason)
        return True

    def cost(self, cause: Cause, reason: str) -> bool:
        """The connection has ended; return whether one was on its way, which is to blame for it then.

        Whoever was on his way with it is not: it has done so before. A broker that ended for a reason of its own costs
        this one a pause, and nobody anything.
        """
        if self._on_its_way is None:
            return False
        pause_seconds = _pause_seconds(self._costs_in_a_row)
        self._costs_in_a_row += 1
        self._quiet_until = self._clock() + pause_seconds
        self._failed(cause, reason)
        return True

    def _failed(self, cause: Cause, reason: str) -> None:
        dead, self._on_its_way = self._on_its_way, None
        assert dead is not None
        pause_seconds = _pause_seconds(dead.n_tries + 1)
        self._again_at[dead.event.number] = self._clock() + pause_seconds
        self._outbox.tried_in_vain(dead.event.number, cause, reason)
        log.warning(
            "%s: %s: an event that was set aside is not taken, tried once more for the %d. time: %s: again in %g h",
            self._who,
            dead.event.topic,
            dead.n_tries + 1,
            reason,
            round(pause_seconds / 3600, 1),
        )

    def _is_on_its_way(self, message: Message | Waiting) -> bool:
        return self._on_its_way is not None and self._on_its_way.event.number == message.number

    def _waits(self, lets: Callable[[str], bool], most_bytes: int | None) -> dict[Dead, float]:
        """Return what may be said once more, each with the seconds until then; nothing while one is on its way."""
        if self._on_its_way is not None:
            return {}
        now, found = self._clock(), {}
        dead = self._outbox.dead
        numbers = {each.event.number for each in dead}
        self._again_at = {number: at for number, at in self._again_at.items() if number in numbers}
        for each in dead:
            fits = most_bytes is None or each.event.n_bytes + MOST_OVERHEAD_BYTES <= most_bytes
            if not fits or not lets(each.event.topic) or self._outbox.is_too_old(each.event):
                continue
            if each.cause is Cause.TOO_LARGE and most_bytes is not None:
                found[each] = 0.0  # the broker has said so itself, or its owner
            else:
                found[each] = max(0.0, self._quiet_until - now, self._again_at.get(each.event.number, now) - now)
        return found


def _pause_seconds(n_before: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(n_before, 30), LONGEST_PAUSE_SECONDS)
