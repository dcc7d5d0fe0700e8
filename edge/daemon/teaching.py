"""A machine taught while the daemon runs: a person's hand on one enrolment, whose sound a source hears anyway.

    hear      the listening thread hands each block over, and waits for nobody
    progress  how far it has come; `enough`, `accept`, `stop`, `discard`: what a person says

The work is done in a thread of its own. Never by MQTT: a topic is no place to teach a machine.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from edge.daemon.enrolling import Enrolment, record_of
from edge.detector import Detector, put_in_place, would_hear_text
from edge.errors import EarshotError
from edge.source import Block

log = logging.getLogger(__name__)

WAITING_BLOCKS: Final = 120
"""Half a minute of live sound that waits for a busy computer. Beyond it there is a gap, never a delay."""

AGAIN_MINUTES: Final = 1.0
"""After which what was refused is tried again."""

Stage = Literal["checking", "listening", "learning", "learnt", "accepted", "refused", "stopped", "discarded"]


class Teaching:
    """One enrolment at work. All methods may be called from any thread, and only what ends it waits, for its thread."""

    def __init__(self, enrolment: Enrolment, proposed: Path, final: Path, on_accepted: Callable[[], None]) -> None:
        """Start to work, on what `hear` is given.

        proposed, final: where the new detector is written, and where it is put once it is accepted.
        """
        self._enrolment = enrolment
        self._proposed, self._final = proposed, final
        self._on_accepted = on_accepted
        self._blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._missed = True
        self._enough = threading.Event()
        self._again_minutes = 0.0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._stage: Stage = "checking"
        self._reason: str | None = None
        self._detector: Detector | None = None
        self._record: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._work, name=f"teaching {enrolment.name}", daemon=True)
        self._thread.start()

    def hear(self, block: Block) -> None:
        """Take the next block. For the listening thread."""
        if self._blocks.qsize() >= WAITING_BLOCKS:
            self._missed = True
            return
        self._blocks.put(replace(block, starts_anew=True) if self._missed else block)
        self._missed = False

    def progress(self) -> dict[str, Any]:
        """Return how far it has come, ready for JSON: `stage`, `reason`, `result`, and what `Progress` says.

        Stages: checking, listening; learning for some seconds; learnt, with the result, until `accept`; refused with
        the reason, and then it listens on. Or it has ended: accepted, stopped, discarded.
        """
        with self._lock:
            told = {**self._record, "stage": self._stage, "reason": self._reason}
            return {**told, "result": None if self._detector is None else result_of(self._detector)}

    @property
    def waiting_blocks(self) -> int:
        """How many blocks wait to be worked on."""
        return self._blocks.qsize()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def enough(self) -> None:
        """Learn from what was heard so far, if it is enough."""
        self._enough.set()

    def accept(self) -> None:
        """Put what was learnt in force; the detector before is kept. Raises EarshotError if nothing was learnt yet."""
        with self._lock:
            if self._stage != "learnt":
                raise EarshotError(f"{self._enrolment.name}: {self._stage}: expected it to have learnt something")
            put_in_place(self._proposed, self._final)
            self._stage = "accepted"
        self._end()
        self._enrolment.forget()
        log.info("%s: what was learnt is in force: %s", self._enrolment.name, self._final)
        self._on_accepted()

    def stop(self) -> None:
        """End it; what was heard is kept, and the next enrolment of the same source and name goes on with it."""
        self._leave("stopped")

    def discard(self) -> None:
        """End it, and forget what was heard: the microphone stood badly, or somebody spoke. The next begins anew."""
        self._leave("discarded")
        self._enrolment.forget()

    def _leave(self, stage: Stage) -> None:
        with self._lock:
            if self._stage != "accepted":
                self._stage = stage
        self._end()

    def _end(self) -> None:
        self._over.set()
        self._blocks.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # --- In the thread ---

    def _work(self) -> None:
        try:
            self._tell(**record_of(self._enrolment.recall()))
            while not self._over.is_set():
                self._step(self._blocks.get())
            self._enrolment.keep()
        except Exception:  # the machine is judged as before, whatever becomes of this
            log.exception("%s: a defect of ours", self._enrolment.name)
            with self._lock:
                self._stage, self._reason = "stopped", "a defect of ours, which the log names"
            self._over.set()

    def _step(self, block: Block | None) -> None:
        if block is None or self._detector is not None:
            return
        progress = self._enrolment.hear(block)
        self._tell(**record_of(progress))
        if progress.stage != "checking" and self._stage == "checking":
            self._enter("listening")
        due = progress.stage == "ready" and progress.running_minutes >= self._again_minutes
        if due or self._enough.is_set():
            self._again_minutes = progress.running_minutes + AGAIN_MINUTES
            self._learn()

    def _learn(self) -> None:
        self._enrolment.keep()
        self._enter("learning")
        self._enough.clear()
        try:
            detector = self._enrolment.finish(self._proposed)
        except EarshotError as error:
            self._enter("refused", str(error))
            return
        self._detector = detector
        self._enter("learnt")

    def _tell(self, **record: Any) -> None:  # noqa: ANN401 # as JSON has it
        with self._lock:
            self._record = record

    def _enter(self, stage: Stage, reason: str | None = None) -> None:
        with self._lock:
            if not self._over.is_set():
                self._stage, self._reason = stage, reason


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
