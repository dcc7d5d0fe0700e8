"""Which levels a machine came back from by itself: its conditions. Numbers in, a level out; no clock.

Load, speed, weather, a door: the level of the scores steps up, stays for a while, and steps down again. A fault steps
up as well, and stays until somebody mends it, for which the machine is stopped: there is a gap. From scores nobody can
tell the two when they come. But what the machine came down from in unbroken sound was its condition, or goes by itself
as one does; and where it has been `VISITS` times, it may be again.
"""

from dataclasses import dataclass
from typing import Final

from edge.judge.ordinary import LEAST_BETWEEN, variance_of_mean

VISITS: Final = 3
"""Once is a fault that was mended without a stop, and twice is chance."""

APART_HOURS: Final = 1.0
"""What the machine came down from within an hour counts once, or a fault that rattles would be a habit in minutes."""

LEAST_STRETCHES: Final = 2
"""Five minutes are a lorry. Of a stretch in which the condition changes, too, there is only one."""

DEVIATIONS: Final = 4.0
"""Of the mean of a stretch: by how much another must differ to be another condition."""


@dataclass
class _Stay:
    """A condition that lasts: the mean of its stretches, and how many these are."""

    mean: float
    n: int = 1

    def add(self, level: float) -> None:
        self.n += 1
        self.mean += (level - self.mean) / self.n


class Returns:
    """The highest levels that one machine came down from."""

    def __init__(self, deviation: float, *, stretch_hops: int, stretch_hours: float) -> None:
        """deviation: of the log scores of hops within a recording (> 0)."""
        self._apart = max(LEAST_BETWEEN, DEVIATIONS * deviation * variance_of_mean(stretch_hops) ** 0.5)
        self._stretch_hours = stretch_hours
        self._stay: _Stay | None = None
        self._hours_since = APART_HOURS
        self.came_from: tuple[float, ...] = ()

    @property
    def known_level(self) -> float | None:
        """The log score up to which it has been, and come back from, often enough; None while there is none."""
        return self.came_from[-1] if len(self.came_from) == VISITS else None

    def hear(self, level: float) -> bool:
        """Take the mean log score of the next stretch, whatever it was; return whether `known_level` is another."""
        self._hours_since += self._stretch_hours
        stay = self._stay
        if stay is not None and abs(level - stay.mean) <= self._apart:
            stay.add(level)
            return False
        self._stay = _Stay(level)
        return stay is not None and stay.n >= LEAST_STRETCHES and level < stay.mean and self._came_down(stay.mean)

    def interrupt(self) -> None:
        """Something was missed: it may have been mended meanwhile."""
        self._stay = None

    def _came_down(self, level: float) -> bool:
        before = self.known_level
        kept = list(self.came_from)
        if self._hours_since < APART_HOURS:
            return False
        self._hours_since = 0.0
        self.came_from = tuple(sorted([*kept, level], reverse=True)[:VISITS])
        return self.known_level != before
