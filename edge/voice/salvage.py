"""Where the database cannot be used: is it the disk, or the file? The file is put aside, whole, and a new one begun."""

import logging
import re
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.voice.database import UnusableError, log_of, size_of

log = logging.getLogger(__name__)

MOST_SET_ASIDE: Final = 3
"""Damaged databases that are kept for whoever wants to know."""

LOG_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
LOG_HEADER_BYTES: Final = 32

FILES: Final = ("", "-wal", "-shm", "-journal")
"""What the names of the files that belong to a database end in."""

# https://sqlite.org/rescode.html: what says that the disk, and not the file, is at fault.
TROUBLE_WITH_THE_DISK: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOLFS,
    }
)


class Salvage:
    """The files of a database that stand in its way, and how many were put aside since the start.

    Not locked: the shadow lets one thread at a time in, while the database is closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._set_aside = 0

    @property
    def set_aside(self) -> int:
        """Damaged or foreign databases that were put aside since the start, as `outbox.db.corrupt-<n>`."""
        return self._set_aside

    def check(self) -> None:
        """Raise UnusableError if something else stands in the place of the database; put a foreign log aside."""
        for file in (self._path, log_of(self._path), Path(f"{self._path}-journal")):
            if file.exists() and not file.is_file():  # a directory, or a pipe on which we would wait for ever
                raise UnusableError(f"{file.name} is no file")
        # SQLite passes over a log that it does not understand, and writes its own over it.
        if size_of(log_of(self._path)):
            with log_of(self._path).open("rb") as opened:
                header = opened.read(LOG_HEADER_BYTES)
            if len(header) < LOG_HEADER_BYTES or not header.startswith(LOG_MAGIC):
                self.put_aside(UnusableError("its log (-wal) is damaged"), only_log=True)

    def put_aside(self, error: Exception, *, only_log: bool = False) -> None:
        """Rename the database and what belongs to it; keep the newest `MOST_SET_ASIDE` of such."""
        numbers = self._numbers_aside()
        aside = self._aside(numbers[-1] + 1 if numbers else 1)
        for suffix in ("-wal",) if only_log else FILES:
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self._set_aside += 1
        log.error("outbox: %s: %s: put aside as %s, a new one is begun", self._path, error, aside.name)
        for old in numbers[: max(0, len(numbers) + 1 - MOST_SET_ASIDE)]:
            for suffix in FILES:
                with suppress(OSError):  # a directory stays
                    Path(f"{self._aside(old)}{suffix}").unlink()

    def _aside(self, number: int) -> Path:
        return Path(f"{self._path}.corrupt-{number}")

    def _numbers_aside(self) -> list[int]:
        """Return the numbers of what was put aside, by this run or another, ascending."""
        aside = rf"{re.escape(self._path.name)}\.corrupt-([0-9]{{1,9}})(?:-wal|-shm|-journal)?$"
        found = (re.match(aside, file.name) for file in self._path.parent.iterdir())
        return sorted({int(each[1]) for each in found if each is not None})


def is_of_the_disk(error: Exception) -> bool:
    """Whether an error says nothing against the file: it is to be tried again, and not put aside."""
    return _code(error) in TROUBLE_WITH_THE_DISK


def as_problem(error: Exception) -> str:
    """Return why the database cannot be written, for a person."""
    if _code(error) == sqlite3.SQLITE_BUSY:
        return "another process has it open"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _code(error: Exception) -> int:
    """Return SQLite's result code, without the details in its higher bytes; 0 for what is no error of SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
