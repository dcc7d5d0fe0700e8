"""Events until the broker has acknowledged them, on disk: they survive an absent broker, a kill and a reboot.

Memory is the truth while the process lives; the database (SQLite) is its shadow, and is read once, when it is opened.
So a disk that is full, read-only or broken costs the safety of what waits, and never an event or a detection. What
memory holds is bounded, in events, bytes and days.

What the database promises: `put` has committed when it returns, so a process killed at any moment loses nothing. A
commit is not waited for until it lies on the card (WAL, synchronous=NORMAL): a power cut can take the newest seconds,
though never the database. What opens or closes an episode is asked on to the card within `GATHER_SECONDS`, by `flush`,
if the broker has not acknowledged it until then.

Acknowledged events are deleted together, with the next event or after `GATHER_SECONDS`: an SD card wears by each write.
After a kill they may so be sent again, with the same id, kind and time.
"""

import json
import logging
import math
import os
import re
import sqlite3
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge.config import OutboxSettings

log = logging.getLogger(__name__)

Payload = Mapping[str, Any]

FILE_NAME: Final = "outbox.db"
APPLICATION_ID: Final = 0x45415231  # "EAR1": tells our database from any other
SCHEMA_VERSION: Final = 1
SCHEMA: Final = (
    "CREATE TABLE event "
    "(number INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload TEXT NOT NULL, created REAL NOT NULL)",
    "CREATE TABLE episode (id TEXT PRIMARY KEY, topic TEXT NOT NULL, payload TEXT NOT NULL) WITHOUT ROWID",
)

GATHER_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 10.0
"""Between two attempts at a disk that failed: each may cost seconds."""

MOST_SET_ASIDE: Final = 3
"""Damaged databases that are kept for whoever wants to know."""

MOST_EPISODES: Final = 1024
"""Episodes that may be open at once; one a source is usual."""

WAL_BYTES: Final = 4_000_000
"""Size at which the log is worked into the database: the later, the more often a page was written once for many."""

WAL_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
WAL_HEADER_BYTES: Final = 32

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


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that the broker has not acknowledged.

    number   its place in the order of all events, also over a restart
    text     the payload, JSON
    created  seconds of running time, on a scale that a restart continues
    born     what `put` was given; None if it was of an earlier run
    """

    number: int
    topic: str
    text: str
    kind: str | None
    created: float
    born: object | None

    @property
    def n_bytes(self) -> int:
        return len(self.topic) + len(self.text)  # both are ASCII


class Orphan(NamedTuple):
    """An episode of an earlier run that was opened and never closed: its topic, and its last event."""

    topic: str
    payload: Payload


class _UnusableError(Exception):
    """The file is no database of ours, or a damaged one."""


class Outbox:
    """Events in the order in which they were put, and the episodes that are open. Every method may be called anywhere.

    `put`, `flush`, `open` and `close` touch the disk; the rest is memory alone and returns at once.
    """

    def __init__(
        self, settings: OutboxSettings, folder: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Remember what to do; nothing is opened before `open` or the first `put`.

        folder: where `outbox.db` lies or will lie; it is made. None: nothing is kept on disk.
        clock: seconds, of a clock that never jumps. Age is running time: a device without a battery for its clock
        wakes up in any year, and that must not throw an event away.
        """
        self._path = None if folder is None else folder / FILE_NAME
        self._most_events = settings.max_events
        self._most_bytes = 1e6 * settings.max_megabytes
        self._most_seconds = 86_400 * settings.max_days
        self._clock = clock
        self._created_at_zero = 0.0

        # `_lock` guards all that is in memory, and is never held while the disk is asked. `_disk` comes before it.
        self._lock = threading.Lock()
        self._events: dict[int, Waiting] = {}
        self._numbers: list[int] = []  # the keys of _events, ascending
        self._updates: dict[int, None] = {}  # those of kind `updated`: they go first when there is no room
        self._n_bytes = 0
        self._newest = 0
        self._episodes: dict[str, tuple[str, str]] = {}  # id -> topic, text of the last event
        self._orphans: list[Orphan] = []
        self._dropped = 0

        # What the disk does not know yet.
        self._unsaved: dict[int, None] = {}
        self._gone: set[int] = set()
        self._changed_episodes: set[str] = set()
        self._unsynced = False
        self._due: float | None = None

        self._disk = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._was_read = False
        self._retry_at = -math.inf
        self._problem: str | None = None if folder else "there is no state directory"
        self._wal_bytes = 0
        self._bytes_written = 0
        self._set_aside = 0

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._events)

    @property
    def dropped(self) -> int:
        """Events given up since the start, because too many, too large or too old ones waited."""
        return self._dropped

    @property
    def on_disk(self) -> bool:
        """Whether all that waits would survive the process, as far as known."""
        return self._database is not None and self._problem is None

    @property
    def problem(self) -> str | None:
        """Why events are in memory alone, for a person; None if they are not."""
        return self._problem

    @property
    def bytes_written(self) -> int:
        """Bytes given to the disk since the start.

        The growth of the log, as the file system tells it, plus at each checkpoint at most one write of each page.
        The file system's own books and what the card makes of a write (it erases whole blocks) are not in it.
        """
        return self._bytes_written

    @property
    def set_aside(self) -> int:
        """Damaged or foreign databases that were put aside since the start, as `outbox.db.corrupt-<n>`."""
        return self._set_aside

    def open(self) -> None:
        """Read what an earlier run has left. A disk that fails is a state (`problem`), never an exception."""
        if self._path is None:
            log.info("outbox: no state directory: events that still wait at the end are lost with this process")
        with self._disk:
            self._save()
        if len(self) or self._orphans:
            log.info("outbox: of an earlier run: %d events wait, %d episodes were open", len(self), len(self._orphans))

    def close(self) -> None:
        """Write what has gathered, and close the database; `put` would open it again."""
        with self._disk:
            self._retry_at = -math.inf
            if self._database is not None or self._unsaved:
                self._save(sync=True)
            if self._path is not None and self._database is not None:
                with suppress(sqlite3.Error):
                    self._checkpoint(self._path, self._database)
            self._let_go()

    def put(self, topic: str, payload: Payload, born: object | None = None) -> None:
        """Keep an event, on disk before this returns if the disk allows it; the least worth go if there is no room.

        payload: JSON-ready. `kind` and `id` are read, to know what to drop first and which episodes are open.
        Raises ValueError or TypeError for a payload that is not JSON (NaN is not).
        """
        text = as_json(payload)
        kind, episode = payload.get("kind"), payload.get("id")
        with self._lock:
            now = self._now()
            self._newest += 1
            self._add(Waiting(self._newest, topic, text, kind if isinstance(kind, str) else None, now, born))
            if isinstance(episode, str):
                self._follow(episode, kind, topic, text)
            self._make_room(now)
        with self._disk:
            self._save()

    def after(self, number: int) -> Waiting | None:
        """Return the oldest event that is newer than `number`; None if there is none."""
        with self._lock:
            place = bisect_right(self._numbers, number)
            return self._events[self._numbers[place]] if place < len(self._numbers) else None

    def remove(self, number: int) -> None:
        """Forget an event that was acknowledged; one that was dropped before is nothing."""
        with self._lock:
            self._take_out(number)
            if self._gone and self._due is None:
                self._due = self._clock() + GATHER_SECONDS

    def orphans(self) -> list[Orphan]:
        """Return the open episodes that were found on disk, each once: whoever asks has to put their `closed`."""
        with self._lock:
            found, self._orphans = self._orphans, []
            return found

    def flush(self) -> float | None:
        """Do what is due on disk; return the seconds until something will be, None if nothing waits for it."""
        if self._due is not None and self._clock() >= self._due:
            with self._lock:
                self._due = None
                self._make_room(self._now())
            with self._disk:
                self._save(sync=True)
        due = self._due
        return None if due is None else max(0.0, due - self._clock())

    # --- Memory. Called with `_lock` held. ---

    def _now(self) -> float:
        return self._created_at_zero + self._clock()

    def _add(self, event: Waiting) -> None:
        self._events[event.number] = event
        self._numbers.append(event.number)
        self._n_bytes += event.n_bytes
        if event.kind == "updated":
            self._updates[event.number] = None
        if self._path is not None:
            self._unsaved[event.number] = None

    def _take_out(self, number: int) -> None:
        event = self._events.pop(number, None)
        if event is None:
            return
        del self._numbers[bisect_left(self._numbers, number)]
        self._n_bytes -= event.n_bytes
        self._updates.pop(number, None)
        self._unsaved.pop(number, None)
        if self._database is not None:  # else the next opening compares all numbers
            self._gone.add(number)

    def _follow(self, episode: str, kind: object, topic: str, text: str) -> None:
        if kind == "closed":
            self._episodes.pop(episode, None)
        elif kind in ("opened", "updated"):
            self._episodes[episode] = topic, text
        else:
            return
        self._changed_episodes.add(episode)
        while len(self._episodes) > MOST_EPISODES:
            oldest = next(iter(self._episodes))
            del self._episodes[oldest]
            self._changed_episodes.add(oldest)

    def _make_room(self, now: float) -> None:
        """Drop the too old, then the oldest `updated`, then the oldest: what opens or closes is worth more."""
        before = self._dropped
        while self._numbers and now - self._events[self._numbers[0]].created > self._most_seconds:
            self._drop(self._numbers[0])
        while len(self._events) > self._most_events or self._n_bytes > self._most_bytes:
            self._drop(next(iter(self._updates), self._numbers[0]))
        if self._dropped > before:
            log.log(
                logging.DEBUG if before else logging.WARNING,
                "mqtt: more than %d events, %g MB or %g days of events are waiting: the least worth are dropped",
                self._most_events,
                self._most_bytes / 1e6,
                self._most_seconds / 86_400,
            )

    def _drop(self, number: int) -> None:
        self._take_out(number)
        self._dropped += 1

    # --- The disk. Called with `_disk` held. ---

    def _save(self, *, sync: bool = False) -> None:
        """Bring the disk to what memory knows; with `sync`, down to the card where an event depends on it."""
        if self._path is None or (self._database is None and self._clock() < self._retry_at):
            return
        try:
            try:
                self._write(self._path, sync=sync)
            except (sqlite3.Error, _UnusableError) as error:
                if _code(error) in TROUBLE_WITH_THE_DISK:
                    raise
                self._let_go()
                self._put_aside(self._path, error)
                self._write(self._path, sync=sync)
        except (sqlite3.Error, OSError, _UnusableError) as error:
            self._give_up_for_now(error)
            return
        if self._problem is not None:
            log.info("outbox: %s: events go on disk again", self._path)
            self._problem = None

    def _give_up_for_now(self, error: Exception) -> None:
        self._let_go()
        self._retry_at = self._clock() + RETRY_SECONDS
        with self._lock:
            self._due = self._retry_at
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if _code(error) == sqlite3.SQLITE_BUSY:
            problem = "another process has it open"
        if problem != self._problem:
            log.warning("outbox: %s: %s: events are kept in memory until it can be written", self._path, problem)
        self._problem = problem

    def _let_go(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()
        with self._lock:
            self._gone.clear()

    def _write(self, path: Path, *, sync: bool) -> None:
        database = self._database
        if database is not None and _inode(path) != self._inode:
            log.warning("outbox: %s was removed or replaced; it is written anew", path)
            self._let_go()
            database = None
        if database is None:
            database = self._open_and_compare(path)

        with self._lock:
            gone = list(self._gone)
            events = [self._events[number] for number in self._unsaved]
            episodes = {name: self._episodes.get(name) for name in self._changed_episodes}
        if gone or events or episodes:
            _commit(database, gone, events, episodes)
            with self._lock:
                self._gone.difference_update(gone)
                for event in events:
                    self._unsaved.pop(event.number, None)
                unchanged = {name for name, last in episodes.items() if self._episodes.get(name) == last}
                self._changed_episodes -= unchanged
                self._unsynced |= any(event.kind != "updated" for event in events)
                if self._unsynced and self._due is None:
                    self._due = self._clock() + GATHER_SECONDS
            self._count_what_was_written(path)

        # A checkpoint waits for the card, so it is left to `flush`, in a thread that hears nothing, if one comes.
        if self._wal_bytes >= (1 if sync else 4) * WAL_BYTES:
            self._checkpoint(path, database)
        elif self._wal_bytes >= WAL_BYTES:
            with self._lock:
                self._due = self._clock()
        if sync and self._unsynced:
            self._unsynced = False
            if self._events or self._episodes:
                _sync(_wal(path))

    def _open_and_compare(self, path: Path) -> sqlite3.Connection:
        """Open the database; take in what it holds, the first time, and else find out what it lacks."""
        self._check_files(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._wal_bytes = _size(_wal(path))
        # Never uri=True. The lock is held as long as it is open: a second daemon would send everything once more.
        database = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database)
            if self._was_read:
                on_disk = {number for (number,) in database.execute("SELECT number FROM event")}
                names = {name for (name,) in database.execute("SELECT id FROM episode")}
                with self._lock:
                    self._database = database
                    self._gone = on_disk - self._events.keys()
                    self._unsaved = dict.fromkeys(number for number in self._numbers if number not in on_disk)
                    self._changed_episodes = names | self._episodes.keys()
            else:
                events, episodes = _read_all(database)
                with self._lock:
                    self._database = database
                    self._take_in(events, episodes)
                    self._was_read = True
        except BaseException:
            self._database = None
            database.close()
            raise
        self._inode = _inode(path)
        self._count_what_was_written(path)
        return database

    def _take_in(self, events: list[Waiting], episodes: dict[str, tuple[str, str]]) -> None:
        """Add what was on disk. Where events came before the disk could be read, its own are put behind them."""
        if events and self._newest == 0:
            self._created_at_zero = events[-1].created - self._clock()
            self._newest = events[-1].number
            for event in events:
                self._add(event)
                del self._unsaved[event.number]
        elif events:
            age_zero, now = events[-1].created, self._now()
            self._gone = {event.number for event in events}
            for event in events:
                self._newest += 1
                created = now - (age_zero - event.created)
                self._add(Waiting(self._newest, event.topic, event.text, event.kind, created, None))
        for name, (topic, text) in episodes.items():
            self._episodes[name] = topic, text
            self._orphans.append(Orphan(topic, json.loads(text)))
        self._make_room(self._now())

    def _check_files(self, path: Path) -> None:
        """Raise _UnusableError if something else stands in the place of the database; put a foreign log aside."""
        for file in (path, _wal(path), Path(f"{path}-journal")):
            if file.exists() and not file.is_file():  # a directory, or a pipe on which we would wait for ever
                raise _UnusableError(f"{file.name} is no file")
        # SQLite passes over a log that it does not understand, and writes its own over it.
        if _size(_wal(path)):
            with _wal(path).open("rb") as opened:
                header = opened.read(WAL_HEADER_BYTES)
            if len(header) < WAL_HEADER_BYTES or not header.startswith(WAL_MAGIC):
                self._put_aside(path, _UnusableError("its log (-wal) is damaged"), only_log=True)

    def _put_aside(self, path: Path, error: Exception, *, only_log: bool = False) -> None:
        """Rename the database and what belongs to it; keep the newest `MOST_SET_ASIDE` of such."""
        numbers = sorted(
            {int(found[1]) for file in path.parent.iterdir() if (found := re.match(_ASIDE, file.name)) is not None}
        )
        number = numbers[-1] + 1 if numbers else 1
        aside = Path(f"{path}.corrupt-{number}")
        for suffix in ("-wal",) if only_log else ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        self._set_aside += 1
        log.error("outbox: %s: %s: put aside as %s, a new one is begun", path, error, aside.name)
        for old in numbers[: max(0, len(numbers) + 1 - MOST_SET_ASIDE)]:
            for suffix in ("", "-wal", "-shm", "-journal"):
                with suppress(OSError):  # a directory stays
                    Path(f"{path}.corrupt-{old}{suffix}").unlink()

    def _count_what_was_written(self, path: Path) -> None:
        size = _size(_wal(path))
        self._bytes_written += max(0, size - self._wal_bytes)
        self._wal_bytes = size

    def _checkpoint(self, path: Path, database: sqlite3.Connection) -> None:
        """Work the log into the database and empty it. Only here, so that the log's growth tells what was written."""
        ((page_bytes,),) = database.execute("PRAGMA page_size").fetchall()
        ((n_pages,),) = database.execute("PRAGMA page_count").fetchall()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._bytes_written += min(self._wal_bytes, n_pages * page_bytes)
        self._wal_bytes = _size(_wal(path))


_ASIDE: Final = rf"{re.escape(FILE_NAME)}\.corrupt-([0-9]{{1,9}})(?:-wal|-shm|-journal)?$"


def _commit(
    database: sqlite3.Connection,
    gone: list[int],
    events: list[Waiting],
    episodes: Mapping[str, tuple[str, str] | None],
) -> None:
    """Write all of it or nothing. Deletions come first: a number may be given anew."""
    database.execute("BEGIN IMMEDIATE")
    try:
        database.executemany("DELETE FROM event WHERE number = ?", [(number,) for number in gone])
        database.executemany(
            "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?)",
            [(event.number, event.topic, event.text, event.created) for event in events],
        )
        for name, last in episodes.items():
            if last is None:
                database.execute("DELETE FROM episode WHERE id = ?", (name,))
            else:
                database.execute("INSERT OR REPLACE INTO episode VALUES (?, ?, ?)", (name, *last))
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def _prepare(database: sqlite3.Connection) -> None:
    """Set a connection up, and the tables of a new database. Raises _UnusableError for what is not whole and ours."""
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    ((application_id,),) = database.execute("PRAGMA application_id").fetchall()
    ((version,),) = database.execute("PRAGMA user_version").fetchall()
    ((n_tables,),) = database.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    is_new = (application_id, version, n_tables) == (0, 0, 0)
    if not is_new and (application_id, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise _UnusableError("it is another program's, or another version's")
    ((whole,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    if whole != "ok":
        raise _UnusableError(f"it is damaged: {whole}")

    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA wal_autocheckpoint=0")  # we do it, see _checkpoint
    if is_new:
        database.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA application_id={APPLICATION_ID}")
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        database.execute("COMMIT")
    found = tuple(sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    if found != SCHEMA:
        raise _UnusableError("its tables are not ours")


def _read_all(database: sqlite3.Connection) -> tuple[list[Waiting], dict[str, tuple[str, str]]]:
    """Return all events in their order, and topic and text of the open episodes by their id.

    Raises _UnusableError for a value that we never wrote: SQLite checks how its pages hang together, and not what is in
    them, so a bit that flipped on a card shows nowhere else.
    """
    events = [
        Waiting(_number(number), _topic(topic), _text(text), _kind(text), _seconds(created), None)
        for number, topic, text, created in database.execute("SELECT * FROM event ORDER BY number")
    ]
    rows = database.execute("SELECT * FROM episode ORDER BY id")
    return events, {str(name): (_topic(topic), _text(text)) for name, topic, text in rows}


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 2**53:
        raise _UnusableError(f"it holds the number {value!r:.80}")
    return value


def _topic(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-zA-Z0-9_/-]{1,1000}", value):
        raise _UnusableError(f"it holds the topic {value!r:.80}")
    return value


def _text(value: object) -> str:
    try:
        if isinstance(value, str) and value.isascii() and isinstance(payload := json.loads(value), dict):
            as_json(payload)  # NaN comes in, and would not go out
            return value
    except (ValueError, RecursionError):
        pass
    raise _UnusableError(f"it holds the payload {value!r:.80}")


def _kind(text: str) -> str | None:
    kind = json.loads(text).get("kind")
    return kind if isinstance(kind, str) else None


def _seconds(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise _UnusableError(f"it holds the time {value!r:.80}")
    return value


def as_json(payload: Payload) -> str:
    """Return a payload as compact ASCII. Raises ValueError or TypeError for what is not JSON; NaN is not."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":"))


def _code(error: Exception) -> int:
    """Return SQLite's result code, without the details in its higher bytes; 0 for what is no error of SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def _size(path: Path) -> int:
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


def _sync(path: Path) -> None:
    """Wait until a file lies on the disk."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
