"""An enrolment as it listens: blocks of sound in, how far it has come out. No thread, no file, no clock.

    checking    some seconds, again and again until nothing speaks against the sound: see edge/judge/soundcheck.py
    listening   what windows measure is gathered; which states the machine has is looked for
    ready       as much was heard as was asked for; who listens on learns more

Running and idle are two conditions of one machine. A judge that knew the running one alone would report each stop; one
that took both for one cloud would be deaf between them. So each is a mean of its own, and what is learnt of how the
machine varies, the covariance, is of both, each around its own mean.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.detector.checking import Checking
from edge.detector.folder import Detector
from edge.detector.rows import Part, Rows, apart_of, stretches_of
from edge.detector.sound import Pieces
from edge.ear import FloatArray, Measurement, Samples, level_dbfs
from edge.errors import EarshotError
from edge.judge import BETWEEN, CLEAR, IDLE, RUNNING, Advice, NormalWindows, States, find_states
from edge.source import SAMPLE_RATE_HZ, Block

LEAST_MINUTES: Final = 5.0
"""Of a machine that is not known yet: 31 windows. Below, it is mostly the prior that judges."""

LEAST_CONDITION_MINUTES: Final = 2.5
"""Of another condition of a machine that is known, whose covariance is there already."""

MOST_MINUTES: Final = 120.0
"""All that is kept of it is held in memory, 0.35 MB a minute, and written down. Recordings may be longer."""

IDLE_MINUTES: Final = 2.0
"""Of a state that is learnt beside the running one."""

PIECE_HOPS: Final = 44
"""Of sound that is kept in memory to lay changes over: half a minute with its first window."""

Stage = Literal["checking", "listening", "ready"]


@dataclass(frozen=True)
class Progress:
    """How far it has come.

    level_dbfs       of the newest block
    state            what the machine does, as far as that is known
    running_minutes, idle_minutes  that were heard so far; all is running where no idle state was found
    missing_minutes  of the running machine
    advice           what is wrong with the sound, in words
    fault            why what is heard now is not taken
    """

    stage: Stage
    level_dbfs: float
    state: Literal["running", "idle", "changing"] | None
    running_minutes: float
    idle_minutes: float
    missing_minutes: float
    advice: tuple[Advice, ...] = ()
    fault: str | None = None


class Lesson:
    """What was heard for one enrolment."""

    def __init__(self, base: Detector, minutes: float, *, is_condition: bool = False) -> None:
        """Hear through the network of `base`; minutes: of the running machine that are asked for.

        is_condition: whether `base` is the machine's own, which is to learn another condition.
        Raises EarshotError if nobody can learn from so few minutes, or keep so many.
        """
        least = LEAST_CONDITION_MINUTES if is_condition else LEAST_MINUTES
        if not least <= minutes <= MOST_MINUTES:
            raise EarshotError(f"{minutes:g} minutes: expected {least:g} to {MOST_MINUTES:g}; of more, make recordings")
        self.minutes = minutes
        self._least_minutes = least
        self._plan = base.plan
        self._ear = base.ear()
        self._checking = Checking(base.frontend)
        self._rows = Rows()
        self._taken = 0
        self._stretch = -1
        self._windows: list[FloatArray] = []
        self._states: States | None = None
        self._of: NDArray[np.int8] = np.empty(0, np.int8)
        self._state: Literal["running", "idle", "changing"] | None = None
        self._heard_samples = 0
        self._newest_apart = 0
        self._level_dbfs = -100.0
        piece = base.plan.window_samples + PIECE_HOPS * base.plan.hop_samples
        self.sound = Pieces(piece_samples=piece, every_samples=round(60 * minutes * SAMPLE_RATE_HZ / Pieces.MOST))

    def hear(self, block: Block) -> Progress:
        """Take the next block; one that starts anew is connected with nothing before it."""
        self._level_dbfs = level_dbfs(block.samples)
        if block.starts_anew:
            self._checking.begin()
            self._begin()
        if self._checking.hear(block.samples):
            self._listen(block.samples)
        elif self._heard_samples:
            self._begin()
        return self.progress

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        running, idle = self._minutes_of(RUNNING), self._minutes_of(IDLE)
        missing, own = max(0.0, self.minutes - running), self._checking
        advice = tuple(each for each in own.advice if not (each.kind == "gain" and self._are_two))
        stage: Stage = "checking" if not own.passed else "ready" if missing == 0 else "listening"
        return Progress(stage, self._level_dbfs, self._state, running, idle, missing, advice, own.fault)

    @property
    def n_checks(self) -> int:
        """How often the sound was looked at before it was found well, or has been so far."""
        return self._checking.n_checks

    def recall(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Go on after what `take` returned in another life. Raises ValueError if that is nothing of this network's."""
        self._rows.extend(rows)
        self._taken = len(self._rows)
        self._stretch = int(self._rows.column("stretch").max(initial=-1))
        levels, ends = self._rows.column("bands")[:, 0], self._rows.end_samples
        anew = np.flatnonzero(np.diff(self._rows.column("stretch"), prepend=-1))
        apart = np.concatenate([apart_of(own.tolist(), self._plan) for own in np.split(ends, anew[1:])])
        self._windows = list(levels[apart].copy())
        self._look()

    def take(self) -> dict[str, NDArray[Any]] | None:
        """Return what was measured since the last call, to be written down; None if that is nothing."""
        first, self._taken = self._taken, len(self._rows)
        return self._rows.since(first) if self._taken > first else None

    def windows(self, running: str = "source", idle: str = "idle") -> NormalWindows:
        """Return what was heard as a fit takes it, the windows of both states under these names.

        Windows in which the state changes are left out, and an idle state of which too little was heard.
        Raises EarshotError that says what is wrong with the sound, or how much more is needed.
        """
        states = self._refuse()
        labels = {RUNNING: running} | ({IDLE: idle} if self._minutes_of(IDLE) >= IDLE_MINUTES else {})
        ranges, parts = list[tuple[int, int]](), list[Part]()
        state = self._settled(states)
        for name, first, end in self._stretches():
            breaks = np.flatnonzero(np.diff(state[first:end])) + 1
            for run in np.split(np.arange(first, end), breaks):
                if run.size and (label := labels.get(int(state[run[0]]))) is not None:
                    ranges.append((int(run[0]), int(run[-1]) + 1))
                    parts.append(Part(name, run.size, label, trained_on=False))
        windows = self._rows.of(ranges).as_windows(self._plan, parts)
        assert windows is not None  # else it had been refused
        return windows

    def _refuse(self) -> States:
        """Return the states; raise EarshotError if they are not to be learnt from."""
        progress, states = self.progress, self._states
        faults = [each.text for each in progress.advice if each.fault]
        if faults:
            raise EarshotError(f"nothing is learnt from this sound: {'; '.join(faults)}")
        if states is None or progress.running_minutes < self._least_minutes:
            more = self._least_minutes - progress.running_minutes
            raise EarshotError(
                f"{progress.running_minutes:.1f} minutes of the running machine were heard: expected "
                f"{self._least_minutes:g} or more, so {more:.1f} more"
            )
        if states.are_mixed:
            raise EarshotError(
                f"the sound is too mixed: its level varies by {states.spread_db:.0f} dB from one window to another, in "
                f"no two states: expected {self._least_minutes:g} minutes of one state, or of two"
            )
        return states

    def _settled(self, states: States) -> NDArray[np.int8]:
        """Return the state of each window, (n,); one that holds some of another state is of none."""
        state = states.of(self._rows.column("bands")[:, 0])
        reach = math.ceil(CLEAR * self._plan.window_hops)
        changes = np.convolve(state == BETWEEN, np.ones(2 * reach + 1), "same") > 0
        return np.where(changes, BETWEEN, state).astype(np.int8)

    def _stretches(self) -> list[tuple[str, int, int]]:
        """Return stretches of what was heard unbroken: name, first row, and the one after the last."""
        file, ends = self._rows.column("stretch"), self._rows.end_samples
        borders = [*np.flatnonzero(np.diff(file, prepend=-1)).tolist(), file.size]
        return [
            (f"{int(file[start])}#{i}", start + first, start + last)
            for start, end in pairwise(borders)
            for i, (first, last) in enumerate(stretches_of(ends[start:end], self._plan))
        ]

    def _begin(self) -> None:
        """Nothing connects what comes with what was heard."""
        self._ear.reset()
        self._stretch += 1
        self._heard_samples = 0
        self._newest_apart = -self._plan.window_samples

    def _listen(self, samples: Samples) -> None:
        self.sound.hear(self._stretch, self._heard_samples, samples)
        self._heard_samples += samples.size
        for heard in self._ear.feed(samples):
            if heard.fault is None:
                self._rows.append(heard, self._stretch)
                self._note(heard)

    def _note(self, heard: Measurement) -> None:
        """Remember the levels of a window, and look for states anew with each that does not overlap the last."""
        level_db = heard.bands[0]
        if heard.end_sample - self._newest_apart >= self._plan.window_samples:
            self._newest_apart = heard.end_sample
            self._windows.append(level_db.copy())
            self._look()
        if self._states is not None and self._states.are_two:
            state = int(self._states.of(level_db[np.newaxis])[0])
            self._state = "running" if state == RUNNING else "idle" if state == IDLE else "changing"
        else:
            self._state = "running"

    @property
    def _are_two(self) -> bool:
        """Whether it runs and idles: then its level moves, and no gain does."""
        return self._states is not None and self._states.are_two

    def _look(self) -> None:
        levels = np.stack(self._windows)
        self._states = find_states(levels)
        self._of = self._states.of(levels)

    def _minutes_of(self, state: int) -> float:
        if self._states is None:
            return 0.0
        share = float((self._of == state).mean())
        return share * len(self._rows) * self._plan.hop_seconds / 60
