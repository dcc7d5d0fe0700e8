"""What a window measures without a network: statistics over time of each mel band. Pure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear.frontend import Features

FloatArray = NDArray[np.float32]

L90_QUANTILE: Final = 0.1
"""From 2 to 20 % rank alike on real clips (docs/results.md); the minimum itself is one frame's chance."""


def band_statistics(window: Features) -> FloatArray:
    """Return mean, deviation and L90 over time of each mel band of a window (M, F), as (3, M), dB."""
    rank = int(L90_QUANTILE * window.shape[1])
    l90 = np.partition(window, rank, axis=1)[:, rank]
    statistics: FloatArray = np.stack([window.mean(axis=1), window.std(axis=1), l90])
    return statistics


def band_levels(bands: FloatArray) -> FloatArray:
    """Return the equivalent level (Leq) of each mel band, dB, (..., M), for band statistics (..., 3, M).

    From mean and deviation as if levels were normally distributed, Leq = mean + ln(10) / 20 * deviation^2, the rule of
    traffic noise: knocks raise it although they hardly move the mean.
    """
    levels = bands[..., 0, :] + np.log(10) / 20 * np.square(bands[..., 1, :])
    return np.asarray(levels, np.float32)
