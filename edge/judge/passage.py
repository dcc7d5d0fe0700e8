"""A machine on its way from running to idle, or back: windows that hold some of both. No file, no clock.

The mean levels of such a window, in dB, lie on the line between those of both states, as far along as it holds of each.
For as long as a window and a half they are let pass, with those few before and after that hold a little of the other
state, and nothing is judged; what stays between both is no change of state.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from edge.ear import FloatArray

NEAR: Final = 0.1
"""Of the way between two states: nearer to one of them, a window is of it."""

MOST_NEAR: Final = 0.25
"""States that vary by more of the way are not told from what lies between them: then all of it is judged."""

DEVIATIONS: Final = 3.0
"""By which a window of a state may be off it."""

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

    def __init__(
        self, means_db: FloatArray, deviation_db: FloatArray, pairs: Sequence[tuple[int, int]], *, window_hops: int
    ) -> None:
        """means_db: mean levels of each state, (n, M); deviation_db: within a state, (M,); pairs: running and idle."""
        states = means_db.astype(np.float64)
        way = np.stack([states[running] - states[idle] for running, idle in pairs])
        # As if all bands of a state moved together, which a load or a distance does.
        spread = DEVIATIONS * (np.abs(way) * deviation_db).sum(1) / np.square(way).sum(1)
        told = spread <= MOST_NEAR
        self._idle = np.stack([states[idle] for _, idle in pairs])[told]
        self._way, self._near = way[told], np.maximum(spread[told], NEAR)
        self._most_hops = math.ceil(LONGEST * window_hops)
        self._edge_hops = math.ceil(float(self._near.max(initial=NEAR)) * window_hops)
        self._hops = self._after = 0

    @property
    def begins(self) -> bool:
        """Whether the newest window is the first of a passage: the few before it were of one, too."""
        return self._hops == 1

    def hear(self, level_db: FloatArray) -> bool:
        """Take the mean levels, (M,), of the next window; return whether it is on its way, and not to be judged."""
        steps = level_db - self._idle
        share = (steps * self._way).sum(1) / np.square(self._way).sum(1)
        beside = np.abs(steps - share[:, np.newaxis] * self._way).mean(1) / np.abs(self._way).mean(1)
        on_line = beside < BESIDE
        if (on_line & (np.abs(share - 0.5) >= 0.5 - self._near)).any():  # it is of a state
            passed = 0 < self._hops <= self._most_hops
            self._after = self._edge_hops if passed else max(0, self._after - 1)
            self._hops = 0
            return self._after > 0
        self._hops += bool(on_line.any())
        return bool(on_line.any()) and self._hops <= self._most_hops

    def forget(self) -> None:
        """Nothing connects what comes with what was heard."""
        self._hops = self._after = 0
