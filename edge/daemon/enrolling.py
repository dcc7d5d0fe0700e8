"""One enrolment by live sound: the lesson, what is written down of it, and the detector that comes of it.

The command gives it blocks of a microphone, the daemon those that a source hears anyway. It goes on after a power cut
where it was: numbers are written down once a minute, no sound is.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edge.detector import Detector, Lesson, Progress, Promise, enroll_windows, next_condition, teach
from edge.errors import EarshotError
from edge.judge import NormalWindows
from edge.memory import Batches
from edge.source import SAMPLE_RATE_HZ, Block, Pickup

log = logging.getLogger(__name__)

KEEP_SECONDS: Final = 60.0
"""0.25 MB. An SD card wears by each write, and a minute is soon heard again."""

MOST_BYTES: Final = 64_000_000
"""Of what is written down: two hours of a network with an embedding."""

SCHEMA: Final = 1

Record = dict[str, Any]


class Enrolment:
    """What is heard for one machine, and its detector. For one thread."""

    def __init__(
        self,
        base: Detector,
        name: str,
        *,
        minutes: float,
        kept: Path,
        pickup: Pickup,
        condition: str | None = None,
        promise: Promise | None = None,
        normal: Sequence[tuple[str, NormalWindows]] = (),
        notes: Mapping[str, object] | None = None,
    ) -> None:
        """Touch no disk yet.

        base       the detector whose network is used; with `condition`, the machine's own, which is to learn it
        kept       the file for what was heard so far
        condition  what a person calls another load, season or place; None: the machine itself is learnt
        promise    what its threshold is to keep; else the rate a window of `base`
        normal     what a person called normal of this machine, by name: learnt as conditions
        notes      what its card is to say besides of how it was made
        Raises EarshotError as `Lesson`.
        """
        self.name = name
        self._base = base
        self._pickup = pickup
        self._condition = condition
        self._promise = promise
        self._normal = normal
        self._notes = notes or {}
        self._lesson = Lesson(base, minutes, is_condition=condition is not None)
        whose = {"schema": SCHEMA, "base": base.sha256, "name": name, "condition": condition, "pickup": str(pickup)}
        self._batches = Batches(kept, whose, most_bytes=MOST_BYTES)
        self._due = KEEP_SECONDS
        self._keeps = True

    def recall(self) -> Progress:
        """Go on with what was written down before; return how far that has come."""
        for batch in self._batches.read():
            try:
                self._lesson.recall(batch)
            except (KeyError, ValueError) as error:
                log.warning("%s: %s: the rest is not used", self._batches.path, error)
                break
        return self.progress

    def hear(self, block: Block) -> Progress:
        """Take the next block, and write down once a minute."""
        progress = self._lesson.hear(block)
        self._due -= block.samples.size / SAMPLE_RATE_HZ
        if self._due <= 0:
            self.keep()
        return progress

    def keep(self) -> None:
        """Write down what was heard since the last time. A disk that fails costs what was to be resumed, no more."""
        self._due = KEEP_SECONDS
        rows = self._lesson.take()
        if rows is None or not self._keeps:
            return
        try:
            self._batches.append(rows)
        except OSError as error:
            log.warning("%s: %s: what is heard from now on is not kept for later", self._batches.path, error)
            self._keeps = False

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._lesson.progress

    @property
    def n_checks(self) -> int:
        """How often the sound was looked at before it was found well."""
        return self._lesson.n_checks

    def finish(self, output: Path, *, limits: bool = True) -> Detector:
        """Write the detector; what it was made from is kept until `forget`.

        limits: find out what it would hear, too: some seconds.
        Raises EarshotError that says how much sound is missing, or what is wrong with it; it may then hear more.
        """
        sound, promise, notes = self._lesson.sound if limits else None, self._promise, self._notes
        if self._condition is None:
            windows = self._lesson.windows()
            made = enroll_windows(self.name, windows, self._base, output, promise, self._pickup, sound, notes=notes)
            if self._normal:
                made = teach(made, self._normal, output, promise)
        else:
            windows = self._lesson.windows(self._condition, f"{self._condition}-idle")
            taught = [(name, windows.of_condition(name)) for name in dict.fromkeys(windows.domain)]
            made = teach(self._base, [*taught, *self._normal], output, promise, sound, notes=notes)
        return made

    def forget(self) -> None:
        """Forget what was heard: it is in force, or of no use."""
        self._batches.clear()


def record_of(progress: Progress) -> Record:
    """Return how far an enrolment has come, ready for JSON."""
    rounded = {key: round(value, 2) if isinstance(value, float) else value for key, value in asdict(progress).items()}
    return {**rounded, "advice": [asdict(each) for each in progress.advice]}


def conditions_of(base: Detector, wanted: str) -> str:
    """Return the name of a condition that is to be added: as it is wanted, or with a number behind it.

    Raises EarshotError if `base` knows no machine that is there, or several.
    """
    if base.is_example:
        raise EarshotError(f"{base.path}: an example: expected the machine itself to be learnt first")
    if len(base.sections) != 1:
        raise EarshotError(
            f"{base.path}: {len(base.sections)} machines: expected the detector of one, as `enroll` made it"
        )
    return next_condition(base, wanted)
