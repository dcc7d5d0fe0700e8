"""From scores to episodes, in the words of ISA-18.2 / IEC 62682: on-delay, off-delay, deadband.

An episode opens when enough of the newest windows were above the threshold, is updated while it lasts, and closes when
the score has stayed below the deadband for the off-delay, when its source is lost, at shutdown, or after the longest
time allowed. It has one id from beginning to end. All times are those of the sound, never of a clock on the wall.
"""

import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings

Kind = Literal["opened", "updated", "closed"]
Reason = Literal["recovered", "source_lost", "shutdown", "max_duration", "shelved"]


@dataclass(frozen=True)
class Band:
    """A stretch of the spectrum that moved: from `hz_lo` to `hz_hi`, by `delta_db` against normal."""

    hz_lo: float
    hz_hi: float
    delta_db: float


@dataclass(frozen=True)
class Event:
    """One step of an episode. `time` is that of the sound that caused it, as `step` was told."""

    id: str
    kind: Kind
    time: float
    score: float
    peak: float
    threshold: float
    duration_s: float
    bands: Sequence[Band] = ()
    reason: Reason | None = None
    acknowledged: bool = False


@dataclass
class _Episode:
    id: str
    opened: float
    updated: float
    peak: float
    score: float
    bands: Sequence[Band]
    low_since: float | None = None
    acknowledged: bool = False


@dataclass
class EventDetector:
    """Has it been loud for long enough? The only memory of the line beyond its window."""

    settings: EventSettings
    threshold: float
    _above: deque[bool] = field(init=False)
    _episode: _Episode | None = field(init=False, default=None)
    _latest: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._above = deque(maxlen=self.settings.on_delay.of)

    @property
    def episode(self) -> str | None:
        """Id of the open episode, if there is one."""
        return self._episode.id if self._episode else None

    def step(self, time: float, score: float, bands: Sequence[Band] = ()) -> list[Event]:
        """Take the score of the window that ends at `time` (s, of a clock that runs forward); say what happened."""
        self._latest = time
        self._above.append(score > self.threshold)
        if self._episode is None:
            return self._open(time, score, bands) if sum(self._above) >= self.settings.on_delay.windows else []
        return self._follow(self._episode, time, score, bands)

    def interrupt(self, reason: Reason) -> list[Event]:
        """End the open episode because nothing more is heard; forget the windows before the gap."""
        self._above.clear()
        return self._close(self._episode, self._latest, reason) if self._episode else []

    def acknowledge(self, episode: str | None = None) -> bool:
        """Note that a person knows of the open episode; whether it is the one that is meant (None: whichever)."""
        if self._episode is None or episode not in (None, self._episode.id):
            return False
        self._episode.acknowledged = True
        return True

    def _open(self, time: float, score: float, bands: Sequence[Band]) -> list[Event]:
        self._episode = _Episode(uuid.uuid4().hex, time, time, score, score, bands)
        return [self._event(self._episode, "opened", time)]

    def _follow(self, episode: _Episode, time: float, score: float, bands: Sequence[Band]) -> list[Event]:
        settings = self.settings
        episode.score = score
        if score > episode.peak:
            episode.peak, episode.bands = score, bands

        # A threshold of the classifier's confidence may be negative.
        if score >= self.threshold - settings.deadband * abs(self.threshold):
            episode.low_since = None
        elif episode.low_since is None:
            episode.low_since = time

        if episode.low_since is not None and time - episode.low_since >= settings.off_delay_seconds:
            return self._close(episode, time, "recovered")
        if time - episode.opened >= 60 * settings.max_episode_minutes:
            return self._close(episode, time, "max_duration")
        if time - episode.updated >= settings.update_seconds:
            episode.updated = time
            return [self._event(episode, "updated", time)]
        return []

    def _close(self, episode: _Episode, time: float, reason: Reason) -> list[Event]:
        self._episode = None
        self._above.clear()
        return [self._event(episode, "closed", time, reason)]

    def _event(self, episode: _Episode, kind: Kind, time: float, reason: Reason | None = None) -> Event:
        return Event(
            id=episode.id,
            kind=kind,
            time=time,
            score=episode.score,
            peak=episode.peak,
            threshold=self.threshold,
            duration_s=time - episode.opened,
            bands=episode.bands,
            reason=reason,
            acknowledged=episode.acknowledged,
        )


MIN_DELTA_DB: Final = 1.0
MIN_DEVIATIONS: Final = 3.0
"""A band has moved if it did so by more than both: an ear notices 1 dB, and 3 deviations are not this band's habit."""

MAX_BANDS: Final = 5


def moved_bands(
    level_db: NDArray[np.float32],
    normal_db: NDArray[np.float32],
    deviation_db: NDArray[np.float32],
    edges_hz: NDArray[np.float64],
) -> list[Band]:
    """Say why: the stretches of neighbouring mel bands that rose or fell, the furthest first, at most `MAX_BANDS`.

    level_db, normal_db, deviation_db: (M,), dB; edges_hz: the corners of the mel triangles, (M + 2,).
    """
    delta = level_db - normal_db
    moved = np.abs(delta) > np.maximum(MIN_DELTA_DB, MIN_DEVIATIONS * deviation_db)
    direction = np.where(moved, np.sign(delta), 0)
    borders = [0, *(np.flatnonzero(np.diff(direction)) + 1), direction.size]
    bands = [
        Band(round(float(edges_hz[a]), 1), round(float(edges_hz[b + 1]), 1), round(float(delta[a:b].mean()), 1))
        for a, b in pairwise(borders)
        if direction[a] != 0
    ]
    return sorted(bands, key=lambda band: -abs(band.delta_db))[:MAX_BANDS]
