"""Recordings through the same line as live sound: every window of a file, or one score for all of it."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from edge.detector.line import Line, Reading
from edge.ear import OFFSET_MOVED, Ear, HopPlan, Measurement, Samples, still_stretches
from edge.errors import EarshotError, shown
from edge.judge import ScoreName
from edge.source import AS_IT_IS, Note, OnNote, Pickup, read_blocks, say_once

BLOCK_SAMPLES: Final = 1 << 16
"""About eight hops at once; any number gives the same readings."""

LEAST_PART: Final = 0.25
"""Of a window: a part of a recording that is shorter says nothing of a machine, however often it is repeated."""

FADE_SECONDS: Final = 0.01
"""How long two ends that are put together overlap: a step between them would be a knock."""

Key = TypeVar("Key", bound=Hashable)
Scored = Callable[[Measurement], Mapping[Key, float]]
"""Gives the scores of a window, by whatever they are called."""

_GATHERED_SECONDS: Final = 60.0
"""What is looked through for stretches of one value at once."""


@dataclass(frozen=True)
class FileScore:
    """What became of one recording.

    scores  each the mean over its windows; none where no part of it could be trusted
    notes   what is odd about it, and what was left out
    """

    scores: Mapping[ScoreName, float]
    notes: tuple[str, ...] = ()


def readings_of(
    line: Line,
    path: Path,
    pickup: Pickup = AS_IT_IS,
    *,
    block_samples: int = BLOCK_SAMPLES,
    on_note: OnNote | None = None,
) -> Iterator[Reading]:
    """Yield the readings of a recording, which stands for itself: the line is reset before it.

    Raises SourceError, perhaps after some readings: a file has a score only if it was read to its end.
    """
    line.reset()
    for samples in read_blocks(path, pickup, block_samples=block_samples, on_note=on_note):
        for start in range(0, samples.size, BLOCK_SAMPLES):
            yield from line.feed(samples[start : start + BLOCK_SAMPLES])
    if on_note is not None and line.ear.offset:
        on_note(_offset_note(line.ear))


def score_file(line: Line, path: Path, pickup: Pickup = AS_IT_IS) -> Mapping[ScoreName, float]:
    """Return every score of a recording; what is odd about it is logged, the first of each kind.

    Raises SourceError if it cannot be read, and EarshotError if no part of it could be trusted.
    """
    return score_through(line.ear, line.scores, path, pickup)


def score_through(ear: Ear, scored: Scored[Key], path: Path, pickup: Pickup = AS_IT_IS) -> dict[Key, float]:
    """Do as `score_file` for scores of any kind: a recording is heard once, however many there are."""
    notes: list[Note] = []
    scores = _scores(ear, scored, path, pickup, notes)
    if not scores:
        raise EarshotError(f"{shown(path)}: {'; '.join(note.text for note in notes)}: expected the sound of a machine")
    for note in notes:
        say_once(path, note)
    return scores


def judge_file(line: Line, path: Path, pickup: Pickup = AS_IT_IS) -> FileScore:
    """Do as `score_file` for a table: a recording without a score is one with a reason. Raises SourceError."""
    notes: list[Note] = []
    scores = _scores(line.ear, line.scores, path, pickup, notes)
    return FileScore(scores, tuple(note.text for note in notes))


def _scores(ear: Ear, scored: Scored[Key], path: Path, pickup: Pickup, notes: list[Note]) -> dict[Key, float]:
    """Return the mean over the windows (the B segments of the paper's Eq. 4), else the scores of a part."""
    faults: list[str] = []
    heard: list[Mapping[Key, float]] = []
    ear.reset()
    for samples in read_blocks(path, pickup, block_samples=BLOCK_SAMPLES, on_note=notes.append):
        for window in ear.feed(samples):
            if window.fault is None:
                heard.append(scored(window))
            else:
                faults.append(window.fault)
    if ear.offset:
        notes.append(_offset_note(ear))
    if heard:
        if faults:
            n_all = len(heard) + len(faults)
            notes.append(Note("gap", f"{len(faults)} of {n_all} windows left out: {faults[0]}"))
        return {name: float(np.mean([scores[name] for scores in heard])) for name in heard[0]}
    if OFFSET_MOVED in faults:  # what is left of it holds the step as well
        notes.append(Note("offset moved", OFFSET_MOVED))
        return {}
    part = _window_of_part(ear.plan, path, pickup, notes, silent=bool(faults))
    if part is None:
        return {}
    ear.reset()
    return dict(scored(ear.feed(part)[0]))


def _offset_note(ear: Ear) -> Note:
    return Note("offset", f"its mean, {ear.offset:+.2g} of full scale off zero, was taken out: a broken bias?")


def _window_of_part(plan: HopPlan, path: Path, pickup: Pickup, notes: list[Note], *, silent: bool) -> Samples | None:
    """Return what there is between the stretches of one value as one window, repeated where it is shorter."""
    rate = plan.frontend.sample_rate_hz
    part, n_heard, left_out = _part(path, pickup, plan)
    seconds = n_heard / rate
    if n_heard < LEAST_PART * plan.window_samples:
        what = (
            "silent or stuck"
            if silent or left_out
            else f"{seconds + left_out / rate:.2f} s, too short to say anything of a machine"
        )
        notes.append(Note("no part", what))
        return None
    said = f"{left_out / rate:.2f} s of one value left out: judged by the other " if left_out else "judged by its "
    said += f"{seconds:.2f} s"
    if n_heard < plan.window_samples:
        said += f", shorter than a window of {plan.window_seconds:g} s and so repeated"
    notes.append(Note("gap" if left_out else "short", said))

    whole = part
    while whole.size < plan.window_samples:
        whole = _joined(whole, part, rate)
    return whole[: plan.window_samples]


def _part(path: Path, pickup: Pickup, plan: HopPlan) -> tuple[Samples, int, int]:
    """Return the sound of a recording without its stretches of one value, up to one window; how many samples of it were
    put together, a little more than there are; and how many were left out, to where the window was full."""
    rate = plan.frontend.sample_rate_hz
    part: Samples = np.empty(0, np.float32)
    n_heard = left_out = 0
    for samples in read_blocks(path, pickup, block_samples=round(_GATHERED_SECONDS * rate), on_note=lambda _: None):
        start = 0
        for first, end in [*still_stretches(samples, plan.frontend.frame_samples), (samples.size, samples.size)]:
            part = _joined(part, samples[start:first], rate)
            n_heard += first - start
            start = end
            if part.size >= plan.window_samples:
                return part, n_heard, left_out
            left_out += end - first
    return part, n_heard, left_out


def _joined(before: Samples, after: Samples, rate_hz: int) -> Samples:
    """Put two pieces together, faded into one another."""
    n = min(round(FADE_SECONDS * rate_hz), before.size, after.size)
    if n == 0:
        return before if after.size == 0 else after.copy() if before.size == 0 else np.concatenate([before, after])
    rise = np.linspace(0, 1, n, dtype=np.float32)
    seam = before[-n:] * (1 - rise) + after[:n] * rise
    return np.concatenate([before[:-n], seam, after[n:]])
