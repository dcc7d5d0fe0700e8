"""The file that shadows the backlog: an SQLite database with a write-ahead log. It knows rows, and no policy.

A commit is not waited for until it lies on the card (WAL, synchronous=NORMAL): a power cut can take the newest seconds,
though never the database. `sync` and `checkpoint` wait for the card.
"""

import json
import math
import os
import re
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.voice.backlog import News
from edge.voice.episodes import Last
from edge.voice.message import as_json
from edge.voice.waiting import Cause, Dead, Waiting

APPLICATION_ID: Final = 0x45415231  # "EAR1": tells our database from any other
SCHEMA_VERSION: Final = 3
SCHEMA: Final = (
    "CREATE TABLE event "
    "(number INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload TEXT NOT NULL, created REAL NOT NULL)",
    "CREATE TABLE episode (id TEXT PRIMARY KEY, topic TEXT NOT NULL, payload TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE dead (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload TEXT NOT NULL, created REAL NOT NULL, "
    "cause TEXT NOT NULL, reason TEXT NOT NULL, n_tries INTEGER NOT NULL)",
)
FROM_OLDER: Final = {
    1: SCHEMA[2:],
    2: (
        "ALTER TABLE dead RENAME TO dead_of_2",
        *SCHEMA[2:],
        f"INSERT INTO dead SELECT number, topic, payload, created, '{Cause.HUNG_UP}', reason, 0 FROM dead_of_2",
        "DROP TABLE dead_of_2",
    ),
}
"""What makes a database of ours out of one of an older version. Why version 2 set an event aside it did not say: the
worst is taken."""


class UnusableError(Exception):
    """The file is no database of ours, or a damaged one."""


class Database:
    """One file, opened, closed and opened again: the connection, which file it is on, how long its log has become.

    Not locked: the shadow lets one thread at a time in. Methods that write or read rows need it open. What goes wrong
    is an sqlite3.Error, an OSError or an UnusableError; it may be open then or not, and has to be closed.
    """

    def __init__(self, path: Path) -> None:
        """Remember what to do; nothing is opened before `open`."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._log_bytes = 0
        self._bytes_written = 0

    @property
    def is_open(self) -> bool:
        """Whether rows can be asked for."""
        return self._connection is not None

    @property
    def was_replaced(self) -> bool:
        """Whether it is open on a file that is no longer the one of this name."""
        return self.is_open and _inode(self._path) != self._inode

    @property
    def log_bytes(self) -> int:
        """Length of the log: what a checkpoint would work in."""
        return self._log_bytes

    @property
    def bytes_written(self) -> int:
        """Bytes given to the disk since the start.

        The growth of the log, as the file system tells it, plus at each checkpoint at most one write of each page.
        The file system's own books and what the card makes of a write (it erases whole blocks) are not in it.
        """
        return self._bytes_written

    def open(self) -> None:
        """Open the file, or make a new one with its folder; check that it is whole and ours."""
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _keep_private(self._path)
        self._log_bytes = size_of(log_of(self._path))
        # Never uri=True. The lock is held as long as it is open: a second daemon would send everything once more.
        self._connection = sqlite3.connect(self._path, timeout=0.5, isolation_level=None, check_same_thread=False)
        _prepare(self._connection)
        self._inode = _inode(self._path)
        self._count_what_was_written()

    def close(self) -> None:
        """Close it, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def names(self) -> tuple[set[int], set[str], set[int]]:
        """Return the numbers of all events, the ids of all episodes, and the numbers of what is set aside."""
        numbers = {number for (number,) in self._sql.execute("SELECT number FROM event")}
        episodes = {name for (name,) in self._sql.execute("SELECT id FROM episode")}
        return numbers, episodes, {number for (number,) in self._sql.execute("SELECT number FROM dead")}

    def read(self) -> tuple[list[Waiting], dict[str, Last], list[Dead]]:
        """Return all events in their order, topic and text of the open episodes by their id, and what is set aside.

        Raises UnusableError for a value that we never wrote: SQLite checks how its pages hang together, and not what is
        in them, so a bit that flipped on a card shows nowhere else.
        """
        events = [_event(*row) for row in self._sql.execute("SELECT * FROM event ORDER BY number")]
        rows = self._sql.execute("SELECT * FROM episode ORDER BY id")
        episodes = {str(name): (_topic(topic), _text(text)) for name, topic, text in rows}
        rows = self._sql.execute("SELECT * FROM dead ORDER BY number")
        return events, episodes, [_dead(*row) for row in rows]

    def commit(self, news: News) -> None:
        """Write all of it or nothing. Deletions come first: a number may be given anew."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            _write(self._sql, news)
            self._sql.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._sql.execute("ROLLBACK")
            raise
        self._count_what_was_written()

    def checkpoint(self) -> None:
        """Work the log into the database and empty it. Only here, so that the log's growth tells what was written."""
        ((page_bytes,),) = self._sql.execute("PRAGMA page_size").fetchall()
        ((n_pages,),) = self._sql.execute("PRAGMA page_count").fetchall()
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._bytes_written += min(self._log_bytes, n_pages * page_bytes)
        self._log_bytes = size_of(log_of(self._path))

    def sync(self) -> None:
        """Wait until all that was committed lies on the card."""
        with suppress(FileNotFoundError):
            descriptor = os.open(log_of(self._path), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @property
    def _sql(self) -> sqlite3.Connection:
        assert self._connection is not None, "the database is not open"
        return self._connection

    def _count_what_was_written(self) -> None:
        size = size_of(log_of(self._path))
        self._bytes_written += max(0, size - self._log_bytes)
        self._log_bytes = size


def _keep_private(path: Path) -> None:
    """Have nobody else read it, whatever the umask: SQLite gives its log the permissions of the database."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        with suppress(PermissionError):  # another's, such as root's, and we may write it all the same
            path.chmod(0o600)


def _write(database: sqlite3.Connection, news: News) -> None:
    database.executemany("DELETE FROM event WHERE number = ?", [(number,) for number in news.gone])
    database.executemany(
        "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?)",
        [(event.number, event.topic, event.text, event.created) for event in news.events],
    )
    for name, last in news.episodes.items():
        if last is None:
            database.execute("DELETE FROM episode WHERE id = ?", (name,))
        else:
            database.execute("INSERT OR REPLACE INTO episode VALUES (?, ?, ?)", (name, *last))
    for number, dead in news.dead.items():
        database.execute("DELETE FROM dead WHERE number = ?", (number,))
        if dead is not None:
            row = (number, dead.event.topic, dead.event.text, dead.event.created, dead.cause, dead.reason, dead.n_tries)
            database.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _prepare(database: sqlite3.Connection) -> None:
    """Set a connection up, and the tables of a new database. Raises UnusableError for what is not whole and ours."""
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    ((application_id,),) = database.execute("PRAGMA application_id").fetchall()
    ((version,),) = database.execute("PRAGMA user_version").fetchall()
    ((n_tables,),) = database.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    is_new = (application_id, version, n_tables) == (0, 0, 0)
    is_older = application_id == APPLICATION_ID and version in FROM_OLDER
    if not is_new and not is_older and (application_id, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise UnusableError("it is another program's, or another version's")
    ((whole,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    if whole != "ok":
        raise UnusableError(f"it is damaged: {whole}")

    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA wal_autocheckpoint=0")  # we do it, see Database.checkpoint
    if is_new or is_older:
        database.execute("BEGIN IMMEDIATE")
        for statement in FROM_OLDER[version] if is_older else SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA application_id={APPLICATION_ID}")
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        database.execute("COMMIT")
    found = tuple(sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    if found != SCHEMA:
        raise UnusableError("its tables are not ours")


def _event(number: object, topic: object, text: object, created: object) -> Waiting:
    payload = _text(text)
    return Waiting(_number(number), _topic(topic), payload, _kind(payload), _seconds(created), None)


def _dead(number: object, topic: object, text: object, created: object, *why: object) -> Dead:
    cause, reason, n_tries = why
    if (
        not isinstance(cause, str)
        or cause not in [*Cause]
        or not isinstance(reason, str)
        or not isinstance(n_tries, int)
        or n_tries < 0
    ):
        raise UnusableError(f"it holds what was set aside for {why!r:.80}")
    return Dead(_event(number, topic, text, created), Cause(cause), reason, n_tries)


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 2**53:
        raise UnusableError(f"it holds the number {value!r:.80}")
    return value


def _topic(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-zA-Z0-9_/-]{1,1000}", value):
        raise UnusableError(f"it holds the topic {value!r:.80}")
    return value


def _text(value: object) -> str:
    try:
        if isinstance(value, str) and value.isascii() and isinstance(payload := json.loads(value), dict):
            as_json(payload)  # NaN comes in, and would not go out
            return value
    except (ValueError, RecursionError):
        pass
    raise UnusableError(f"it holds the payload {value!r:.80}")


def _kind(text: str) -> str | None:
    kind = json.loads(text).get("kind")
    return kind if isinstance(kind, str) else None


def _seconds(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise UnusableError(f"it holds the time {value!r:.80}")
    return value


def log_of(path: Path) -> Path:
    """Return the write-ahead log of the database at `path`."""
    return Path(f"{path}-wal")


def size_of(path: Path) -> int:
    """Return the bytes in a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
