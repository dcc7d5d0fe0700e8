"""One source's sound, judged: sensor -> line -> judge. Blocks and commands in, what happened out; it tells nobody.

The state of the sensor is not the state of the machine: sound that is lost or cannot be trusted ends an episode and is
reported by itself, and is never an anomaly.
"""

import math
import time
from collections.abc import Sequence
from typing import Final

from edge.config import Config, FolderSettings, MicrophoneSettings, SourceSettings
from edge.daemon.happening import Happening, Moment, Standing
from edge.daemon.lasting import Lost
from edge.detector import KEEPS_LIVE_SECONDS, Detector, Explaining, Judge, Line, Reading, Section
from edge.ear import Newest
from edge.judge import SensorHealth
from edge.source import SAMPLE_RATE_HZ, Block, Samples
from edge.voice import Acknowledge, Command, Shelve, Stopwatch, Threshold

UNTAUGHT: Final = "not taught yet: it has never sounded like the example that it is judged by, so there is no alarm"


def knows_machine_of(settings: SourceSettings, detector: Detector) -> bool:
    """Return whether what a source hears is judged from its first window on.

    To the example that comes with Earshot, of a simulated pump, each machine of this world sounds wrong: a microphone's
    has to sound like it once. What was enrolled knows its machine, which may be faulty from the first minute on; so may
    what is played, or piped.
    """
    return not (detector.is_example and isinstance(settings, MicrophoneSettings))


class Hearing:
    """What is known of one source's sound: where its stretch began, and whether the sensor is unwell.

    judge      its threshold and its open episode may be read from any thread
    stopwatch  how long each window took; may be read from any thread

    All methods are for the listening thread, and return what happened, in its order.
    """

    def __init__(
        self,
        settings: SourceSettings,
        detector: Detector,
        section: Section,
        config: Config,
        newest: Newest | None = None,
    ) -> None:
        """Raise ConfigError where detector and settings do not fit. newest: as for `Line`, if somebody keeps it."""
        # What is heard over and over is no new sound to learn from.
        repeats = isinstance(settings, FolderSettings) and settings.loop
        self.judge = Judge(config.event, detector, section, learns=not repeats)
        self._is_known = knows_machine_of(settings, detector)
        self.stopwatch = Stopwatch()
        self._settings = settings
        keeps = config.evidence.privacy != "off"
        self._line = Line(detector, section, keeps_seconds=KEEPS_LIVE_SECONDS if keeps else 0.0, newest=newest)
        self._explaining = Explaining(self._line, self.judge, section)
        normal = section.statistics
        self._sensor = SensorHealth(config.sensor, normal.band_mean, normal.band_deviation)
        self._recording: str | None = None
        self._begun_sample = 0
        self._unwell = False
        self._window_seconds = detector.plan.window_samples / SAMPLE_RATE_HZ
        self._recording_seconds = math.inf

    def begin(self, block: Block) -> list[Happening]:
        """Nothing connects `block`, which is heard next, to what came before."""
        if block.starts_anew and isinstance(self._settings, FolderSettings):  # each recording stands for itself
            self._sensor.reset()
            self.judge.forget()
            self._explaining.forget()
        events = self.judge.interrupt("source_lost")
        too_short = self._too_short if block.starts_anew else None
        if block.starts_anew:
            self._recording_seconds = 0.0
        self._line.reset()
        self._recording, self._begun_sample = block.recording, block.start_sample
        self._unwell = False
        return [*events, Standing("degraded", too_short) if too_short else Standing("filling")]

    def hear(self, block: Block) -> list[Happening]:
        """Judge the windows that a block completes. One that starts anew has to be announced to `begin`."""
        end = block.time + block.samples.size / SAMPLE_RATE_HZ
        self._recording_seconds += block.samples.size / SAMPLE_RATE_HZ
        arrived = time.monotonic() if isinstance(self._settings, MicrophoneSettings) else None
        if (fault := self._sensor.hear(block.samples, arrived)) is not None:
            if self._sensor.is_dead and not self._unwell:
                self._read(block.samples)  # those windows have no score, and the first that is whole again has
            else:
                self._unwell = True
            return [*self._distrust(fault), self._moment(end)]

        happened = self.begin(block) if self._unwell else []  # what was heard before is no part of any window
        # Not once at the beginning: a stretch may last for months, and follows its card's crystal.
        heard_from = block.time - (block.start_sample - self._begun_sample) / SAMPLE_RATE_HZ
        readings = self._read(block.samples)
        for reading in readings:
            happened += self._weigh(reading, heard_from)
        return happened if readings else [*happened, self._moment(end, end - heard_from)]

    def obey(self, command: Command, now: float) -> list[Happening]:
        """Do what a person asked for. now: of the sound, s."""
        match command:
            case Acknowledge(episode):
                self.judge.acknowledge(episode)
            case Shelve(minutes):
                return [command, *self.judge.shelve(now + 60 * minutes if minutes else -math.inf)]
            case Threshold(value):
                self.judge.threshold = value
        return [command]

    def lose(self, lost: Lost) -> list[Happening]:
        """Nothing more is heard: whatever was open is closed, and the sensor gets another chance."""
        events = self.judge.interrupt(lost.why)
        self._sensor.reset()
        too_short = None if lost.why == "shutdown" else self._too_short  # else it may only not have had its time
        reason = "; ".join([lost.reason, *([too_short] if too_short else [])])
        return [*events, Standing(lost.status, reason), self._moment(None)]

    @property
    def _too_short(self) -> str | None:
        """Say so if the newest recording of a folder was shorter than a window: each stands for itself."""
        if not isinstance(self._settings, FolderSettings) or self._recording_seconds >= self._window_seconds:
            return None
        return f"recordings shorter than {self._window_seconds:g} s"

    def _distrust(self, fault: str | None) -> list[Happening]:
        """Whatever this is, it is not the machine."""
        return [*self.judge.interrupt("source_lost"), Standing("degraded", fault)]

    def _read(self, samples: Samples) -> Sequence[Reading]:
        started = time.perf_counter()
        readings = self._line.feed(samples)
        for _ in readings:
            self.stopwatch.add((time.perf_counter() - started) / len(readings))
        return readings

    def _weigh(self, reading: Reading, heard_from: float) -> list[Happening]:
        """Judge a window, unless it cannot be trusted. heard_from: when its stretch began, s."""
        heard_seconds = reading.end_sample / SAMPLE_RATE_HZ
        heard_until = heard_from + heard_seconds
        score = self.judge.score_of(reading)
        fault = reading.fault
        if score is not None and self._recognizes(score):
            fault = fault or self._sensor.level(reading.band_level)
        happened: list[Happening]
        if score is None or fault is not None:
            happened = self._distrust(fault)
        elif not self._is_known:
            happened = [Standing("untaught", UNTAUGHT)]
        else:
            events = self._explaining.explain(reading, self.judge.hear(reading, heard_until))
            happened = [Standing("listening"), *events]
        return [*happened, self._moment(heard_until, heard_seconds, reading, score)]

    def _recognizes(self, score: float) -> bool:
        """Return whether this is the machine that the detector knows: it has sounded like it, now or once before."""
        self._is_known = self._is_known or score <= self.judge.threshold
        return self._is_known

    def _moment(
        self,
        heard_until: float | None,
        unbroken_seconds: float = 0.0,
        reading: Reading | None = None,
        score: float | None = None,
    ) -> Moment:
        """Return how it stands. heard_until: None where nothing is heard."""
        now, shelved_until = time.monotonic(), self.judge.shelved_until
        return Moment(
            time=now if heard_until is None else heard_until,
            lag_seconds=0.0 if heard_until is None else max(0.0, now - heard_until),
            unbroken_seconds=unbroken_seconds,
            threshold=self.judge.threshold,
            episode=self.judge.episode,
            shelved_until=shelved_until if shelved_until > now else None,
            recording=self._recording,
            evidence=self.judge.evidence,
            provisional=self.judge.provisional if self._is_known else None,
            reading=reading,
            score=score,
            rarity=self.judge.rarity,
            averages=self.judge.averages,
        )
