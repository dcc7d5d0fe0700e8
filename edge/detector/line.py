"""One stream from samples to readings: an ear and a scorer. Live, replay, score and enrolment are this.

It knows neither where the samples come from nor what becomes of the readings. Any block size gives the same readings:
one a hop (0.512 s), as soon as the window (9.6 s) is full after a reset.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edge.detector.folder import Detector
from edge.detector.sections import Section
from edge.ear import FULL_SCALE, Ear, FloatArray, HopPlan, Measurement, Newest, Samples, as_pcm, band_levels, heard_from
from edge.errors import DetectorError, shown
from edge.judge import Domain, ScoreName, Scorer


@dataclass(frozen=True)
class Reading:
    """The scores of one window, none where the sound cannot be trusted, its `band_levels`, and all that it measured."""

    end_sample: int
    scores: Mapping[ScoreName, float]
    band_level: FloatArray = field(repr=False)
    level_dbfs: float
    fault: str | None = None
    measured: Measurement | None = field(default=None, repr=False)


class Line:
    """Samples to readings of one section: an `Ear` and a `Scorer`."""

    def __init__(
        self, detector: Detector, section: Section, *, keeps_seconds: float = 0.0, newest: Newest | None = None
    ) -> None:
        """keeps_seconds: of the newest sound itself, for who looks at it again (`sound_of`).

        newest: where somebody else keeps it, who hears everything before this line does.
        """
        self._keeps = newest is None and keeps_seconds > 0
        self._newest = Newest(round(keeps_seconds * detector.frontend.sample_rate_hz)) if newest is None else newest
        self._n_heard = 0
        own = section.statistics
        least_offset = heard_from(np.atleast_2d(own.band_mean).min(axis=0), detector.frontend)
        self.ear = Ear(detector.model, detector.plan, quiet=own.needs_quiet, least_offset=least_offset)
        self._scorer = Scorer(section.statistics)
        self._whose = f"{shown(detector.path)}: {section.card.name}"

    @property
    def plan(self) -> HopPlan:
        """How a stream is cut into windows."""
        return self.ear.plan

    def reset(self) -> None:
        """Forget the past, after every gap."""
        self._n_heard = 0
        self.ear.reset()

    def feed(self, samples: Samples) -> list[Reading]:
        """Take mono samples, shape (T,), of any length; return the readings of the windows that they completed.

        Raises DetectorError where a score is no number: NaN is neither above a threshold nor below it.
        """
        if self._keeps:
            self._newest.push(as_pcm(samples))
        self._n_heard += samples.size
        return [self.score(measurement) for measurement in self.ear.feed(samples)]

    def sound_of(self, reading: Reading, seconds: float) -> Samples | None:
        """Return the newest sound of a window, (seconds * 16000,), float32; None where so much of it is not kept."""
        n_samples = round(seconds * self.plan.frontend.sample_rate_hz)
        sound = self._newest.last(n_samples, self._n_heard - reading.end_sample)
        if n_samples > reading.end_sample or sound.size < n_samples:
            return None
        return sound.astype(np.float32) / FULL_SCALE

    def score(self, heard: Measurement) -> Reading:
        """Return the reading of one window that was measured already; raises as `feed` does."""
        scores = self.scores(heard) if heard.fault is None else {}
        return Reading(heard.end_sample, scores, band_levels(heard.bands), heard.level_dbfs, heard.fault, heard)

    def scores(self, heard: Measurement, domain: Domain | None = None) -> Mapping[ScoreName, float]:
        """Return every score of one window; raises as `feed` does.

        domain: whose normal sound it is held against, one that the section has heard; None: the nearest.
        """
        one = (heard.embedding[None], heard.texture[None], heard.logits[None], heard.bands[None])
        scores = {name: float(value[0]) for name, value in self._scorer(*one, domain).items()}
        if broken := [f"{name} {score}" for name, score in scores.items() if not math.isfinite(score)]:
            raise DetectorError(f"{self._whose} scores {', '.join(broken)}: expected a number")
        return scores
