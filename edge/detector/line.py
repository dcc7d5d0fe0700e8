"""One stream from samples to readings: an ear and a scorer. Live, replay, score and enrolment are this.

It knows neither where the samples come from nor what becomes of the readings. Any block size gives the same readings:
one a hop (0.512 s), as soon as the window (9.6 s) is full after a reset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.detector.folder import Detector, Section
from edge.ear import Ear, FloatArray, HopPlan, Measurement, Samples, band_levels
from edge.judge import Domain, ScoreName, Scorer


@dataclass(frozen=True)
class Reading:
    """The scores of one window, none where the sound cannot be trusted, and its `band_levels`."""

    end_sample: int
    scores: Mapping[ScoreName, float]
    band_level: FloatArray = field(repr=False)
    level_dbfs: float
    fault: str | None = None


class Line:
    """Samples to readings of one section: an `Ear` and a `Scorer`."""

    def __init__(self, detector: Detector, section: Section) -> None:
        self.ear = Ear(detector.model, detector.plan)
        self._scorer = Scorer(section.statistics)

    @property
    def plan(self) -> HopPlan:
        """How a stream is cut into windows."""
        return self.ear.plan

    def reset(self) -> None:
        """Forget the past, after every gap."""
        self.ear.reset()

    def feed(self, samples: Samples) -> list[Reading]:
        """Take mono samples, shape (T,), of any length; return the readings of the windows that they completed."""
        return [self._read(measurement) for measurement in self.ear.feed(samples)]

    def scores(self, heard: Measurement, domain: Domain | None = None) -> Mapping[ScoreName, float]:
        """Return every score of a window; none where its sound cannot be trusted.

        domain: which normal sound it is held against; the nearest where nobody knows. Raises ValueError for a domain
        that the section has never heard.
        """
        if heard.fault is not None:
            return {}
        one = (heard.embedding[None], heard.texture[None], heard.logits[None], heard.bands[None])
        return {name: float(value[0]) for name, value in self._scorer(*one, domain).items()}

    def _read(self, heard: Measurement) -> Reading:
        return Reading(heard.end_sample, self.scores(heard), band_levels(heard.bands), heard.level_dbfs, heard.fault)
