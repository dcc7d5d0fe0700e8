"""What changes over weeks: a line through the days, told only where it is more than noise. Pure.

A day is one number, its median, however many minutes it has: they are not independent of each other. The slope is that
of Theil and Sen, the median of the slopes between all pairs of days, which a day of repairs does not bend. Its
interval is Sen's (J. Am. Stat. Assoc. 63, 1379, 1968), by Kendall's statistic; days that follow each other are alike,
as weather is, and it is widened by their correlation (K. Hamed, A. Rao, J. Hydrology 204, 182, 1998, for a lag of one).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DoubleArray = NDArray[np.float64]

DAY_SECONDS: Final = 86_400.0

LEAST_DAYS: Final = 10
"""Of fewer, one odd day is a trend."""

DEVIATIONS: Final = 2.576
"""Of a Normal: 99 %. A page shows a dozen curves, and looks at them each day."""


@dataclass(frozen=True)
class Drift:
    """By how much something changes a week, with its interval of 99 %, and over how many days that was seen."""

    per_week: float
    low: float
    high: float
    days: int


def drift(time: Sequence[float] | DoubleArray, values: Sequence[float] | DoubleArray) -> Drift | None:
    """Return how values, (n,), of times, (n,), s, change; None where that may be noise, or there are too few days.

    Values that are not finite are left out.
    """
    days, medians = _by_day(np.asarray(time, np.float64), np.asarray(values, np.float64))
    n = days.size
    if n < LEAST_DAYS:
        return None
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((medians[second] - medians[first]) / (days[second] - days[first]))
    slope = float(np.median(slopes))
    spread = math.sqrt(n * (n - 1) * (2 * n + 5) / 18 * _inflation(medians - slope * days))
    reach = DEVIATIONS * spread
    low, high = (round((slopes.size + side * reach) / 2) for side in (-1, 1))
    if low < 1 or high > slopes.size:
        return None
    found = Drift(7 * slope, 7 * float(slopes[low - 1]), 7 * float(slopes[high - 1]), n)
    return found if found.low > 0 or found.high < 0 else None


def _by_day(time: DoubleArray, values: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the days that there are, and the median of each."""
    known = np.isfinite(values) & np.isfinite(time)
    day, values = np.floor(time[known] / DAY_SECONDS), values[known]
    days = np.unique(day)
    return days, np.array([np.median(values[day == one]) for one in days])


def _inflation(rest: DoubleArray) -> float:
    """Return how many times as much a statistic of days varies that are correlated with the next (>= 1)."""
    rest = rest - rest.mean()
    power = float(np.square(rest).sum())
    correlation = float((rest[1:] * rest[:-1]).sum()) / power if power > 0 else 0.0
    # Of n days the correlation comes out too low, by about (1 + 4 r) / n: M. Kendall, Biometrika 41, 403, 1954.
    correlation = min(max(0.0, correlation + (1 + 4 * correlation) / rest.size), 0.9)
    return (1 + correlation) / (1 - correlation)
