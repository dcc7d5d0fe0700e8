"""What the listening threads hand over, and who looks on: newest states, the last ten minutes, columns of sound.

Nothing is made for nobody: the columns of a spectrogram are counted only while somebody watches that source, and in the
page's own thread. Who watches slowly misses some, and holds nobody up.
"""

import asyncio
import math
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import Samples
from edge.page.device import Record
from edge.page.spectrum import Spectrum

MOST_VIEWERS: Final = 8
MOST_WAITING: Final = 64
"""Messages for one viewer: half a minute of one who stalls."""

RECENT_HOPS: Final = 1200
"""Ten minutes of 0.512 s."""

NEWS: Final = ("status", "reason", "episode", "shelved_until")
"""What of a state everybody is told at once; the rest only who watches that source."""

Said = tuple[str, Record]
"""The kind of a message, and what it says."""


@dataclass(eq=False)
class Viewer:
    """Somebody who watches one source, and hears of the others when they change. For the page's loop.

    waiting  what is to be sent; None: nothing more comes
    """

    source: str
    waiting: asyncio.Queue[Said | None] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def say(self, said: Said | None) -> None:
        """Have it sent; the oldest that waits goes for it."""
        if self.waiting.full():
            self.waiting.get_nowait()
        self.waiting.put_nowait(said)


class Feed:
    """One for all sources. What stands above the line may be called from any thread, and waits for nobody."""

    def __init__(self, sources: Iterable[str], *, finely: bool) -> None:
        """finely: whether the spectrogram may show what was said near the machine (evidence.privacy: audio)."""
        self.states: dict[str, Record] = {}
        self._recent = {source: _Recent() for source in sources}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._viewers: tuple[Viewer, ...] = ()
        self._watched: frozenset[str] = frozenset()
        self._spectra: dict[str, Spectrum] = {}
        self._finely = finely

    def state(self, source: str, record: Record) -> None:
        """Take the newest state of a source (schemas/state.json, with its `scales`)."""
        before, self.states[source] = self.states.get(source), record
        if record["score"] is not None:
            self._recent[source].add(record)
        news = before is None or any(before[key] != record[key] for key in NEWS)
        self._pass_on("state", record, None if news else source)

    def event(self, record: Record) -> None:
        """Take a step of an episode (schemas/event.json)."""
        self._pass_on("event", record)

    def hear(self, source: str, samples: Samples) -> None:
        """Take sound, (T,), 16 kHz: thrown away unless somebody watches."""
        if source in self._watched and self._loop is not None:
            self._loop.call_soon_threadsafe(self._draw, source, samples)

    def recent(self, source: str) -> Record:
        """Return the last ten minutes of a source: `time` (UNIX, s), `score`, `evidence`, `level`, each a list."""
        return self._recent[source].as_lists()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on there is a loop in which somebody may watch."""
        self._loop = loop

    def close(self) -> None:
        """There is no such loop any more: who watches is told, so that nobody waits for them."""
        loop, self._loop, self._watched = self._loop, None, frozenset()
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._say, None)

    def _pass_on(self, kind: str, record: Record, of: str | None = None) -> None:
        if self._viewers and self._loop is not None:
            self._loop.call_soon_threadsafe(self._say, (kind, record), of)

    # --- In the page's loop ---

    def enter(self, viewer: Viewer) -> bool:
        """Let somebody watch; False if there are `MOST_VIEWERS` already."""
        if len(self._viewers) >= MOST_VIEWERS:
            return False
        self._seat((*self._viewers, viewer))
        return True

    def leave(self, viewer: Viewer) -> None:
        """They watch no more."""
        self._seat(tuple(each for each in self._viewers if each is not viewer))

    def _seat(self, viewers: tuple[Viewer, ...]) -> None:
        self._viewers = viewers
        self._watched = frozenset(viewer.source for viewer in viewers)
        self._spectra = {source: self._spectra.get(source) or Spectrum(finely=self._finely) for source in self._watched}

    def _draw(self, source: str, samples: Samples) -> None:
        spectrum = self._spectra.get(source)
        if spectrum is None:
            return
        for columns in spectrum.feed(samples):
            self._say(("columns", {"source": source, "seconds": spectrum.column_seconds, "levels": columns}), source)

    def _say(self, said: Said | None, of: str | None = None) -> None:
        for viewer in self._viewers:
            if of in (None, viewer.source):
                viewer.say(said)


class _Recent:
    """A ring of what states say in numbers."""

    def __init__(self) -> None:
        self._rows: NDArray[np.float64] = np.full((RECENT_HOPS, 4), np.nan)
        self._n = 0
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        row = record["unix"], record["score"], record["evidence"], record["level_dbfs"] or np.nan
        with self._lock:
            self._rows[self._n % RECENT_HOPS] = row
            self._n += 1

    def as_lists(self) -> Record:
        with self._lock:
            rows = np.roll(self._rows, -self._n, axis=0)[-min(self._n, RECENT_HOPS) :] if self._n else self._rows[:0]
        columns = (
            [round(value, 3) if math.isfinite(value) else None for value in column] for column in rows.T.tolist()
        )
        return dict(zip(("time", "score", "evidence", "level"), columns, strict=True))
