"""Events with a cause: what of the newest sound its ordinary sound has not (edge/judge/why.py).

It keeps a portrait of the run's own past, as far as that was ordinary, and the newest seconds of sound in the line. A
portrait costs a hundredth of a second: one is taken three times a minute, and one for each event.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from edge.detector.archive import BLOCK_SAMPLES
from edge.detector.judge import Judge
from edge.detector.line import Line, Reading
from edge.detector.sections import Section
from edge.ear import Frontend
from edge.judge import PORTRAIT_SECONDS, Cause, Event, Portrait, Usual, cause_of, portrait
from edge.source import SAMPLE_RATE_HZ

EVERY_SECONDS: Final = 20.0

WAITING: Final = 2
"""Portraits that are not believed yet: a fault that sets in slowly is half a minute old before it alarms."""

ORDINARY_EVIDENCE: Final = 0.5
"""Nearer to an alarm than this, nothing is taken for ordinary."""

LONGEST_SECONDS: Final = 60.0
"""What was opened by a longer average has been there for as long: then the past has heard it, and enrolment has not."""

KEEPS_SECONDS: Final = PORTRAIT_SECONDS + BLOCK_SAMPLES / SAMPLE_RATE_HZ
"""What a line has to keep: a block may complete several windows, and the first of them is looked at after all."""

KEEPS_LIVE_SECONDS: Final = PORTRAIT_SECONDS + 1.0
"""The same of blocks as a daemon hears them, a quarter of a second each."""


class Explaining:
    """The causes of one source's events. All methods are for one thread."""

    def __init__(self, line: Line, judge: Judge, section: Section) -> None:
        """line: one that keeps `KEEPS_SECONDS`; of any other, no cause is told."""
        self._line = line
        self._judge = judge
        self._statistics = section.statistics
        self._frontend = Frontend(line.plan.frontend)
        self.forget()

    def forget(self) -> None:
        """What comes is another recording: nothing connects it with what was heard."""
        self._past: Portrait | None = None
        self._n_past = 0
        self._waiting: deque[Portrait] = deque()
        self._due = 0.0

    def explain(self, reading: Reading, events: Sequence[Event]) -> list[Event]:
        """Return what happened with that reading, with the cause as far as it can be told."""
        if not events:
            self._learn(reading)
        return [self._explained(reading, event) for event in events]

    def _explained(self, reading: Reading, event: Event) -> Event:
        if event.kind == "opened":
            self._waiting.clear()
        found = None if event.kind == "closed" else self._found(reading, event)
        if found is None or (found.kind == "unknown" and event.why is not None):
            return event  # what an update cannot tell, the opening may have told
        self._judge.explain(found)
        return replace(event, why=found)

    def _found(self, reading: Reading, event: Event) -> Cause | None:
        now = self._portrait_of(reading)
        if now is None:
            return None
        own = self._statistics
        past = self._past if event.basis.seconds <= LONGEST_SECONDS else None
        return cause_of(now, Usual(own.nearest_normal(reading.band_level), own.band_deviation, past), self._frontend)

    def _learn(self, reading: Reading) -> None:
        self._due -= self._line.plan.hop_seconds
        if self._due > 0 or reading.fault is not None:
            return
        if self._judge.episode is not None or self._judge.evidence > ORDINARY_EVIDENCE:
            return
        self._due = EVERY_SECONDS
        if (now := self._portrait_of(reading)) is not None:
            self._waiting.append(now)
        if len(self._waiting) > WAITING:
            self._n_past += 1
            self._past = self._waiting.popleft().joined(self._past, self._n_past)

    def _portrait_of(self, reading: Reading) -> Portrait | None:
        sound = self._line.sound_of(reading, PORTRAIT_SECONDS)
        return None if sound is None else portrait(sound, self._frontend)
