"""Whether a machine runs and idles, by its band levels alone. Pure: levels in, states out.

Windows are cut in two along the direction in which they differ most, where the two parts vary least (N. Otsu, IEEE
Trans. SMC 9, 1979). Any sound can be cut in two, so a test has to say that there are two: nearly all windows lie close
to one of both middles. Of a Normal cloud 57 % do not, of an even spread, as a drift has it, half; of two Normal states
five deviations apart a fifth.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray

FEW_BETWEEN: Final = 0.5
"""Of the windows of the rarer state: more that are of neither make one state of both."""

APART_DB: Final = 3.0
"""Mean over the bands: states that an ear would not tell apart are one."""

FEWEST: Final = 3
"""Windows of a state: half a minute. A lorry that passes is none."""

LARGEST_SPREAD_DB: Final = 6.0
"""Deviation of the mean band level within a state, beyond which it is no state: nothing would be unusual there."""

RUNNING: Final = 1
IDLE: Final = -1
BETWEEN: Final = 0

CLEAR: Final = 0.25
"""How near to the middle of a state, in parts of the way between both, a window has to lie to be of it."""


@dataclass(frozen=True)
class States:
    """What was found: one state, or two.

    middle_db  (M,) mean band levels of each, dB: of the running machine, and of the idle one if it idles
    spread_db  deviation of the mean band level within a state, the largest
    """

    middle_db: tuple[FloatArray, ...]
    spread_db: float

    @property
    def are_two(self) -> bool:
        """Whether it runs and idles."""
        return len(self.middle_db) == 2

    @property
    def are_mixed(self) -> bool:
        """Whether it varies by more than one or two states do."""
        return self.spread_db > LARGEST_SPREAD_DB

    def of(self, level_db: FloatArray) -> NDArray[np.int8]:
        """Return the state of windows with these mean band levels, (n, M), as (n,): `RUNNING`, `IDLE`, or `BETWEEN`."""
        if not self.are_two:
            return np.full(len(level_db), RUNNING, np.int8)
        running, idle = (each.astype(np.float64) for each in self.middle_db)
        way = running - idle
        share = (level_db - idle) @ way / (way @ way)
        return np.where(share > 1 - CLEAR, RUNNING, np.where(share < CLEAR, IDLE, BETWEEN)).astype(np.int8)


def find_states(level_db: FloatArray) -> States:
    """Return the states of windows with these mean band levels, (n, M) with n >= 1, dB; the louder one is running."""
    mean_db = level_db.mean(axis=1, dtype=np.float64)
    one = States((np.median(level_db, axis=0),), float(mean_db.std()))
    if len(level_db) < 2 * FEWEST:
        return one
    along = _along(level_db)
    upper = along > _cut(along)
    low, high = np.median(along[~upper]), np.median(along[upper])
    share = (along - low) / max(high - low, 1e-9)
    near = [np.abs(share) < CLEAR, np.abs(share - 1) < CLEAR]
    fewer, n_between = min(int(own.sum()) for own in near), len(share) - sum(int(own.sum()) for own in near)
    if fewer < FEWEST or n_between > FEW_BETWEEN * fewer:
        return one
    near.sort(key=lambda own: -float(mean_db[own].mean()))
    running, idle = (np.median(level_db[own], axis=0) for own in near)
    if np.abs(running - idle).mean() < APART_DB:
        return one
    return States((running, idle), max(float(mean_db[own].std()) for own in near))


def _along(level_db: FloatArray) -> NDArray[np.float64]:
    """Return where each window lies along the direction in which they differ most, (n,), dB per band."""
    centred = (level_db - level_db.mean(0)).astype(np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    along: NDArray[np.float64] = centred @ directions[0] / np.sqrt(level_db.shape[1])
    return along


def _cut(x: NDArray[np.float64]) -> float:
    """Return the value that cuts x, (n,) with n >= 2, in two with the least variance within."""
    ordered = np.sort(x)
    n, total = x.size, ordered.sum()
    below, count = np.cumsum(ordered)[:-1], np.arange(1, n)
    between = (below - count * total / n) ** 2 / (count * (n - count))
    i = int(between.argmax())
    return float(ordered[i] + ordered[i + 1]) / 2
