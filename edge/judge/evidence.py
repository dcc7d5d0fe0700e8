"""Evidence over time: how surprising the newest window, minute and hour of scores are, for this machine. Pure.

A fault stays. So the log score is averaged over several scales at once, and each average is held against two beliefs:

    the machine's   what a recording not heard yet is expected to score (edge/judge/ordinary.py), and
    the run's       what this unbroken run has scored, up to shortly before the average began.

Recordings of one machine differ more from each other than minutes of one recording do. Who knows only the first belief
has to wait for a loud fault; the second hears a small step. It is believed as far as it is informed (a Normal level and
its posterior), and only of averages that another ordinary condition of this machine would hardly have: by enrolment,
and by the conditions that it is known to have come back from (edge/judge/returns.py). All tails are Student's, so
the answer is a probability: that ordinary sound would have had an average so high.

What it remembers: for each scale at most 160 sums, whatever its length. A step is a few dozen additions, and two tail
probabilities where an average is above what is believed.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from edge.config import EventSettings
from edge.judge.ordinary import LEAST_BETWEEN, Ordinary, student_tail, variance_of_mean

WINDOW_HOPS: Final = 19
"""Hops until two windows of 9.6 s share nothing."""

GUARD_HOPS: Final = 2 * WINDOW_HOPS
"""The run's past ends this long before an average begins: neither an overlapping window nor the slow onset of a fault
may teach what is ordinary."""

MAX_BLOCKS: Final = 117
"""Blocks of a scale: a minute of single hops; an hour of half minutes."""

FEWEST_SHARE: Final = 0.5
"""A scale of which less than this was heard, or is there yet, waits."""

CLIP_DEVIATIONS: Final = 4.0
"""A hop counts as no farther from what is believed than this: a dropped spanner fills ten seconds and is not to be a
minute's evidence, while a fault that stays is one even when clipped."""

HORIZONS: Final = 16
"""The run's past is so many times as long as the scale, and a quarter of an hour at least; older sound is forgotten."""

COMMON: Final = 0.5
"""Correlation of the levels of two recordings of one machine, given its enrolment: half of the doubt is about the
machine, which the run has answered."""

STEP_SHARE: Final = 0.35
"""Of the false alarms, what steps against the run's own past may use."""

KNOWN_CHANGE: Final = 0.1
"""The part of `change_rate` that is left where the machine's own recordings say how far its conditions are apart, and
nothing but the prior does where there are hardly any."""

MOST_SPREAD: Final = 2.0
"""The run's spread is believed up to so many times that of enrolment, whose own three degrees of freedom leave twice as
much at 15 %. Beyond, it is a fault that rattles, and not to be got used to."""

MOST_FREEDOM: Final = 8.0
"""Of the run's spread: however well it is known, the tails of scores are heavier than a Normal's."""

MEMORY_SECONDS: Final = 4 * 3600.0
"""In which the past counts ever less while nothing is learnt: after an episode, or a gap."""

YOUNG_HOPS: Final = HORIZONS * MAX_BLOCKS // 2
"""A run whose past is shorter, eight minutes, has not been heard through its habits yet."""


@dataclass(frozen=True)
class Scale:
    """An average over `hops` (>= 1) that has `share` (0 to 1) of the false alarms; those of all scales add up to 1."""

    seconds: float
    hops: int
    share: float

    @cached_property
    def variance_share(self) -> float:
        """Variance of the average, of that of a hop within a run."""
        return variance_of_mean(self.hops)


def scales_of(window_seconds: float, averages_seconds: Sequence[float], hop_seconds: float) -> tuple[Scale, ...]:
    """Return the window itself and averages over so many seconds (> a hop), ascending.

    The share rises up to a minute, where most faults are found; what is longer has a quarter of that.
    """
    lengths = [window_seconds, *averages_seconds]
    hops = [1, *(max(2, round(seconds / hop_seconds)) for seconds in averages_seconds)]
    weights = [math.sqrt(seconds / 60) if seconds <= 60 else 0.25 for seconds in lengths]
    return tuple(
        Scale(seconds, n, weight / sum(weights)) for seconds, n, weight in zip(lengths, hops, weights, strict=True)
    )


@dataclass(frozen=True)
class Surprise:
    """What the newest sound says.

    probability  that ordinary sound looks like this or worse, (0, 1]: held below a rate r, at most a fraction r of
                 ordinary hops is reported. Steps of several scales add up (Bonferroni: the shares); against the
                 machine they do not, as what decides there is the recording's level, which all scales see alike
    scale        whose average is the most surprising; None while none can speak
    is_step      whether it is surprising against the run's own past; else against all that the machine is known for
    average      of that scale, log score; expected, what was believed of it
    """

    probability: float
    scale: Scale | None = None
    is_step: bool = False
    average: float = 0.0
    expected: float = 0.0


NOTHING: Final = Surprise(1.0)


class Evidence:
    """One machine's log scores, a hop each, to how surprising they are.

    spoken  what each scale said of the newest hop, the shortest first; those that wait say nothing
    """

    def __init__(
        self, ordinary: Ordinary, scales: Sequence[Scale], *, hop_seconds: float, change_rate: float = 0.2
    ) -> None:
        """Know only what enrolment knows. `averages` are the newest, of each scale; None where one waits.

        change_rate  of ordinary changes of condition (load, speed, weather, a door), at most so many (0 to 1) are
                     reported as a step, and fewer the better the machine is known. No rate in time: nobody has heard
                     how often this machine's condition changes
        """
        self.ordinary = ordinary
        self.known_level: float | None = None
        self._enrolled = ordinary
        self.hop_seconds = hop_seconds
        self._most_deviation = MOST_SPREAD * ordinary.deviation
        self._change_rate = change_rate
        self._forgotten_a_hop = math.exp(-hop_seconds / MEMORY_SECONDS)
        self._scales = tuple(scales)
        self.forget()
        self.averages: tuple[float | None, ...] = (None,) * len(self._scales)
        self.spoken: tuple[Surprise, ...] = ()

    def step(self, log_score: float | None, *, learn: bool = True) -> Surprise:
        """Take the log score of the next hop, None where nothing was heard; say how surprising the newest sound is.

        learn: whether this is ordinary, as far as anybody knows; False during an episode.
        """
        clipped = None if log_score is None else self._clipped(log_score)
        for past in self._pasts:
            past.push(clipped, learn)
            if log_score is None or not learn:  # the condition may have changed meanwhile
                past.weight *= self._forgotten_a_hop
        scales = list(zip(self._scales, self._pasts, strict=True))
        self.averages = tuple(log_score if scale.hops == 1 else past.average for scale, past in scales)
        self.spoken = ()
        if log_score is None:
            return NOTHING
        variance = self.deviation**2
        self.spoken = tuple(
            self._of_scale(scale, past, average, variance)
            for (scale, past), average in zip(scales, self.averages, strict=True)
            if average is not None
        )
        return min(self.spoken, key=lambda one: one.probability, default=NOTHING)

    def miss(self, hops: int) -> None:
        """Pass over so many hops (>= 0) of which nothing is known: the scales wait."""
        for _ in range(min(hops, max(scale.hops for scale in self._scales) + GUARD_HOPS)):
            self.step(None)

    def restart(self, *, came_back: bool = False) -> None:
        """Let every scale wait until it is full again: after an episode, so that its sound is not reported twice.

        came_back: whether it was a step up that came down by itself. In a young run that is how this machine sounds
        from time to time, and its past learns it; later it is news each time.
        """
        is_habit = came_back and self._trusted(self._pasts[0]).weight < YOUNG_HOPS
        for past in self._pasts:
            if is_habit:
                past.learn_newest()
            past.restart()

    def forget(self) -> None:
        """Restart, and forget the run's past too: what comes is another recording."""
        self._pasts = [_Past(scale.hops) for scale in self._scales]
        short = [past for past in self._pasts if past.hops <= MAX_BLOCKS]
        self._minute = short[-1] if short else None

    @property
    def deviation(self) -> float:
        """Deviation of the log scores of single windows within a run: of this one, as far as it was heard (> 0).

        A run that fluctuates more than enrolment held to be possible is no reason to expect it.
        """
        own, past = self.ordinary, self._trusted(self._pasts[0])
        independent = past.weight / WINDOW_HOPS
        pooled = (own.freedom * own.deviation**2 + independent * past.square) / (own.freedom + independent)
        return min(math.sqrt(pooled), self._most_deviation)

    def _of_scale(self, scale: Scale, past: "_Past", average: float, hop_variance: float) -> Surprise:
        """hop_variance: the square of `deviation`, which all scales share."""
        ordinary, spread = self.ordinary, hop_variance * scale.variance_share
        machine = self._tail_of_machine(average, spread) / (1 - STEP_SHARE)
        found = Surprise(min(1.0, machine), scale, False, average, ordinary.level)
        trusted = self._trusted(past)
        level, variance = self._run_belief(trusted, hop_variance)
        if trusted.weight < WINDOW_HOPS or average <= level:
            return found
        if self._may_be_a_change(average, level, spread):
            return found
        most = MOST_FREEDOM * (1 + (scale.hops - 1) / WINDOW_HOPS)  # the tails of a mean are lighter by what it is of
        freedom = min(ordinary.freedom + self._pasts[0].weight / WINDOW_HOPS, most)
        same = _tail(average, level, variance + spread, freedom)
        run = max(same, self._of_returns(average, spread)) / (scale.share * STEP_SHARE)
        return Surprise(min(1.0, run), scale, True, average, level) if run < found.probability else found

    def _tail_of_machine(self, average: float, spread: float) -> float:
        """Return how likely it is that an ordinary recording scores so high.

        By what was learnt; of conditions that it is known to have by what enrolment knew, which is never stricter.
        """
        learnt = _of_recording(self.ordinary, average, spread)
        if self.known_level is None:
            return learnt
        return max(learnt, min(_of_recording(self._enrolled, average, spread), self._of_returns(average, spread)))

    def _may_be_a_change(self, average: float, run_level: float, spread: float) -> bool:
        """Whether so much is what a change of condition may be: by enrolment, and by what was learnt since, too.

        A step is let pass only where both would: what was there when the machine was learnt is no proof that it may.
        """
        beliefs = (self.ordinary,) if self.ordinary is self._enrolled else (self._enrolled, self.ordinary)
        return all(
            _after_a_change(belief, average, run_level, spread)
            > self._change_rate * (1 - (1 - KNOWN_CHANGE) * belief.trust)
            for belief in beliefs
        )

    def _of_returns(self, average: float, spread: float) -> float:
        """Return how likely it is that the highest condition it is known to have scores so high; 0 without any."""
        if self.known_level is None:
            return 0.0
        return _tail(average, self.known_level, LEAST_BETWEEN**2 + spread, self.ordinary.level_freedom)

    def _run_belief(self, past: "_Past", hop_variance: float) -> tuple[float, float]:
        """Return mean and variance of this run's level, by a past that is trusted: the machine's is the prior."""
        ordinary = self.ordinary
        if past.weight < WINDOW_HOPS:
            return ordinary.level, ordinary.level_deviation**2
        error = hop_variance * variance_of_mean(past.weight)
        trust = ordinary.level_deviation**2 / (ordinary.level_deviation**2 + error)
        return ordinary.level + trust * (past.level - ordinary.level), trust * error

    def _trusted(self, past: "_Past") -> "_Past":
        """Return the past of a minute for whatever is shorter, once there is one: a fault must not teach it so soon."""
        minute = self._minute
        return past if minute is None or past.hops >= minute.hops or minute.weight < WINDOW_HOPS else minute

    def _clipped(self, score: float) -> float:
        hop_variance = self.deviation**2
        level, variance = self._run_belief(self._trusted(self._pasts[0]), hop_variance)
        reach = CLIP_DEVIATIONS * math.sqrt(variance + hop_variance)
        return min(max(score, level - reach), level + reach)


def evidence_of(settings: EventSettings, ordinary: Ordinary, *, window_seconds: float, hop_seconds: float) -> Evidence:
    """Return the evidence that a configuration asks for, of a machine that is known as `ordinary`."""
    scales = scales_of(window_seconds, settings.averages_seconds, hop_seconds)
    return Evidence(ordinary, scales, hop_seconds=hop_seconds, change_rate=settings.change_rate)


def rate_at(ordinary: Ordinary, log_score: float) -> float:
    """Return the rate of false alarms, (0, 1], at which a single window is reported from this score on."""
    variance = ordinary.level_deviation**2 + ordinary.deviation**2
    return min(1.0, _tail(log_score, ordinary.level, variance, ordinary.level_freedom) / (1 - STEP_SHARE))


def log_score_at(ordinary: Ordinary, rate: float) -> float:
    """Return the log score from which on a single window is reported at this rate of false alarms (0 to 1)."""
    return ordinary.threshold(max(rate * (1 - STEP_SHARE), LEAST_RATE))


def rarity(probability: float) -> float:
    """Return minus the decimal logarithm of a probability, (0, 1]: episodes by the week are counted on that scale."""
    return -math.log10(probability)


def rate_of(rarity: float) -> float:
    """Return the probability, (0, 1], of a rarity (>= 0)."""
    return max(float(10.0**-rarity), LEAST_RATE)


LEAST_RATE: Final = 1e-12


def _of_recording(ordinary: Ordinary, average: float, spread: float) -> float:
    return _tail(average, ordinary.level, ordinary.level_deviation**2 + spread, ordinary.level_freedom)


def _after_a_change(ordinary: Ordinary, average: float, run_level: float, spread: float) -> float:
    """Return how likely it is that another ordinary condition, once this one ended, scores so high."""
    level = ordinary.level + COMMON * (run_level - ordinary.level)
    variance = (1 - COMMON**2) * ordinary.level_deviation**2 + spread
    return _tail(average, level, variance, ordinary.level_freedom)


def _tail(value: float, mean: float, variance: float, freedom: float) -> float:
    return student_tail((value - mean) / math.sqrt(variance), freedom)


@dataclass
class _Past:
    """Sums over the newest `hops`, and the mean of what is older than those and `GUARD_HOPS`.

    level, weight  that mean, and how many hops it stands for
    square         mean square of its blocks around it
    """

    hops: int
    level: float = 0.0
    weight: float = 0.0
    square: float = 0.0
    _blocks: deque[tuple[float, int]] = field(default_factory=deque)
    _filling: tuple[float, int, int] = (0.0, 0, 0)  # sum, hops heard, hops passed
    _total: float = 0.0
    _heard: int = 0

    def __post_init__(self) -> None:
        self._block_hops = max(1, self.hops // MAX_BLOCKS)
        self._n_blocks = self.hops // self._block_hops
        self._n_guard = -(-GUARD_HOPS // self._block_hops)

    @property
    def average(self) -> float | None:
        """Mean over the newest hops, to a block; None where too few of them were heard."""
        return self._total / self._heard if self._heard >= max(1, FEWEST_SHARE * self.hops) else None

    def push(self, score: float | None, learn: bool) -> None:
        """Take the next hop, None where nothing was heard; `learn`: whether the past may grow by what leaves."""
        total, heard, passed = self._filling
        self._filling = (total + (score or 0.0), heard + (score is not None), passed + 1)
        if self._filling[2] < self._block_hops:
            return
        self._add(self._filling[:2], learn)
        self._filling = (0.0, 0, 0)

    def _add(self, block: tuple[float, int], learn: bool) -> None:
        self._blocks.append(block)
        self._total += block[0]
        self._heard += block[1]
        if len(self._blocks) > self._n_blocks:
            leaving = self._blocks[-self._n_blocks - 1]
            self._total -= leaving[0]
            self._heard -= leaving[1]
        if len(self._blocks) > self._n_blocks + self._n_guard:
            oldest = self._blocks.popleft()
            if learn:
                self._learn(*oldest)

    def _learn(self, total: float, heard: int) -> None:
        if not heard:
            return
        self.weight = min(self.weight + heard, HORIZONS * max(self.hops, MAX_BLOCKS))
        off = total / heard - self.level
        self.level += heard / self.weight * off
        self.square += heard / self.weight * (off * (total / heard - self.level) - self.square)

    def learn_newest(self) -> None:
        """Let the past grow by what is about to be forgotten."""
        for block in self._blocks:
            self._learn(*block)

    def restart(self) -> None:
        """Forget the newest hops; the past stays."""
        self._blocks.clear()
        self._filling, self._total, self._heard = (0.0, 0, 0), 0.0, 0


class Recovery:
    """Is it over? When the newest sound is nearer to ordinary than to the fault.

    Ordinary and faulty levels are known when an episode opens; half way between them is where both explain the newest
    sound equally well. Where the two are far apart, hops for the off-delay, all on the ordinary side, are enough; a
    faint fault needs longer averages: as many hops as make the deviation of their mean a third of the half way.
    """

    def __init__(self, surprise: Surprise, deviation: float, *, off_hops: int, calm_hops: int | None = None) -> None:
        """surprise: what opened the episode. deviation: that of `Evidence`. off_hops: the off-delay, >= 1.

        calm_hops: for how long it has to be over instead, where the off-delay is known to be too short.
        """
        self._expected, self._fault = surprise.expected, surprise.average
        self._off_hops = off_hops
        self._calm_hops = off_hops if calm_hops is None else calm_hops
        half = max((surprise.average - surprise.expected) / 2, 1e-6)
        self._newest: deque[float] = deque(maxlen=self._hops_of(half, deviation))
        self._low_hops = 0

    def step(self, log_score: float) -> bool:
        """Take the next hop's log score; return whether the episode is over."""
        self._newest.append(log_score)
        mean, is_full = sum(self._newest) / len(self._newest), len(self._newest) == self._newest.maxlen
        if is_full:
            self._fault = max(self._fault, mean)
        self._low_hops = self._low_hops + 1 if mean < (self._expected + self._fault) / 2 else 0
        return is_full and self._low_hops >= self._calm_hops

    def _hops_of(self, half: float, deviation: float) -> int:
        return int(min(max(self._off_hops, WINDOW_HOPS * (3 * deviation / half) ** 2), MAX_BLOCKS))
