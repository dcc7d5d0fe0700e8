"""What was learnt, until a person says what is to become of it: nothing is judged by it before. No sound, no thread.

    checking, listening     of a `teaching`, which hears
    learning                for some seconds
    learnt                  with the result, until `accept` or `discard`
    refused                 with the reason; a teaching listens on
    accepted, stopped, discarded    it has ended

Never by MQTT: a topic is no place to teach a machine.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from edge.detector import Detector, put_in_place, would_hear_text
from edge.errors import EarshotError

log = logging.getLogger(__name__)

Stage = Literal["checking", "listening", "learning", "learnt", "accepted", "refused", "stopped", "discarded"]


class Proposal:
    """A detector that is proposed for one source, or will be. All methods may be called from any thread."""

    def __init__(
        self, name: str, proposed: Path, final: Path, on_accepted: Callable[[], None], stage: Stage = "learning"
    ) -> None:
        """proposed, final: where the new detector is written, and where it is put once it is accepted."""
        self.name = name
        self._proposed, self._final = proposed, final
        self._on_accepted = on_accepted
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._stage: Stage = stage
        self._reason: str | None = None
        self._detector: Detector | None = None

    def progress(self) -> dict[str, Any]:
        """Return how far it has come, ready for JSON: `stage`, `reason`, `result`."""
        with self._lock:
            result = None if self._detector is None else result_of(self._detector)
            return {"stage": self._stage, "reason": self._reason, "result": result}

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def enough(self) -> None:
        """Learn from what was heard so far. Raises EarshotError where nothing is listened to."""
        raise EarshotError(f"{self.name}: {self._stage}: nothing is listened to")

    def accept(self) -> None:
        """Put what was learnt in force; the detector before is kept. Raises EarshotError if nothing was learnt yet."""
        with self._lock:
            if self._stage != "learnt":
                raise EarshotError(f"{self.name}: {self._stage}: expected it to have learnt something")
            put_in_place(self._proposed, self._final)
            self._stage = "accepted"
        self._end()
        self._forget()
        log.info("%s: what was learnt is in force: %s", self.name, self._final)
        self._on_accepted()

    def stop(self) -> None:
        """End it; what was heard is kept, and the next enrolment of the same source and name goes on with it."""
        self._leave("stopped")

    def discard(self) -> None:
        """End it, and forget what was heard: the microphone stood badly, or somebody spoke. The next begins anew."""
        self._leave("discarded")
        self._forget()

    # --- For who learns ---

    def _learn(self, make: Callable[[Path], Detector]) -> None:
        """Make the detector where it is proposed; what cannot be learnt is refused with the reason."""
        self._enter("learning")
        try:
            detector = make(self._proposed)
        except EarshotError as error:
            self._enter("refused", str(error))
            return
        self._detector = detector
        self._enter("learnt")

    def _fail(self) -> None:
        """A defect of ours: the machine is judged as before, whatever becomes of this. In an `except`."""
        log.exception("%s: a defect of ours", self.name)
        self._enter("stopped", "a defect of ours, which the log names")
        self._over.set()

    def _enter(self, stage: Stage, reason: str | None = None) -> None:
        with self._lock:
            if not self._over.is_set():
                self._stage, self._reason = stage, reason

    def _leave(self, stage: Stage) -> None:
        with self._lock:
            if self._stage != "accepted":
                self._stage = stage
        self._end()

    def _end(self) -> None:
        """Nothing more is done."""
        self._over.set()

    def _forget(self) -> None:
        """What it was learnt from is of no use any more."""


def result_of(detector: Detector) -> dict[str, Any]:
    """Return what a person is told of a detector just made, ready for JSON."""
    card = detector.section(None).card
    return {
        "name": detector.card.name,
        "windows": card.windows,
        "conditions": list(card.conditions),
        "threshold": round(card.thresholds[detector.card.score], 3),
        "false_alarm_rate": detector.card.false_alarm_rate,
        "would_hear": would_hear_text(card),
    }
