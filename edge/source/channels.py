"""Which channel has the sound, where the one that is listened to has none. No I/O."""

from typing import Final

import numpy as np

from edge.source.block import Samples

_ONE_VALUE: Final = 0.5 / 32_768
"""Peak to peak: half a step of 16 bits."""

_HEARD_DBFS: Final = -60.0
"""A channel that is louder has something on it."""


class OtherChannels:
    """What the other channels hold, for as long as the one that is listened to holds one value."""

    def __init__(self, n_channels: int, channel: int) -> None:
        self._channel = channel
        self._first: float | None = None
        self._is_dead = n_channels > 1
        self._n = 0
        self._sum = np.zeros(n_channels)
        self._squares = np.zeros(n_channels)

    @property
    def are_asked(self) -> bool:
        """Whether the one that is listened to has been one value until now, and there are others."""
        return self._is_dead

    def hear(self, frames: Samples) -> None:
        """Take frames, shape (n, channels)."""
        if not self._is_dead:
            return
        own = frames[:, self._channel]
        self._first = float(own[0]) if self._first is None else self._first
        self._is_dead = float(np.abs(own - self._first).max()) < _ONE_VALUE
        self._n += len(frames)
        self._sum += frames.sum(axis=0, dtype=np.float64)
        self._squares += np.square(frames, dtype=np.float64).sum(axis=0)

    def in_words(self) -> str | None:
        """Say which channels have sound; None where the one that is listened to has."""
        if not self._is_dead or not self._n:
            return None
        power = self._squares / self._n - (self._sum / self._n) ** 2
        level_dbfs = 10 * np.log10(np.maximum(power, 1e-10))
        loud = [
            f"channel {i} has sound at {level:.0f} dBFS" for i, level in enumerate(level_dbfs) if level > _HEARD_DBFS
        ]
        return f"channel {self._channel} is one value throughout; {', '.join(loud)}" if loud else None
