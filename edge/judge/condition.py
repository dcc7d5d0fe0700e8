"""Another condition under which a machine is well: a season, a load, a place. A new mean from a few minutes of it.

As the paper has it for the target domain (Sec. 2.3): a few clips tell where a condition lies, and nothing about how it
varies, so the covariance stays that of the machine. How much farther its ordinary sound lies from such a mean, which
few windows have made and another covariance is held against, is measured on windows that the mean had not heard, and
its distances are divided by that: the threshold means there what it means at home.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray, band_levels
from edge.judge.gaussian import Domain
from edge.judge.normal import MIN_WINDOWS, NormalWindows
from edge.judge.ordinary import PRIOR, Ordinary, expected, observed
from edge.judge.scorer import ScoreName, SectionStatistics, fuse, log_score, quantities

FOLDS: Final = 5
"""Stretches that are held out in turn."""

OF_ONE: Final = math.log(2) / 2
"""A mean of a single window is off by as much as a window is: half of the squared distance to it is its own."""


def add_condition(
    statistics: SectionStatistics,
    home: Ordinary,
    windows: NormalWindows,
    *,
    rate: float,
    domain: Domain = "target",
) -> SectionStatistics:
    """Return the statistics with a mean more, of the normal windows of another condition.

    home     what ordinary sound is expected to score by the fused score, as the section has it
    windows  one at least; those that do not overlap are taken
    rate     of false alarms a window, (0, 1): what is not to be exceeded under the new condition either
    """
    apart = windows.take(windows.apart)
    measured = quantities(apart.embedding, apart.texture.astype(np.float32), apart.bands)
    own = {name: measured[name] for name in statistics.parts}
    farther = math.exp(max(0.0, _farther(statistics, home, own, apart, rate)))
    parts = {
        name: gaussian.with_mean(domain, own[name].mean(0, dtype=np.float64).astype(np.float32), farther)
        for name, gaussian in statistics.parts.items()
    }
    level = band_levels(apart.bands).mean(0, keepdims=True)
    return replace(statistics, parts=parts, band_mean=np.concatenate([statistics.band_mean, level]).astype(np.float32))


def _farther(
    statistics: SectionStatistics,
    home: Ordinary,
    own: Mapping[ScoreName, FloatArray],
    apart: NormalWindows,
    rate: float,
) -> float:
    """Return by how much the log score that ordinary sound exceeds at `rate` is higher there than at home."""
    n = len(apart)
    if n < 2:
        return OF_ONE
    scores = np.empty(n, np.float64)
    for held_out in np.array_split(np.arange(n), min(FOLDS, n)):
        scores[held_out] = _log_scores(statistics, own, held_out)
    recording = np.unique(np.array(apart.recording), return_inverse=True)[1].astype(np.int64)
    heard = observed(scores, scores, recording)
    # What so few windows say of their own spread is not believed: the machine's is.
    there = expected(replace(heard, n_windows=max(n, MIN_WINDOWS)), PRIOR)
    return there.threshold(rate) - home.threshold(rate)


def _log_scores(
    statistics: SectionStatistics, own: Mapping[ScoreName, FloatArray], held_out: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the fused log scores of the windows of `held_out`, against the mean of the others alone."""
    distances: dict[ScoreName, FloatArray] = {}
    for name, gaussian in statistics.parts.items():
        mean = np.delete(own[name], held_out, axis=0).mean(0, keepdims=True, dtype=np.float64)
        alone = replace(gaussian, domains=("target",), means=mean.astype(np.float32), scale=None)
        distances[name] = alone.distance(own[name][held_out])
    return log_score(fuse(distances, statistics.typical, statistics.fusion), "fused")
