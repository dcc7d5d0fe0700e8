"""A day of one source as a row of numbers, from its minutes: kept for a year, for what changes over weeks. Pure.

A day is 1440 minutes that were heard, and not one of the calendar: a clock that jumps makes it no longer.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.memory.minute import TIMES, Flag
from edge.memory.table import Layout, Rows

DAYS: Final = 366

BINS: Final = 48
LOWEST_SCORE: Final = 0.25
BINS_AN_OCTAVE: Final = 8
"""Scores from 0.25 to 16, each bin 9 % wider than the one before; what is beyond is in the first or the last."""


def day_layout(minutes: Layout) -> Layout:
    """Return what a day of such minutes holds.

    minutes        how many were heard whole, by a sensor that could be trusted, outside episodes; the rest is of those
    counts         how many of them had which mean score, (BINS,)
    log_score      mean of its logarithm; level_dbfs: mean level; band_level: (M,)
    """
    columns = (
        *TIMES,
        ("flags", "|u1", ()),
        ("minutes", "<u2", ()),
        ("counts", "<u2", (BINS,)),
        ("log_score", "<f4", ()),
        ("level_dbfs", "<f4", ()),
        ("band_level", "<f2", minutes.dtype["band_level"].shape),
    )
    return Layout(columns, DAYS, minutes.about)


def day_of(minutes: Rows, layout: Layout) -> Rows:
    """Return the row, (1,), of the minutes of a day, (n,), n >= 1; `layout` is that of `day_layout`."""
    row = layout.empty(1)
    for name in ("boot", "monotonic", "unix", "flags"):
        row[name] = minutes[name][-1]
    usual = minutes[is_usual(minutes)]
    row["minutes"] = usual.size
    row["log_score"] = row["level_dbfs"] = row["band_level"] = np.nan
    if usual.size:
        scores = np.maximum(usual["score"].astype(np.float64), 1e-9)
        row["counts"] = np.bincount(np.clip(bin_of(scores), 0, BINS - 1), minlength=BINS)
        row["log_score"] = np.log(scores).mean()
        row["level_dbfs"] = usual["level_dbfs"].mean(dtype=np.float64)
        row["band_level"] = usual["band_level"].mean(axis=0, dtype=np.float64)
    return row


def is_usual(minutes: Rows) -> NDArray[np.bool_]:
    """Return which minutes, (n,), were heard whole, by a sensor that could be trusted, and outside episodes."""
    flags = minutes["flags"]
    return np.asarray((flags & Flag.TRUSTED > 0) & (flags & (Flag.EPISODE | Flag.GAP) == 0))


def bin_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each score (> 0), (n,), which may lie beyond the first and the last."""
    places: NDArray[np.int64] = np.floor(BINS_AN_OCTAVE * np.log2(scores / LOWEST_SCORE)).astype(np.int64)
    return places
