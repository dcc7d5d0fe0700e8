"""A machine taught while the daemon runs: a person's hand on one enrolment, whose sound a source hears anyway.

    hear      the listening thread hands each block over, and waits for nobody
    progress  how far it has come; `enough`, and what else a person says to a `proposal`

The work is done in a thread of its own.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edge.daemon.enrolling import Enrolment, record_of
from edge.daemon.proposal import Proposal
from edge.source import Block

WAITING_BLOCKS: Final = 120
"""Half a minute of live sound that waits for a busy computer. Beyond it there is a gap, never a delay."""

AGAIN_MINUTES: Final = 1.0
"""After which what was refused is tried again."""


class Teaching(Proposal):
    """One enrolment at work. Only what ends it waits, for its thread."""

    def __init__(self, enrolment: Enrolment, proposed: Path, final: Path, on_accepted: Callable[[], None]) -> None:
        """Start to work, on what `hear` is given; the rest is as for `Proposal`."""
        super().__init__(enrolment.name, proposed, final, on_accepted, stage="checking")
        self._enrolment = enrolment
        self._blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._missed = True
        self._enough = threading.Event()
        self._again_minutes = 0.0
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
        """Return how far it has come, ready for JSON, with what `Progress` says."""
        return {**self._record, **super().progress()}

    @property
    def waiting_blocks(self) -> int:
        """How many blocks wait to be worked on."""
        return self._blocks.qsize()

    def enough(self) -> None:
        """Learn from what was heard so far, if it is enough."""
        self._enough.set()

    def _end(self) -> None:
        super()._end()
        self._blocks.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _forget(self) -> None:
        self._enrolment.forget()

    # --- In the thread ---

    def _work(self) -> None:
        try:
            self._record = record_of(self._enrolment.recall())
            while not self.is_over:
                self._step(self._blocks.get())
            self._enrolment.keep()
        except Exception:
            self._fail()

    def _step(self, block: Block | None) -> None:
        if block is None or self._detector is not None:
            return
        progress = self._enrolment.hear(block)
        self._record = record_of(progress)
        if progress.stage != "checking" and self._stage == "checking":
            self._enter("listening")
        due = progress.stage == "ready" and progress.running_minutes >= self._again_minutes
        if due or self._enough.is_set():
            self._again_minutes = progress.running_minutes + AGAIN_MINUTES
            self._enrolment.keep()
            self._enough.clear()
            self._learn(self._enrolment.finish)
