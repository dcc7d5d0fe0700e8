"""One stream from samples to readings: ring -> frontend -> model -> scorer. Live, replay, score and enrolment are this.

It knows neither where the samples come from nor what becomes of the readings. Any block size gives the same readings:
one a hop (0.512 s), as soon as the window (9.6 s) is full after a reset.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge.detector import Detector, Section
from edge.frontend import Features, Frontend, Samples
from edge.ring import HOP_FRAMES, Ring
from edge.scorer import Domain, FloatArray, ScoreName, Scorer, band_levels, band_statistics

MIN_LEVEL_DBFS: Final = -100.0

DEAD_DB: Final = -95.0
"""A frame below this in every band is one and the same value: the rounding of 16-bit samples alone gives -84 dB."""

MAX_DEAD_FRAMES: Final = 8
"""A quarter of a second in a window: no microphone hears that, however quiet the room."""

_LOWEST_BANDS: Final = 4


@dataclass(frozen=True)
class Measurement:
    """What one window measured, before it is compared with anything.

    end_sample  position of the sample after the window, since the last reset
    embedding   (D,); logits (k,); bands (3, M), from `band_statistics`
    level_dbfs  RMS of the newest hop re full scale, at least -100
    fault       why the sound cannot be trusted: the window has a stretch of one value; else None
    """

    end_sample: int
    embedding: FloatArray
    logits: FloatArray
    bands: FloatArray
    level_dbfs: float
    fault: str | None = None


@dataclass(frozen=True)
class Reading:
    """The scores of one window, none where the sound cannot be trusted, and its `band_levels`."""

    end_sample: int
    scores: Mapping[ScoreName, float]
    band_level: FloatArray = field(repr=False)
    level_dbfs: float
    fault: str | None = None


class Ear:
    """Samples to measurements: ring -> frontend -> model."""

    def __init__(self, detector: Detector) -> None:
        self.plan = detector.plan
        self._frontend = Frontend(detector.frontend)
        self._model = detector.model
        self._ring = Ring(self.plan)
        self.reset()

    def reset(self) -> None:
        """Forget the past, after every gap: nothing is measured until the window is full again."""
        self._ring.reset()
        self._cache = self._model.empty_cache()

    def feed(self, samples: Samples) -> list[Measurement]:
        """Take mono samples, shape (T,), of any length; return what the windows that they completed measure."""
        measurements: list[Measurement] = []
        while samples.size:
            room = self._ring.room
            self._ring.write(samples[:room])
            samples = samples[room:]
            measurements += self._step()
        return measurements

    def _step(self) -> Iterator[Measurement]:
        plan, first_hop = self.plan, self._ring.hops_read + 1
        samples = self._ring.read()
        if not samples.size:
            return

        frames = self._frontend(samples)
        embeddings, logits, self._cache = self._model(_whole_hops(frames)[np.newaxis], self._cache)
        windows = self._ring.remember(frames)
        for i, window in enumerate(windows):
            if window is None:
                continue
            newest = samples[: samples.size - (len(windows) - 1 - i) * plan.hop_samples][-plan.hop_samples :]
            yield Measurement(
                plan.window_samples + (first_hop + i - plan.window_hops) * plan.hop_samples,
                embeddings[0, i],
                logits[0, i],
                band_statistics(window),
                level_dbfs(newest),
                _fault(window),
            )


class Line:
    """Samples to readings of one section: an `Ear` and a `Scorer`."""

    def __init__(self, detector: Detector, section: Section, domain: Domain | None = None) -> None:
        self.plan = detector.plan
        self._ear = Ear(detector)
        self._scorer = Scorer(section.statistics)
        self._domain = domain

    def reset(self) -> None:
        """Forget the past, after every gap."""
        self._ear.reset()

    def feed(self, samples: Samples) -> list[Reading]:
        """Take mono samples, shape (T,), of any length; return the readings of the windows that they completed."""
        return [self._read(measurement) for measurement in self._ear.feed(samples)]

    def _read(self, heard: Measurement) -> Reading:
        scores: Mapping[ScoreName, float] = {}
        if heard.fault is None:
            measured = self._scorer(heard.embedding[None], heard.logits[None], heard.bands[None], self._domain)
            scores = {name: float(value[0]) for name, value in measured.items()}
        return Reading(heard.end_sample, scores, band_levels(heard.bands), heard.level_dbfs, heard.fault)


def level_dbfs(samples: Samples) -> float:
    """Return the RMS of samples re full scale, in dB, at least -100."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(MIN_LEVEL_DBFS, 10 * math.log10(max(power, 1e-10)))


def _whole_hops(frames: Features) -> Features:
    """Put the dummy frames in front that the first hop of a stream lacks; no scored window holds them."""
    missing = -frames.shape[1] % HOP_FRAMES
    return np.pad(frames, ((0, 0), (missing, 0))) if missing else frames


def _fault(window: Features) -> str | None:
    """Say what is wrong with the sound of a window (M, F), or None.

    The lowest bands are left out: a constant offset leaks into them, and is no sound.
    """
    dead_frames = int((window[_LOWEST_BANDS:].max(axis=0) < DEAD_DB).sum())
    return "silent or stuck" if dead_frames >= MAX_DEAD_FRAMES else None
