"""From any rate to 16 kHz, and what no sound of a machine can hold. No I/O."""

import logging
from typing import Final

import numpy as np
import soxr

from edge.source.block import SAMPLE_RATE_HZ, Samples

log = logging.getLogger(__name__)

HIGHEST_RATE_HZ: Final = 768_000
"""The fastest converters made for sound run at this; a header that says more is damaged."""

PEAK_LIMIT: Final = 8.0
"""18 dB over full scale. Float recordings overshoot 1 by a few dB; integers stored as floats, even of a room at
-70 dB, exceed 8 at once, and would sound 90 dB too loud to a detector."""

NOTHING: Final[Samples] = np.empty(0, np.float32)


def fault_of_rate(rate_hz: int, *, wanted_hz: int = SAMPLE_RATE_HZ) -> str | None:
    """Return why sound at `rate_hz` cannot be used, None if it can."""
    if rate_hz < wanted_hz:
        return (
            f"{rate_hz} Hz: there is nothing above {rate_hz / 2000:g} kHz in it, "
            f"and the detector listens up to {wanted_hz / 2000:g} kHz; expected at least {wanted_hz} Hz"
        )
    if rate_hz > HIGHEST_RATE_HZ:
        return f"{rate_hz} Hz: expected at most {HIGHEST_RATE_HZ} Hz"
    return None


def fault_in(samples: Samples) -> tuple[int, str] | None:
    """Return the position of the first sample that cannot be sound, and what it is; None if all can."""
    # Infinity fails the comparison, and so does NaN, which no comparison holds for and both extremes pass on.
    if not samples.size or (samples.min() >= -PEAK_LIMIT and samples.max() <= PEAK_LIMIT):
        return None
    first = int((~(np.abs(samples) <= PEAK_LIMIT)).argmax())
    value = samples[first]
    if np.isnan(value):
        return first, "is not a number (NaN)"
    if np.isinf(value):
        return first, "is infinite"
    return first, (
        f"is {value:g}: expected [-1, 1] (up to {PEAK_LIMIT:g} is let pass); are these scaled integers, or floats of "
        f"another full scale? `--gain-db {-np.ceil(20 * np.log10(abs(value))):g}`, or less, brings them down"
    )


def log_conversion(name: str, rate_hz: int, channels: int, channel: int, wanted_hz: int = SAMPLE_RATE_HZ) -> None:
    """Say once, where something is converted, from what and to what."""
    if (rate_hz, channels) != (wanted_hz, 1):
        log.info("%s: %d Hz %d ch -> %d Hz ch %d", name, rate_hz, channels, wanted_hz, channel)


class Resampler:
    """A stream of samples at one rate into a stream at another. In pieces of any size: the same samples to the bit.

    Sample 0 of what comes out is heard at the same instant as sample 0 of what went in; it comes up to 80 ms later.
    """

    def __init__(self, rate_hz: int, wanted_hz: int = SAMPLE_RATE_HZ) -> None:
        same = rate_hz == wanted_hz
        self._stream = None if same else soxr.ResampleStream(rate_hz, wanted_hz, 1, dtype="float32", quality="HQ")

    def __call__(self, samples: Samples) -> Samples:
        """Return what can be told by now, shape (n,), float32; often nothing, after a short piece."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> Samples:
        """Return the rest, at the end; the object is used up then."""
        return NOTHING if self._stream is None else self._stream.resample_chunk(NOTHING, last=True)
