"""What a detector would hear: known changes laid over pieces of the machine's own normal recordings, and judged.

Each piece is scored by statistics that had not heard it: as those of the detector, but fitted without one fold
(edge/judge/folds.py, by stretch, so that as much as can be is still known). What they score is then moved to where a
recording to come is expected, with all that is left open about it (edge/judge/ordinary.py).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings
from edge.detector.card import SectionCard
from edge.detector.sections import Section
from edge.detector.sound import Cut, Sound
from edge.ear import HOP_FRAMES, Features, FloatArray, Frontend, HopPlan, Meter, Model
from edge.judge import (
    Change,
    Changes,
    EventDetector,
    Kind,
    Limit,
    NormalWindows,
    Scorer,
    Trial,
    at_level,
    folds,
    heard_normal,
    in_words,
    limits,
    log_score,
    places,
    rate_at,
    refit,
    student_quantile,
)

PIECES: Final = 10
PIECE_HOPS: Final = 40
"""After the first window: 20 s, in the second half of which a change fills the window."""

FEWEST_HOPS: Final = 24
"""Of a piece that is used: five after the window is full of the change."""

TRIALS: Final = 12
"""Of each kind of change: of its places, the pieces, and the levels that a recording may have."""


@dataclass(frozen=True)
class _Piece:
    """Sound that one fold held out, in cuts."""

    cuts: tuple[Cut, ...]
    fold: int


def would_hear(
    section: Section,
    windows: NormalWindows,
    sound: Sound,
    model: Model,
    plan: HopPlan,
    settings: EventSettings,
) -> list[Limit]:
    """Return the limits of each kind of change; none where the pieces of unbroken sound are all too short.

    windows: what the section was fitted to, measured of `sound`, of which a part may be enough.
    """
    return limits(trials_of(section, windows, sound, model, plan, settings))


def trials_of(
    section: Section,
    windows: NormalWindows,
    sound: Sound,
    model: Model,
    plan: HopPlan,
    settings: EventSettings,
    *,
    log_levels: Sequence[float] = (),
) -> list[Trial]:
    """Return the trials that `would_hear` is of; none where the pieces of unbroken sound are all too short.

    log_levels: the mean log scores of recordings to come, if somebody knows; else those that are to be expected.
    """
    dealt = folds.by_stretch(windows)
    pieces = _pieces(windows, [held_out for held_out, _ in dealt], sound, plan)
    if not pieces:
        return []
    frontend = Frontend(plan.frontend)
    frames = _frames(pieces, sound, frontend)
    scorers = {p.fold: Scorer(refit(windows, dealt[p.fold][1], section.statistics)) for p in pieces}
    stages = [_Stage(own, scorers[piece.fold], Meter(model, plan)) for piece, own in zip(pieces, frames, strict=True)]

    changes = Changes.of(frontend, frames, HOP_FRAMES * PIECE_HOPS)
    by_kind = defaultdict[Kind, list[Change]](list)
    for place in places(plan.frontend.f_min_hz, plan.frontend.f_max_hz):
        by_kind[place.kind].append(changes.at(place))
    trials = list[Trial]()
    log_levels = log_levels or [_level(section, i) for i in range(TRIALS)]
    for i in range(TRIALS):
        take = _Take(stages[i % len(stages)], log_levels[i % len(log_levels)])
        before, heard_seconds = take.heard_normal(section, plan, settings)
        trials += [
            Trial(kind, before, heard_seconds, plan.hop_seconds, partial(take.log_scores, own[i % len(own)]))
            for kind, own in by_kind.items()
        ]
    return trials


def would_hear_text(card: SectionCard) -> list[str]:
    """Say what a section would hear, a line a kind of change."""
    return [in_words(Limit(**own.model_dump())) for own in card.would_hear]


class _Stage:
    """One piece: its first window heard, and what follows, which may be changed."""

    def __init__(self, frames: Features, scorer: Scorer, meter: Meter) -> None:
        first = meter.plan.window_frames
        meter.measure(frames[:, :first])
        self.rest = frames[:, first:]
        self._meter, self._scorer = meter, scorer
        self.normal = self.scores(self.rest)

    def scores(self, rest: Features) -> FloatArray:
        """Return the fused scores of the hops after the first window, (n,), if they are these frames."""
        heard = [one for one in self._meter.fork().measure(rest) if one is not None]
        embedding, texture, logits, bands = (
            np.stack(of_all)
            for of_all in zip(*((one.embedding, one.texture, one.logits, one.bands) for one in heard), strict=True)
        )
        return self._scorer(embedding, texture, logits, bands)["fused"]


@dataclass(frozen=True)
class _Take:
    """A piece as a recording to come might have it, whose normal sound has this mean log score."""

    stage: _Stage
    log_level: float

    def log_scores(self, change: Change, strength_db: float) -> NDArray[np.float64]:
        """Return the log scores of the hops from the onset of a change on, (n,)."""
        changed = self.stage.scores(change(self.stage.rest, strength_db))
        return at_level(changed, self.stage.normal, self.log_level)

    def heard_normal(self, section: Section, plan: HopPlan, settings: EventSettings) -> tuple[EventDetector, float]:
        """Return the event detector of a section after minutes of this, and how many seconds these were."""
        ordinary, threshold = section.ordinary["fused"], section.card.thresholds["fused"]
        return heard_normal(
            settings,
            ordinary,
            at_level(self.stage.normal, self.stage.normal, self.log_level),
            rate=rate_at(ordinary, float(log_score(threshold, "fused"))),
            window_seconds=plan.window_seconds,
            hop_seconds=plan.hop_seconds,
        )


def _level(section: Section, i: int) -> float:
    """Return the mean log score of the recording of trial i: one of `TRIALS` that are equally likely."""
    own = section.ordinary["fused"]
    tail = ((7 * i) % TRIALS + 0.5) / TRIALS
    return own.level + own.level_deviation * student_quantile(tail, own.level_freedom)


def _pieces(windows: NormalWindows, held_out: Sequence[NDArray[np.bool_]], sound: Sound, plan: HopPlan) -> list[_Piece]:
    """Return pieces of the machine's sound, spread over its folds and recordings, `PIECES` at most."""
    if windows.place is None:
        return []
    chosen: list[_Piece] = []
    held = (windows.place[:, 0] >= 0) & sound.holds(windows.place, plan.window_samples)
    most = math.ceil(PIECES / len(held_out))
    for fold, rows in enumerate(held_out):
        own = _pieces_of(windows.place, np.flatnonzero(rows & held), windows.series, plan)
        every = {round(i) for i in np.linspace(0, len(own) - 1, min(most, len(own))).tolist()}
        chosen += [_Piece(tuple(own[i]), fold) for i in sorted(every)]
    return chosen[:PIECES]


def _pieces_of(
    place: NDArray[np.int64], rows: NDArray[np.int64], series: NDArray[np.int64], plan: HopPlan
) -> list[list[Cut]]:
    """Join windows a hop apart to cuts, and cuts to pieces of at most `PIECE_HOPS` hops after their first window."""
    whole_hops = plan.window_frames // HOP_FRAMES  # what a window adds to a piece that has begun
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(series[rows]) != 0)) + 1
    pieces, cuts, hops = list[list[Cut]](), list[Cut](), 0
    for run in np.split(rows, breaks) if rows.size else []:
        start = 0
        while start < run.size:
            before = hops + whole_hops if cuts else 0
            own = run[start : start + PIECE_HOPS + 1 - before]
            start += own.size
            (file, first), (_, end) = place[own[0]], place[own[-1]]
            cuts.append((int(file), int(first) - plan.window_samples, int(end)))
            hops = before + own.size - 1
            if hops + whole_hops > PIECE_HOPS:
                pieces.append(cuts)
                cuts, hops = [], 0
    return [*pieces, cuts] if hops >= FEWEST_HOPS else pieces


def _frames(pieces: Sequence[_Piece], sound: Sound, frontend: Frontend) -> list[Features]:
    """Return the frames of each piece, (M, F): whole hops after the first window."""
    wanted = sorted({cut for piece in pieces for cut in piece.cuts})
    frames = {cut: frontend(samples) for cut, samples in sound.of(wanted)}
    return [_joined([frames[cut] for cut in piece.cuts]) for piece in pieces]


def _joined(cuts: Sequence[Features]) -> Features:
    """Join frames: the first window as it is, all that follow cut to whole hops."""
    return np.concatenate([cuts[0], *(cut[:, cut.shape[1] % HOP_FRAMES :] for cut in cuts[1:])], axis=1)
