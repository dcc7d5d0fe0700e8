"""One source and everything that its sound goes through: source -> sensor -> line -> judge -> publisher.

The state of the sensor is not the state of the machine: sound that is lost or cannot be trusted ends an episode and is
reported by itself, and is never an anomaly.
"""

import logging
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from edge import clock
from edge.config import Config, FolderSettings, MicrophoneSettings, SourceSettings, StdinSettings
from edge.daemon.notify import Progress
from edge.detector import Detector, Judge, Line, Reading
from edge.errors import SourceError
from edge.judge import Event, Reason, SensorHealth
from edge.memory import Evidence
from edge.source import SAMPLE_RATE_HZ, Block, Microphone, Source, wait_for_change
from edge.voice import Acknowledge, Command, CommandError, Publisher, Shelve, SourceSnapshot, Stopwatch, Threshold

log = logging.getLogger(__name__)

Status = Literal["waiting", "filling", "listening", "degraded", "lost"]
Record = dict[str, Any]

RETRY_SECONDS: Final = (1.0, 30.0)
"""The shortest and the longest wait before a lost source is opened again; it doubles in between, and ends early when a
card comes or goes."""

MOST_ASKED_FOR: Final = 100
"""Commands that may wait for the next sound: a source may be lost for days."""


@dataclass
class Tally:
    """What has been counted since the start. The listener's own thread writes, others may read."""

    samples: int = 0
    hops: int = 0
    episodes: int = 0
    lag_seconds: float | None = None
    score: float | None = None
    level_dbfs: float | None = None


class Listener:
    """Hears a source out, judges what it hears, and says so; opens it again for ever when it is lost."""

    def __init__(
        self,
        settings: SourceSettings,
        detector: Detector,
        config: Config,
        open_source: Callable[[], Source],
        publisher: Publisher,
        evidence: Evidence | None,
        stop: threading.Event,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        """Open nothing. Raises DetectorError or ConfigError where detector and settings do not fit."""
        self.name = settings.name
        self.status: Status = "waiting"
        self._tally = Tally()
        self._stopwatch = Stopwatch()
        self._settings = settings
        self._detector = detector
        self._section = detector.section(settings.section)
        self._judge = Judge(config.event, detector, self._section)
        self._line = Line(detector, self._section)
        normal = self._section.statistics
        self._sensor = SensorHealth(config.sensor, normal.band_mean, normal.band_deviation)
        self._window_seconds = detector.plan.window_samples / detector.frontend.sample_rate_hz
        self._hop_seconds = detector.plan.hop_seconds
        self._node = config.node_name
        self._open_source = open_source
        self._publisher = publisher
        self._evidence = evidence
        self._state_seconds = config.mqtt.state_seconds
        self._stop = stop
        self._on_record = on_record

        self._source: Source | None = None
        self._reason: str | None = None
        self._recording: str | None = None
        self._distrusted = False
        self._heard_from, self._begun_sample = 0.0, 0
        self._next_state = 0.0
        self._asked_for: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def run(self) -> None:
        """Listen until stopped; a source that is lost is opened again, for ever, one that has ended is not."""
        wait_seconds, longest_seconds = RETRY_SECONDS
        while not self._stop.is_set():
            heard_before = self._tally.samples
            reason = self._listen()
            if self._stop.is_set():
                self.lose("shutting down", "shutdown")
            else:
                self.lose(reason or "the sound has ended", "source_lost")
            if reason is None or isinstance(self._settings, StdinSettings):
                return
            if self._tally.samples > heard_before:
                wait_seconds = RETRY_SECONDS[0]
            if wait_for_change(min(wait_seconds * random.uniform(1, 1.5), longest_seconds), self._stop):
                wait_seconds = RETRY_SECONDS[0]
                self._stop.wait(wait_seconds)  # udev has to give a card that came to our group first
            else:
                wait_seconds = min(2 * wait_seconds, longest_seconds)

    def close(self) -> None:
        """Wake the source if it waits for sound, so that `run` can return. May be called from any thread."""
        if self._source is not None:
            self._source.close()

    @property
    def in_words(self) -> str:
        """How it is, for a person."""
        return f"{self.status} ({self._reason})" if self._reason else self.status

    @property
    def _hears(self) -> bool:
        return self.status in ("filling", "listening", "degraded")

    @property
    def progress(self) -> Progress:
        """How far it has come, for the watchdog."""
        judged = self.status == "listening"
        return Progress(self._tally.samples, self._tally.hops, heard=self._hears, judged=judged)

    def snapshot(self) -> SourceSnapshot:
        """Return what Prometheus is told."""
        now = self._tally
        listening = self.status == "listening"
        microphone = self._source if isinstance(self._source, Microphone) else None
        return SourceSnapshot(
            name=self.name,
            up=self._hears,
            frames=now.samples,
            overruns=microphone.overruns if microphone else 0,
            gap_seconds=microphone.gap_seconds if microphone else 0.0,
            level_dbfs=now.level_dbfs,
            score=now.score if listening else None,
            threshold=self._judge.threshold,
            lag_seconds=now.lag_seconds if listening else None,
            windows_dropped=int(microphone.dropped_seconds / self._hop_seconds) if microphone else 0,
            episodes=now.episodes,
            inference=self._stopwatch.durations,
        )

    def obey(self, command: Command) -> str:
        """Take what a person asked for; return what will be done before the next sound. May be called from any thread.

        Raises CommandError where it cannot be done.
        """
        match command:
            case Acknowledge(episode):
                there = self._judge.episode
                if there is None or episode not in (None, there):
                    raise CommandError(f"acknowledge: got {episode or 'the open one'}, but open is {there or 'none'}")
                said = f"{there} is known of"
            case Shelve(minutes):
                said = f"no episode opens for {minutes:g} min" if minutes else "episodes open again"
            case Threshold(value):
                said = (
                    f"the threshold is {'the configured one' if value is None else f'{value:g}'} until the next start"
                )
        if self._asked_for.qsize() >= MOST_ASKED_FOR:
            raise CommandError(f"got more than {MOST_ASKED_FOR} commands since {self.name} was heard: expected fewer")
        self._asked_for.put(command)
        return said

    # --- The source ---

    def _listen(self) -> str | None:
        """Hear the source out; return why it was lost, or None if it ended by itself or was told to."""
        self._source = self._open_source()
        self._sensor.reset()
        try:
            for block in self._source.blocks():
                if self._stop.is_set():
                    break
                self._hear(block)
        except SourceError as error:
            return str(error)
        finally:
            self._source.close()
        return None

    def _hear(self, block: Block) -> None:
        if block.starts_anew:
            if isinstance(self._settings, FolderSettings):  # each recording stands for itself
                self._sensor.reset()
            self._begin(block)
        self._tally.samples += block.samples.size
        end = block.time + block.samples.size / SAMPLE_RATE_HZ
        # Not once at the beginning: a stretch may last for months, and follows its card's crystal.
        self._heard_from = block.time - (block.start_sample - self._begun_sample) / SAMPLE_RATE_HZ
        if self._evidence is not None:
            self._evidence.hear(block)
        self._do_what_was_asked(end)
        arrived = time.monotonic() if isinstance(self._settings, MicrophoneSettings) else None
        if (fault := self._sensor.hear(block.samples, arrived)) is not None:
            self._distrust(fault)
        elif self._distrusted:
            self._begin(block)  # what was heard before is no part of any window
        if not self._distrusted:
            self._score(block)
        if self.status in ("filling", "degraded") and time.monotonic() >= self._next_state:
            self._say_state(None, end)

    def _score(self, block: Block) -> None:
        started = time.perf_counter()
        readings = self._line.feed(block.samples)
        for _ in readings:
            self._stopwatch.add((time.perf_counter() - started) / len(readings))
        for reading in readings:
            self._weigh(reading)

    def _begin(self, block: Block) -> None:
        """Nothing connects what follows to what came before."""
        self._tell(self._judge.interrupt("source_lost"))
        self._line.reset()
        self._heard_from, self._begun_sample = block.time, block.start_sample
        self._recording = block.recording
        self._distrusted = False
        self._enter("filling", None)
        self._publisher.availability(self.name, True)

    def _do_what_was_asked(self, now: float) -> None:
        while not self._asked_for.empty():
            command = self._asked_for.get()
            log.info("%s: %s", self.name, command)
            match command:
                case Acknowledge(episode):
                    self._judge.acknowledge(episode)
                case Shelve(minutes):
                    self._tell(self._judge.shelve(now + 60 * minutes if minutes else -math.inf))
                case Threshold(value):
                    self._judge.threshold = value
            self._next_state = 0.0

    def _distrust(self, fault: str) -> None:
        """The sensor is not well: whatever it hears is not the machine, until it has been well for a while."""
        if not self._distrusted:
            self._tell(self._judge.interrupt("source_lost"))
            self._line.reset()
        self._distrusted = True
        self._enter("degraded", fault)

    def _weigh(self, reading: Reading) -> None:
        self._tally.hops += 1
        heard_until = self._heard_from + reading.end_sample / SAMPLE_RATE_HZ
        self._tally.lag_seconds = max(0.0, time.monotonic() - heard_until)
        self._tally.level_dbfs = reading.level_dbfs
        score = self._judge.score_of(reading)
        fault = reading.fault or self._sensor.level(reading.band_level)
        if score is None or fault is not None:
            self._tell(self._judge.interrupt("source_lost"))
            self._enter("degraded", fault)
        else:
            self._tally.score = score
            self._enter("listening", None)
            self._tell(self._judge.hear(reading, heard_until))
        self._record(self._reading_record(reading, heard_until))
        if time.monotonic() >= self._next_state:
            self._say_state(reading, heard_until)

    def lose(self, reason: str, why: Reason) -> None:
        """Nothing more is heard: close the episode, and say so."""
        self._tell(self._judge.interrupt(why))
        if self._evidence is not None:
            self._evidence.flush()
        self._enter("lost", reason)
        self._publisher.availability(self.name, False)
        self._say_state(None, None)

    # --- What is said ---

    def _enter(self, status: Status, reason: str | None) -> None:
        if (status, reason) != (self.status, self._reason):
            # Said once, not at each attempt: a card that is away for a month would fill the journal.
            unwell = status in ("lost", "degraded") and not self._stop.is_set()
            level = logging.WARNING if unwell else logging.INFO
            log.log(level, "%s: %s%s", self.name, status, f" ({reason})" if reason else "")
            self.status, self._reason = status, reason
            self._next_state = 0.0

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._evidence is not None and event.kind == "opened":
                self._evidence.opened(event.id, event.time)
            if event.kind == "opened":
                self._tally.episodes += 1
            payload = self._event_payload(event)
            self._publisher.event(self.name, payload)
            self._publisher.anomaly(self.name, self._judge.episode is not None)
            self._record({"type": "event", **payload})
            if self._evidence is not None and event.kind == "closed":
                self._evidence.closed(event.id)
            log.warning(
                "%s: episode %s: score %.2f (threshold %.2f)", self.name, event.kind, event.score, event.threshold
            )
            self._next_state = 0.0

    def _record(self, record: Record) -> None:
        if self._on_record is not None:
            self._on_record(record)

    def _say_state(self, reading: Reading | None, heard_until: float | None) -> None:
        now = time.monotonic()
        self._next_state = now + self._state_seconds
        reason = self._reason
        if self.status == "filling" and heard_until is not None:
            reason = f"{heard_until - self._heard_from:.1f} of {self._window_seconds:g} s"
        self._publisher.state(
            self.name,
            {
                "schema": 1,
                "time": clock.rfc3339(clock.utc(now if heard_until is None else heard_until)),
                "node": self._node,
                "source": self.name,
                "status": self.status,
                "reason": reason,
                "score": _rounded(self._judge.score_of(reading)) if reading else None,
                "threshold": _rounded(self._judge.threshold),
                "level_dbfs": round(reading.level_dbfs, 1) if reading else None,
                "lag_s": 0.0 if heard_until is None else round(max(0.0, now - heard_until), 3),
                "episode": self._judge.episode,
                "shelved_until": self._shelved_until(now),
                "recording": self._recording,
            },
        )

    def _shelved_until(self, now: float) -> str | None:
        until = self._judge.shelved_until
        return clock.rfc3339(clock.utc(until)) if until > now else None

    def _event_payload(self, event: Event) -> Record:
        card = self._detector.card
        return {
            "schema": 1,
            "id": event.id,
            "kind": event.kind,
            "time": clock.rfc3339(clock.utc(event.time)),
            "node": self._node,
            "source": self.name,
            "machine": self._section.card.machine,
            "section": self._section.card.section,
            "score": _rounded(event.score),
            "peak": _rounded(event.peak),
            "threshold": _rounded(event.threshold),
            "duration_s": round(event.duration_s, 3),
            "bands": [asdict(band) for band in event.bands],
            **({"reason": event.reason} if event.reason else {}),
            "acknowledged": event.acknowledged,
            "detector": {"name": card.name, "version": card.version, "sha256": self._detector.sha256},
            "clip": self._evidence.clip_name(event.id) if self._evidence else None,
            "delayed": False,
            "clock_synced": clock.synced(),
        }

    def _reading_record(self, reading: Reading, heard_until: float) -> Record:
        return {
            "type": "reading",
            "source": self.name,
            "recording": self._recording,
            "time": clock.rfc3339(clock.utc(heard_until)),
            "end_sample": reading.end_sample,
            "score": self._judge.score_of(reading),
            "threshold": self._judge.threshold,
            "level_dbfs": reading.level_dbfs,
            "fault": reading.fault,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
