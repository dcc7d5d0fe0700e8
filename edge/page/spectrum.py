"""Sound as columns for a live spectrogram: a byte a band. It remembers the samples that no column has used yet.

As coarse as the pictures of episodes unless sound may be kept, too: half a second a column shows that somebody speaks,
and not what they say (edge/memory/picture.py).
"""

import base64
from collections.abc import Iterator
from typing import Final

import numpy as np

from edge.ear import Frontend, FrontendSettings, Samples
from edge.memory import COLUMN_FRAMES

FINE_FRAMES: Final = 4
"""0.128 s."""

FLOOR_DB: Final = -110.0
STEP_DB: Final = 0.5
"""A byte is so many steps above the floor: up to 17 dB re full scale."""


class Spectrum:
    """Samples to columns."""

    def __init__(self, *, finely: bool) -> None:
        self._frames = FINE_FRAMES if finely else COLUMN_FRAMES
        self._frontend = Frontend(FrontendSettings())
        self._rest: Samples = np.zeros(0, np.float32)

    @property
    def column_seconds(self) -> float:
        """How much sound a column is of."""
        settings = self._frontend.settings
        return self._frames * settings.hop_samples / settings.sample_rate_hz

    def feed(self, samples: Samples) -> Iterator[str]:
        """Take mono samples, (T,), 16 kHz; yield the columns that they complete: M bytes in base64, low bands first."""
        settings = self._frontend.settings
        length, step = settings.samples_for(self._frames), self._frames * settings.hop_samples
        held = np.concatenate([self._rest, samples])
        while held.size >= length:
            power = np.power(10, self._frontend(held[:length]) / 10).mean(axis=1)
            levels = (10 * np.log10(power) - FLOOR_DB) / STEP_DB
            yield base64.b64encode(np.clip(levels, 0, 255).astype(np.uint8).tobytes()).decode()
            held = held[step:]
        self._rest = held.copy()
