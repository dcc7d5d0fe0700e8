"""The newest sound of one source, as 16-bit samples in a ring: what clips begin with, and what is looked at again."""

import numpy as np
from numpy.typing import NDArray

from edge.ear.frontend import Samples

Pcm = NDArray[np.int16]

FULL_SCALE = np.float32(32_768)
"""By 2^15, so that samples that were 16-bit come out as they were."""


def as_pcm(samples: Samples) -> Pcm:
    """Return samples, (T,), as 16-bit ones; what is beyond full scale is clipped."""
    scaled = samples * FULL_SCALE
    np.rint(scaled, out=scaled)
    np.maximum(scaled, -32_768, out=scaled)
    np.minimum(scaled, 32_767, out=scaled)
    return scaled.astype(np.int16)


class Newest:
    """A ring of `n_samples` samples (0: nothing is remembered)."""

    def __init__(self, n_samples: int) -> None:
        self._ring = np.zeros(n_samples, np.int16)
        self._n_heard = 0

    def reset(self) -> None:
        """Forget everything."""
        self._n_heard = 0

    def push(self, samples: Pcm) -> None:
        """Append samples, (T,), of any length."""
        size = self._ring.size
        if size:
            newest = samples[-size:]
            at = (self._n_heard + samples.size - newest.size) % size
            first = min(newest.size, size - at)
            self._ring[at : at + first] = newest[:first]
            self._ring[: newest.size - first] = newest[first:]
        self._n_heard += samples.size

    def last(self, n_samples: int, later: int = 0) -> Pcm:
        """Return a copy of the newest samples but `later`, oldest first: (n_samples,), or as many as are there."""
        size = self._ring.size
        end = self._n_heard - later
        n_samples = max(0, min(n_samples, min(size, self._n_heard) - later))
        if not n_samples:
            return self._ring[:0]
        at = (end - n_samples) % size
        return np.concatenate([self._ring[at : at + n_samples], self._ring[: max(0, at + n_samples - size)]])
