"""Learns what normal means from normal sounds alone; numpy only, so that a device can enrol a machine by itself.

Scores of the clips that a covariance was fitted to are useless for a threshold: in 128 dimensions a nominal 10 % of
false alarms becomes 48 % with a thousand clips. So every threshold here comes from cross-fitted scores: those of
recordings that the statistics had not heard. Of recordings, not of clips: clips that were cut from one recording are
alike, and a fold that has heard the neighbours has heard the clip.

A network trained on a recording is nearer to it, too, than to any to come. What that makes is measured on recordings
that were held out of its training (`network_shift`), and the scores of those it has seen are moved accordingly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray, band_levels
from edge.judge.scorer import (
    DOMAINS,
    FUSED_PARTS,
    Domain,
    Gaussian,
    ScoreName,
    SectionStatistics,
    confidence,
    fuse,
    quantities,
)

FOLDS: Final = 5
MIN_WINDOWS: Final = 10
"""Fewer than this, a minute and a half of sound, say nothing about what is normal."""

FEW_RECORDINGS: Final = 5
"""Fewer cannot tell how much recordings differ from each other; stretches of them have to."""

BATCH_WINDOWS: Final = 8192
"""Scored at once."""

SAFE_ERRORS: Final = 3.0
"""How many standard errors a threshold is on the safe side: who listens for years would rather pay with a little
sensitivity than with a section that cries wolf (benchmarks/false_alarms.py)."""

OF_NETWORK: Final[tuple[ScoreName, ...]] = ("mahalanobis", "confidence")
"""The quantities that a network can have got used to; bands and L90 know none."""

DoubleArray = NDArray[np.float64]


@dataclass(frozen=True)
class NormalWindows:
    """What was measured on the normal sound of one section: a row a window, in the order of recording.

    recording  what each window is a part of: windows of one recording are never on both sides of a fold
    apart      (B,), which windows are fitted to: no two of them overlap. The others, a hop apart, are only scored
    trained_on  (B,), whether the network was trained on the window; never for a machine that is enrolled
    series     (B,), equal numbers are one unbroken run of hops
    """

    domain: Sequence[Domain]
    embedding: FloatArray
    logits: FloatArray
    bands: FloatArray
    recording: Sequence[str]
    apart: NDArray[np.bool_]
    trained_on: NDArray[np.bool_]
    series: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.domain)

    @property
    def n_apart(self) -> int:
        """How many windows do not overlap."""
        return int(self.apart.sum())

    def take(self, rows: NDArray[np.bool_]) -> "NormalWindows":
        """Return the windows where `rows`, (B,), is true."""
        chosen = [int(i) for i in np.flatnonzero(rows)]
        return NormalWindows(
            domain=[self.domain[i] for i in chosen],
            embedding=self.embedding[rows],
            logits=self.logits[rows],
            bands=self.bands[rows],
            recording=[self.recording[i] for i in chosen],
            apart=self.apart[rows],
            trained_on=self.trained_on[rows],
            series=self.series[rows],
        )


@dataclass(frozen=True)
class Calibration:
    """Cross-fitted normal scores of one section, one a window, ascending, and what each is a part of.

    recording  (B,), equal numbers are windows of one recording; None where it is not known: each stands for itself
    """

    scores: FloatArray
    recording: NDArray[np.int64] | None = None

    def threshold(self, false_alarm_rate: float) -> float:
        """Return the score that a normal window exceeds with the given probability (0 to 1), or less.

        The larger of two. The conformal quantile (Vovk): of n normal windows and one more, each is equally likely to be
        the largest; beyond 1 / (n + 1) it does not reach. And the bound of a window of a new recording (`_new_window`),
        which knows that ten windows of one recording are not ten of ten, and does reach.
        """
        if not 0 < false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate {false_alarm_rate}: expected a number between 0 and 1")
        n = self.scores.size
        rank = int(np.ceil((n + 1) * (1 - false_alarm_rate)))
        heard = float(self.scores[min(rank, n) - 1])
        recording = np.arange(n) if self.recording is None else np.unique(self.recording, return_inverse=True)[1]
        return max(heard, _new_window(self.scores.astype(np.float64), recording, 1 - false_alarm_rate))


@dataclass(frozen=True)
class Shift:
    """How much farther sound is that the network has not seen, in deviations of the sound that it has seen.

    mean     of the unseen, one standard error on the safe side, >= 0
    spread   deviation of the unseen, >= 1
    """

    mean: float
    spread: float


@dataclass(frozen=True)
class Fit:
    """One section, fitted.

    scores  of every window, by statistics that had not heard its recording and as of a network that had not: (B,)
    """

    statistics: SectionStatistics
    calibration: Mapping[ScoreName, Calibration]
    scores: Mapping[ScoreName, FloatArray]


def fit_section(
    windows: NormalWindows, class_index: int | None, shifts: Mapping[ScoreName, Shift] | None = None
) -> Fit:
    """Fit one section, with the calibration of every score.

    shifts: from `network_shift`, for the windows that the network was trained on.
    Raises ValueError if there are fewer than `MIN_WINDOWS` windows.
    """
    if windows.n_apart < MIN_WINDOWS:
        raise ValueError(f"{windows.n_apart} normal windows: expected at least {MIN_WINDOWS}")

    unseen = {
        name: _as_unseen(values, windows, name, (shifts or {}).get(name))
        for name, values in cross_fit(windows, class_index).items()
    }
    apart = windows.take(windows.apart)
    typical = {name: _typical(unseen[name][windows.apart]) for name in FUSED_PARTS}
    levels = band_levels(apart.bands)
    index, band_mean = _domain_means(levels, apart.domain)
    statistics = SectionStatistics(
        parts=_fit_parts(apart),
        typical=typical,
        band_mean=band_mean,
        band_deviation=(levels - band_mean[index]).std(0),
        class_index=class_index,
    )

    scores: dict[ScoreName, FloatArray] = {"fused": fuse(unseen, typical, statistics.fusion), **unseen}
    recording = _samples_of(apart)
    calibration = {name: _calibration(values[windows.apart], recording) for name, values in scores.items()}
    return Fit(statistics, calibration, scores)


def cross_fit(windows: NormalWindows, class_index: int | None = None) -> dict[ScoreName, FloatArray]:
    """Return the distances of every window to statistics that had not heard its recording, each (B,).

    With the classifier's doubt of its class, where it has one: that needs no fit.
    """
    unseen: dict[ScoreName, FloatArray] = {name: np.empty(len(windows), np.float32) for name in FUSED_PARTS}
    for held_out, fitted in folds(windows):
        parts, rows = _fit_parts(windows.take(fitted)), np.flatnonzero(held_out)
        for some in np.array_split(rows, -(-rows.size // BATCH_WINDOWS)):  # a fold of two days of hops is 140 MB
            for name, x in quantities(windows.embedding[some], windows.bands[some]).items():
                unseen[name][some] = parts[name].distance(x)
    if class_index is not None:
        unseen["confidence"] = confidence(windows.logits, class_index)
    return unseen


def network_shift(
    sections: Sequence[tuple[NormalWindows, Mapping[ScoreName, FloatArray]]],
) -> dict[ScoreName, Shift]:
    """Return how much farther sections are where the network has not seen them: windows with what `cross_fit` says.

    Pooled over the sections, since the few recordings held out of one say little. Empty where fewer than
    `FEW_RECORDINGS` were, or none was trained on.
    """
    shifts: dict[ScoreName, Shift] = {}
    for name in OF_NETWORK:
        deviations: list[DoubleArray] = []
        recordings: list[float] = []
        for windows, scores in sections:
            seen, held_out = windows.apart & windows.trained_on, windows.apart & ~windows.trained_on
            if name not in scores or seen.sum() < 2 or not held_out.any():
                continue
            centre, deviation = _moments(_scaled(scores[name], name)[seen])
            z = (_scaled(scores[name], name)[held_out] - centre) / deviation
            own = np.array(windows.recording)[held_out]
            deviations.append(z)
            recordings += [float(z[own == recording].mean()) for recording in np.unique(own)]
        if len(recordings) < FEW_RECORDINGS:
            continue
        pooled = np.concatenate(deviations)
        error = float(np.std(recordings, ddof=1)) / math.sqrt(len(recordings))
        shifts[name] = Shift(max(0.0, float(pooled.mean()) + error), max(1.0, float(pooled.std(ddof=1))))
    return shifts


def fit_gaussian(x: FloatArray, domain: Sequence[Domain]) -> Gaussian:
    """Fit the mean of each domain and one shrunk covariance of all clips, centred within their domain.

    x: (B, D), a row a window. The covariance is shared because a domain of three clips has none of its own (Sec. 2.3).
    """
    index, means = _domain_means(x, domain)
    centred = x - means[index]
    # Shrinkage pulls towards equal variances, so it is told of variances that have been made equal. A dimension that
    # never moved is taken to move a hundredth of what the others do: its distances are large, but finite.
    deviation = centred.std(0)
    deviation = np.maximum(deviation, max(0.01 * float(np.median(deviation)), 1e-6))
    whitening = _whitening(ledoit_wolf(centred / deviation)) / deviation[:, np.newaxis]
    return Gaussian(_heard(domain), means, whitening.astype(np.float32))


def _heard(domain: Sequence[Domain]) -> tuple[Domain, ...]:
    return tuple(d for d in DOMAINS if d in domain)


def _domain_means(x: FloatArray, domain: Sequence[Domain]) -> tuple[NDArray[np.int64], FloatArray]:
    """Return which domain each row of x, (B, D), belongs to, (B,), and the mean of each, (n_domains, D)."""
    heard = _heard(domain)
    index = np.array([heard.index(d) for d in domain])
    means = np.stack([x[index == i].mean(0, dtype=np.float64) for i in range(len(heard))])
    return index, means.astype(np.float32)


def ledoit_wolf(centred: NDArray[np.floating]) -> DoubleArray:
    """Return the covariance of centred rows (B, D), shrunk towards a multiple of the identity, shape (D, D).

    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
    Analysis 88 (2004): the shrinkage that minimises the expected squared error, from the data alone.
    """
    x = centred.astype(np.float64)
    n, d = x.shape
    sample = x.T @ x / n
    scale = np.trace(sample) / d

    distance = np.square(sample).sum() / d - scale**2
    noise = (np.square(np.square(x).sum(1)).sum() / n - np.square(sample).sum()) / (n * d)
    shrinkage = min(1.0, noise / distance) if distance > 0 else 1.0

    shrunk: DoubleArray = (1 - shrinkage) * sample
    shrunk.flat[:: d + 1] += shrinkage * scale
    return shrunk


def _whitening(covariance: DoubleArray) -> DoubleArray:
    values, vectors = np.linalg.eigh(covariance)
    whitening: DoubleArray = vectors / np.sqrt(np.maximum(values, 1e-9))
    return whitening


def _fit_parts(windows: NormalWindows) -> dict[ScoreName, Gaussian]:
    return {name: fit_gaussian(x, windows.domain) for name, x in quantities(windows.embedding, windows.bands).items()}


def _as_unseen(values: FloatArray, windows: NormalWindows, name: ScoreName, shift: Shift | None) -> FloatArray:
    """Return the scores, (B,), with those of windows that the network was trained on moved to where it had not been."""
    if shift is None or not windows.trained_on.any():
        return values
    x = _scaled(values, name)
    centre, deviation = _moments(x[windows.apart & windows.trained_on])
    moved = centre + deviation * shift.mean + shift.spread * (x - centre)
    moved = moved if name == "confidence" else np.exp(moved)
    return np.where(windows.trained_on, moved, values).astype(np.float32)


def _scaled(values: FloatArray, name: ScoreName) -> DoubleArray:
    """Return scores on the scale where a shift is a sum: of distances the logarithm, which a network's doubt is."""
    x = values.astype(np.float64)
    return x if name == "confidence" else np.log(np.maximum(x, 1e-9))


def _moments(x: DoubleArray) -> tuple[float, float]:
    return float(x.mean()), max(float(x.std()), 1e-9)


def _calibration(scores: FloatArray, recording: NDArray[np.int64]) -> Calibration:
    order = np.argsort(scores, kind="stable")
    return Calibration(scores[order], recording[order])


def _samples_of(apart: NormalWindows) -> NDArray[np.int64]:
    """Return which recording each window is a part of, (B,); which stretch, where there are too few recordings."""
    recording = np.unique(np.array(apart.recording), return_inverse=True)[1].astype(np.int64)
    if recording.max() + 1 >= FEW_RECORDINGS:
        return recording
    stretches = np.empty(len(apart), np.int64)
    for i, rows in enumerate(np.array_split(np.argsort(recording, kind="stable"), FEW_RECORDINGS)):
        stretches[rows] = i
    return stretches


def _typical(distances: FloatArray) -> tuple[float, float]:
    """Return mean and deviation; recordings that are copies of each other have none, and a thousandth is taken."""
    mean, deviation = float(distances.mean()), float(distances.std())
    return max(mean, 1e-6), max(deviation, 1e-3 * mean, 1e-9)


def folds(windows: NormalWindows) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return the rows that each fold holds out and those that it is fitted to, each (B,).

    Every window is held out once. Whole recordings are, some of every domain, so that three target clips are never all
    held out. Fewer recordings than `FOLDS` make fewer folds. Of a recording that is the only one of its domain, or
    without which fewer than `MIN_WINDOWS` would be left, stretches are held out, and the windows beside them are not
    fitted to either.
    """
    fold = _fold_of_each(windows)
    made = []
    for i in np.unique(fold):
        held_out = fold == i
        made.append((held_out, windows.apart & ~held_out & ~_beside(held_out, windows)))
    return made


def _fold_of_each(windows: NormalWindows) -> NDArray[np.int64]:
    domains, recordings = np.array(windows.domain), np.array(windows.recording)
    fold = np.full(len(windows), -1)
    for domain in np.unique(domains):
        own = list(dict.fromkeys(recordings[(domains == domain) & (fold < 0)]))
        n_windows = [int(windows.apart[recordings == name].sum()) for name in own]
        longest = own[int(np.argmax(n_windows))] if own else None
        if longest is not None and (len(own) == 1 or windows.n_apart - max(n_windows) < MIN_WINDOWS):
            rows = np.flatnonzero(recordings == longest)
            for i, stretch in enumerate(np.array_split(rows, min(FOLDS, max(n_windows)))):
                fold[stretch] = i
            own.remove(longest)
        for i, part in enumerate(np.array_split(own, FOLDS) if own else []):
            fold[np.isin(recordings, part)] = i
    return fold


def _beside(held_out: NDArray[np.bool_], windows: NormalWindows) -> NDArray[np.bool_]:
    """Return the windows of the same recordings that are next to held out ones, or overlap them, (B,).

    None of a recording so short that nothing would be left: three target clips keep two of them.
    """
    beside = np.zeros(len(windows), np.bool_)
    recordings = np.array(windows.recording)
    for name in set(recordings[held_out]) & set(recordings[~held_out]):
        rows = np.flatnonzero(recordings == name)
        places = np.flatnonzero(windows.apart[rows])
        if places.size < MIN_WINDOWS:
            continue
        reach = int(np.diff(places).max())
        near = np.convolve(held_out[rows], np.ones(2 * reach + 1))[reach : reach + rows.size] > 0.5
        beside[rows] = near & ~held_out[rows]
    return beside


def _new_window(x: DoubleArray, recording: NDArray[np.int64], probability: float) -> float:
    """Return what a window of a recording not yet heard stays below with the given probability.

    One-sided prediction by Student's t of a balanced one-way random model, recordings and windows within them, with
    Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946), and `SAFE_ERRORS` standard errors on top, the
    jackknife's over recordings: the few that were heard say little about how much they differ.
    """
    bound = _prediction(x, recording, probability)
    n = int(recording.max()) + 1
    if n < FEW_RECORDINGS:
        return bound
    without = [_prediction(x[recording != i], recording[recording != i], probability) for i in _some(n)]
    # One odd window among few is in the bound already; leaving it out would count it a second time, without limit.
    most = (bound - float(x.mean())) / 2
    return bound + min(SAFE_ERRORS * math.sqrt((n - 1) * float(np.var(without))), max(most, 0.0))


def _some(n: int) -> range:
    """At most about a hundred of n recordings, evenly: the spread of their influence needs no more."""
    return range(0, n, -(-n // 100))


def _prediction(x: DoubleArray, recording: NDArray[np.int64], probability: float) -> float:
    index = np.unique(recording, return_inverse=True)[1]
    n, size = x.size, np.bincount(index)
    n_recordings = size.size
    means = np.bincount(index, x) / size
    if n_recordings < 2:
        return float(x.mean() + _t_quantile(probability, n - 1) * x.std(ddof=1) * math.sqrt(1 + 1 / n))

    between = float(means.var(ddof=1))
    within = float(np.square(x - means[index]).sum()) / max(n - n_recordings, 1)
    share = (1 - float(np.mean(1 / size))) * within
    variance = max(between + share, float(x.var(ddof=1)), 1e-18)
    freedom = variance**2 / max(between**2 / (n_recordings - 1) + share**2 / max(n - n_recordings, 1), 1e-36)
    error = math.sqrt(variance + between / n_recordings)
    return float(means.mean()) + _t_quantile(probability, freedom) * error


def _t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t, for a probability above 0.5 and one degree of freedom or more.

    Many degrees: Cornish and Fisher's terms around the Normal quantile (1938). Few: t = sqrt(freedom) / tan(a), where
    the density of the angle a is that of sin(a) ** (freedom - 1), added up from the tail.
    """
    z = NormalDist().inv_cdf(probability)
    if freedom > 30 or probability <= 0.5:
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    angle = np.geomspace(1e-6, math.pi / 2, 4000)
    density = np.sin(angle) ** (freedom - 1)
    tail = np.concatenate([[0], np.cumsum(np.diff(angle) * (density[1:] + density[:-1]) / 2)])
    half_area = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    at = float(np.interp((1 - probability) * 2 * half_area, tail, angle))
    return math.sqrt(freedom) / math.tan(at)
