"""One source and everything that its sound goes through: the door that joins its rooms.

    LastingSource -> Hearing -> Telling        blocks -> what happened -> messages
                        |
                      Tally, Shown             look on

One thread carries a block from end to end; others may ask how it is, hand in what a person asks for, and end it.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from edge.config import Config, SourceSettings
from edge.daemon import payloads
from edge.daemon.asked import Asked
from edge.daemon.happening import Commanded, Happening, Moment, Standing
from edge.daemon.hearing import Hearing
from edge.daemon.lasting import LastingSource, Lost
from edge.daemon.minutes import Minutes
from edge.daemon.notify import Progress
from edge.daemon.opening import pickup_of
from edge.daemon.payloads import Origin, Record
from edge.daemon.recorder import NUMBERS_FOLDER, EpisodeRecorder
from edge.daemon.remembered import Remembered
from edge.daemon.shared import Shared
from edge.daemon.shown import Shown
from edge.daemon.telling import Telling
from edge.detector import KEEPS_LIVE_SECONDS, Detector, Reading
from edge.errors import EarshotError, shown
from edge.judge import Alarm, Event, Provisional
from edge.memory import EpisodeNumbers, Evidence
from edge.page import Page
from edge.source import SAMPLE_RATE_HZ, Block, Source
from edge.voice import Command, SourceSnapshot

log = logging.getLogger(__name__)

MOST_REASON: Final = 300
"""Letters of why a source is lost: an error may hold a page of somebody's library."""


@dataclass
class Tally:
    """What has been counted since the start. The listening thread writes, others may read.

    latest  the moment of the newest window that was judged, or found to be unfit for it
    """

    samples: int = 0
    hops: int = 0
    episodes: int = 0
    latest: Moment | None = None

    def count(self, happening: Happening) -> None:
        """Look on."""
        match happening:
            case Event(kind="opened"):
                self.episodes += 1
            case Moment(reading=Reading()):
                self.hops += 1
                self.latest = happening


class Listener:
    """Hears a source out, judges what it hears, and says so. `run`, `lose` and `fail` are the listening thread's.

    defect    by which it is lost until the next start, if there was one
    overhear  who is handed each block besides, and may not make it wait; may be set from any thread
    """

    def __init__(
        self,
        settings: SourceSettings,
        detector: Detector,
        config: Config,
        open_source: Callable[[], Source],
        shared: Shared,
        page: Page | None,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        """Open nothing. Raises DetectorError or ConfigError where detector and settings do not fit."""
        self.name = settings.name
        self._shared = shared
        section = detector.section(settings.section)
        if words := detector.mismatch(pickup_of(settings)):
            log.warning("%s: %s", self.name, words)
        self._hop_seconds = detector.plan.hop_seconds
        self._evidence = None
        if shared.clips:
            self._evidence = Evidence(shared.clips, self.name, self._show, keeps_seconds=KEEPS_LIVE_SECONDS)
        self._source = LastingSource(settings, open_source, shared.stop)
        newest = self._evidence.newest if self._evidence else None  # it hears each block before
        self._hearing = Hearing(settings, detector, section, config, newest)
        judge, most_minutes = self._hearing.judge, config.mqtt.largest_shelve_minutes
        self._asked = Asked(self.name, lambda: judge.own_threshold, most_minutes, self._gave_up)
        self._remembered = Remembered(shared.notes, self.name, detector, section, judge)
        origin = Origin(config.node_name, self.name, detector, section)
        self._shown = Shown(page, origin, judge) if page else None
        self._origin = origin
        self._telling = Telling(
            origin,
            shared.publisher,
            self._evidence,
            state_seconds=config.mqtt.state_seconds,
            stop=shared.stop,
            on_record=on_record,
            notifier=shared.notifier,
        )
        history = shared.history
        self._minutes = Minutes(history, self.name, detector, section, judge, config.event) if history else None
        state = config.state_path
        numbers, window_hops = EpisodeNumbers(state / NUMBERS_FOLDER) if state else None, detector.plan.window_hops
        self._recorder = EpisodeRecorder(numbers, self.name, window_hops=window_hops) if numbers else None
        self._tally = Tally()
        self.overhear: Callable[[Block], None] | None = None
        self.defect: str | None = None

    def run(self) -> None:
        """Listen until stopped; a source that is lost is opened again, for ever, one that has ended is not."""
        self._remembered.recall()  # not before: on a reload, the one before us writes until it has ended
        with closing(self._source.heard()) as heard:
            for each in heard:
                if isinstance(each, Lost):
                    self.lose(each)
                else:
                    with self._shared.turns.turn():
                        self._hear(each)
        if self._minutes is not None:
            self._minutes.end()

    def lose(self, lost: Lost) -> None:
        """Nothing more is heard: close the episode, and say so."""
        self._tell(self._hearing.lose(lost))
        self._asked.drop(self.standing)
        self._remembered.keep()

    def fail(self, error: Exception) -> None:
        """It cannot go on: from now on it is lost, and says so as far as it still can. In the listening thread."""
        own = str(error) if isinstance(error, EarshotError) else f"a defect of ours: {type(error).__name__}: {error}"
        self.defect = shown(own)[:MOST_REASON]
        try:
            self.lose(Lost(self.defect, "source_lost"))
        except Exception:
            log.exception("%s: what was open cannot be closed", self.name)
            self._tell([Standing("lost", self.defect)])

    def close(self) -> None:
        """Wake the source if it waits for sound, so that `run` can return. May be called from any thread."""
        self._source.close()

    def alarms(self, threshold: float, since: float) -> list[Alarm]:
        """Return what episodes a threshold would have told of since then (UNIX seconds). Any thread; reads the disk."""
        return [] if self._minutes is None else self._minutes.alarms(threshold, since)

    def obey(self, command: Command) -> str:
        """Take what a person asked for; return what will be done before the next sound. May be called from any thread.

        Raises CommandError where it cannot be done.
        """
        return self._asked.ask(command, self._hearing.judge.episode, self.standing)

    @property
    def standing(self) -> Standing:
        """How it is."""
        return Standing("lost", self.defect) if self.defect else self._telling.standing

    @property
    def commanded(self) -> Commanded:
        """What people have asked for and is in force."""
        until = self._hearing.judge.shelved_until
        return Commanded(until if until > time.monotonic() else None, self._asked.threshold)

    @property
    def judging(self) -> tuple[float, Provisional | None]:
        """How near an alarm is, and how far its machine is known; as in `Moment`."""
        judge = self._hearing.judge
        return judge.evidence if self.standing.status == "listening" else 0.0, judge.provisional

    @property
    def progress(self) -> Progress:
        """How far it has come, for the watchdog."""
        standing = self.standing
        judged = standing.is_scored
        return Progress(self._tally.samples, self._tally.hops, heard=standing.hears, judged=judged)

    @property
    def card(self) -> Record:
        """What it is judged by: the detector, its section, and what it would hear."""
        return payloads.card_of(self._origin, self._hearing.judge)

    def snapshot(self) -> SourceSnapshot:
        """Return what Prometheus is told."""
        now, standing, microphone = self._tally, self.standing, self._source.microphone
        latest, reading = now.latest, now.latest.reading if now.latest else None
        judged = latest if standing.is_scored else None
        provisional = self._hearing.judge.provisional
        return SourceSnapshot(
            name=self.name,
            up=standing.hears,
            frames=now.samples,
            overruns=microphone.overruns if microphone else 0,
            gap_seconds=microphone.gap_seconds if microphone else 0.0,
            level_dbfs=reading.level_dbfs if reading else None,
            score=judged.score if judged else None,
            threshold=self._hearing.judge.threshold,
            shelved_seconds=max(0.0, self._hearing.judge.shelved_until - time.monotonic()),
            threshold_commanded=self._asked.threshold is not None,
            defect=self.defect is not None,
            evidence=judged.evidence if judged else None,
            provisional_hours=provisional.hours if provisional else None,
            lag_seconds=judged.lag_seconds if judged else None,
            windows_dropped=int(microphone.dropped_seconds / self._hop_seconds) if microphone else 0,
            episodes=now.episodes,
            inference=self._hearing.stopwatch.durations,
        )

    def _hear(self, block: Block) -> None:
        """Carry a block from end to end."""
        if block.starts_anew:
            self._tell(self._hearing.begin(block))
        self._tally.samples += block.samples.size
        if (overhear := self.overhear) is not None:
            overhear(block)
        if self._evidence is not None:
            self._evidence.hear(block)
        for command in self._asked.take():
            self._tell(self._hearing.obey(command, block.time + block.samples.size / SAMPLE_RATE_HZ))
        self._tell(self._hearing.hear(block))
        if self._shown is not None:
            self._shown.hear(block)
        self._remembered.hear(block.samples.size / SAMPLE_RATE_HZ)

    def _gave_up(self, command: Command, why: str) -> None:
        log.warning("%s: %s: %s", self.name, command, why)
        self._shared.publisher.answer(self.name, type(command).__name__.lower(), ok=False, words=why)

    def _show(self, png: bytes) -> None:
        self._shared.publisher.image(self.name, png)
        if self._shared.notifier is not None:
            self._shared.notifier.picture(self.name, png)

    def _tell(self, happened: Iterable[Happening]) -> None:
        """Let everybody know who looks on."""
        for happening in happened:
            self._tally.count(happening)
            if self._recorder is not None:
                self._recorder.look(happening)
            if self._minutes is not None:
                self._minutes.hear(happening)
            if self._shown is not None:
                self._shown.see(happening)
            self._telling.tell(happening)
