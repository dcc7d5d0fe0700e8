"""Which normal windows are held out together, so that a score is of statistics that had not heard them. Pure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.judge.normal import MIN_WINDOWS, NormalWindows

FOLDS: Final = 5

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""The rows that are held out, and those that are fitted to, each (B,)."""


def by_recording(windows: NormalWindows) -> list[Fold]:
    """Return folds that had not heard the recording; every window is held out once.

    Whole recordings are, some of every condition, so that three target clips are never all
    held out. Fewer recordings than `FOLDS` make fewer folds. Of a recording that is the only one of its condition, or
    without which fewer than `MIN_WINDOWS` would be left, stretches are held out, and the windows beside them are not
    fitted to either.
    """
    return _made(_recordings_dealt(windows), windows)


def by_stretch(windows: NormalWindows) -> list[Fold]:
    """Return folds that had heard other minutes of each recording; every window is held out once.

    Each holds out a stretch of every recording, and of those with fewer windows than folds one in turn.
    """
    recordings = np.array(windows.recording)
    fold, dealt = np.empty(len(windows), np.int64), 0
    for name in dict.fromkeys(windows.recording):
        rows = np.flatnonzero(recordings == name)
        if int(windows.apart[rows].sum()) >= FOLDS:
            fold[rows] = np.arange(rows.size) * FOLDS // rows.size
        else:
            fold[rows] = dealt % FOLDS
            dealt += 1
    return _made(fold, windows)


def _made(fold: NDArray[np.int64], windows: NormalWindows) -> list[Fold]:
    made = []
    for i in np.unique(fold):
        held_out = fold == i
        made.append((held_out, windows.apart & ~held_out & ~_beside(held_out, windows)))
    return made


def _recordings_dealt(windows: NormalWindows) -> NDArray[np.int64]:
    conditions, recordings = np.array(windows.domain), np.array(windows.recording)
    fold = np.full(len(windows), -1)
    for condition in np.unique(conditions):
        own = list(dict.fromkeys(recordings[(conditions == condition) & (fold < 0)]))
        n_windows = [int(windows.apart[recordings == name].sum()) for name in own]
        longest = own[int(np.argmax(n_windows))] if own else None
        if longest is not None and (len(own) == 1 or windows.n_apart - max(n_windows) < MIN_WINDOWS):
            rows = np.flatnonzero(recordings == longest)
            for i, stretch in enumerate(np.array_split(rows, min(FOLDS, max(n_windows)))):
                fold[stretch] = i
            own.remove(longest)
        for i, part in enumerate(np.array_split(own, FOLDS) if own else []):
            fold[np.isin(recordings, part)] = i
    return fold


def _beside(held_out: NDArray[np.bool_], windows: NormalWindows) -> NDArray[np.bool_]:
    """Return the windows of the same recordings that are next to held out ones, or overlap them, (B,).

    None of a recording so short that nothing would be left: three target clips keep two of them.
    """
    beside = np.zeros(len(windows), np.bool_)
    recordings = np.array(windows.recording)
    for name in set(recordings[held_out]) & set(recordings[~held_out]):
        rows = np.flatnonzero(recordings == name)
        places = np.flatnonzero(windows.apart[rows])
        if places.size < MIN_WINDOWS:
            continue
        reach = int(np.diff(places).max())
        near = np.convolve(held_out[rows], np.ones(2 * reach + 1))[reach : reach + rows.size] > 0.5
        beside[rows] = near & ~held_out[rows]
    return beside
