"""From scores to episodes, in the words of ISA-18.2 / IEC 62682: on-delay, off-delay.

An episode opens when the evidence of enough of the newest windows is rarer than the rate of false alarms allows, over
whichever scale; it says which. It is updated while it lasts, and closes when the sound is nearer to ordinary again than
to the fault, when its source is lost, at shutdown, or after the longest time allowed. It has one id from beginning to
end. All times are those of the sound, never of a clock on the wall.
"""

import math
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings
from edge.judge.evidence import NOTHING, Evidence, Recovery, Surprise
from edge.judge.off_delay import OffDelay
from edge.judge.ordinary import Ordinary
from edge.judge.why import Cause

Kind = Literal["opened", "updated", "closed"]
Reason = Literal["recovered", "source_lost", "shutdown", "max_duration", "shelved"]


@dataclass(frozen=True)
class Band:
    """A stretch of the spectrum that moved: from `hz_lo` to `hz_hi`, by `delta_db` against normal."""

    hz_lo: float
    hz_hi: float
    delta_db: float


@dataclass(frozen=True)
class Basis:
    """What an episode was opened by: the mean over so many seconds, against what was held to be ordinary.

    against      `enrolment`: all that the machine is known for. `recently`: what it had sounded like just before
    probability  that ordinary sound looks like this
    """

    seconds: float
    against: Literal["enrolment", "recently"]
    probability: float


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
    basis: Basis
    bands: Sequence[Band] = ()
    reason: Reason | None = None
    acknowledged: bool = False
    why: Cause | None = None


@dataclass
class _Episode:
    id: str
    opened: float
    updated: float
    peak: float
    score: float
    basis: Basis
    bands: Sequence[Band]
    recovery: Recovery
    acknowledged: bool = False
    why: Cause | None = None


class EventDetector:
    """Has it been unlike this machine for long enough? With its evidence, the only memory beyond the line's window."""

    def __init__(self, settings: EventSettings, evidence: Evidence, *, rate: float, threshold: float) -> None:
        """rate: of false alarms, (0, 1]. threshold: the score that a single window has to exceed at that rate."""
        self.settings = settings
        self.rate = rate
        self.threshold = threshold
        self.surprise = NOTHING
        self._evidence = evidence
        self._off_delay = OffDelay(settings.off_delay_seconds, evidence.hop_seconds)
        self._newest: deque[float] = deque(maxlen=settings.on_delay.of)
        self._episode: _Episode | None = None
        self._latest: float | None = None

    @property
    def episode(self) -> str | None:
        """Id of the open episode, if there is one."""
        return self._episode.id if self._episode else None

    @property
    def spoken(self) -> Sequence[Surprise]:
        """What each scale of the evidence says of the newest window; none where nothing is heard."""
        return () if self.surprise is NOTHING else self._evidence.spoken

    @property
    def held(self) -> float:
        """The least rate of false alarms, (0, 1], at which enough of the newest windows would open an episode."""
        enough = self.settings.on_delay.windows
        return sorted(self._newest)[enough - 1] if len(self._newest) >= enough else 1.0

    @property
    def averages(self) -> tuple[float | None, ...]:
        """The newest mean of the log score over each scale of the evidence; None where one waits."""
        return self._evidence.averages

    def step(
        self, time: float, score: float, log_score: float, moved: Callable[[], Sequence[Band]] = tuple
    ) -> list[Event]:
        """Take the score of the window that ends at `time` (s, of a clock that runs forward); say what happened.

        moved: asked for the bands that moved, where that is said.
        """
        surprise = self._weigh(time, log_score, learn=self._episode is None)
        self._newest.append(surprise.probability)
        if self._episode is not None:
            return self._follow(self._episode, time, score, log_score, moved)
        return self._open(time, score, surprise, moved()) if self.held <= self.rate else []

    def pass_over(self, time: float, log_score: float) -> None:
        """Take a window that opens nothing and teaches nothing, because a person asked for quiet."""
        self._weigh(time, log_score, learn=False)

    def set_aside(self) -> None:
        """Forget how rare the newest windows were: they belong to what is not to be judged."""
        self._newest.clear()

    def interrupt(self, reason: Reason) -> list[Event]:
        """End the open episode because nothing more is heard; forget the windows before the gap."""
        self._newest.clear()
        self.surprise = NOTHING
        return self._close(self._episode, self._latest or 0.0, reason) if self._episode else []

    def forget(self) -> None:
        """Nothing connects what comes with what came before: it is another recording."""
        self._evidence.forget()
        self._off_delay.forget()
        self._latest = None

    def believe(self, ordinary: Ordinary, known_level: float | None = None) -> None:
        """Hold what comes against another belief of what is ordinary; the run's own past stays.

        known_level: log score up to which the machine's conditions are known to reach, if any is.
        """
        self._evidence.ordinary = ordinary
        self._evidence.known_level = known_level

    def acknowledge(self, episode: str | None = None) -> bool:
        """Note that a person knows of the open episode; whether it is the one that is meant (None: whichever).

        It is told with the next window: others are about to go and look, too.
        """
        if self._episode is None or episode not in (None, self._episode.id):
            return False
        if not self._episode.acknowledged:
            self._episode.acknowledged, self._episode.updated = True, -math.inf
        return True

    def explain(self, cause: Cause) -> None:
        """Note what the open episode is, for what will be said of it."""
        if self._episode is not None:
            self._episode.why = cause

    def _weigh(self, time: float, log_score: float, *, learn: bool) -> Surprise:
        if self._latest is not None:
            self._evidence.miss(max(0, round((time - self._latest) / self._evidence.hop_seconds) - 1))
        self._latest = time
        self.surprise = self._evidence.step(log_score, learn=learn)
        return self.surprise

    def _open(self, time: float, score: float, surprise: Surprise, bands: Sequence[Band]) -> list[Event]:
        assert surprise.scale is not None
        against: Literal["enrolment", "recently"] = "recently" if surprise.is_step else "enrolment"
        basis = Basis(surprise.scale.seconds, against, surprise.probability)
        recovery = Recovery(
            surprise,
            self._evidence.deviation,
            off_hops=max(1, self._off_delay.hops),
            calm_hops=max(1, self._off_delay.opened(time)),
        )
        self._episode = _Episode(uuid.uuid4().hex, time, time, score, score, basis, bands, recovery)
        return [self._event(self._episode, "opened", time)]

    def _follow(
        self, episode: _Episode, time: float, score: float, log_score: float, moved: Callable[[], Sequence[Band]]
    ) -> list[Event]:
        episode.score = score
        if score > episode.peak:
            episode.peak, episode.bands = score, moved()
        if episode.recovery.step(log_score):
            return self._close(episode, time, "recovered")
        if time - episode.opened >= 60 * self.settings.max_episode_minutes:
            return self._close(episode, time, "max_duration")
        if time - episode.updated >= self.settings.update_seconds:
            episode.updated = time
            return [self._event(episode, "updated", time)]
        return []

    def _close(self, episode: _Episode, time: float, reason: Reason) -> list[Event]:
        self._episode = None
        self._newest.clear()
        came_back = reason == "recovered"
        # What enrolment itself would report is no habit of the machine, however often it comes and goes.
        self._evidence.restart(came_back=came_back and episode.basis.against == "recently")
        if came_back:
            self._off_delay.recovered(time)
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
            basis=episode.basis,
            bands=episode.bands,
            reason=reason,
            acknowledged=episode.acknowledged,
            why=episode.why,
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
