"""A stretch of the memory to learn from: one window of each of its minutes, as it was measured. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray
from edge.memory.books import Book
from edge.memory.charts import times_of
from edge.memory.day import is_usual
from edge.memory.minute import WINDOW, Flag
from edge.memory.table import Rows


@dataclass(frozen=True)
class MeasuredMinutes:
    """What was measured of n minutes, each heard whole by a sensor that could be trusted.

    windows  embedding, texture, logits and bands of one window each, (n, ...), float32, as far as there are any
    number   of each minute, (n,), rising; time: when it ended, UNIX seconds, (n,)
    network  the SHA-256 of the network that measured them: by another one they mean nothing
    """

    windows: dict[str, FloatArray]
    number: NDArray[np.int64]
    time: NDArray[np.float64]
    network: str


def measured_in(books: Sequence[Book], start: float, end: float, *, with_episodes: bool = False) -> MeasuredMinutes:
    """Return the minutes that ended between two times (UNIX seconds), of the network that was heard with last.

    books: whole ones of `read_books` or `History.books`. with_episodes: minutes of episodes too, where a person says
    that these were normal. None are returned of detectors whose windows were too large to be kept.
    """
    network = str(books[-1].about.get("network", "")) if books else ""
    found: list[tuple[Rows, NDArray[np.float64]]] = []
    for book, own in zip(books, times_of(books), strict=True):
        if book.about.get("network") == network and "bands" in (book.rows.dtype.names or ()):
            chosen = _may_teach(book.rows, with_episodes=with_episodes) & (own > start) & (own <= end)
            found.append((book.rows[chosen], own[chosen]))
    parts = [name for name in WINDOW if found and name in (found[-1][0].dtype.names or ())]
    windows = {name: np.concatenate([rows[name] for rows, _ in found]).astype(np.float32) for name in parts}
    number = [rows["number"].astype(np.int64) for rows, _ in found]
    order = np.argsort(np.concatenate(number)) if number else np.zeros(0, np.int64)
    return MeasuredMinutes(
        windows={name: x[order] for name, x in windows.items()},
        number=np.concatenate(number)[order] if number else np.zeros(0, np.int64),
        time=np.concatenate([own for _, own in found])[order] if found else np.zeros(0),
        network=network,
    )


def _may_teach(rows: Rows, *, with_episodes: bool) -> NDArray[np.bool_]:
    if not with_episodes:
        return is_usual(rows)
    return np.asarray(rows["flags"] & (Flag.TRUSTED | Flag.GAP) == Flag.TRUSTED)
