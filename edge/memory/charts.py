"""Minutes over a stretch of time, for who draws: when each was, and as many points as there is room for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.memory.books import Book
from edge.memory.minute import TIMES, Flag
from edge.memory.table import Rows, chosen

DoubleArray = NDArray[np.float64]

WHEN: Final = (*(name for name, _, _ in TIMES), "flags")
"""The columns that `times` needs."""


@dataclass(frozen=True)
class Chart:
    """Some points of a curve, (n_points,), each of the minutes in an equal part of a stretch; NaN where there is none.

    time  UNIX seconds, of the middle of each; minutes: how many there were
    """

    time: DoubleArray
    low: DoubleArray
    mean: DoubleArray
    high: DoubleArray
    minutes: NDArray[np.int64]


def times(rows: Rows) -> DoubleArray:
    """Return when each minute ended, (n,), UNIX seconds, never falling; rows in the order of their numbers.

    What a computer said before a time server had set its clock is mended by what it says since: within one life of it
    its own clock only ran. A life that never heard from one lies between those before and after it.
    """
    if not rows.size:
        return np.zeros(0)
    starts = np.flatnonzero(np.diff(rows["boot"], prepend=rows["boot"][0] ^ np.uint64(1)))
    lives = [_of_one_life(life) for life in np.split(rows, starts[1:])]
    for before, (life, known) in pairwise(lives):
        if not known:
            life += max(0.0, before[0][-1] - life[0])
    for after, (life, known) in pairwise(reversed(lives)):
        if not known:
            life -= max(0.0, life[-1] - after[0][0])
    joined = np.concatenate([life for life, _ in lives])
    return np.minimum.accumulate(joined[::-1])[::-1]


def _of_one_life(rows: Rows) -> tuple[DoubleArray, bool]:
    """Return when each minute ended by the newest that is known of the clock, and whether a time server had set it."""
    synced = np.flatnonzero(rows["flags"] & Flag.SYNCED)
    newest = int(synced[-1]) if synced.size else -1
    return rows["monotonic"] + (rows["unix"][newest] - rows["monotonic"][newest]), bool(synced.size)


def times_of(books: Sequence[Book]) -> list[DoubleArray]:
    """Return the `times` of the rows of each book. Its books have to hold `WHEN`."""
    if not books:
        return []
    when = np.concatenate([chosen(book.rows, WHEN) for book in books])
    order = np.argsort(when["number"], kind="stable")  # a detector may have come back
    found = np.empty(when.size)
    found[order] = times(when[order])
    return np.split(found, np.cumsum([book.rows.size for book in books])[:-1])


def series(books: Sequence[Book], names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """Return columns of all books, (n,) or (n, ...), float64, and `time`, `flags` and `number`, which sorts them.

    Its books have to hold `WHEN`. NaN where a book has not the column, or has it in another shape than the newest.
    """
    if not books:
        return {name: np.zeros(0) for name in ("number", "flags", "time", *names)}
    order = np.argsort(np.concatenate([book.rows["number"] for book in books]), kind="stable")
    kinds = {name: books[-1].rows.dtype[name].shape for name in names if name in (books[-1].rows.dtype.names or ())}
    joined: dict[str, NDArray[Any]] = {
        name: np.concatenate([book.rows[name] for book in books])[order] for name in ("number", "flags")
    }
    joined["time"] = np.concatenate(times_of(books))[order]
    for name in names:
        joined[name] = np.concatenate([_column(book.rows, name, kinds.get(name, ())) for book in books])[order]
    return joined


def _column(rows: Rows, name: str, shape: tuple[int, ...]) -> DoubleArray:
    if name in (rows.dtype.names or ()) and rows.dtype[name].shape == shape:
        return rows[name].astype(np.float64)
    return np.full((rows.size, *shape), np.nan)


def chart(
    time: DoubleArray,
    mean: DoubleArray,
    *,
    start: float,
    end: float,
    n_points: int,
    low: DoubleArray | None = None,
    high: DoubleArray | None = None,
) -> Chart:
    """Return a curve between `start` and `end` (UNIX seconds, start < end) as n points (>= 1).

    time, mean: of each minute, (n,), times rising; low, high: the same where a minute has its own, (n,).
    """
    edges = np.linspace(start, end, n_points + 1)
    place = np.searchsorted(edges, time, "right") - 1
    known = (place >= 0) & (place < n_points) & np.isfinite(mean)
    place, minutes = place[known], np.bincount(place[known], minlength=n_points)
    lowest, highest = np.full(n_points, np.inf), np.full(n_points, -np.inf)
    np.minimum.at(lowest, place, (mean if low is None else low)[known])
    np.maximum.at(highest, place, (mean if high is None else high)[known])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(place, mean[known], minlength=n_points) / minutes
    there = minutes > 0
    return Chart(
        time=(edges[:-1] + edges[1:]) / 2,
        low=np.where(there, lowest, np.nan),
        mean=np.where(there, means, np.nan),
        high=np.where(there, highest, np.nan),
        minutes=minutes.astype(np.int64),
    )
