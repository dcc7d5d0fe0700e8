"""What a window measures without a network: statistics over time of each mel band. Pure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear.frontend import Features

FloatArray = NDArray[np.float32]

STATISTICS: Final = 4
"""Rows of `band_statistics`."""

DEAD_DB: Final = -95.0
"""A frame below this in every band is one and the same value: the rounding of 16-bit samples alone gives -84 dB."""

QUIET_ROWS: Final = 32
LEAST_WEIGHT: Final = 1e-6
"""Of a moment, so that silence has a mean too."""

QUIET_PER_DB: Final = 0.3
"""How much less a moment counts that is louder: 20 times less for 10 dB, in each of so many parts of the spectrum."""

L90_QUANTILE: Final = 0.1
"""From 2 to 20 % rank alike on real clips (docs/results.md); the minimum itself is one frame's chance."""


def band_statistics(window: Features, *, quiet: bool = True) -> FloatArray:
    """Return mean, deviation, L90 and quiet level over time of each mel band of a window (M, F), as (4, M), dB.

    quiet: whether the quiet level is wanted, which costs as much as the others; NaN where it is not.
    """
    statistics = np.full((STATISTICS, len(window)), np.nan, np.float32)
    rank = int(L90_QUANTILE * window.shape[1])
    mean = window.mean(axis=1, keepdims=True)
    statistics[0] = mean[:, 0]
    statistics[1] = window.std(axis=1, mean=mean)
    statistics[2] = np.partition(window, rank, axis=1)[:, rank]
    if quiet:
        statistics[3] = _quiet_level(window)
    return statistics


def _quiet_level(window: Features) -> FloatArray:
    """Return the quiet level over time of each mel band of a window (M, F), as (M,), dB.

    M is a multiple of `QUIET_ROWS`, or the quiet level is that of single bands. It is a mean in which a moment counts
    by how quiet it is: a machine that runs is there all the time, while rain, voices and passing lorries come and go.
    """
    n_mels, n_frames = window.shape
    rows = QUIET_ROWS if n_mels % QUIET_ROWS == 0 else n_mels
    by_row = window.reshape(rows, n_mels // rows, n_frames)
    level = by_row.mean(axis=1)
    alive = level > DEAD_DB
    quietest = np.where(alive, level, np.inf).min(axis=1, keepdims=True)
    # A drop-out of a few samples is quieter than anything: it would be all that is heard.
    weight = np.where(alive, np.exp(-QUIET_PER_DB * np.maximum(level - quietest, 0)), 0) + LEAST_WEIGHT
    quiet: FloatArray = (by_row * weight[:, np.newaxis]).sum(axis=2) / weight.sum(axis=1)[:, np.newaxis]
    return quiet.reshape(n_mels)


_LEQ_PER_VARIANCE: Final = np.log(10) / 20


def band_levels(bands: FloatArray) -> FloatArray:
    """Return the equivalent level (Leq) of each mel band, dB, (..., M), for band statistics (..., 4, M).

    From mean and deviation as if levels were normally distributed, Leq = mean + ln(10) / 20 * deviation^2, the rule of
    traffic noise: knocks raise it although they hardly move the mean.
    """
    levels = bands[..., 0, :] + _LEQ_PER_VARIANCE * np.square(bands[..., 1, :])
    return np.asarray(levels, np.float32)
