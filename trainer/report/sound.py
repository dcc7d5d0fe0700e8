"""The clips of a report: read once, as a player and as a spectrogram, both inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import soundfile
from markupsafe import Markup

from edge.ear import Features, Frontend
from edge.errors import SourceError
from edge.source import SAMPLE_RATE_HZ, Samples, read_samples
from trainer.report.content import Example
from trainer.report.figures import spectrogram

MAX_SECONDS: Final = 12.0
"""Of a clip, from its beginning: a window is 9.6 s, and DCASE clips are 10 to 12 s."""

MAX_PLAYER_BYTES: Final = 8_000_000
"""Of all players together, before base64 makes them a third larger: a page that can be sent by mail."""


@dataclass(frozen=True)
class Shown:
    """An example as the page has it; `note` says what is missing or cut."""

    example: Example
    player: str
    """A data URI, or empty."""
    spectrogram: Markup
    note: str


def show(examples: Sequence[Example]) -> list[Shown]:
    """Return the examples with a player and a spectrogram each; one that cannot be read says why, and has neither.

    Levels of all spectrograms are the same colours. Sound is as it was recorded, 16 kHz and 16 bit, without any gain.
    """
    heard: list[Samples | str] = [_read(example) for example in examples]
    frontends = [Frontend(example.frontend) for example in examples]
    frames = [
        frontend(samples) if not isinstance(samples, str) and samples.size >= frontend.settings.frame_samples else None
        for frontend, samples in zip(frontends, heard, strict=True)
    ]
    low_db, high_db = _levels([f for f in frames if f is not None])

    shown, n_bytes = [], 0
    for example, samples, frontend, own in zip(examples, heard, frontends, frames, strict=True):
        if isinstance(samples, str):
            shown.append(Shown(example, "", Markup(), samples))
            continue
        drawn = spectrogram(own, frontend, low_db, high_db) if own is not None else Markup()
        note = f"the first {MAX_SECONDS:g} s" if samples.size == _MAX_SAMPLES else ""
        encoded = _flac(samples)
        n_bytes += len(encoded)
        if n_bytes > MAX_PLAYER_BYTES:
            shown.append(Shown(example, "", drawn, "no player: the page would grow too large"))
            continue
        shown.append(Shown(example, f"data:audio/flac;base64,{base64.b64encode(encoded).decode()}", drawn, note))
    return shown


_MAX_SAMPLES: Final = int(MAX_SECONDS * SAMPLE_RATE_HZ)


def _read(example: Example) -> Samples | str:
    """Return the beginning of a clip, 16 kHz mono, or why it cannot be had."""
    try:
        return read_samples(example.path, example.pickup)[:_MAX_SAMPLES]
    except SourceError as error:
        return f"cannot be shown: {error}"


def _flac(samples: Samples) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _levels(frames: Sequence[Features]) -> tuple[float, float]:
    """Return the range of the colours, dB, rounded to 5: all but the quietest hundredth and the loudest thousandth."""
    if not frames:
        return -80.0, 0.0
    everything = np.concatenate([own.ravel() for own in frames])
    low, high = np.quantile(everything, [0.01, 0.999])
    return float(np.floor(low / 5) * 5), float(max(np.ceil(high / 5) * 5, np.floor(low / 5) * 5 + 5))
