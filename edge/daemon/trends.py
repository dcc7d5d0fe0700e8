"""How each source changes over weeks, from the days that are remembered: what is more than noise, and nothing else.

Looked at by the memory's own thread, with each batch that it has written: nobody who listens waits for a disk.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.judge import Drift, drift
from edge.memory import WHEN, Book, read_books, series

Record = dict[str, Any]
Days = Mapping[str, NDArray[np.float64]]

NAMES: Final = ("log_score", "level_dbfs", "minutes")
LEAST_MINUTES: Final = 60
"""Of ordinary sound in a day, or it says nothing."""


class Trends:
    """Those of all sources. `look` is for the thread of the memory, the rest for any."""

    def __init__(self, folder: Path | None) -> None:
        """Touch no disk yet. folder: of the history; None: nothing is remembered."""
        self._folder = folder
        self._now: dict[str, Record] = {}

    @property
    def now(self) -> Mapping[str, Record]:
        """Those sources that drift: what does, and by how much a week, ready for JSON (schemas/health.json)."""
        return {source: found for source, found in self._now.items() if found}

    def look(self, source: str) -> None:
        """Look at the days of a source again."""
        self._now = {**self._now, source: drift_of(self.days(source))}

    def days(self, source: str) -> Days:
        """Return `time` (UNIX seconds), `score` and `level`, (n,), of each day that was heard. Reads the disk."""
        books = [] if self._folder is None else read_books(self._folder, source, (*WHEN, *NAMES), "days")
        rows = series(_of_newest_detector(books), NAMES)
        known = rows["minutes"] >= LEAST_MINUTES
        score, level = np.exp(rows["log_score"][known]), rows["level_dbfs"][known]
        return {"time": rows["time"][known], "score": score, "level": level}


def drift_of(days: Days) -> Record:
    """Return what changes by more than noise, ready for JSON: `score`, by parts of itself, and `level`, by dB."""
    found = {
        "score": drift(days["time"], np.log(days["score"])),
        "level": drift(days["time"], days["level"]),
    }
    return {name: _plain(each) for name, each in found.items() if each is not None}


def _of_newest_detector(books: list[Book]) -> list[Book]:
    """Return the days by the detector that was heard with last: scores by another mean something else."""
    return [book for book in books if book.about.get("detector") == books[-1].about.get("detector")]


def _plain(found: Drift) -> Record:
    return {name: round(value, 4) for name, value in asdict(found).items()}
