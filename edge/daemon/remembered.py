"""What one source has learnt, from start to start: as long as it is judged by the same detector, and no longer."""

import logging
from typing import Any, Final

from edge.detector import Detector, Judge, Section
from edge.judge import Learnt
from edge.memory import Notes

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 3600.0
"""An SD card wears by each write, and an hour is soon heard again."""

SCHEMA: Final = 1


class Remembered:
    """Reads and writes what a judge has learnt. For the listening thread; waits for no disk but in `recall`."""

    def __init__(self, notes: Notes, source: str, detector: Detector, section: Section, judge: Judge) -> None:
        """Open nothing."""
        self._notes = notes
        self._name = source
        self._judge = judge
        # A new enrolment is a new machine: its scores mean something else.
        self._whose = {"detector": detector.sha256, "section": section.card.name, "score": judge.score_name}
        self._written: Learnt | None = None
        self._due = WRITE_SECONDS

    def recall(self) -> None:
        """Have the judge go on from what was written, if it is of this detector and can be believed."""
        note = self._notes.read(self._name)
        if note is None or note.get("whose") != self._whose:
            return
        try:
            learnt = _learnt_of(note["learnt"])
        except (KeyError, TypeError, ValueError) as error:
            log.warning("%s: what was learnt cannot be used, and is learnt anew: %s", self._name, error)
            return
        self._written = learnt
        self._judge.recall(learnt)

    def hear(self, seconds: float) -> None:
        """So much sound was heard: now and then, write."""
        self._due -= seconds
        if self._due <= 0:
            self.keep()

    def keep(self) -> None:
        """Write what there is to be written."""
        self._due = WRITE_SECONDS
        learnt = self._judge.learnt
        if learnt is not None and learnt not in (self._written, Learnt()):
            self._written = learnt
            self._notes.write(self._name, {"schema": SCHEMA, "whose": self._whose, "learnt": vars(learnt)})


def _learnt_of(stored: dict[str, Any]) -> Learnt:
    waiting = tuple((float(level), float(variance)) for level, variance in stored["waiting"])
    numbers = {name: float(stored[name]) for name in ("hours", "mean", "square", "within")}
    came_from = tuple(float(level) for level in stored.get("came_from", ()))  # older notes have none
    return Learnt(**numbers, waiting=waiting, came_from=came_from)
