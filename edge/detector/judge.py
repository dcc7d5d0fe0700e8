"""From readings to episodes: which score decides, at which threshold, and what moved. Live, and in replay."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from edge.config import EventSettings
from edge.detector.belief import Belief
from edge.detector.folder import Detector
from edge.detector.line import Reading
from edge.detector.sections import Section
from edge.ear import FloatArray, Frontend
from edge.judge import (
    Band,
    Cause,
    Event,
    EventDetector,
    Learnt,
    Passage,
    Provisional,
    Reason,
    Surprise,
    evidence_of,
    log_score,
    moved_bands,
    pairs_of,
    rarity,
    score_of,
)


class Judge:
    """One section's readings to events. All times are those of the sound, s, of a clock that only runs forward."""

    def __init__(self, settings: EventSettings, detector: Detector, section: Section, *, learns: bool = False) -> None:
        """Raise ConfigError if the detector has not what `settings` asks for: a score, or false alarms so rare.

        learns: whether it goes on learning what varies, where `settings` let it: from one machine's sound, live.
        Without, the same sound is judged the same whatever was heard before.
        """
        self._belief = Belief(settings, detector, section, learns=learns)
        self.score_name = self._belief.score_name
        self._events = EventDetector(
            settings,
            evidence_of(
                settings,
                self._belief.ordinary,
                window_seconds=detector.plan.window_seconds,
                hop_seconds=detector.plan.hop_seconds,
            ),
            rate=self._belief.rate,
            threshold=self._belief.threshold,
        )
        self.averages_seconds = (detector.plan.window_seconds, *settings.averages_seconds)
        self._statistics = section.statistics
        self._passage = _passage(section, detector.plan.window_hops)
        self._edges_hz = Frontend(detector.frontend).band_edges_hz
        self._shelved_until = -math.inf

    @property
    def threshold(self) -> float:
        """What the score of a window has to exceed, if nothing else is known."""
        return self._events.threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        self._events.threshold = self._belief.threshold if value is None else value
        self._events.rate = self._belief.rate if value is None else self._belief.rate_at(value)

    def rarity_of(self, threshold: float) -> float:
        """Return what `rarity` has to reach at another threshold of a window."""
        return rarity(self._belief.rate_at(threshold))

    @property
    def own_threshold(self) -> float:
        """The same, had nobody sent another."""
        return self._belief.threshold

    @property
    def evidence(self) -> float:
        """How near an alarm is, 0 and more, over all scales: 1 opens an episode once enough windows say so.

        The logarithm of how improbable ordinary sound makes the newest, by that of the rate of false alarms.
        """
        return self._nearness(self._events.surprise)

    @property
    def scales(self) -> list[tuple[float, float, float]]:
        """What each scale of the evidence says of the newest window: its seconds, its mean score, how near an alarm."""
        return [
            (said.scale.seconds, score_of(said.average, self.score_name), self._nearness(said))
            for said in self._events.spoken
            if said.scale is not None
        ]

    @property
    def rarity(self) -> float:
        """Minus the decimal logarithm of the rate of false alarms at which the newest windows would open an episode."""
        return rarity(self._events.held)

    @property
    def averages(self) -> tuple[float | None, ...]:
        """The mean score over each of `averages_seconds`, the window first; None where one waits."""
        means = self._events.averages
        return tuple(None if mean is None else score_of(mean, self.score_name) for mean in means)

    @property
    def provisional(self) -> Provisional | None:
        """How far it has come with what it has to hear yet for what is promised; None if nothing is missing.

        Without `learns`, what enrolment has heard.
        """
        return self._belief.provisional

    @property
    def learnt(self) -> Learnt | None:
        """What was learnt since enrolment; None if nothing ever is."""
        return self._belief.learnt

    def recall(self, learnt: Learnt) -> None:
        """Go on from what was learnt before."""
        if self.learnt is not None:
            self._belief.recall(learnt)
            self._believe()

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
        if self._passes(reading):
            return []  # time passes, and nothing is heard
        return self.weigh(score, time, partial(self._moved, reading.band_level))

    def weigh(self, score: float, time: float, moved: Callable[[], Sequence[Band]] = tuple) -> list[Event]:
        """Take the score of the window that ends at `time`; return what happened. moved: asked for what moved in it."""
        log_of_it = float(log_score(score, self.score_name))
        if time < self._shelved_until:
            self._events.pass_over(time, log_of_it)
            self._learn_nothing()
            return []
        events = self._events.step(time, score, log_of_it, moved)
        self._learn(log_of_it, events)
        return events

    def forget(self) -> None:
        """What comes is another recording: nothing connects it with what was heard."""
        self._events.forget()
        if self._passage is not None:
            self._passage.forget()
        self._belief.interrupt()

    def interrupt(self, reason: Reason) -> list[Event]:
        """End the open episode, and forget the windows before."""
        self._belief.interrupt()
        return self._events.interrupt(reason)

    def acknowledge(self, episode: str | None) -> bool:
        """Note that a person knows of the open episode; whether it is the one that is meant (None: whichever)."""
        return self._events.acknowledge(episode)

    def explain(self, cause: Cause) -> None:
        """Note what the open episode is, for what will be said of it."""
        self._events.explain(cause)

    def shelve(self, until: float) -> Sequence[Event]:
        """Open no episode before `until`, and end one that is open; a time that has passed ends the shelving."""
        self._shelved_until = until
        return self.interrupt("shelved")

    @property
    def shelved_until(self) -> float:
        """Until when no episode opens; minus infinity where it never was shelved."""
        return self._shelved_until

    def _moved(self, level_db: FloatArray) -> list[Band]:
        own = self._statistics
        return moved_bands(level_db, own.nearest_normal(level_db), own.band_deviation, self._edges_hz)

    def _passes(self, reading: Reading) -> bool:
        """Whether the machine starts or stops in this window."""
        if self._passage is None or reading.measured is None or not self._passage.hear(reading.measured.bands[0]):
            return False
        if self._passage.begins:
            self._events.set_aside()
        return True

    def _learn(self, log_of_it: float, events: Sequence[Event]) -> None:
        """Let a window teach what is ordinary, if it is.

        By the threshold that is its own, and never by one that was sent: who may only write to a topic could else raise
        it until a fault is ordinary. While such a one is in force, or a person asked for quiet, nothing is learnt.
        """
        if self._events.rate != self._belief.rate:
            self._learn_nothing()
            return
        if any(event.kind == "opened" for event in events):
            self._belief.doubt()
        is_ordinary = self.episode is None and self._events.surprise.probability > self._belief.rate
        if self._belief.hear(log_of_it, is_ordinary=is_ordinary):
            self._believe()

    def _learn_nothing(self) -> None:
        self._belief.doubt()
        self._belief.interrupt()

    def _believe(self) -> None:
        own = self._events.rate == self._belief.rate
        self._events.believe(self._belief.ordinary, self._belief.known_level)
        if own:
            self._events.threshold = self._belief.threshold

    def _nearness(self, said: Surprise) -> float:
        return -math.log(said.probability) / max(-math.log(self._events.rate), 1e-9) + 0.0


def _passage(section: Section, window_hops: int) -> Passage | None:
    """Return what knows a start and a stop; None for a machine of which no idle state was learnt."""
    pairs, own = pairs_of(section.card.conditions), section.statistics
    if not pairs or "levels" not in own.parts:
        return None
    return Passage(own.parts["levels"].means, own.band_deviation, pairs, window_hops=window_hops)
