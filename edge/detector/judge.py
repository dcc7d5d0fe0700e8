"""From readings to episodes: which score decides, at which threshold, and what moved. Live, and in replay."""

import logging
import math
from collections.abc import Sequence

from edge.config import EventSettings
from edge.detector.folder import Detector, Section
from edge.detector.line import Reading
from edge.ear import Frontend
from edge.errors import ConfigError
from edge.judge import (
    Event,
    EventDetector,
    Reason,
    ScoreName,
    TooLittleSoundError,
    counting_keys,
    evidence_of,
    hours_needed,
    log_score,
    log_score_at,
    moved_bands,
    rate_at,
    rate_of,
    score_of,
)

log = logging.getLogger(__name__)


class Judge:
    """One section's readings to events. All times are those of the sound, s, of a clock that only runs forward."""

    def __init__(self, settings: EventSettings, detector: Detector, section: Section) -> None:
        """Raise ConfigError if the detector has not what `settings` asks for: a score, or false alarms so rare."""
        self.score_name, self._own_threshold = _deciding_score(settings, detector, section)
        self._ordinary = section.ordinary[self.score_name]
        self._events = EventDetector(
            settings,
            evidence_of(
                settings,
                self._ordinary,
                window_seconds=detector.plan.window_seconds,
                hop_seconds=detector.plan.hop_seconds,
            ),
            rate=self._rate_at(self._own_threshold),
            threshold=self._own_threshold,
        )
        self._statistics = section.statistics
        self._edges_hz = Frontend(detector.frontend).band_edges_hz
        self._shelved_until = -math.inf

    @property
    def threshold(self) -> float:
        """What the score of a window has to exceed, if nothing else is known."""
        return self._events.threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        self._events.threshold = self._own_threshold if value is None else value
        self._events.rate = self._rate_at(self._events.threshold)

    @property
    def evidence(self) -> float:
        """How near an alarm is, 0 and more, over all scales: 1 opens an episode once enough windows say so.

        The logarithm of how improbable ordinary sound makes the newest, by that of the rate of false alarms.
        """
        return math.log(self._events.surprise.probability) / min(math.log(self._events.rate), -1e-9)

    @property
    def episode(self) -> str | None:
        """Id of the open episode, if there is one."""
        return self._events.episode

    def score_of(self, reading: Reading) -> float | None:
        """Return the score that decides; None where the sound could not be trusted."""
        return reading.scores.get(self.score_name)

    def hear(self, reading: Reading, time: float) -> list[Event]:
        """Take the reading of the window that ends at `time`; return what happened."""
        score = self.score_of(reading)
        if score is None:
            return self.interrupt("source_lost")
        log_of_it = float(log_score(score, self.score_name))
        if time < self._shelved_until:
            self._events.pass_over(time, log_of_it)
            return []
        normal = self._statistics.nearest_normal(reading.band_level)
        bands = moved_bands(reading.band_level, normal, self._statistics.band_deviation, self._edges_hz)
        return self._events.step(time, score, log_of_it, bands)

    def forget(self) -> None:
        """What comes is another recording: nothing connects it with what was heard."""
        self._events.forget()

    def _rate_at(self, threshold: float) -> float:
        return rate_at(self._ordinary, float(log_score(threshold, self.score_name)))

    def interrupt(self, reason: Reason) -> list[Event]:
        """End the open episode, and forget the windows before."""
        return self._events.interrupt(reason)

    def acknowledge(self, episode: str | None) -> bool:
        """Note that a person knows of the open episode; whether it is the one that is meant (None: whichever)."""
        return self._events.acknowledge(episode)

    def shelve(self, until: float) -> Sequence[Event]:
        """Open no episode before `until`, and end one that is open; a time that has passed ends the shelving."""
        self._shelved_until = until
        return self.interrupt("shelved")

    @property
    def shelved_until(self) -> float:
        """Until when no episode opens; minus infinity where it never was shelved."""
        return self._shelved_until


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
    threshold = score_of(log_score_at(section.ordinary[name], rate_of(found.threshold)), name)
    log.info(
        "%s: threshold %.3f of %s: %.3g false alarms a week predicted (%.2g to %.2g with 90 %%), from %.3g hours of "
        "normal sound",
        what,
        threshold,
        name,
        found.predicted,
        *found.interval,
        found.hours,
    )
    return threshold
