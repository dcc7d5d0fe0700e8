"""Sound as a picture: a mel spectrogram of a clip, as a PNG. Pure; zlib does the packing, so no library is needed.

A column is the mean power of half a second, and that is on purpose. Words live in changes of 4 to 16 a second: without
those below 4 Hz, sentences are as intelligible as before (Drullman, Festen and Plomp, J. Acoust. Soc. Am. 95, 2670,
1994). Two columns a second hold no change faster than 1 Hz, and no phase: several syllables become one spectrum. That
somebody spoke can be seen, and about how high; what they said is not in it.
"""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import Frontend, Samples

Pixels = NDArray[np.uint8]

COLUMN_FRAMES: Final = 16
"""0.512 s, a hop of the detector."""

COLUMN_PIXELS: Final = 8
BAND_PIXELS: Final = 2
BAR_PIXELS: Final = 6
TICK_SECONDS: Final = 10

LOUDEST_SHARE: Final = 0.999
QUIETEST_SHARE: Final = 0.02
LEAST_RANGE_DB: Final = 30.0
"""Colours run from the quietest to the loudest of this clip, and over 30 dB at least: noise is not blown up. They so
compare within a picture, and not between two."""

# Magma, by Stefan van der Walt and Nathaniel Smith (CC0), at nine places: equal steps look equal, dark is quiet.
_MAGMA: Final = (
    (0, 0, 4), (29, 17, 71), (81, 18, 124), (131, 38, 129), (183, 55, 121), (231, 82, 99), (252, 137, 97),
    (254, 196, 136), (252, 253, 191),
)  # fmt: skip
_COLOURS: Final = 253
_MARK, _BACK, _TICK = range(_COLOURS, 256)
_EXTRA: Final = ((64, 224, 208), (24, 24, 28), (150, 150, 150))
"""The episode, the strips above and below, and a tick."""


def spectrogram(
    samples: Samples, frontend: Frontend, *, opened_seconds: float, closed_seconds: float, title: str = ""
) -> bytes | None:
    """Return a clip, (T,), as a PNG: time to the right, low frequencies below; None if it is shorter than a column.

    Above it a bar from the opening to the end of the episode, s from the start of the clip, with a dashed line from its
    beginning down; below it a tick every 10 s. The description in the PNG says which band and time it spans.
    """
    levels = _levels(samples, frontend)
    if not levels.size:
        return None
    settings = frontend.settings
    column_seconds = COLUMN_FRAMES * settings.hop_samples / settings.sample_rate_hz
    image = np.kron(_as_colours(levels[::-1]), np.ones((BAND_PIXELS, COLUMN_PIXELS), np.uint8))
    width = image.shape[1]

    def x(seconds: float) -> int:
        return int(min(max(0, round(seconds / column_seconds * COLUMN_PIXELS)), width - 2))

    above = np.full((BAR_PIXELS, width), _BACK, np.uint8)
    above[1:-1, x(opened_seconds) : x(closed_seconds) + 2] = _MARK
    below = np.full((BAR_PIXELS, width), _BACK, np.uint8)
    for seconds in range(0, int(width / COLUMN_PIXELS * column_seconds) + 1, TICK_SECONDS):
        below[:-2, x(seconds) : x(seconds) + 2] = _TICK
    dashes = np.arange(image.shape[0]) // 6 % 2 == 0
    image[dashes, x(opened_seconds) : x(opened_seconds) + 2] = _MARK

    description = (
        f"{title}{': ' if title else ''}{settings.f_min_hz:g} to {settings.f_max_hz:g} Hz (mel), "
        f"{levels.shape[1] * column_seconds:.1f} s, {column_seconds:g} s a column, {TICK_SECONDS} s a tick; "
        f"episode from {opened_seconds:.1f} to {closed_seconds:.1f} s"
    )
    return png(np.concatenate([above, image, below]), _palette(), description)


def png(pixels: Pixels, palette: Pixels, description: str = "") -> bytes:
    """Return an indexed image, (height, width), with its palette, (256, 3), as a PNG (ISO/IEC 15948)."""
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"tEXt", b"Description\0" + description.encode("latin-1", "replace")),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _levels(samples: Samples, frontend: Frontend) -> NDArray[np.float32]:
    """Return the mean power of each band over each whole column, dB, (M, columns); in pieces, to save memory."""
    settings = frontend.settings
    length, step = settings.samples_for(COLUMN_FRAMES), COLUMN_FRAMES * settings.hop_samples
    columns = [
        10 * np.log10(np.power(10, frontend(samples[start : start + length]) / 10).mean(axis=1))
        for start in range(0, samples.size - length + 1, step)
    ]
    return np.array(columns, np.float32).reshape(len(columns), settings.n_mels).T


def _as_colours(levels: NDArray[np.float32]) -> Pixels:
    low, high = np.quantile(levels, [QUIETEST_SHARE, LOUDEST_SHARE])
    low = min(low, high - LEAST_RANGE_DB)
    colours: Pixels = np.clip((levels - low) / (high - low) * (_COLOURS - 1), 0, _COLOURS - 1).astype(np.uint8)
    return colours


def _palette() -> Pixels:
    place = np.linspace(0, len(_MAGMA) - 1, _COLOURS)
    anchors = np.array(_MAGMA, float)
    magma = [np.interp(place, np.arange(len(_MAGMA)), anchors[:, i]) for i in range(3)]
    return np.concatenate([np.stack(magma, axis=1), _EXTRA]).round().astype(np.uint8)
