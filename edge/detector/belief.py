"""What is held to be ordinary of a section, and from which score on not: by enrolment, and what was learnt since."""

import logging
from typing import Final

from edge.config import EventSettings
from edge.detector.folder import Detector
from edge.detector.sections import Section
from edge.errors import ConfigError
from edge.judge import (
    Learner,
    Learnt,
    Ordinary,
    Provisional,
    ScoreName,
    TooLittleSoundError,
    counting_keys,
    hours_needed,
    log_score,
    log_score_at,
    rate_at,
    rate_of,
    scales_of,
    score_of,
)

log = logging.getLogger(__name__)

PROMISED_PER_WEEK: Final = 1.0
"""What a threshold by the window is held to have heard enough for: one false alarm a week, which takes 48 hours."""


class Belief:
    """Which score decides, what is ordinary of it, and how rare an alarm is: `rate`, a window.

    The rate is what was asked for, and stays; the threshold of a window follows what is learnt.
    """

    def __init__(self, settings: EventSettings, detector: Detector, section: Section, *, learns: bool) -> None:
        """Raise ConfigError if the detector has not what `settings` asks for: a score, or false alarms so rare."""
        self.score_name, self._threshold = _deciding_score(settings, detector, section)
        self._ordinary = section.ordinary[self.score_name]
        self.rate: Final = self.rate_at(self._threshold)
        self._enrolled = _provisional(settings, detector, section)
        self._learner: Learner | None = None
        if learns and self._enrolled is not None:
            self._learner = self._learner_of(settings, detector, self._enrolled)

    @property
    def ordinary(self) -> Ordinary:
        """How ordinary windows score."""
        return self._ordinary

    @property
    def threshold(self) -> float:
        """What the score of a window has to exceed, if nothing else is known."""
        return self._threshold

    def rate_at(self, threshold: float) -> float:
        """Return the rate of false alarms at a threshold of a window."""
        return rate_at(self._ordinary, float(log_score(threshold, self.score_name)))

    @property
    def known_level(self) -> float | None:
        """The log score up to which the machine's conditions are known to reach; None while none is."""
        return None if self._learner is None else self._learner.known_level

    @property
    def provisional(self) -> Provisional | None:
        """How far it has come with what it has to hear yet for what is promised; None if nothing is missing.

        Where nothing is learnt, what enrolment has heard.
        """
        enrolled, learnt = self._enrolled, self.learnt
        if enrolled is None or learnt is None:
            return enrolled
        hours = enrolled.hours + learnt.hours
        return Provisional(hours, enrolled.of) if hours < enrolled.of else None

    @property
    def learnt(self) -> Learnt | None:
        """What was learnt since enrolment; None if nothing ever is."""
        return None if self._learner is None else self._learner.learnt

    def recall(self, learnt: Learnt) -> None:
        """Go on from what was learnt before."""
        if self._learner is not None:
            self._learner.recall(learnt)
            self._believe(self._learner)

    def hear(self, log_of_it: float, *, is_ordinary: bool) -> bool:
        """Take the log score of a window; return whether there is something new to believe."""
        if self._learner is None or not self._learner.hear(log_of_it, is_ordinary=is_ordinary):
            return False
        self._believe(self._learner)
        return True

    def doubt(self) -> None:
        """What was heard shortly before is not to be believed."""
        if self._learner is not None:
            self._learner.doubt()

    def interrupt(self) -> None:
        """Nothing connects what comes with what was heard."""
        if self._learner is not None:
            self._learner.interrupt()

    def _believe(self, learner: Learner) -> None:
        self._ordinary = learner.believed
        self._threshold = score_of(log_score_at(self._ordinary, self.rate), self.score_name)

    def _learner_of(self, settings: EventSettings, detector: Detector, enrolled: Provisional) -> Learner:
        plan = detector.plan
        scales = scales_of(plan.window_seconds, settings.averages_seconds, plan.hop_seconds)
        return Learner(
            self._ordinary,
            rate=self.rate,
            hop_seconds=plan.hop_seconds,
            scales_hops=[scale.hops for scale in scales],
            hours_needed=enrolled.of - enrolled.hours,
        )


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


def _provisional(settings: EventSettings, detector: Detector, section: Section) -> Provisional | None:
    """Return what enrolment has heard of what it takes; None where that is enough, or nothing is to be learnt.

    A threshold that a person named promises nothing, and one by the week was counted with what enrolment believed; it
    is refused unless enrolment has heard enough.
    """
    per_week = settings.false_alarms_per_week or detector.card.false_alarms_per_week
    if settings.learning == "off" or settings.threshold is not None or per_week is not None:
        return None
    weekly = section.card.weekly
    hours = max(section.card.windows * detector.plan.window_seconds / 3600, weekly.hours if weekly else 0.0)
    needed = settings.learning_hours or hours_needed(PROMISED_PER_WEEK)
    return Provisional(hours, needed) if hours < needed else None


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
