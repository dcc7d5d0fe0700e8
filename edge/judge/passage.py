"""A machine on its way from running to idle, or back: windows that hold some of both. No file, no clock.

The mean levels of such a window lie on the line between those of both states, as far along as it holds of each. For as
long as a window and a half they are let pass, and nothing is judged; what stays between them is no change of state.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from edge.ear import FloatArray

NEAR: Final = 0.1
"""Of the way between two states: nearer to one of them, a window is of it."""

BESIDE: Final = 0.5
"""How far beside the line it may lie, mean over the bands, in parts of the way: a machine that starts is louder."""

LONGEST: Final = 1.5
"""In windows: a machine takes some seconds to run down."""


def pairs_of(conditions: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of the running and the idle state among conditions, of each that has both."""
    places = {name: i for i, name in enumerate(conditions)}
    idle = {name: "idle" if name == "source" else f"{name}-idle" for name in places}
    return [(places[name], places[idle[name]]) for name in places if idle[name] in places]


class Passage:
    """Where the newest windows of one machine are between its states. Remembers for how many it has been so."""

    def __init__(self, band_mean: FloatArray, pairs: Sequence[tuple[int, int]], *, window_hops: int) -> None:
        """band_mean: (n, M), dB, of each state; pairs: running and idle, which of them the machine passes between."""
        levels = band_mean.astype(np.float64)
        self._idle = levels[[idle for _, idle in pairs]]
        self._way = levels[[running for running, _ in pairs]] - self._idle
        self._most_hops = math.ceil(LONGEST * window_hops)
        self._hops = 0

    def hear(self, level_db: FloatArray) -> bool:
        """Take the band levels, (M,), of the next window; return whether it is on its way, and not to be judged."""
        steps = level_db - self._idle
        share = (steps * self._way).sum(1) / np.square(self._way).sum(1)
        beside = np.abs(steps - share[:, np.newaxis] * self._way).mean(1) / np.abs(self._way).mean(1)
        on_line = beside < BESIDE
        if (on_line & (np.abs(share - 0.5) >= 0.5 - NEAR)).any():  # it is of a state
            self._hops = 0
            return False
        if on_line.any():
            self._hops += 1
        return bool(on_line.any()) and self._hops <= self._most_hops

    def forget(self) -> None:
        """Nothing connects what comes with what was heard."""
        self._hops = 0
