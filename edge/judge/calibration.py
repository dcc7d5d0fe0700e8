"""From normal sound to false alarms a week: what the event detector would have made of it, and beyond. numpy only.

A rate of windows says little to who gets the alarms: windows overlap, and k of n of them make one episode. So the
scores of normal recordings, cross-fitted and a hop apart, go through the rules of `edge.judge.event` at every
threshold, and the episodes are counted. Rarer ones than were heard are extrapolated from how far the rarest that were
reach above a base (peaks over threshold: J. Pickands, Annals of Statistics 3, 1975), but not far: a threshold for which
there was too little sound is refused, with the hours that it would take.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings
from edge.ear import FloatArray
from edge.errors import EarshotError
from edge.judge.fit import FEW_RECORDINGS
from edge.judge.off_delay import OffDelay

WEEK_HOURS: Final = 168.0

FARTHEST: Final = 3.5
"""Alarms this many times rarer than once in all that was heard can be asked for: two days of sound for one a week.
Beyond it the tail is a guess (`python -m benchmarks.false_alarms reach`)."""

FEWEST_PEAKS: Final = 30
"""Episodes that the tail is fitted to."""

CURVE_RATES: Final = 40
"""Rates that a stored curve has, from the rarest that can be had."""

MOST_A_WEEK: Final = 10_000.0

RESAMPLES: Final = 400

INTERVAL: Final = (0.05, 0.95)

DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class TooLittleSoundError(EarshotError):
    """Too little normal sound for the rate that was asked for; says how many hours it takes."""

    def __init__(
        self, what: str, *, hours: float, hours_needed: float, alarms_per_week: float, carries_any: bool
    ) -> None:
        super().__init__(
            f"{what}: {hours:.3g} hours of unbroken normal sound: expected at least {hours_needed:.3g} for "
            f"{alarms_per_week:g} false alarms a week; what there is carries "
            f"{f'{rarest(hours):.3g} a week, or more' if carries_any else 'no such rate'}"
        )
        self.hours_needed = hours_needed


@dataclass(frozen=True)
class ScoreSeries:
    """Scores of one unbroken stretch of normal sound, one a hop, (n,), by statistics that had not heard it.

    recording  what it is a part of; recordings are resampled as a whole for the interval, stretches where they are few
    """

    scores: FloatArray
    recording: str


@dataclass(frozen=True)
class WeeklyThreshold:
    """A threshold and the false alarms a week that it promises.

    predicted  the mean over all that the sound leaves open, or more, where it asks for caution; `interval` holds the
               rate itself with 90 %, as far as recordings to come are like those that were heard
    hours      of normal sound that it was calibrated on
    """

    threshold: float
    predicted: float
    interval: tuple[float, float]
    hours: float


@dataclass(frozen=True)
class RateCurve:
    """Thresholds by false alarms a week, from the rarest that could be promised on.

    per_week  (n,), ascending; thresholds, descending, and the ends of the interval of the rate at each: (n,)
    hours     of normal sound that it was made from
    """

    per_week: DoubleArray
    thresholds: DoubleArray
    low: DoubleArray
    high: DoubleArray
    hours: float

    def as_array(self) -> DoubleArray:
        """Return the four columns as rows, (4, n), as a detector stores them."""
        return np.stack([self.per_week, self.thresholds, self.low, self.high])

    @classmethod
    def of(cls, stored: DoubleArray, hours: float) -> "RateCurve":
        """Return the curve of what `as_array` made. Raises ValueError if it is not four rows."""
        per_week, thresholds, low, high = stored
        return cls(per_week, thresholds, low, high, hours)

    def at(self, alarms_per_week: float, what: str = "this detector") -> WeeklyThreshold:
        """Return the threshold for a rate (> 0). Raises TooLittleSoundError where it is rarer than can be promised."""
        needed = hours_needed(alarms_per_week)
        if not self.per_week.size and self.hours >= needed:
            needed = 2 * self.hours  # it was so even that hardly anything stood out of it: nothing to judge by
        if not self.per_week.size or self.hours < needed * (1 - 1e-9):
            raise TooLittleSoundError(
                what,
                hours=self.hours,
                hours_needed=needed,
                alarms_per_week=alarms_per_week,
                carries_any=self.per_week.size > 0,
            )
        x, known = math.log(alarms_per_week), np.log(self.per_week)
        low, high = (math.exp(np.interp(x, known, np.log(np.maximum(end, 1e-12)))) for end in (self.low, self.high))
        threshold = float(np.interp(x, known, self.thresholds))
        return WeeklyThreshold(threshold, min(alarms_per_week, float(self.per_week[-1])), (low, high), self.hours)


def counting_keys(settings: EventSettings) -> dict[str, Any]:
    """Return the keys of `event` that decide how many episodes there are, as a detector stores them."""
    return settings.model_dump(
        mode="json", include={"on_delay", "averages_seconds", "change_rate", "off_delay_seconds", "max_episode_minutes"}
    )


def hours_needed(alarms_per_week: float) -> float:
    """Return the hours of normal sound for a rate of false alarms."""
    return WEEK_HOURS / (alarms_per_week * FARTHEST)


def rarest(hours: float) -> float:
    """Return the fewest false alarms a week that can be asked for after these hours (> 0) of normal sound."""
    return WEEK_HOURS / (hours * FARTHEST)


def calibrate(
    series: Sequence[ScoreSeries],
    settings: EventSettings,
    alarms_per_week: float,
    *,
    hop_seconds: float,
    what: str = "normal sound",
) -> WeeklyThreshold:
    """Return the threshold at which the event detector opens so many episodes a week on normal sound.

    what: named where it fails.
    Raises TooLittleSoundError where there is not enough of it.
    """
    return rate_curve(series, settings, hop_seconds=hop_seconds).at(alarms_per_week, what)


def rate_curve(series: Sequence[ScoreSeries], settings: EventSettings, *, hop_seconds: float) -> RateCurve:
    """Return the thresholds of all rates that can be promised; an empty curve where none can."""
    rules = Rules.of_settings(settings, hop_seconds)
    long_enough = [one for one in series if one.scores.size >= rules.needed]
    hours = sum(one.scores.size - rules.needed + 1 for one in long_enough) * hop_seconds / 3600
    empty = np.zeros(0)
    if not long_enough or rarest(hours) >= MOST_A_WEEK:
        return RateCurve(empty, empty, empty, empty, hours)
    tail = _Tail.of(long_enough, rules, hop_seconds)
    if tail is None:
        return RateCurve(empty, empty, empty, empty, hours)

    highest = min(MOST_A_WEEK, float(tail.rates(np.array([tail.base])).mean()))
    wanted = np.geomspace(rarest(hours), max(highest, rarest(hours)), CURVE_RATES)
    thresholds = np.array([tail.threshold(rate) for rate in wanted])
    rates = tail.rates(thresholds)
    low, high = np.quantile(rates, INTERVAL, axis=0)
    return RateCurve(wanted, thresholds, np.minimum(low, wanted), np.maximum(high, wanted), hours)


def unrefused_threshold(
    series: Sequence[ScoreSeries], settings: EventSettings, alarms_per_week: float, *, hop_seconds: float
) -> float:
    """Return the threshold that a rate would have if no sound was ever too little: to show why some is.

    Raises ValueError where hardly any episode can be counted.
    """
    tail = _Tail.of(series, Rules.of_settings(settings, hop_seconds), hop_seconds)
    if tail is None:
        raise ValueError(f"fewer than {FEWEST_PEAKS} episodes at any threshold")
    return tail.threshold(alarms_per_week)


# --- The event detector, for all thresholds ---


@dataclass(frozen=True)
class Rules:
    """When an episode opens and closes (edge/judge/event.py), in hops.

    needed, of   k of n
    off_seconds  from the first low one to the closing, at first (edge/judge/off_delay.py)
    longest      from the opening to the closing
    """

    needed: int
    of: int
    off_seconds: float
    longest: int
    hop_seconds: float

    @classmethod
    def of_settings(cls, settings: EventSettings, hop_seconds: float) -> "Rules":
        """Return the rules of a configuration for windows that are `hop_seconds` apart."""
        return cls(
            needed=settings.on_delay.windows,
            of=settings.on_delay.of,
            off_seconds=settings.off_delay_seconds,
            longest=max(1, math.ceil(60 * settings.max_episode_minutes / hop_seconds - 1e-9)),
            hop_seconds=hop_seconds,
        )


def openings(scores: FloatArray, threshold: float, rules: Rules) -> list[tuple[int, int]]:
    """Return where the episodes of one series open, and where they close or the series ends: places in (n,).

    What `edge.judge.event.EventDetector` does, without the walk through the hops between.
    """
    above = scores > threshold
    heard = np.concatenate([[0], np.cumsum(above)])
    n = scores.size
    hot = np.flatnonzero(heard[1:] - heard[np.maximum(np.arange(n) - rules.of + 1, 0)] >= rules.needed)
    if not hot.size:
        return []
    latest_high = np.maximum.accumulate(np.where(above, np.arange(n), -1))
    low_hops = np.arange(n) - latest_high  # in a row

    @cache
    def over_after(off_hops: int) -> IntArray:
        return np.flatnonzero(low_hops > off_hops)

    off_delay = OffDelay(rules.off_seconds, rules.hop_seconds)
    episodes: list[tuple[int, int]] = []
    forgotten = -1  # what came up to here was forgotten when the last episode closed
    i = 0
    while i < hot.size:
        opened = int(hot[i])
        if heard[opened + 1] - heard[max(opened - rules.of, forgotten) + 1] < rules.needed:
            i += 1
            continue
        over = over_after(off_delay.opened(opened * rules.hop_seconds))
        j = int(np.searchsorted(over, opened, "right"))
        recovered = int(over[j]) if j < over.size else n
        closed = min(recovered, opened + rules.longest, n)
        if closed == recovered:
            off_delay.recovered(closed * rules.hop_seconds)
        episodes.append((opened, closed))
        forgotten = closed
        i = int(np.searchsorted(hot, closed, "right"))
    return episodes


@dataclass(frozen=True)
class _Tail:
    """Episodes above falling thresholds, as they were counted, and beyond: their rate falls exponentially.

    levels, counts  (n,), from the highest to the base, and how many episodes there were above each or a higher one
    weeks           of sound
    per_week, excess  a row a resampling of `_samples_of`: episodes a week above the base, and how far they reach above
                    it on average, each (RESAMPLES,)
    """

    levels: DoubleArray
    counts: DoubleArray
    weeks: float
    per_week: DoubleArray
    excess: DoubleArray

    @property
    def base(self) -> float:
        """The lowest level: the highest with `FEWEST_PEAKS` episodes above it."""
        return float(self.levels[-1])

    @classmethod
    def of(cls, series: Sequence[ScoreSeries], rules: Rules, hop_seconds: float) -> "_Tail | None":
        """Count, and fit; None if there are too few episodes at any threshold."""
        sample_of = _samples_of(series)
        n_samples = 1 + max(int(own[-1]) for own in sample_of if own.size)
        hops = np.bincount(np.concatenate([own[rules.needed - 1 :] for own in sample_of]), minlength=n_samples)
        weeks = hops * hop_seconds / 3600 / WEEK_HOURS

        levels: list[float] = []
        counts: list[DoubleArray] = []
        opening = [_opening_level(one.scores, rules) for one in series]
        no_episodes = np.zeros(0, np.int64)
        for level in _falling_levels(opening):
            found = [
                own[[opened for opened, _ in openings(one.scores, level, rules)]]
                for one, own, highest in zip(series, sample_of, opening, strict=True)
                if highest.max() > level
            ]
            levels.append(level)
            counts.append(np.bincount(np.concatenate([*found, no_episodes]), minlength=n_samples).astype(np.float64))
            if counts[-1].sum() >= FEWEST_PEAKS:
                break
        else:
            return None

        # The mean of what exceeds the base is the area under the counts above it.
        area = np.maximum(-np.diff(levels), 0) @ ((np.array(counts[1:]) + np.array(counts[:-1])) / 2)
        # The same resamplings every time: a calibration has no seed.
        weights = np.random.default_rng(0).multinomial(n_samples, np.full(n_samples, 1 / n_samples), RESAMPLES)
        n_episodes = weights @ counts[-1]
        overall = area.sum() / counts[-1].sum()
        excess = np.where(n_episodes > 0, weights @ area / np.maximum(n_episodes, 1), overall)
        return cls(
            levels=np.array(levels),
            counts=np.maximum.accumulate(np.sum(counts, axis=1)),
            weeks=float(weeks.sum()),
            per_week=n_episodes / (weights @ weeks),
            excess=np.maximum(excess, 1e-12),
        )

    def rates(self, thresholds: DoubleArray) -> DoubleArray:
        """Return the episodes a week above thresholds, (n,), not below the base, of each resampling: (RESAMPLES, n)."""
        above = np.maximum(thresholds - self.base, 0)
        return self.per_week[:, None] * np.exp(-above / self.excess[:, None])

    def threshold(self, per_week: float) -> float:
        """Return where the rate is this one, or the base if it is lower there.

        Not below the level that was exceeded so often, less one, in what was heard: sound to come is as likely as any
        that was heard to hold the largest score (conformal prediction). So where tails are heavier than exponential,
        rates up to once in the hours that were heard are kept all the same, and rarer ones are missed by a factor of
        `FARTHEST` at the most.
        """
        allowed = max(0.0, per_week * self.weeks - 1)
        heard = float(self.levels[np.flatnonzero(self.counts <= allowed)[-1]])
        return max(heard, self._extrapolated(per_week))

    def _extrapolated(self, per_week: float) -> float:
        """Return where the mean over the resamplings is the rate."""
        low, high = 0.0, float(self.excess.max())
        if self._mean(low) <= per_week:
            return self.base
        while self._mean(high) > per_week:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._mean(middle) > per_week else (low, middle)
        return self.base + high

    def _mean(self, above: float) -> float:
        return float((self.per_week * np.exp(-above / self.excess)).mean())


def _samples_of(series: Sequence[ScoreSeries]) -> list[IntArray]:
    """Return which recording each hop of each series is a part of, numbered from 0; which stretch of all that was
    heard, where fewer recordings than `FEW_RECORDINGS` cannot tell how much they differ.
    """
    names = {name: i for i, name in enumerate(sorted({one.recording for one in series}))}
    if len(names) >= FEW_RECORDINGS:
        return [np.full(one.scores.size, names[one.recording], np.int64) for one in series]
    n_hops = [one.scores.size for one in series]
    stretch = np.arange(sum(n_hops)) * FEW_RECORDINGS // max(sum(n_hops), 1)
    return np.split(stretch, np.cumsum(n_hops)[:-1])


def _falling_levels(opening: Sequence[FloatArray]) -> list[float]:
    """Return thresholds from one at which no episode opens, down to the median of `_opening_level`, ever less rare."""
    everything = np.concatenate(opening)
    everything = np.sort(everything[np.isfinite(everything)])
    rarities = np.geomspace(1 / everything.size, 0.5, 80)
    levels = everything[((1 - rarities) * (everything.size - 1)).astype(int)]
    return [float(everything[-1]), *map(float, levels)]


def _opening_level(scores: FloatArray, rules: Rules) -> FloatArray:
    """Return, for each hop, the threshold below which an episode would open there, if none was open: (n,).

    k of the newest n windows exceed a threshold as long as the k-th largest of them does.
    """
    padded = np.concatenate([np.full(rules.of - 1, -np.inf, np.float32), scores])
    newest = np.lib.stride_tricks.sliding_window_view(padded, rules.of)
    level: FloatArray = np.partition(newest, rules.of - rules.needed, axis=1)[:, rules.of - rules.needed]
    return level
