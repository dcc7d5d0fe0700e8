"""When the disk is told what waits, and what happens when it does not listen.

A disk that is full, read-only or broken costs the safety of what waits, and never an event or a detection: it is a
state (`problem`), and is tried again. A database that is damaged or not ours is put aside, and a new one is written.
It is read once, when it is first opened; from then on it only follows.
"""

import logging
import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.voice.backlog import Backlog
from edge.voice.database import Database, UnusableError
from edge.voice.salvage import Salvage, as_problem, is_of_the_disk

log = logging.getLogger(__name__)

GATHER_SECONDS: Final = 2.0
"""What is done with the disk by and by is done together: an SD card wears by each write."""

RETRY_SECONDS: Final = 10.0
"""Between two attempts at a disk that failed: each may cost seconds."""

WAL_BYTES: Final = 4_000_000
"""Size at which the log is worked into the database: the later, the more often a page was written once for many."""


class Reminder:
    """When the disk should be asked again, if at all. Any thread may set it; it waits for nobody."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._due: float | None = None

    def within(self, seconds: float) -> bool:
        """Have it asked after so long; where something is due already, it is asked then. Return whether nothing was."""
        with self._lock:
            if self._due is not None:
                return False
            self._due = self._clock() + seconds
            return True

    def at(self, due: float) -> None:
        """Have it asked then, and not before."""
        with self._lock:
            self._due = due

    def take(self) -> bool:
        """Return whether it is time, and forget it if so."""
        with self._lock:
            is_time = self._due is not None and self._clock() >= self._due
            if is_time:
                self._due = None
            return is_time

    def seconds_left(self) -> float | None:
        """Return the seconds until it is time, None if nothing is due."""
        due = self._due
        return None if due is None else max(0.0, due - self._clock())


class Shadow:
    """What the disk is known to hold and to suffer from: read or not, asked on to the card or not, its last problem.

    Any thread may call any method, and the scribe's does. `_lock` lets one at a time near the disk, for as long as the
    disk takes, which may be half a minute: nobody who hears or publishes may wait for it. The backlog's and the
    reminder's locks come after it. The properties wait for nobody.
    """

    def __init__(self, path: Path, backlog: Backlog, reminder: Reminder, clock: Callable[[], float]) -> None:
        """Remember what to do; nothing is opened before `save`."""
        self._path = path
        self._backlog = backlog
        self._reminder = reminder
        self._clock = clock
        self._lock = threading.Lock()
        self._database = Database(path)
        self._salvage = Salvage(path)
        self._was_read = False
        self._unsynced = False
        self._retry_at = -math.inf
        self._problem: str | None = None

    @property
    def on_disk(self) -> bool:
        """Whether all that waits would survive the process, as far as known."""
        return self._database.is_open and self._problem is None

    @property
    def problem(self) -> str | None:
        """Why events are in memory alone, for a person; None if they are not."""
        return self._problem

    @property
    def bytes_written(self) -> int:
        """Bytes given to the disk since the start; see Database."""
        return self._database.bytes_written

    @property
    def set_aside(self) -> int:
        """Damaged or foreign databases that were put aside since the start; see Salvage."""
        return self._salvage.set_aside

    def save(self, *, sync: bool = False) -> None:
        """Bring the disk to what memory knows; with `sync`, down to the card where an event depends on it."""
        with self._lock:
            self._save(sync=sync)

    def flush(self) -> None:
        """Do what is due, if it is."""
        with self._lock:
            if self._reminder.take():
                self._backlog.make_room()
                self._save(sync=True)

    def close(self) -> None:
        """Write what has gathered, and close the database; `save` would open it again."""
        with self._lock:
            self._retry_at = -math.inf
            if self._database.is_open or any(self._backlog.news()):
                self._save(sync=True)
            if self._database.is_open:
                with suppress(sqlite3.Error):
                    self._database.checkpoint()
            self._let_go()

    def _save(self, *, sync: bool) -> None:
        if not self._database.is_open and self._clock() < self._retry_at:
            return
        try:
            self._write_or_begin_anew(sync=sync)
        except (sqlite3.Error, OSError, UnusableError) as error:
            self._give_up_for_now(as_problem(error))
            return
        if self._problem is not None:
            log.info("outbox: %s: events go on disk again", self._path)
            self._problem = None

    def _write_or_begin_anew(self, *, sync: bool) -> None:
        try:
            self._write(sync=sync)
        except (sqlite3.Error, UnusableError) as error:
            if is_of_the_disk(error):
                raise
            self._let_go()
            self._salvage.put_aside(error)
            self._write(sync=sync)

    def _write(self, *, sync: bool) -> None:
        if self._database.was_replaced:
            log.warning("outbox: %s was removed or replaced; it is written anew", self._path)
            self._let_go()
        if not self._database.is_open:
            self._open()
        self._tell()
        self._work_in_the_log(sync=sync)
        if sync and self._unsynced:
            self._unsynced = False
            if not self._backlog.is_empty:
                self._database.sync()

    def _open(self) -> None:
        """Open the database; have taken in what it holds, the first time, and else found out what it lacks."""
        self._salvage.check()
        try:
            self._database.open()
            if self._was_read:
                self._backlog.compare(*self._database.names())
            else:
                self._backlog.take_in(*self._database.read())
                self._was_read = True
        except BaseException:
            self._let_go()
            raise

    def _tell(self) -> None:
        news = self._backlog.news()
        if not any(news):
            return
        self._database.commit(news)
        self._backlog.saved(news)
        self._unsynced |= any(event.kind != "updated" for event in news.events)
        if self._unsynced:
            self._reminder.within(GATHER_SECONDS)

    def _work_in_the_log(self, *, sync: bool) -> None:
        """A checkpoint waits for the card, so it is left to `sync`, in a thread that hears nothing, if one comes."""
        if self._database.log_bytes >= (1 if sync else 4) * WAL_BYTES:
            self._database.checkpoint()
        elif self._database.log_bytes >= WAL_BYTES:
            self._reminder.at(self._clock())

    def _give_up_for_now(self, problem: str) -> None:
        self._let_go()
        self._retry_at = self._clock() + RETRY_SECONDS
        self._reminder.at(self._retry_at)
        if problem != self._problem:
            log.warning("outbox: %s: %s: events are kept in memory until it can be written", self._path, problem)
        self._problem = problem

    def _let_go(self) -> None:
        self._database.close()
        self._backlog.lose_the_disk()
