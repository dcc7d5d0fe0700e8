"""Sound as a picture: a mel spectrogram of a clip beside what is usual, as a PNG. Pure; zlib does the packing.

    usual |  clip ...            | moved     one scale of colours for both; beside the rows the bands that moved

A column is the mean power of half a second, and that is on purpose. Words live in changes of 4 to 16 a second: without
those below 4 Hz, sentences are as intelligible as before (Drullman, Festen and Plomp, J. Acoust. Soc. Am. 95, 2670,
1994). Two columns a second hold no change faster than 1 Hz, and no phase: several syllables become one spectrum. That
somebody spoke can be seen, and about how high; what they said is not in it.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray, Frontend, FrontendSettings, Samples

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
_COLOURS: Final = 251
_MARK, _BACK, _TICK, _LOUDER, _QUIETER = range(_COLOURS, 256)
_EXTRA: Final = ((64, 224, 208), (24, 24, 28), (150, 150, 150), (255, 176, 0), (100, 143, 255))
"""The episode, what lies around, a tick, and a band that is louder or quieter, in colours every eye tells apart."""

USUAL_COLUMNS: Final = 4
GAP_PIXELS: Final = 4
MOVED_PIXELS: Final = 8


ALL_THAT_IS_HEARD: Final = FrontendSettings()


@dataclass(frozen=True)
class Beside:
    """What a clip is shown beside.

    settings   of the frames in whose bands it is drawn
    usual_db   ordinary levels of these, dB, (n, M): of each condition known; the nearest is shown. None: unknown
    moved      from, to (Hz) and by how much (dB): the bands that are marked
    """

    settings: FrontendSettings = ALL_THAT_IS_HEARD
    usual_db: FloatArray | None = None
    moved: Sequence[tuple[float, float, float]] = ()


def spectrogram(
    samples: Samples, beside: Beside, *, opened_seconds: float, closed_seconds: float, title: str = ""
) -> bytes | None:
    """Return a clip, (T,), as a PNG: time to the right, low frequencies below; None if it is shorter than a column.

    On the left what is usual, in the same colours; on the right a mark where a band moved, and which way. Above it a
    bar from the opening to the end of the episode, s from the start of the clip, with a dashed line from its beginning
    down; below it a tick every 10 s. The description in the PNG says which band and time it spans.
    """
    settings, frontend = beside.settings, Frontend(beside.settings)
    levels = _levels(samples, frontend)
    if not levels.size:
        return None
    column_seconds = COLUMN_FRAMES * settings.hop_samples / settings.sample_rate_hz
    usual = _usual(levels, beside)
    colours = _as_colours(np.concatenate([usual, levels], axis=1)[::-1])
    pixels = np.kron(colours, np.ones((BAND_PIXELS, COLUMN_PIXELS), np.uint8))
    usual_pixels, image = np.split(pixels, [usual.shape[1] * COLUMN_PIXELS], axis=1)
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
        f"episode from {opened_seconds:.1f} to {closed_seconds:.1f} s; left: what is usual; right: what moved"
    )
    clip = np.concatenate([above, image, below])
    left, right = (_framed(part, clip.shape[0]) for part in (usual_pixels, _marks(beside, frontend)))
    return png(np.concatenate([left, clip, right], axis=1), _palette(), description)


def _usual(levels: NDArray[np.float32], beside: Beside) -> NDArray[np.float32]:
    """Return the usual levels that are nearest to a clip's own, (M, columns), as columns of it; none if unknown."""
    if beside.usual_db is None:
        return levels[:, :0]
    nearest = beside.usual_db[np.abs(beside.usual_db - np.median(levels, axis=1)).mean(axis=1).argmin()]
    return np.repeat(nearest[:, np.newaxis], USUAL_COLUMNS, axis=1).astype(np.float32)


def _marks(beside: Beside, frontend: Frontend) -> Pixels:
    """Return a strip beside the rows in which the bands that moved are marked."""
    middles = frontend.band_edges_hz[1:-1]
    rows = np.full(middles.size, _BACK, np.uint8)
    for hz_lo, hz_hi, delta_db in beside.moved:
        rows[(middles >= hz_lo) & (middles <= hz_hi)] = _LOUDER if delta_db > 0 else _QUIETER
    return np.kron(rows[::-1, np.newaxis], np.ones((BAND_PIXELS, MOVED_PIXELS), np.uint8))


def _framed(part: Pixels, height: int) -> Pixels:
    """Return a part of the picture with a gap on either side, as high as the whole."""
    edge = (height - part.shape[0]) // 2
    return np.pad(part, ((edge, edge), (GAP_PIXELS, GAP_PIXELS)), constant_values=_BACK)


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
