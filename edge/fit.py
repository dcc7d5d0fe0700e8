"""Learns what normal means from normal sounds alone; numpy only, so that a device can enrol a machine by itself.

Scores of the clips that a covariance was fitted to are useless for a threshold: in 128 dimensions a nominal 10 % of
false alarms becomes 48 % with a thousand clips. So every threshold here comes from cross-fitted scores: those of clips
that the statistics had not seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.scorer import (
    DOMAINS,
    FUSED_PARTS,
    Domain,
    FloatArray,
    Gaussian,
    ScoreName,
    SectionStatistics,
    band_levels,
    confidence,
    fuse,
    quantities,
)

FOLDS: Final = 5
MIN_WINDOWS: Final = 10
"""Fewer than this, a minute and a half of sound, say nothing about what is normal."""

DoubleArray = NDArray[np.float64]


@dataclass(frozen=True)
class NormalWindows:
    """What was measured on the normal sound of one section: a row a window, no two of which overlap.

    In the order of recording, since cross-fitting cuts it into stretches: neighbours are often parts of one recording.
    """

    domain: Sequence[Domain]
    embedding: FloatArray
    logits: FloatArray
    bands: FloatArray

    def __len__(self) -> int:
        return len(self.domain)

    def take(self, rows: NDArray[np.bool_]) -> "NormalWindows":
        """Return the windows where `rows` is true."""
        domain = [d for d, taken in zip(self.domain, rows, strict=True) if taken]
        return NormalWindows(domain, self.embedding[rows], self.logits[rows], self.bands[rows])


@dataclass(frozen=True)
class Calibration:
    """Cross-fitted normal scores of one section, one a window, ascending."""

    scores: FloatArray

    def threshold(self, false_alarm_rate: float) -> float:
        """Return the score that a normal window exceeds with the given probability (0 to 1).

        Inside the range that was heard this is the conformal quantile (Vovk): of n normal windows and one more, each
        is equally likely to be the largest. Beyond 1 / (n + 1) nothing was heard, and a Gamma fitted by moments
        continues the tail, as in the DCASE baselines.
        """
        if not 0 < false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate {false_alarm_rate}: expected a number between 0 and 1")
        n = self.scores.size
        rank = int(np.ceil((n + 1) * (1 - false_alarm_rate)))
        if rank <= n:
            return float(self.scores[rank - 1])
        return max(float(self.scores[-1]), _gamma_quantile(self.scores.astype(np.float64), 1 - false_alarm_rate))


def fit_section(
    windows: NormalWindows, class_index: int | None
) -> tuple[SectionStatistics, dict[ScoreName, Calibration]]:
    """Fit one section; return its statistics and the calibration of every score.

    Raises ValueError if there are fewer than `MIN_WINDOWS` windows.
    """
    if len(windows) < MIN_WINDOWS:
        raise ValueError(f"{len(windows)} normal windows: expected at least {MIN_WINDOWS}")

    unseen = _cross_fit(windows)
    typical = {name: _typical(distances) for name, distances in unseen.items()}
    levels = band_levels(windows.bands)
    index, band_mean = _domain_means(levels, windows.domain)
    statistics = SectionStatistics(
        parts=_fit_parts(windows),
        typical=typical,
        band_mean=band_mean,
        band_deviation=(levels - band_mean[index]).std(0),
        class_index=class_index,
    )

    scores = {"fused": fuse(unseen, typical), **unseen}
    if class_index is not None:
        scores["confidence"] = confidence(windows.logits, class_index)
    return statistics, {name: Calibration(np.sort(values)) for name, values in scores.items()}


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


def _cross_fit(windows: NormalWindows) -> dict[ScoreName, FloatArray]:
    """Return the distances of every window to statistics that had not heard its stretch, each (B,)."""
    unseen: dict[ScoreName, FloatArray] = {name: np.empty(len(windows), np.float32) for name in FUSED_PARTS}
    for held_out in _folds(windows.domain):
        parts, heard = _fit_parts(windows.take(~held_out)), windows.take(held_out)
        for name, x in quantities(heard.embedding, heard.bands).items():
            unseen[name][held_out] = parts[name].distance(x)
    return unseen


def _typical(distances: FloatArray) -> tuple[float, float]:
    """Return mean and deviation; recordings that are copies of each other have none, and a thousandth is taken."""
    mean, deviation = float(distances.mean()), float(distances.std())
    return max(mean, 1e-6), max(deviation, 1e-3 * mean, 1e-9)


def _folds(domain: Sequence[Domain]) -> list[NDArray[np.bool_]]:
    """Return the rows of each fold: a stretch of every domain, so that three target clips are never all held out."""
    names = np.array(domain)
    folds = [np.zeros(names.size, np.bool_) for _ in range(FOLDS)]
    for name in np.unique(names):
        for fold, rows in zip(folds, np.array_split(np.flatnonzero(names == name), FOLDS), strict=True):
            fold[rows] = True
    return [fold for fold in folds if fold.any()]


def _gamma_quantile(x: DoubleArray, probability: float) -> float:
    """Quantile of the Gamma distribution with the mean and variance of x (Wilson and Hilferty's cube, 1931)."""
    mean, variance = float(x.mean()), float(x.var())
    if mean <= 0 or variance <= 0:
        return float(x[-1])
    shape = mean**2 / variance
    z = NormalDist().inv_cdf(probability)
    return float(mean * (1 - 1 / (9 * shape) + z / (3 * math.sqrt(shape))) ** 3)
