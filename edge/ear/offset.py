"""A constant in the samples of a stream, which is no sound: found hop by hop, to be taken out before there are frames.

Microphones do not hear below some hertz. A broken bias, or a cheap sound card, gives a mean off zero all the same, and
the window of each frame spreads it over the lowest bands. There it is taken out once it would be heard. Sound without
such a mean is left alone, to the last bit.

Where it moves, some hops were heard before it was known: no window that holds them can be trusted.
"""

import math
from typing import Final

import numpy as np

from edge.ear.bands import FloatArray
from edge.ear.frontend import Frontend, FrontendSettings, Samples
from edge.ear.still import ONE_VALUE

MARGIN_DB: Final = 1.0
"""How far above its ordinary level a band may come by an offset alone. Who was enrolled with one has learnt it."""

CHANCE: Final = 0.05
"""Of the RMS of a hop (0.5 s): its mean by chance is a fifth of that in noise, and less in any tone above 18 Hz."""

STEADY_HOPS: Final = 6
"""3 s: what lasts so long, with one sign and to a factor of two, is no sound."""

FIRST_PARTS: Final = 4
"""Of the first hop, which has to be taken at its word if they are alike: a recording of 10 s is hardly more than one
window."""


class Offset:
    """Of one stream.

    value  of full scale: what is to be taken from the newest hop
    most   the furthest off zero that it was since the last reset
    """

    def __init__(self, least: float) -> None:
        """Leave alone what is nearer to zero than `least`, of full scale."""
        self._least = least
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.value = self.most = 0.0
        self._is_first = True
        self._off: list[float] = []

    def hear(self, hop: Samples) -> bool:
        """Take the samples of the next hop, (T,); return whether those before it were heard with another offset."""
        if math.isinf(self._least):
            return False
        is_first, self._is_first = self._is_first, False
        off = self._off_by(hop)
        if is_first:
            if off and _alike([self._off_by(part) for part in np.array_split(hop, FIRST_PARTS)]):
                self._move(off)
            return False
        self._off = [*self._off, off][-STEADY_HOPS:]
        if len(self._off) < STEADY_HOPS or not _alike(self._off):
            return False
        self._move(float(np.median(self._off)))
        return True

    def _off_by(self, hop: Samples) -> float:
        """Return how far the mean of a hop is from what it is thought to be; 0 where that may be chance, or no sound.

        Of 16-bit samples a sum in float64 is exact: the same in any block.
        """
        mean, spread = float(hop.mean(dtype=np.float64)), float(hop.std(dtype=np.float64))
        off = mean - self.value
        return off if spread >= ONE_VALUE and abs(off) >= max(self._least, CHANCE * spread) else 0.0

    def _move(self, by: float) -> None:
        self._off = []
        moved = self.value + by
        self.value = moved if abs(moved) >= self._least else 0.0
        self.most = max(self.most, self.value, key=abs)


def _alike(off: list[float]) -> bool:
    nearest, furthest = sorted((min(off), max(off)), key=abs)
    return nearest * furthest > 0 and furthest / nearest <= 2


def heard_from(level_db: FloatArray, frontend: FrontendSettings) -> float:
    """Return from which offset on, of full scale, it is heard: one of the bands, whose ordinary levels are these, (M,),
    dB, comes above it by nothing else."""
    of_full_scale_db = Frontend(frontend)(np.ones(frontend.frame_samples, np.float32))[:, 0]
    return float(10 ** ((np.min(level_db - of_full_scale_db) + MARGIN_DB) / 20))
