"""The newest sound of one stream, as 16-bit samples in a ring: what clips begin with, and what is looked at again."""

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
        self.n_heard = 0

    def reset(self) -> None:
        """Forget everything."""
        self.n_heard = 0

    def push(self, samples: Pcm) -> None:
        """Append samples, (T,), of any length."""
        size = self._ring.size
        if size:
            newest = samples[-size:]
            at = (self.n_heard + samples.size - newest.size) % size
            first = min(newest.size, size - at)
            self._ring[at : at + first] = newest[:first]
            self._ring[: newest.size - first] = newest[first:]
        self.n_heard += samples.size

    def all(self) -> Pcm:
        """Return what the ring holds, oldest first."""
        size = self._ring.size
        if size == 0 or self.n_heard <= size:
            return self._ring[: min(size, self.n_heard)]
        return np.roll(self._ring, -(self.n_heard % size))

    def before(self, end_sample: int, n_samples: int) -> Samples | None:
        """Return the samples, (n_samples,), float32, up to one that was heard; None where they are not all there.

        end_sample: the one after the last, counted from the last reset.
        """
        held = self.all()
        end = held.size - (self.n_heard - end_sample)
        if not n_samples <= end <= held.size:
            return None
        return held[end - n_samples : end].astype(np.float32) / FULL_SCALE
