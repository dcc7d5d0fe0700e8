"""What another threshold would have told of the last days, from one number a minute. Numbers in, alarms out; pure.

Of each minute the memory keeps its rarity: the rarest that enough of its windows in a row were, minus the decimal
logarithm (`EventDetector.held`). A threshold is a rate of false alarms, so an episode would have opened in the first
minute that is rarer. How this differs from a replay:

    opens    to a minute; exactly as often, while the run's past is what it was. What was no episode then and would be
             one now would not have taught what is ordinary, and the other way round
    closes   when minutes are no longer rare enough for the off-delay, where a replay asks whether the sound is nearer
             to ordinary, and then begins its averages anew: what a replay tells as two may be one here

Against replays at thresholds other than the one in force no episode is missed, and at loose ones up to a quarter fewer
are counted (tests/test_hindsight.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.judge.off_delay import OffDelay

DoubleArray = NDArray[np.float64]

NEXT_SECONDS: Final = 90.0
"""Minutes that end farther apart have something between them that was not heard."""


@dataclass(frozen=True)
class Alarm:
    """An episode that would have been: from the end of its first minute to that of its last, s; the rarest of them."""

    opened: float
    closed: float
    rarity: float


def alarms_at(
    time: Sequence[float] | DoubleArray,
    rarity: Sequence[float] | DoubleArray,
    needed: float,
    *,
    off_seconds: float,
    most_minutes: float,
) -> list[Alarm]:
    """Return the episodes that there would have been.

    time     when each minute ended, s, (n,), rising; rarity: of each, (n,), NaN where nothing was judged
    needed   the rarity of the rate of false alarms that the threshold stands for (`Judge.rarity_of`)
    off_seconds   the off-delay (`event.off_delay_seconds`), longer for what comes again (edge/judge/off_delay.py)
    most_minutes  after which an episode is closed, and another may open (`event.max_episode_minutes`)
    """
    when, rare = np.asarray(time, np.float64), np.asarray(rarity, np.float64)
    off_delay = OffDelay(off_seconds, hop_seconds=1.0)
    unheard = np.cumsum(np.isnan(rare) | (np.diff(when, prepend=when[:1]) > NEXT_SECONDS))
    alarms: list[Alarm] = []
    calm_seconds, latest = 0, 0
    for i in np.flatnonzero(rare >= needed).tolist():
        last = alarms[-1] if alarms else None
        follows = last is not None and unheard[i] == unheard[latest] and when[i - 1] - last.closed <= calm_seconds
        if last is not None and follows and when[i] - last.opened <= 60 * most_minutes:
            alarms[-1] = Alarm(last.opened, float(when[i]), max(last.rarity, float(rare[i])))
        else:
            if last is not None and not follows:
                off_delay.recovered(last.closed + calm_seconds)
            calm_seconds = off_delay.opened(float(when[i]))
            alarms.append(Alarm(float(when[i]), float(when[i]), float(rare[i])))
        latest = i
    return alarms
