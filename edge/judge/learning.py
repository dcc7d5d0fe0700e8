"""What a machine just enrolled goes on learning: how its ordinary sound varies. Numbers in, a belief out; no clock.

A few minutes cannot tell how a machine sounds tomorrow, so `ordinary` believes a prior about that. Whoever listens on
hears it. Sound is taken in stretches of five minutes, each whole or not at all, and only where nothing spoke against
it: no episode, no evidence of one, a sensor to be trusted, a level that enrolment itself held to be likely. It is taken
an hour late, and dropped if an episode opens meanwhile: what a fault was before it was heard is no ordinary sound.

The levels of the stretches are a hierarchical model's: the machine has a level, its conditions differ around it, and
enrolment's belief is the prior of both. As it hears more, the belief tightens.

**A fault must not be learnt.** Nobody can tell a fault that is there from the first hour, or one that takes a week to
come, from a machine that enrolment has caught on a good day. So what is heard may make the judge as strict as it likes;
laxer it never gets: no spread above enrolment's, a level up by one deviation of it at most, and at every scale the
average that is reported against enrolment is never above what it was. Whatever it was fed, and whatever stood in the
file that its memory was read from. All that it learns to let pass are steps against the run's own past, as high as the
machine was before and came down from by itself (edge/judge/returns.py).
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge.judge.evidence import COMMON, STEP_SHARE
from edge.judge.ordinary import MANY_FREEDOM, PRIOR, Ordinary, student_quantile, student_tail, variance_of_mean
from edge.judge.returns import VISITS, Returns

STRETCH_SECONDS: Final = 300.0
"""Longer than any scale that a faint fault needs to be seen in the newest windows, and short enough to be had between
two gaps."""

WAITING_STRETCHES: Final = 12
"""An hour, as the longest average: a stretch is believed once so many after it gave no alarm."""

RECORDING_HOURS: Final = 4.0
"""So much of a run counts as one recording does at enrolment: hours of a shift are alike, and two days are a dozen."""

LEAST_LIKELY: Final = 0.01
"""A stretch whose level enrolment held to be less likely than this is none to learn from."""

MOST_HOURS: Final = 1e6


@dataclass(frozen=True)
class Learnt:
    """What was heard, all of it: it is written down as it is here.

    hours         of ordinary sound that was taken
    mean, square  of the log levels of its stretches: mean, and mean square around it
    within        mean variance of hops within a stretch
    waiting       level and variance of the stretches that are not taken yet, the oldest first
    came_from     of `Returns`: the highest levels that it came down from, the highest first
    """

    hours: float = 0.0
    mean: float = 0.0
    square: float = 0.0
    within: float = 0.0
    waiting: tuple[tuple[float, float], ...] = ()
    came_from: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = [self.hours, self.mean, self.square, self.within, *(x for pair in self.waiting for x in pair)]
        numbers += self.came_from
        if not all(math.isfinite(x) and abs(x) <= MOST_HOURS for x in numbers):
            raise ValueError(f"{numbers}: expected finite numbers")
        if min(self.hours, self.square, self.within, *(variance for _, variance in self.waiting)) < 0:
            raise ValueError(f"{numbers}: expected hours, squares and variances of 0 or more")
        if len(self.waiting) > WAITING_STRETCHES:
            raise ValueError(f"{len(self.waiting)} stretches that wait: expected {WAITING_STRETCHES} at most")
        if len(self.came_from) > VISITS or list(self.came_from) != sorted(self.came_from, reverse=True):
            raise ValueError(f"came from {self.came_from}: expected {VISITS} levels at most, the highest first")


@dataclass(frozen=True)
class Provisional:
    """How many hours of ordinary sound were heard, of how many that it takes."""

    hours: float
    of: float


class Learner:
    """Remembers how the stretches scored that were ordinary, and says what to believe now."""

    def __init__(
        self, enrolled: Ordinary, *, rate: float, hop_seconds: float, scales_hops: Sequence[int], hours_needed: float
    ) -> None:
        """Know only what enrolment knows.

        rate          of false alarms, (0, 1], whose threshold may not rise
        scales_hops   hops (>= 1) of the averages of which the same is true
        hours_needed  of ordinary sound, after which nothing more is learnt; none, if there are none
        """
        self._enrolled = enrolled
        self._tail = min(max(rate * (1 - STEP_SHARE), 1e-12), 0.5)
        self._scales_hops = tuple(scales_hops)
        self._hours_needed = hours_needed
        self._stretch_hops = max(2, round(STRETCH_SECONDS / hop_seconds))
        self._stretch_hours = self._stretch_hops * hop_seconds / 3600
        self._learnt = Learnt()
        self._waiting = deque[tuple[float, float]]()
        self._newest = _Sums()
        self._returns = Returns(enrolled.deviation, stretch_hops=self._stretch_hops, stretch_hours=self._stretch_hours)
        self._whatever = _Sums()

    @property
    def learnt(self) -> Learnt:
        """What was learnt so far."""
        return replace(self._learnt, waiting=tuple(self._waiting), came_from=self._returns.came_from)

    @property
    def known_level(self) -> float | None:
        """The log score up to which its conditions are known to reach; None while none is."""
        return self._returns.known_level

    @property
    def is_done(self) -> bool:
        """Whether as much was heard as is needed."""
        return self._learnt.hours >= self._hours_needed

    def recall(self, learnt: Learnt) -> None:
        """Go on from what was learnt before; the stretch that is being heard goes on."""
        self._learnt = replace(learnt, waiting=(), came_from=())
        self._waiting = deque(learnt.waiting)
        self._returns.came_from = learnt.came_from

    def hear(self, log_score: float, *, is_ordinary: bool) -> bool:
        """Take the log score of the next hop; return whether there is something new to believe.

        is_ordinary: whether nothing speaks against it. A stretch counts only if that was so throughout; of the
        machine's conditions whatever was heard tells.
        """
        if self.is_done:
            return False
        is_new = self._hear_condition(log_score)
        if not is_ordinary:
            self._newest = _Sums()
            return is_new
        return self._hear_ordinary(log_score) or is_new

    def _hear_condition(self, log_score: float) -> bool:
        self._whatever.add(log_score)
        if self._whatever.n < self._stretch_hops:
            return False
        level, self._whatever = self._whatever.mean, _Sums()
        return self._returns.hear(level)

    def _hear_ordinary(self, log_score: float) -> bool:
        self._newest.add(log_score)
        if self._newest.n < self._stretch_hops:
            return False
        level, variance = self._newest.mean, self._newest.variance
        self._newest = _Sums()
        if not self._is_likely(level):
            return False
        self._waiting.append((level, variance))
        return len(self._waiting) > WAITING_STRETCHES and self._take(*self._waiting.popleft())

    def interrupt(self) -> None:
        """Something was missed: what was begun is no whole stretch, and no whole stay in a condition."""
        self._newest, self._whatever = _Sums(), _Sums()
        self._returns.interrupt()

    def doubt(self) -> None:
        """An episode opened: what was heard shortly before is not to be believed either."""
        self._newest = _Sums()
        self._waiting.clear()

    @property
    def believed(self) -> Ordinary:
        """What ordinary sound is expected to score, by enrolment and all that was learnt.

        A Normal level and its posterior, with a variance between conditions that is pooled with enrolment's (A. Gelman
        et al., Bayesian Data Analysis, chapter 5.4), then held within the bounds above.
        """
        enrolled, heard = self._enrolled, self._learnt
        if heard.hours <= 0:
            return enrolled
        recordings = heard.hours / RECORDING_HOURS
        # Half of enrolment's doubt is about the machine, and half about the recording to come.
        half = COMMON * enrolled.level_deviation**2
        deviation = self._deviation(recordings)
        explained = heard.within * variance_of_mean(self._stretch_hops)
        seen = max(0.0, heard.square - explained)

        between = _pooled(half, enrolled.level_freedom, seen, recordings)
        trust = half * recordings / (half * recordings + between)
        level = enrolled.level + trust * (heard.mean - enrolled.level)
        level = min(level, enrolled.level + enrolled.level_deviation)
        # What it is not believed to be the level of stays a doubt about it.
        between = _pooled(half, enrolled.level_freedom, seen + max(0.0, heard.mean - level) ** 2, recordings)
        learnt = Ordinary(
            level=level,
            level_deviation=min(enrolled.level_deviation, math.sqrt((1 - trust) * half + between)),
            level_freedom=min(enrolled.level_freedom + recordings, MANY_FREEDOM),
            deviation=deviation,
            freedom=min(enrolled.freedom + recordings, MANY_FREEDOM),
            trust=_trust(enrolled.trust, recordings),
        )
        return replace(learnt, level=level - max(0.0, self._laxer_by(learnt)))

    def _deviation(self, recordings: float) -> float:
        # Of hops around the mean of their own stretch, which takes a part of it away.
        seen = self._learnt.within / (1 - variance_of_mean(self._stretch_hops))
        return min(
            self._enrolled.deviation,
            math.sqrt(_pooled(self._enrolled.deviation**2, self._enrolled.freedom, seen, recordings)),
        )

    def _laxer_by(self, learnt: Ordinary) -> float:
        """Return by how much more an average would have to be to be reported than at enrolment, where it is most."""
        return max(self._reported(learnt, hops) - self._reported(self._enrolled, hops) for hops in self._scales_hops)

    def _reported(self, ordinary: Ordinary, hops: int) -> float:
        variance = ordinary.level_deviation**2 + ordinary.deviation**2 * variance_of_mean(hops)
        return ordinary.level + student_quantile(self._tail, ordinary.level_freedom) * math.sqrt(variance)

    def _is_likely(self, level: float) -> bool:
        own = self._enrolled
        variance = own.level_deviation**2 + own.deviation**2 * variance_of_mean(self._stretch_hops)
        return student_tail((level - own.level) / math.sqrt(variance), own.level_freedom) >= LEAST_LIKELY

    def _take(self, level: float, variance: float) -> bool:
        heard, n = self._learnt, self._learnt.hours / self._stretch_hours
        off = level - heard.mean
        mean = heard.mean + off / (n + 1)
        self._learnt = Learnt(
            hours=heard.hours + self._stretch_hours,
            mean=mean,
            square=heard.square + (off * (level - mean) - heard.square) / (n + 1),
            within=heard.within + (variance - heard.within) / (n + 1),
        )
        return True


def _pooled(prior: float, freedom: float, seen: float, recordings: float) -> float:
    """Return a variance that is believed as if `freedom` recordings had shown `prior`, and so many more `seen`."""
    return (freedom * prior + recordings * seen) / (freedom + recordings)


def _trust(trust: float, recordings: float) -> float:
    """Return how far the belief is the machine's own once so many recordings more were heard, as `ordinary` does."""
    if trust >= 1:
        return trust
    more = PRIOR.trusted_recordings * trust / (1 - trust) + recordings
    return more / (more + PRIOR.trusted_recordings)


@dataclass
class _Sums:
    """Mean and variance of what was added (B. P. Welford, Technometrics 4, 1962)."""

    n: int = 0
    mean: float = 0.0
    _around: float = 0.0

    def add(self, x: float) -> None:
        self.n += 1
        off = x - self.mean
        self.mean += off / self.n
        self._around += off * (x - self.mean)

    @property
    def variance(self) -> float:
        return self._around / self.n
