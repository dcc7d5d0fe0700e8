"""What ordinary sound is expected to score, from cross-fitted scores of normal sound. Numbers in, a belief out; pure.

All is on the scale of the log score: of distances, ratios can be compared between machines. Two cross-fits are taken,
because they err to opposite sides:

    by recording  statistics that had not heard the recording: too far, where half of two recordings is all that is left
    by stretch    statistics that had heard other minutes of it: too near, as no recording to come is

A recording to come lies between, and where is learnt from many machines (`Prior`): of one recording all is prior, of
three about half, of twenty nearly all is this machine. The answer is a predictive distribution (Student's t) and not a
bound, so that the rate asked for is the rate that comes, in the mean over machines.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CORRELATED_HOPS: Final = 16.0
"""Hops that count as one: windows of 9.6 s, 0.512 s apart, share up to 18 of 19 parts."""

DRIFT_SHARE: Final = 0.04
"""Of the variance of single hops, what no average within a recording removes."""

LEAST_SPREAD: Final = 0.05
"""Deviation of log scores below which windows are copies of each other (an ordinary one: 0.1 to 0.3)."""

LEAST_BETWEEN: Final = 0.1
"""Deviation of log scores by which recordings differ, however many there are and however alike they look: the least
that was seen of real machines (0.1 to 0.45)."""

GREATEST_BETWEEN: Final = 0.5
"""Variance between recordings beyond which it is an odd recording and no spread."""

LEAST_GAP: Final = -0.2
"""Recordings cannot be nearer to strangers than to themselves; where they seem so, they share their background."""

MANY_FREEDOM: Final = 60
"""Degrees of freedom from which on Student's t is Normal, to 2 % of a tail of 0.1 %."""


@dataclass(frozen=True)
class Prior:
    """How recordings of one machine differ, learnt from many machines. Log scores throughout.

    trusted_recordings     after one and as many more, half of what folds by recording add is believed: they lack a
                           recording that the enrolment has, which matters the less the more there are
    few_offset, few_slope  what is believed instead: offset + slope * log(deviation within a recording). Where windows
                           differ much, so does noise, and it masks what tells recordings apart
    few_variance           of the level of a recording to come, where one was enrolled and all of its squared distance
                           is due to its being another; of n, an n-th of that, and where a part of the distance is,
                           that part: what noise masks does not vary
    between_share          and how much of the variance between those counts besides, as far as it is trusted
    level_freedom          degrees of freedom of the level
    spread_offset, spread_slope  log ratio of the deviation within a recording to come and the enrolled one:
                           offset + slope / windows
    spread_freedom         degrees of freedom of that
    """

    trusted_recordings: float
    few_offset: float
    few_slope: float
    few_variance: float
    between_share: float
    level_freedom: float
    spread_offset: float
    spread_slope: float
    spread_freedom: float


PRIOR: Final = Prior(
    trusted_recordings=2.37,
    few_offset=-1.19,
    few_slope=-0.785,
    few_variance=0.224,
    between_share=0.176,
    level_freedom=6.0,
    spread_offset=-0.237,
    spread_slope=-6.92,
    spread_freedom=2.49,
)
"""From `python -m benchmarks.prior learn`; docs/results.md has the whole command, and what came of it."""


@dataclass(frozen=True)
class Ordinary:
    """What ordinary sound of a machine is expected to score in a recording not heard yet; log scores.

    level, level_deviation, level_freedom  its mean: Student's t
    deviation, freedom                     of single hops around that mean
    trust  0 to 1: how far all this is the machine's own, and not the prior's
    """

    level: float
    level_deviation: float
    level_freedom: float
    deviation: float
    freedom: float
    trust: float

    def times(self, scale: float) -> "Ordinary":
        """Return the same of scores that are so many times (> 0) as large."""
        return replace(
            self,
            level=scale * self.level,
            level_deviation=scale * self.level_deviation,
            deviation=scale * self.deviation,
        )

    def threshold(self, false_alarm_rate: float, hops: int = 1) -> float:
        """Return the log score that the mean over `hops` (>= 1) hops of ordinary sound exceeds at this rate (0 to 1).

        A rate over recordings: one that is heard for an hour is a single draw of its level.
        """
        variance = self.level_deviation**2 + self.deviation**2 * variance_of_mean(hops)
        return self.level + student_quantile(false_alarm_rate, self.level_freedom) * math.sqrt(variance)


@dataclass(frozen=True)
class Observed:
    """What cross-fitted scores of one machine say by themselves; log scores.

    near       mean of those by stretch; gap, how far those by recording are above them
    within     deviation of windows within a recording
    between    variance of recordings' means beyond what that explains
    """

    near: float
    gap: float
    within: float
    between: float
    n_recordings: int
    n_windows: int


def ordinary(by_recording: DoubleArray, by_stretch: DoubleArray, recording: IntArray, prior: Prior) -> Ordinary:
    """Return what a recording to come is expected to score: `expected` of what is `observed`."""
    return expected(observed(by_recording, by_stretch, recording), prior)


def observed(by_recording: DoubleArray, by_stretch: DoubleArray, recording: IntArray) -> Observed:
    """Return what the scores of a machine say.

    by_recording, by_stretch  (n,), cross-fitted log scores of the normal windows, no two of which overlap: of folds by
                              recording, and of folds by stretch (edge/judge/folds.py)
    recording                 (n,), equal numbers are windows of one recording
    Raises ValueError if the shapes differ, or there are fewer than two windows.
    """
    if not by_recording.shape == by_stretch.shape == recording.shape or recording.size < 2:
        raise ValueError(
            f"scores {by_recording.shape} and {by_stretch.shape} of recordings {recording.shape}: "
            "expected three of one shape (n,) with n >= 2"
        )
    index, size = np.unique(recording, return_inverse=True, return_counts=True)[1:]
    within, near = _within(by_stretch, index, size), float(by_stretch.mean())
    gap = max(float(by_recording.mean()) - near, LEAST_GAP)
    return Observed(near, gap, within, _between(by_recording, index, size, within), size.size, recording.size)


def expected(heard: Observed, prior: Prior) -> Ordinary:
    """Return what a recording to come is expected to score, of a machine of which this was heard."""
    trust = (heard.n_recordings - 1) / (heard.n_recordings - 1 + prior.trusted_recordings)
    deviation = heard.within * math.exp(prior.spread_offset + prior.spread_slope / heard.n_windows)
    few = prior.few_offset + prior.few_slope * math.log(deviation)
    farther = trust * heard.gap + (1 - trust) ** 2 * few
    few_variance = prior.few_variance * _share_of_another(farther) / heard.n_recordings
    variance = LEAST_BETWEEN**2 + few_variance + trust * prior.between_share * heard.between
    return Ordinary(
        level=heard.near + farther,
        level_deviation=math.sqrt(variance),
        level_freedom=prior.level_freedom,
        deviation=deviation,
        freedom=prior.spread_freedom,
        trust=trust,
    )


def _share_of_another(farther: float) -> float:
    """Return the part, 0 to 1, of a squared distance that is due to its being another recording's.

    farther: log ratio of that distance to one of the recordings that were enrolled. Squares of independent parts add.
    """
    return 1 - math.exp(-2 * max(0.0, farther))


def _within(x: DoubleArray, index: IntArray, size: IntArray) -> float:
    """Return the deviation of windows within recordings; of all, where hardly a recording has two."""
    n_free = x.size - size.size
    if n_free <= 3:
        return max(float(x.std(ddof=1)), LEAST_SPREAD)
    means = np.bincount(index, x) / size
    return max(math.sqrt(float(np.square(x - means[index]).sum()) / n_free), LEAST_SPREAD)


def _between(x: DoubleArray, index: IntArray, size: IntArray, within: float) -> float:
    """Return the variance of recordings' means beyond what their windows explain, 0 to `GREATEST_BETWEEN`."""
    if size.size < 2:
        return 0.0
    explained = within**2 * float(np.mean(1 / size))
    if x.size - size.size <= 3:  # of single windows, all the spread may be either: half and half
        explained /= 2
    return min(max(0.0, float((np.bincount(index, x) / size).var(ddof=1)) - explained), GREATEST_BETWEEN)


def variance_of_mean(hops: float) -> float:
    """Return the variance of the mean of so many hops (>= 1) in a row, as a fraction (0 to 1) of a single hop's."""
    return DRIFT_SHARE + (1 - DRIFT_SHARE) * CORRELATED_HOPS / (CORRELATED_HOPS + hops - 1)


def student_tail(t: float, freedom: float) -> float:
    """Return P(T > t) of Student's t, degrees of freedom rounded down to a whole number from 1 to `MANY_FREEDOM`.

    The finite sums of M. Abramowitz, I. Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4.
    """
    n = max(1, min(int(freedom), MANY_FREEDOM))
    angle = math.atan(abs(t) / math.sqrt(n))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    term = total = math.cos(angle) if n % 2 else 1.0
    for j in range(3 if n % 2 else 2, n - 1, 2):
        term *= square * (j - 1) / j
        total += term
    both = sine * total if n % 2 == 0 else 2 / math.pi * (angle + (sine * total if n > 1 else 0.0))
    upper = max((1 - both) / 2, 1e-15)
    return upper if t >= 0 else 1 - upper


def student_quantile(tail: float, freedom: float) -> float:
    """Return the t with P(T > t) = tail, to 1e-9. Raises ValueError unless tail is between 1e-12 and 1 - 1e-12."""
    if not 1e-12 <= tail <= 1 - 1e-12:
        raise ValueError(f"tail {tail}: expected a number between 1e-12 and 1 - 1e-12")
    if tail > 0.5:
        return -student_quantile(1 - tail, freedom)
    low, high = 0.0, 1.0
    while student_tail(high, freedom) > tail:
        low, high = high, 2 * high
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > tail else (low, middle)
    return high
