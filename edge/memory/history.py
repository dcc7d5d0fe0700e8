"""The last days of every source in numbers: a row a minute, written in batches by a thread of its own.

    Diary      one source: hears along in the listening thread, and never waits there
    History    all sources: the thread that writes (edge/memory/books.py), and who reads

A disk that is full or broken costs what it cannot take, and no more: an hour waits in memory.
"""

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge import clock
from edge.config import MemorySettings
from edge.memory.books import Annals, Book, read_books, with_waiting
from edge.memory.charts import WHEN, series
from edge.memory.minute import Heard, Minute, layout_of
from edge.memory.shelf import MEGABYTE
from edge.memory.table import Layout, Rows

log = logging.getLogger(__name__)

BATCH_MINUTES: Final = 15
"""A card writes whole pages, and wears by each: 96 batches a day, each of ten pages."""

WAITING_MINUTES: Final = 60
"""What waits for a disk at most: 150 kB a source."""


class History:
    """Writes the minutes of all sources, and reads them. Nothing waits for the disk but `books` and `close`."""

    def __init__(self, settings: MemorySettings, folder: Path, *, min_free_megabytes: int) -> None:
        """Touch no disk yet. min_free_megabytes: what stays free on it."""
        self.settings = settings
        self.folder = folder
        self.written_bytes = 0
        self.lost_minutes = 0
        self._floor_bytes = min_free_megabytes * MEGABYTE
        self._fails = False
        self._written: Callable[[str], None] = lambda _: None
        self._diaries: list[Diary] = []
        self._writing = threading.Lock()
        self._queue: queue.SimpleQueue[Diary | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="memory", daemon=True)

    def diary(
        self,
        source: str,
        window: Mapping[str, tuple[int, ...]],
        about: Mapping[str, Any],
        *,
        n_averages: int,
        hop_seconds: float,
    ) -> "Diary":
        """Return the diary of one source; the rest is as for `layout_of`. Before `start`."""
        layout = layout_of(window, about, n_averages=n_averages, days=max(1, self.settings.days))
        diary = Diary(self, source, layout, hop_seconds)
        self._diaries.append(diary)
        return diary

    def start(self) -> None:
        """Begin to write, if anything is to be kept."""
        if self.settings.days:
            self._thread.start()

    def close(self, timeout_seconds: float) -> bool:
        """Write what there is, for so long at most; return whether all of it was. Nothing may be heard after it."""
        if not self._thread.is_alive():
            return True
        for diary in self._diaries:
            self._queue.put(diary)
        self._queue.put(None)
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def books(self, source: str, names: Sequence[str] | None = None) -> list[Book]:
        """Return the minutes of a source as `read_books` does, with those that are not written yet. Reads the disk."""
        with self._writing:  # a minute is in the file, or waits; never both
            found = read_books(self.folder, source, names)
            for diary in self._diaries:
                if diary.source == source and (waiting := diary.waiting):
                    found = with_waiting(found, diary.layout, np.concatenate(waiting), names)
        return found

    def series(self, source: str, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        """Return columns of a source's minutes, and their `time`, `flags` and `number`. Reads the disk."""
        return series(self.books(source, (*WHEN, *names)), names)

    def call_after_writing(self, call: Callable[[str], None]) -> None:
        """Have this called with the name of a source whose minutes were written, in the thread that writes."""
        self._written = call

    def due(self, diary: "Diary") -> None:
        """A batch of a diary is to be written."""
        self._queue.put(diary)

    def _work(self) -> None:
        annals: dict[str, Annals] = {}
        while (diary := self._queue.get()) is not None:
            try:
                own = annals.setdefault(diary.source, Annals(self.folder, diary.source, diary.layout))
                with self._writing:
                    self._keep(own, diary)
                self._written(diary.source)
            except Exception:  # the next batch is worth as much as this one
                log.exception("%s: %s: a defect of ours", self.folder, diary.source)

    def _keep(self, annals: Annals, diary: "Diary") -> None:
        rows = diary.waiting
        if not rows:
            return
        try:
            self._check_room()
            self.written_bytes += annals.append(np.concatenate(rows))
        except OSError as error:
            if not self._fails:
                log.warning("%s: minutes are not kept: %s", self.folder, error)
            self._fails = True
            self.lost_minutes += diary.forget(len(rows) - WAITING_MINUTES)
            return
        if self._fails:
            log.info("%s: minutes are kept again", self.folder)
        self._fails = False
        diary.forget(len(rows))

    def _check_room(self) -> None:
        """Raise OSError if the disk is fuller than it is to be."""
        disk = os.statvfs(next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists()))
        free = disk.f_bavail * disk.f_frsize
        if free < self._floor_bytes:
            raise OSError(f"{free / MEGABYTE:.1f} MB free, expected {self._floor_bytes / MEGABYTE:.1f}")


class Diary:
    """The minutes of one source. `hear` and `end` are for the listening thread, and do not wait for the disk."""

    def __init__(self, history: History, source: str, layout: Layout, hop_seconds: float) -> None:
        self.source = source
        self.layout = layout
        self._history = history
        self._minute = Minute(layout, hop_seconds)
        self._lock = threading.Lock()
        self._waiting: deque[Rows] = deque()
        self._n_kept = 0

    def hear(self, heard: Heard) -> None:
        """Take a moment."""
        if self._minute.hear(heard):
            self._keep()

    def end(self) -> None:
        """Nothing more is heard: the minute that has begun is kept as far as it came."""
        self._keep()

    @property
    def waiting(self) -> list[Rows]:
        """The minutes that are not written yet, (1,) each, the oldest first."""
        with self._lock:
            return list(self._waiting)

    def forget(self, n: int) -> int:
        """Let go of the oldest n minutes; return how many these were."""
        with self._lock:
            for _ in range(n):
                self._waiting.popleft()
        return max(0, n)

    def _keep(self) -> None:
        unix = clock.utc_of_sound(self._minute.latest)
        row = self._minute.row(boot=_boot(), unix=unix, synced=clock.synced() is True)
        if row is None or not self._history.settings.days:
            return
        with self._lock:
            self._waiting.append(row)
        self._n_kept += 1
        if self._n_kept % BATCH_MINUTES == 0:
            self._history.due(self)


@cache
def _boot() -> int:
    """Return which life of this computer this is; where nobody can tell, which life of this process."""
    try:
        digits = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
    except (OSError, UnicodeDecodeError):
        digits = os.urandom(8).hex()
    return int(digits[:16], 16)
