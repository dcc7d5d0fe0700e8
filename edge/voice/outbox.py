"""Events until the broker has acknowledged them, on disk: they survive an absent broker, a kill and a reboot.

Memory is the truth while the process lives; the database (SQLite) is its shadow, and is read once, when it is opened.
So a disk that is full, read-only or broken costs the safety of what waits, and never an event or a detection. What
memory holds is bounded, in events, bytes and days.

What the database promises: `put` has committed when it returns, so a process killed at any moment loses nothing; where
the disk stalls, `put` does not wait for it (`PATIENCE_SECONDS`), and `problem` says so until it keeps up. A commit is
not waited for until it lies on the card (WAL, synchronous=NORMAL): a power cut can take the newest seconds, though
never the database. What opens or closes an episode is asked on to the card within `GATHER_SECONDS`, by `flush`, if the
broker has not acknowledged it until then.

An event at which the broker hangs up is set aside: it waits no longer, and is kept in the database all the same, to be
said once more (edge/voice/second_try.py). There it stays until it is taken: a kill finds it where it was.

Acknowledged events are deleted together, with the next event or after `GATHER_SECONDS`: an SD card wears by each write.
After a kill they may so be sent again, with the same id, kind and time.

    backlog      what waits, in memory: `waiting` the events, `episodes` what is open, `lacks` what the disk has not
    graveyard    what is set aside
    scribe       the thread that writes
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
from edge.voice.scribe import OPEN_SECONDS, PATIENCE_SECONDS, Scribe
from edge.voice.shadow import GATHER_SECONDS, Reminder, Shadow
from edge.voice.waiting import Cause, Dead, Waiting

log = logging.getLogger(__name__)

FILE_NAME: Final = "outbox.db"
NO_FOLDER: Final = "there is no state directory"
STALLED: Final = "the disk does not keep up"


class Outbox:
    """Events in the order in which they were put, and the episodes that are open. Every method may be called anywhere.

    `put` may wait for the disk, `open` and `close` for longer (edge/voice/scribe.py), and `flush` as long as it takes;
    the rest is memory alone and returns at once. It holds no lock: its rooms have one each, and neither memory nor who
    puts is locked while the disk is asked.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        folder: Path | None,
        clock: Callable[[], float] = time.monotonic,
        written: Callable[[], None] = lambda: None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Remember what to do; nothing is opened before `open` or the first `put`.

        folder: where `outbox.db` lies or will lie; it is made. None: nothing is kept on disk.
        clock: seconds, of a clock that never jumps. Age is running time: a device without a battery for its clock
        wakes up in any year, and that must not throw an event away.
        written: called after each writing, in a thread of its own: orphans may have come.
        patience_seconds: how long `put` waits for the disk, 0: not at all.
        """
        self._patience_seconds = patience_seconds
        self._backlog = Backlog(settings, clock, shadowed=folder is not None)
        self._reminder = Reminder(clock)
        self._shadow: Shadow | None = None
        self._scribe: Scribe | None = None
        if folder is not None:
            self._shadow = Shadow(folder / FILE_NAME, self._backlog, self._reminder, clock)
            self._scribe = Scribe(self._shadow, self._reminder, written)

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._backlog)

    @property
    def dropped(self) -> int:
        """Events given up since the start, because too many, too large or too old ones waited or were set aside."""
        return self._backlog.dropped

    @property
    def dead(self) -> tuple[Dead, ...]:
        """Events that are set aside, those of earlier runs included, the longest first."""
        return self._backlog.dead

    @property
    def on_disk(self) -> bool:
        """Whether all that waits would survive the process, as far as known."""
        return self._shadow is not None and self._shadow.on_disk and self.problem is None

    @property
    def problem(self) -> str | None:
        """Why events are in memory alone, for a person; None if they are not."""
        if self._shadow is None or self._scribe is None:
            return NO_FOLDER
        return self._shadow.problem or (None if self._scribe.keeps_up else STALLED)

    @property
    def bytes_written(self) -> int:
        """Bytes given to the disk since the start (what counts: Database.bytes_written)."""
        return 0 if self._shadow is None else self._shadow.bytes_written

    @property
    def set_aside(self) -> int:
        """Damaged or foreign databases that were put aside since the start, as `outbox.db.corrupt-<n>`."""
        return 0 if self._shadow is None else self._shadow.set_aside

    def open(self) -> None:
        """Read what an earlier run has left. A disk that fails is a state (`problem`), never an exception."""
        if self._scribe is None:
            log.info("outbox: no state directory: events that still wait at the end are lost with this process")
            return
        self._scribe.save(OPEN_SECONDS)
        n_events, n_orphans = len(self), self._backlog.n_orphans
        if n_events or n_orphans:
            log.info("outbox: of an earlier run: %d events wait, %d episodes were open", n_events, n_orphans)

    def close(self) -> None:
        """Write what has gathered, and close the database; `put` would open it again."""
        if self._scribe is not None:
            self._scribe.close()

    def put(self, topic: str, payload: Payload, born: object | None = None) -> None:
        """Keep an event, on disk before this returns if the disk keeps up; the least worth go if there is no room.

        payload: JSON-ready. `kind` and `id` are read, to know what to drop first and which episodes are open.
        It is not said before: a kill between would leave an episode open of which the next run knows nothing.
        Raises ValueError or TypeError for a payload that is not JSON (NaN is not).
        """
        number = self._backlog.put(topic, payload, born, held=self._scribe is not None)
        try:
            if self._scribe is not None:
                self._scribe.save(self._patience_seconds)
        finally:
            self._backlog.let_go(number)

    def after(self, number: int) -> Waiting | None:
        """Return the oldest event that is newer than `number`; None if there is none, or it is being put."""
        return self._backlog.after(number)

    def age_seconds(self, event: Waiting) -> float:
        """Return for how long an event has waited, of running time."""
        return self._backlog.age_seconds(event)

    def is_too_old(self, event: Waiting) -> bool:
        """Whether an event may wait no longer, by the settings' days."""
        return self._backlog.is_too_old(event)

    def remove(self, number: int) -> None:
        """Forget an event that was acknowledged, set aside or not; one that was dropped before is nothing."""
        self._remind(news=self._backlog.remove(number))

    def set_aside_event(self, number: int, cause: Cause, reason: str) -> None:
        """Have an event wait no longer, and keep it with the reason, for a person, why it is not said."""
        self._backlog.set_aside(number, cause, reason)
        self._remind(news=True)

    def tried_in_vain(self, number: int, cause: Cause, reason: str) -> None:
        """Take note of what became of an event that is set aside and was said once more."""
        self._backlog.tried_in_vain(number, cause, reason)
        self._remind(news=True)

    def take_back(self, number: int) -> None:
        """Have an event that was set aside wait again."""
        self._backlog.take_back(number)
        self._remind(news=True)

    def orphans(self) -> list[Orphan]:
        """Return the open episodes that were found on disk, each once: whoever asks has to put their `closed`."""
        return self._backlog.orphans()

    def flush(self) -> float | None:
        """Do what is due on disk; return the seconds until something will be, None if nothing waits for it."""
        if self._shadow is not None:
            self._shadow.flush()
        return self._reminder.seconds_left()

    def _remind(self, *, news: bool) -> None:
        if news and self._scribe is not None and self._reminder.within(GATHER_SECONDS):
            self._scribe.look()
