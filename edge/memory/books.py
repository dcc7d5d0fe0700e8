"""The files of one source's minutes and days: which there are, what they hold, and when they go.

    <folder>/<source>.<layout>.minutes    in a ring of so many days, as edge/memory/table.py has it
    <folder>/<source>.<layout>.days       a row a day, for a year

Rows of another detector, or by other settings, mean something else: they have files of their own, and the old ones stay
until all that they hold is older than the days that are kept. Minutes are counted over all files of a source, and days
are those that were heard: a clock that jumps deletes nothing.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from edge.errors import EarshotError
from edge.memory.day import DAYS, day_layout, day_of
from edge.memory.minute import MINUTES_A_DAY
from edge.memory.table import Layout, Rows, Table, chosen, read_layout, read_rows

log = logging.getLogger(__name__)

Kind = Literal["minutes", "days"]

_FILE: Final = re.compile(r"([a-zA-Z0-9_-]{1,64})\.[0-9a-f]{16}\.(minutes|days)")


@dataclass(frozen=True)
class Book:
    """Minutes, or days, of one source by one detector and its settings, the oldest first.

    about  whose they are, as `History.diary` was told
    rows   `number` and the columns that were asked for
    """

    about: Mapping[str, Any]
    rows: Rows


def read_books(folder: Path, source: str, names: Sequence[str] | None = None, kind: Kind = "minutes") -> list[Book]:
    """Return what the files of a source hold, one a detector, the oldest first; what cannot be read is left out.

    names: the columns that are wanted (None: all); those that a file has not are left out of its rows.
    """
    found = []
    for path in _files(folder, source, kind):
        with suppress(OSError, EarshotError):
            layout = read_layout(path)
            rows = read_rows(path, layout, known_of(layout, names))
            if rows.size:
                found.append(Book(layout.about, rows))
    return sorted(found, key=lambda book: int(book.rows["number"][-1]))


def sources_in(folder: Path) -> list[str]:
    """Return the names of the sources that there is something of."""
    with suppress(OSError):
        return sorted({named[1] for path in folder.iterdir() if (named := _FILE.fullmatch(path.name))})
    return []


def with_waiting(books: Sequence[Book], layout: Layout, rows: Rows, names: Sequence[str] | None) -> list[Book]:
    """Return books with the rows behind them that are not written yet: their numbers are those that come."""
    newest = max((int(book.rows["number"][-1]) for book in books), default=0)
    more = chosen(numbered(rows, newest), known_of(layout, names))
    own = bool(books) and dict(books[-1].about) == dict(layout.about) and books[-1].rows.dtype == more.dtype
    if not own:
        return [*books, Book(layout.about, more)]
    return [*books[:-1], Book(layout.about, np.concatenate([books[-1].rows, more]))]


def known_of(layout: Layout, names: Sequence[str] | None) -> list[str] | None:
    """Return those of the columns that there are."""
    return None if names is None else [name for name in names if name in (layout.dtype.names or ())]


def numbered(rows: Rows, newest: int) -> Rows:
    """Return rows with the numbers that follow `newest`."""
    rows = rows.copy()
    rows["number"] = newest + 1 + np.arange(rows.size, dtype=np.uint64)
    return rows


class Annals:
    """The files of one source, for the thread that writes. It remembers how far they have come."""

    def __init__(self, folder: Path, source: str, layout: Layout) -> None:
        """Touch no disk yet. layout: of the minutes that will come."""
        days = day_layout(layout)
        self._folder, self._source = folder, source
        self._minutes = Table(folder / f"{source}.{layout.identity}.minutes", layout)
        self._days = Table(folder / f"{source}.{days.identity}.days", days)
        self._newest: int | None = None
        self._old: dict[Path, int] = {}

    def append(self, rows: Rows) -> int:
        """Number the minutes and write them; return how many bytes were written. Raises OSError."""
        if self._newest is None:
            self._newest = self._look()
        before = self._newest
        written = self._minutes.append(numbered(rows, before))
        self._newest = before + rows.size
        for day in range(before // MINUTES_A_DAY, self._newest // MINUTES_A_DAY):
            written += self._end_day(day)
        self._remove_old(self._newest)
        return written

    def _look(self) -> int:
        """Find out about the files that are there; return the newest minute's number. What is none is renamed."""
        newest = 0
        for kind, own in (("minutes", self._minutes), ("days", self._days)):
            for path in _files(self._folder, self._source, kind):
                try:
                    numbers = read_rows(path, read_layout(path), ())["number"]
                except EarshotError as error:
                    log.warning("%s: it is set aside", error)
                    path.rename(path.with_suffix(".corrupt"))
                    continue
                last = int(numbers[-1]) if numbers.size else 0
                if kind == "minutes":
                    newest = max(newest, last)
                if path != own.path:
                    self._old[path] = last
        return newest

    def _end_day(self, day: int) -> int:
        rows = read_rows(self._minutes.path, self._minutes.layout)
        rows = rows[(rows["number"] > day * MINUTES_A_DAY) & (rows["number"] <= (day + 1) * MINUTES_A_DAY)]
        row = numbered(day_of(rows, self._days.layout), day)
        return self._days.append(row)

    def _remove_old(self, newest: int) -> None:
        """Remove the files of other layouts of which nothing is young enough to be kept."""
        oldest = {
            ".minutes": newest - self._minutes.layout.capacity,
            ".days": newest // MINUTES_A_DAY - DAYS,
        }
        for path in [path for path, last in self._old.items() if last <= oldest[path.suffix]]:
            path.unlink(missing_ok=True)
            del self._old[path]


def _files(folder: Path, source: str, kind: str) -> Iterator[Path]:
    with suppress(OSError):
        # First by its name: each of hundreds of sources asks.
        for path in sorted(path for path in folder.iterdir() if path.name.startswith(source)):
            named = _FILE.fullmatch(path.name)
            if named and (named[1], named[2]) == (source, kind) and path.is_file():  # a named pipe would hold us
                yield path
