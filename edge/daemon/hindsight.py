"""What is remembered of a source, to be learnt from: a person says that this was normal. A stretch of it, or episodes.

Of each minute one window was kept as it was measured. A machine that is known learns the stretch as a condition of its
own, beside what it knows; one that nobody has taught is learnt from it. Running and idle are told apart as at
enrolment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from edge.daemon.recorder import called_normal
from edge.detector import LEAST_WINDOWS, Detector, Promise, enroll_windows, next_condition, teach
from edge.errors import EarshotError
from edge.judge import IDLE, RUNNING, NormalWindows, find_states
from edge.memory import Book, MeasuredMinutes, measured_in
from edge.source import Pickup

LEAST_MINUTES: Final = 31
"""Of a machine that is not known yet: as many windows as five minutes of listening have."""

MOST_MINUTES: Final = 1440
"""That are fitted to; of a longer stretch, as many from all over it."""

FEWEST: Final = 3
"""Windows of an idle state that are learnt."""

Normal = list[tuple[str, NormalWindows]]
"""Conditions by their names."""


def in_stretch(books: Sequence[Book], start: float, end: float, base: Detector) -> Normal:
    """Return what was heard between two times (UNIX seconds), as conditions that `base` is to learn.

    books: whole ones, of the source. Raises EarshotError that says what is missing, or that the sound is too mixed.
    """
    found = measured_in(books, start, end, with_episodes=True)  # a person says that these were normal, too
    if not found.number.size:
        raise EarshotError("nothing to learn from is remembered of that time: expected minutes that were heard whole")
    if found.network != base.card.files["model.onnx"]:
        raise EarshotError("what is remembered of that time was measured by another network: let it listen instead")
    day = f"{datetime.fromtimestamp(start, UTC).astimezone():%Y-%m-%d}"
    running, least = ("source", LEAST_MINUTES) if base.is_example else (next_condition(base, day), LEAST_WINDOWS)
    windows = _by_state(found, running, "idle" if base.is_example else f"{running}-idle", least=least)
    return [(name, windows.of_condition(name)) for name in dict.fromkeys(windows.domain)]


def normal_episodes(state: Path, source: str, base: Detector) -> Normal:
    """Return the episodes of a source that a person called normal since, as conditions that `base` is to learn.

    Raises EarshotError if there are none.
    """
    if normal := called_normal(state, source, base):
        return normal
    raise EarshotError(f"{source}: no episode was called normal since: expected one, of this network")


def learn(
    base: Detector,
    machine: str,
    normal: Normal,
    output: Path,
    promise: Promise,
    pickup: Pickup,
    notes: Mapping[str, object] | None = None,
) -> Detector:
    """Write the detector that has learnt this besides; of an example, that of the machine alone, by its name."""
    if not base.is_example:
        return teach(base, normal, output, promise, notes=notes)
    (_, windows), *others = normal
    for _, more in others:
        windows = windows.and_then(more)
    return enroll_windows(machine, windows, base, output, promise, pickup, notes=notes)


def _by_state(found: MeasuredMinutes, running: str, idle: str, *, least: int) -> NormalWindows:
    """Return the minutes as windows of both states under these names; those in which it changes are left out."""
    level_db = found.windows["bands"][:, 0]
    states = find_states(level_db)
    if states.are_mixed:
        raise EarshotError(
            f"the sound is too mixed: its level varies by {states.spread_db:.0f} dB from minute to minute, in no two "
            "states: expected a stretch in which the machine did one thing, or two"
        )
    state = states.of(level_db)
    n_running = int((state == RUNNING).sum())
    if n_running < least:
        raise EarshotError(f"{n_running} minutes of the running machine are remembered: expected {least} or more")
    names = {RUNNING: running} | ({IDLE: idle} if (state == IDLE).sum() >= FEWEST else {})
    windows = NormalWindows.of_minutes(found.windows, found.number, "remembered")
    windows = replace(windows, domain=[names.get(int(each), "") for each in state])
    return windows.take(_spread(np.isin(state, list(names))))


def _spread(wanted: np.ndarray) -> np.ndarray:
    """Return which of those that are wanted, (n,), are taken: `MOST_MINUTES` at most, from all over them."""
    rows = np.flatnonzero(wanted)
    chosen = rows[np.unique(np.linspace(0, rows.size - 1, min(rows.size, MOST_MINUTES)).astype(np.int64))]
    taken = np.zeros(wanted.size, np.bool_)
    taken[chosen] = True
    return taken
