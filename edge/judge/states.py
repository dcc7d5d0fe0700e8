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

CLEAR: Final = 0.25
"""How near to the middle of a state, in parts of the way between both, a window has to lie to be of it."""


@dataclass(frozen=True)
class States:
    """What was found in n windows.

    running, idle  (n,), which windows are of which; a window in which the state changes is of neither. `idle` is
                   nowhere true if there is one state
    spread_db      deviation of the mean band level within a state, the largest
    """

    running: NDArray[np.bool_]
    idle: NDArray[np.bool_]
    spread_db: float

    @property
    def are_two(self) -> bool:
        """Whether it runs and idles."""
        return bool(self.idle.any())

    @property
    def are_mixed(self) -> bool:
        """Whether it varies by more than one or two states do."""
        return self.spread_db > LARGEST_SPREAD_DB


def find_states(level_db: FloatArray) -> States:
    """Return the states of windows with these mean band levels, (n, M), dB; the louder one is `running`."""
    n, mean_db = len(level_db), level_db.mean(axis=1, dtype=np.float64)
    one = States(np.ones(n, np.bool_), np.zeros(n, np.bool_), float(mean_db.std()) if n else 0.0)
    if n < 2 * FEWEST:
        return one
    along = _along(level_db)
    upper = along > _cut(along)
    # A window in which the state changes lies between: it belongs to neither, and would hide that there are two.
    low, high = np.median(along[~upper]), np.median(along[upper])
    share = (along - low) / max(high - low, 1e-9)
    lower, upper = np.abs(share) < CLEAR, np.abs(share - 1) < CLEAR
    fewer, n_between = min(lower.sum(), upper.sum()), n - int(lower.sum() + upper.sum())
    apart_db = float(np.abs(level_db[upper].mean(0) - level_db[lower].mean(0)).mean()) if fewer else 0.0
    if fewer < FEWEST or n_between > FEW_BETWEEN * fewer or apart_db < APART_DB:
        return one
    running, idle = (upper, lower) if mean_db[upper].mean() > mean_db[lower].mean() else (lower, upper)
    return States(running, idle, max(float(mean_db[own].std()) for own in (running, idle)))


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
