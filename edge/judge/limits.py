"""From which strength on a change is reported, and after how long: a table of probabilities of detection. Pure.

As non-destructive testing has it (MIL-HDBK-1823A, 2009): known flaws of growing size, and the size from which on nine
of ten are found. Here a flaw is a change of `edge.judge.changes`, and whether it is found is not guessed: each trial is
some minutes of normal scores, then those with the change, through the real evidence and the real rules of an episode.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings
from edge.ear import FloatArray
from edge.judge.changes import KINDS, Kind
from edge.judge.event import EventDetector
from edge.judge.evidence import Evidence, scales_of
from edge.judge.ordinary import Ordinary
from edge.judge.scorer import log_score, score_of

DoubleArray = NDArray[np.float64]

REPORTED: Final = 0.9
"""Of the trials: what counts as being reported."""

NORMAL_SECONDS: Final = 300.0
"""Of normal sound before a change. The minute's evidence needs two until it knows what this run sounds like."""

CHANGED_SECONDS: Final = 120.0
"""How long a change may take until it is reported; later is never, here."""

COARSE_DB: Final = 6.0
"""Between strengths that are measured at first; half of it, about the limit. Between these, scores are interpolated."""

FINE_DB: Final = 1.0

LOUDER_DB: Final = 6.0
"""How far above the limit the wait is told a second time."""

RANGES_DB: Final[Mapping[Kind, tuple[float, float]]] = {
    "tone": (-18.0, 36.0),
    "hiss": (-24.0, 30.0),
    "impacts": (-24.0, 30.0),
    "modulation": (0.0, 24.0),
    "level": (0.0, 24.0),
}
"""The weakest and the strongest that are tried. Silence is not 0 dB but far below, for what is added."""


@dataclass(frozen=True)
class Limit:
    """What is known of one kind of change.

    limit_db      the least strength from which on nine of ten trials are reported; None: not even the strongest is
    wait_seconds  the median of trials of that strength, and `wait_louder_seconds`, `LOUDER_DB` above it
    strengths_db, probability  the table: what part of the trials is reported at each strength, never falling
    """

    kind: Kind
    limit_db: float | None
    wait_seconds: float | None
    wait_louder_seconds: float | None
    strengths_db: tuple[float, ...]
    probability: tuple[float, ...]


class Trial:
    """One change to one piece of normal sound, at any strength."""

    def __init__(
        self,
        kind: Kind,
        before: EventDetector,
        heard_seconds: float,
        hop_seconds: float,
        log_scores_at: Callable[[float], DoubleArray],
    ) -> None:
        """Take an event detector that has heard `heard_seconds` of normal sound.

        log_scores_at: the scores of the hops from the onset on, (n,), of a strength, dB; the last window is as long as
        the change stays: the second half of them goes round.
        """
        self.kind = kind
        self._before, self._heard_seconds, self._hop_seconds = before, heard_seconds, hop_seconds
        self._log_scores_at = log_scores_at
        self._measured: dict[float, DoubleArray] = {}
        self._waits: dict[float, float | None] = {}

    def limit_db(self) -> float | None:
        """Return the least strength that is reported, to `FINE_DB`; None if none is."""
        low, high = RANGES_DB[self.kind]
        grid = np.arange(low, high + 1e-9, COARSE_DB).tolist()
        first = _first(grid, lambda strength: self._wait_measured(strength) is not None)
        if first is None or first == grid[0]:
            return first
        middle = first - COARSE_DB / 2
        if self._wait_measured(middle) is not None:
            first = middle
        finer = np.arange(first - COARSE_DB / 2 + FINE_DB, first + 1e-9, FINE_DB).tolist()
        return _first(finer, lambda strength: self.wait_seconds(strength) is not None)

    def wait_seconds(self, strength_db: float) -> float | None:
        """Return after how long a strength is reported, None if it is not; scores are interpolated."""
        if strength_db not in self._waits:
            self._waits[strength_db] = self._hear(self._interpolated(strength_db))
        return self._waits[strength_db]

    def _wait_measured(self, strength_db: float) -> float | None:
        self._scores_at(strength_db)
        return self.wait_seconds(strength_db)

    def _scores_at(self, strength_db: float) -> DoubleArray:
        if strength_db not in self._measured:
            self._measured[strength_db] = self._log_scores_at(strength_db)
        return self._measured[strength_db]

    def _interpolated(self, strength_db: float) -> DoubleArray:
        known = sorted(self._measured)
        below, above = ([s for s in known if s <= strength_db], [s for s in known if s >= strength_db])
        if not below or not above or above[0] - below[-1] > COARSE_DB:
            return self._scores_at(strength_db)
        weak, strong = below[-1], above[0]
        share = (strength_db - weak) / (strong - weak) if strong > weak else 0.0
        return (1 - share) * self._measured[weak] + share * self._measured[strong]

    def _hear(self, log_scores: DoubleArray) -> float | None:
        events = copy.deepcopy(self._before)
        for hop, x in enumerate(lasting(log_scores, math.ceil(CHANGED_SECONDS / self._hop_seconds)).tolist(), 1):
            after = hop * self._hop_seconds
            if events.step(self._heard_seconds + after, score_of(x, "fused"), x):
                return after
        return None


def heard_normal(
    settings: EventSettings,
    ordinary: Ordinary,
    log_scores: DoubleArray,
    *,
    rate: float,
    window_seconds: float,
    hop_seconds: float,
) -> tuple[EventDetector, float]:
    """Return an event detector that has heard `NORMAL_SECONDS` of these normal scores, (n,), and how long that was.

    rate: of false alarms, that its threshold is for. Scales that cannot fill are left out: they would only cost time.
    """
    n_hops = math.ceil(NORMAL_SECONDS / hop_seconds)
    filled = n_hops + CHANGED_SECONDS / hop_seconds
    scales = [s for s in scales_of(window_seconds, settings.averages_seconds, hop_seconds) if s.hops <= filled]
    evidence = Evidence(ordinary, scales, hop_seconds=hop_seconds, change_rate=settings.change_rate)
    events = EventDetector(settings, evidence, rate=rate, threshold=0.0)
    for hop, x in enumerate(np.resize(log_scores, n_hops).tolist(), 1):
        events.step(hop * hop_seconds, score_of(x, "fused"), x)
    events.interrupt("source_lost")  # if it was a false alarm, it is not to be counted as a change that was found
    return events, n_hops * hop_seconds


def lasting(log_scores: DoubleArray, n: int) -> DoubleArray:
    """Return n scores of a change that stays, of those after its onset, (k,): the second half of them goes round."""
    stays = log_scores[log_scores.size // 2 :]
    return np.concatenate([log_scores, np.resize(stays, max(0, n - log_scores.size))])[:n]


def at_level(scores: FloatArray, normal: FloatArray, log_level: float) -> DoubleArray:
    """Return the log scores, (n,), that a recording would have whose normal sound has this mean log score.

    scores, normal: with the change and without, (n,), as another recording of the machine has them. A distance is a
    root of squares, and what a change adds to the squares is the same whatever they were before.
    """
    more = np.exp(2 * (log_level - float(log_score(normal, "fused").mean())))
    squares, before = np.square(scores, dtype=np.float64), np.square(normal, dtype=np.float64)
    return np.asarray(np.log(np.maximum(squares + (more - 1) * before, squares * min(more, 1.0))) / 2)


def limits(trials: Sequence[Trial]) -> list[Limit]:
    """Return what is known of each kind of change that there are trials of."""
    return [
        limit_of([trial for trial in trials if trial.kind == kind])
        for kind in KINDS
        if any(t.kind == kind for t in trials)
    ]


def limit_of(trials: Sequence[Trial]) -> Limit:
    """Return what the trials (one or more) of one kind of change say."""
    kind = trials[0].kind
    found = [math.inf if (own := trial.limit_db()) is None else own for trial in trials]
    least = sorted(found)[math.ceil(REPORTED * len(found)) - 1]
    low, high = RANGES_DB[kind]
    strengths = tuple(np.arange(low, high + 1e-9, COARSE_DB / 2).tolist())
    known = math.isfinite(least)
    return Limit(
        kind=kind,
        limit_db=least if known else None,
        wait_seconds=_median_wait(trials, least) if known else None,
        wait_louder_seconds=_median_wait(trials, least + LOUDER_DB) if known else None,
        strengths_db=strengths,
        probability=tuple(round(float(np.mean([own <= s for own in found])), 3) for s in strengths),
    )


def _median_wait(trials: Sequence[Trial], strength_db: float) -> float | None:
    waits = [math.inf if (own := trial.wait_seconds(strength_db)) is None else own for trial in trials]
    median = sorted(waits)[len(waits) // 2]
    return round(median, 1) if math.isfinite(median) else None


def _first(ascending: Sequence[float], holds: Callable[[float], bool]) -> float | None:
    """Return the least for which it holds, None if it never does; it holds for all that is greater."""
    low, high = 0, len(ascending)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(ascending[middle]) else (middle + 1, high)
    return ascending[low] if low < len(ascending) else None


WORDS: Final[Mapping[Kind, str]] = {
    "tone": "a new tone",
    "hiss": "a hiss",
    "impacts": "impacts",
    "modulation": "a modulation",
    "level": "a level",
}


def in_words(limit: Limit) -> str:
    """Say it: `a hiss from +3 dB on, after 2 min (8 s from +9 dB on)`."""
    what, sign = WORDS[limit.kind], "±" if limit.kind == "modulation" else "+"
    if limit.limit_db is None:
        return f"{what}: not even at {_decibels(limit.strengths_db[-1], sign)}"
    louder = limit.limit_db + LOUDER_DB
    after = f", after {_seconds(limit.wait_seconds)}" if limit.wait_seconds is not None else ""
    sooner = limit.wait_louder_seconds
    more = f" ({_seconds(sooner)} from {_decibels(louder, sign)} on)" if sooner is not None else ""
    return f"{what} from {_decibels(limit.limit_db, sign)} on{after}{more}"


def _decibels(strength_db: float, sign: str) -> str:
    return f"{sign if strength_db > 0 else ''}{strength_db:g} dB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
