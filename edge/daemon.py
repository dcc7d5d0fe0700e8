"""The whole line, read aloud: source -> (ring -> frontend -> model -> scorer) -> event -> publisher.

One thread a source; what it hears is scored in that thread and handed to the publisher, which never makes it wait.
The state of the sensor is not the state of the machine: sound that is lost or cannot be trusted ends an episode and is
reported by itself, and is never an anomaly.
"""

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from edge import __version__
from edge import detector as detectors
from edge.calibration import TooLittleSoundError, counting_keys, hours_needed
from edge.config import Config, EventSettings, FolderSettings, SourceSettings, StdinSettings
from edge.detector import Detector, Section
from edge.errors import ConfigError, SourceError
from edge.event import Event, EventDetector, Reason, moved_bands
from edge.frontend import Frontend
from edge.golden import verify
from edge.line import Line, Reading
from edge.notify import notify
from edge.publisher import Publisher
from edge.scorer import ScoreName
from edge.source import Block, FolderSource, Microphone, PcmStream, Source

log = logging.getLogger(__name__)

Status = Literal["waiting", "filling", "listening", "degraded", "lost"]
Record = dict[str, Any]

RETRY_SECONDS: Final = (1.0, 30.0)
"""The shortest and the longest wait before a lost source is opened again; it doubles in between."""


class Daemon:
    """Listens to every source of a configuration until it is told to stop, or until all of them have ended."""

    def __init__(self, config: Config, on_record: Callable[[Record], None] | None = None) -> None:
        """Read and verify every detector; open no source and no connection.

        on_record: if given, called with a JSON-ready record of every reading and event, from the sources' threads.
        Raises DetectorError or ConfigError that names what does not fit.
        """
        self._config = config
        self._node = config.node_name
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._started = time.monotonic()
        self._publisher = Publisher(config.mqtt, node=self._node, sources=[source.name for source in config.sources])
        read = {path: _verified(path) for path in {source.detector for source in config.sources}}
        self._listeners = [
            Listener(source, read[source.detector], config, self._node, self._publisher, self._stop, on_record)
            for source in config.sources
        ]

    def stop(self) -> None:
        """Ask `run` to return: episodes are closed and published first. May be called from a signal handler."""
        self._stop.set()

    def run(self, seconds: float | None = None) -> None:
        """Listen until `stop`, for `seconds` at most, or until every source has ended."""
        self._publisher.start()
        threads = [threading.Thread(target=self._guard, args=(each,), name=each.name) for each in self._listeners]
        for thread in threads:
            thread.start()
        notify("READY=1")
        try:
            self._watch(threads, None if seconds is None else time.monotonic() + seconds)
        finally:
            notify("STOPPING=1")
            self._stop.set()
            for listener, thread in zip(self._listeners, threads, strict=True):
                listener.close()
                thread.join()
            self._publisher.health(self._health())
            self._publisher.close()
        if self._failure is not None:
            raise self._failure

    def _guard(self, listener: "Listener") -> None:
        """A thread that dies alone leaves a daemon that is alive and deaf: it takes the daemon with it."""
        try:
            listener.run()
        except Exception as error:
            log.exception("%s: a defect of ours", listener.name)
            self._failure = error
            self._stop.set()
            listener.lose("a defect of ours", "source_lost")

    def _watch(self, threads: Sequence[threading.Thread], until: float | None) -> None:
        """Say how we are, until there is a reason to stop."""
        next_health = time.monotonic()
        while any(thread.is_alive() for thread in threads) and (until is None or time.monotonic() < until):
            if time.monotonic() >= next_health:
                self._publisher.health(self._health())
                notify(f"STATUS={', '.join(f'{each.name}: {each.status}' for each in self._listeners)}")
                next_health += self._config.mqtt.health_seconds
            if self._stop.wait(0.1):
                return

    def _health(self) -> Record:
        return {
            "schema": 1,
            "time": rfc3339(time.time()),
            "node": self._node,
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "sources": {listener.name: listener.status for listener in self._listeners},
            "mqtt": {"queued": self._publisher.queued, "dropped": self._publisher.dropped},
        }


class Listener:
    """One source and everything that its sound goes through."""

    def __init__(
        self,
        settings: SourceSettings,
        detector: Detector,
        config: Config,
        node: str,
        publisher: Publisher,
        stop: threading.Event,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        self.name = settings.name
        self.status: Status = "waiting"
        self._settings = settings
        self._detector = detector
        self._section = detector.section(settings.section)
        self._score_name, threshold = _deciding_score(config.event, detector, self._section)
        self._line = Line(detector, self._section)
        self._events = EventDetector(config.event, threshold)
        self._edges_hz = Frontend(detector.frontend).band_edges_hz
        self._window_seconds = detector.plan.window_samples / detector.frontend.sample_rate_hz
        self._node = node
        self._publisher = publisher
        self._state_seconds = config.mqtt.state_seconds
        self._stop = stop
        self._on_record = on_record

        self._source: Source | None = None
        self._n_blocks = 0
        self._reason: str | None = None
        self._recording: str | None = None
        self._heard_from = 0.0
        self._next_state = 0.0

    def run(self) -> None:
        """Listen until stopped; a source that is lost is opened again, for ever, one that has ended is not."""
        wait_seconds, longest_seconds = RETRY_SECONDS
        while not self._stop.is_set():
            heard_before = self._n_blocks
            reason = self._listen()
            if self._stop.is_set():
                self.lose("shutting down", "shutdown")
            else:
                self.lose(reason or "the sound has ended", "source_lost")
            if reason is None or isinstance(self._settings, StdinSettings):
                return
            if self._n_blocks > heard_before:
                wait_seconds = RETRY_SECONDS[0]
            self._stop.wait(wait_seconds * random.uniform(1, 1.5))
            wait_seconds = min(2 * wait_seconds, longest_seconds)

    def close(self) -> None:
        """Wake the source if it waits for sound, so that `run` can return. May be called from any thread."""
        if self._source is not None:
            self._source.close()

    def _listen(self) -> str | None:
        """Hear the source out; return why it was lost, or None if it ended by itself or was told to."""
        self._source = _open(self._settings)
        try:
            for block in self._source.blocks():
                if self._stop.is_set():
                    break
                self._n_blocks += 1
                self._hear(block)
        except SourceError as error:
            log.warning("%s: %s", self.name, error)
            return str(error)
        finally:
            self._source.close()
        return None

    def _hear(self, block: Block) -> None:
        if block.starts_anew:
            self._begin(block)
        for reading in self._line.feed(block.samples):
            self._judge(reading)
        if self.status == "filling" and time.monotonic() >= self._next_state:
            heard_seconds = block.time - self._heard_from + block.samples.size / self._detector.frontend.sample_rate_hz
            self._say_state(None, reason=f"{heard_seconds:.1f} of {self._window_seconds:g} s")

    def _begin(self, block: Block) -> None:
        """Nothing connects what follows to what came before."""
        self._tell(self._events.interrupt("source_lost"))
        self._line.reset()
        self._heard_from = block.time
        self._recording = block.recording
        self._enter("filling", None)
        self._publisher.availability(self.name, True)

    def _judge(self, reading: Reading) -> None:
        heard_until = self._heard_from + reading.end_sample / self._detector.frontend.sample_rate_hz
        if reading.fault is not None:
            self._tell(self._events.interrupt("source_lost"))
            self._enter("degraded", reading.fault)
        else:
            self._enter("listening", None)
            statistics = self._section.statistics
            normal = statistics.nearest_normal(reading.band_level)
            bands = moved_bands(reading.band_level, normal, statistics.band_deviation, self._edges_hz)
            self._tell(self._events.step(heard_until, reading.scores[self._score_name], bands))
        self._record(self._reading_record(reading, heard_until))
        if time.monotonic() >= self._next_state:
            self._say_state(reading, heard_until)

    def lose(self, reason: str, why: Reason) -> None:
        """Nothing more is heard: close the episode, and say so."""
        self._tell(self._events.interrupt(why))
        self._enter("lost", reason)
        self._publisher.availability(self.name, False)
        self._say_state(None)

    def _enter(self, status: Status, reason: str | None) -> None:
        if (status, reason) != (self.status, self._reason):
            log.info("%s: %s%s", self.name, status, f" ({reason})" if reason else "")
            self.status, self._reason = status, reason
            self._next_state = 0.0

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            payload = self._event_payload(event)
            self._publisher.event(self.name, payload)
            self._publisher.anomaly(self.name, self._events.episode is not None)
            self._record({"type": "event", **payload})
            log.warning(
                "%s: episode %s: score %.2f (threshold %.2f)", self.name, event.kind, event.score, event.threshold
            )
            self._next_state = 0.0

    def _record(self, record: Record) -> None:
        if self._on_record is not None:
            self._on_record(record)

    def _say_state(self, reading: Reading | None, heard_until: float | None = None, reason: str | None = None) -> None:
        self._next_state = time.monotonic() + self._state_seconds
        now = time.time()
        self._publisher.state(
            self.name,
            {
                "schema": 1,
                "time": rfc3339(heard_until or now),
                "node": self._node,
                "source": self.name,
                "status": self.status,
                "reason": reason or self._reason,
                "score": _rounded(reading.scores.get(self._score_name)) if reading else None,
                "threshold": _rounded(self._events.threshold),
                "level_dbfs": round(reading.level_dbfs, 1) if reading else None,
                "lag_s": round(max(0.0, now - heard_until), 3) if heard_until else 0.0,
                "episode": self._events.episode,
                "recording": self._recording,
            },
        )

    def _event_payload(self, event: Event) -> Record:
        return {
            "schema": 1,
            "id": event.id,
            "kind": event.kind,
            "time": rfc3339(event.time),
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
            "detector": {
                "name": self._detector.card.name,
                "version": self._detector.card.version,
                "sha256": self._detector.sha256,
            },
            "clip": None,
            "delayed": False,
            "clock_synced": clock_synced(),
        }

    def _reading_record(self, reading: Reading, heard_until: float) -> Record:
        return {
            "type": "reading",
            "source": self.name,
            "recording": self._recording,
            "time": rfc3339(heard_until),
            "end_sample": reading.end_sample,
            "score": reading.scores.get(self._score_name),
            "threshold": self._events.threshold,
            "level_dbfs": reading.level_dbfs,
            "fault": reading.fault,
        }


def rfc3339(unix_seconds: float) -> str:
    """Return a time as `2026-11-23T21:45:00.123Z`."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_synced() -> bool | None:
    """Whether the clock has been set since the boot, as far as systemd-timesyncd tells; None where it does not run."""
    if not Path("/run/systemd/timesync").is_dir():
        return None
    return Path("/run/systemd/timesync/synchronized").exists()


def _verified(path: Path) -> Detector:
    detector = detectors.read(path)
    verify(detector)
    return detector


def _deciding_score(settings: EventSettings, detector: Detector, section: Section) -> tuple[ScoreName, float]:
    """Return which score decides and its threshold: the configuration's word, else the detector's."""
    name: ScoreName = settings.score or detector.card.score
    if name not in section.calibration:
        raise ConfigError(
            f"event.score: {name}: expected one of {', '.join(section.calibration)}, which is what "
            f"{detector.path} has for {section.card.name}"
        )
    if settings.false_alarms_per_week is not None:
        return name, _weekly_threshold(settings, settings.false_alarms_per_week, detector, section, name)
    return name, section.card.thresholds[name] if settings.threshold is None else settings.threshold


def _weekly_threshold(
    settings: EventSettings, per_week: float, detector: Detector, section: Section, name: ScoreName
) -> float:
    key, what = "event.false_alarms_per_week", f"{detector.path}: {section.card.name}"
    weekly = section.card.weekly
    if weekly is None or name not in section.weekly:
        raise ConfigError(
            f"{key}: {what} was made from too little unbroken normal sound to know its false alarms a week: expected "
            f"null, or a detector that heard at least {hours_needed(per_week):.3g} hours (`earshot enroll`)"
        )
    if (own := counting_keys(settings)) != weekly.event:
        other = ", ".join(f"{k} {own[k]} (expected {v})" for k, v in weekly.event.items() if own.get(k) != v)
        raise ConfigError(f"{key}: {what} counted its episodes by other rules: event.{other}")
    try:
        found = section.weekly[name].at(per_week, what)
    except TooLittleSoundError as error:
        raise ConfigError(f"{key}: {error}") from error
    log.info(
        "%s: threshold %.3f of %s: %.3g false alarms a week predicted (%.2g to %.2g with 90 %%), from %.3g hours of "
        "normal sound",
        what,
        found.threshold,
        name,
        found.predicted,
        *found.interval,
        found.hours,
    )
    return found.threshold


def _open(settings: SourceSettings) -> Source:
    if isinstance(settings, FolderSettings):
        return FolderSource(settings.path, channel=settings.channel, realtime=settings.realtime, loop=settings.loop)
    if isinstance(settings, StdinSettings):
        return PcmStream(
            sys.stdin.buffer,
            rate_hz=settings.rate_hz,
            channels=settings.channels,
            channel=settings.channel,
            sample_format=settings.format,
        )
    return Microphone(settings.device, channel=settings.channel, rate_hz=settings.rate_hz)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
