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

    backlog      what waits, in memory: `waiting` the events, `episodes` what is open; it never waits for the disk
    shadow       when the disk is told, and what happens when it does not listen
    database     the file
    salvage      files that are no database of ours, or a damaged one
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.config import OutboxSettings
from edge.voice.backlog import Backlog
from edge.voice.episodes import Orphan
from edge.voice.message import Payload
from edge.voice.shadow import GATHER_SECONDS, NoShadow, Reminder, Shadow
from edge.voice.waiting import Waiting

log = logging.getLogger(__name__)

FILE_NAME: Final = "outbox.db"


class Outbox:
    """Events in the order in which they were put, and the episodes that are open. Every method may be called anywhere.

    `put`, `flush`, `open` and `close` touch the disk; the rest is memory alone and returns at once. It holds no lock:
    the backlog and the shadow have one each, and memory is never locked while the disk is asked.
    """

    def __init__(
        self, settings: OutboxSettings, folder: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Remember what to do; nothing is opened before `open` or the first `put`.

        folder: where `outbox.db` lies or will lie; it is made. None: nothing is kept on disk.
        clock: seconds, of a clock that never jumps. Age is running time: a device without a battery for its clock
        wakes up in any year, and that must not throw an event away.
        """
        self._backlog = Backlog(settings, clock, shadowed=folder is not None)
        self._reminder = Reminder(clock)
        self._shadow: Shadow | NoShadow = NoShadow()
        if folder is not None:
            self._shadow = Shadow(folder / FILE_NAME, self._backlog, self._reminder, clock)

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._backlog)

    @property
    def dropped(self) -> int:
        """Events given up since the start, because too many, too large or too old ones waited."""
        return self._backlog.dropped

    @property
    def on_disk(self) -> bool:
        """Whether all that waits would survive the process, as far as known."""
        return self._shadow.on_disk

    @property
    def problem(self) -> str | None:
        """Why events are in memory alone, for a person; None if they are not."""
        return self._shadow.problem

    @property
    def bytes_written(self) -> int:
        """Bytes given to the disk since the start (what counts: Database.bytes_written)."""
        return self._shadow.bytes_written

    @property
    def set_aside(self) -> int:
        """Damaged or foreign databases that were put aside since the start, as `outbox.db.corrupt-<n>`."""
        return self._shadow.set_aside

    def open(self) -> None:
        """Read what an earlier run has left. A disk that fails is a state (`problem`), never an exception."""
        if isinstance(self._shadow, NoShadow):
            log.info("outbox: no state directory: events that still wait at the end are lost with this process")
        self._shadow.save()
        n_events, n_orphans = len(self), self._backlog.n_orphans
        if n_events or n_orphans:
            log.info("outbox: of an earlier run: %d events wait, %d episodes were open", n_events, n_orphans)

    def close(self) -> None:
        """Write what has gathered, and close the database; `put` would open it again."""
        self._shadow.close()

    def put(self, topic: str, payload: Payload, born: object | None = None) -> None:
        """Keep an event, on disk before this returns if the disk allows it; the least worth go if there is no room.

        payload: JSON-ready. `kind` and `id` are read, to know what to drop first and which episodes are open.
        Raises ValueError or TypeError for a payload that is not JSON (NaN is not).
        """
        self._backlog.put(topic, payload, born)
        self._shadow.save()

    def after(self, number: int) -> Waiting | None:
        """Return the oldest event that is newer than `number`; None if there is none."""
        return self._backlog.after(number)

    def remove(self, number: int) -> None:
        """Forget an event that was acknowledged; one that was dropped before is nothing."""
        if self._backlog.remove(number):
            self._reminder.within(GATHER_SECONDS)

    def orphans(self) -> list[Orphan]:
        """Return the open episodes that were found on disk, each once: whoever asks has to put their `closed`."""
        return self._backlog.orphans()

    def flush(self) -> float | None:
        """Do what is due on disk; return the seconds until something will be, None if nothing waits for it."""
        if self._reminder.take():
            self._backlog.make_room()
            self._shadow.save(sync=True)
        return self._reminder.seconds_left()
