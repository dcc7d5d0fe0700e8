"""Damaged, odd and merely unusual recordings, made from a seed: what a folder looks like after a year in a plant."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

Expected = Literal["refused", "accepted", "either"]
Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Damage:
    """One input, and what a reader of channel 0 has to make of it.

    refused   a SourceError that names the path, before the last block
    accepted  sound to the end, finite
    either    one of the two: a flipped bit may leave another valid recording
    """

    path: Path
    kind: str
    expected: Expected


def damaged_inputs(folder: Path, seed: int = 0, count: int = 200) -> list[Damage]:
    """Write `count` files, folders and links into `folder`, every kind in turn; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    damages = []
    for number in range(count):
        kind, (suffix, make) = list(KINDS.items())[number % len(KINDS)]
        path = folder / f"{number:03d}-{kind}{suffix}"
        expected = make(path, rng)
        damages.append(Damage(path, kind, expected))
    return damages


def write(path: Path, samples: Sound, rate_hz: int = 16_000, *, subtype: str, container: str | None = None) -> None:
    """Write a recording whose bytes depend on its arguments alone."""
    with path.open("wb") as file:  # for soundfile stumbles over odd names
        container = container or ("FLAC" if path.suffix == ".flac" else "WAV")
        soundfile.write(file, samples, rate_hz, subtype=subtype, format=container)

    content = bytearray(path.read_bytes())
    peak_at = content.find(b"PEAK", 0, 200)
    if peak_at >= 0:  # libsndfile writes one into float files: size, version, time of day, ...
        content[peak_at + 12 : peak_at + 16] = bytes(4)
        path.write_bytes(content)


def tone(rng: np.random.Generator, *, rate_hz: int = 16_000, seconds: float = 0.4, channels: int = 1) -> Sound:
    """Return a machine's hum in noise, shape (n, channels), well below full scale."""
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    hum = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 3000) * time)
    return hum[:, np.newaxis] + 0.02 * rng.standard_normal((time.size, channels))


# --- Good ones, of every shape ---


def _sound(rate_hz: int, subtype: str, *, channels: int = 1, container: str | None = None) -> "_Make":
    def make(path: Path, rng: np.random.Generator) -> Expected:
        samples = tone(rng, rate_hz=rate_hz, channels=channels)
        write(path, samples, rate_hz, subtype=subtype, container=container)
        return "refused" if rate_hz < 16_000 else "accepted"

    return make


def _silence(path: Path, rng: np.random.Generator) -> Expected:
    write(path, np.zeros(int(rng.integers(1000, 20_000))), subtype="PCM_16")
    return "accepted"


def _too_short(path: Path, rng: np.random.Generator) -> Expected:
    write(path, tone(rng)[: int(rng.integers(1, 500))], subtype="PCM_16")
    return "accepted"  # too short for a window, and no damage: whoever scores it has to say so


def _size_left_open(size: int) -> "_Make":
    def make(path: Path, rng: np.random.Generator) -> Expected:
        content = bytearray(_wav(path, rng))
        content[4:8] = (size and 0xFFFF_FFFF).to_bytes(4, "little")
        content[40:44] = size.to_bytes(4, "little")
        path.write_bytes(content)
        return "accepted"

    return make


# --- Cut, flipped, overwritten ---


def _wav(path: Path, rng: np.random.Generator) -> bytes:
    write(path, tone(rng), subtype="PCM_16")
    return path.read_bytes()


def _flac(path: Path, rng: np.random.Generator) -> bytes:
    write(path, tone(rng, seconds=1.0), subtype="PCM_16")
    return path.read_bytes()


def _cut_off(path: Path, rng: np.random.Generator) -> Expected:
    content = (_flac if path.suffix == ".flac" else _wav)(path, rng)
    path.write_bytes(content[: int(rng.integers(1, len(content)))])
    return "refused"


def _cut_off_long_header(container: str) -> "_Make":
    def make(path: Path, rng: np.random.Generator) -> Expected:
        write(path, tone(rng), subtype="PCM_16", container=container)
        content = path.read_bytes()
        path.write_bytes(content[: int(rng.integers(len(content) // 2, len(content)))])
        return "refused"

    return make


def _cut_off_within_header(path: Path, rng: np.random.Generator) -> Expected:
    path.write_bytes(_wav(path, rng)[: int(rng.integers(1, 45))])
    return "refused"


def _no_samples(path: Path, rng: np.random.Generator) -> Expected:
    write(path, np.zeros(0), subtype="PCM_16")
    return "refused"


def _no_samples_but_notes(path: Path, rng: np.random.Generator) -> Expected:
    write(path, np.zeros(0), subtype="PCM_16")
    content = bytearray(path.read_bytes()) + b"LIST\x0c\0\0\0INFOISFT\0\0\0\0"
    content[4:8] = (len(content) - 8).to_bytes(4, "little")
    path.write_bytes(content)
    return "refused"


def _bits_flipped_in_header(path: Path, rng: np.random.Generator) -> Expected:
    content = bytearray((_flac if path.suffix == ".flac" else _wav)(path, rng))
    for _ in range(int(rng.integers(1, 5))):
        content[int(rng.integers(44))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return "either"


def _garbage_inside(path: Path, rng: np.random.Generator) -> Expected:
    content = bytearray(_flac(path, rng))
    at = int(rng.integers(len(content) // 4, len(content) // 2))
    content[at : at + 300] = rng.bytes(300)
    path.write_bytes(content)
    return "refused"


def _hole_inside(path: Path, rng: np.random.Generator) -> Expected:
    content = _flac(path, rng)
    path.write_bytes(content[: len(content) // 3] + content[len(content) // 2 :])
    return "refused"


# --- Values that are no sound ---


def _one_sample_is(value: float, subtype: str) -> "_Make":
    def make(path: Path, rng: np.random.Generator) -> Expected:
        samples = tone(rng, channels=2)
        samples[int(rng.integers(len(samples))), 0] = value
        write(path, samples, subtype=subtype)
        return "refused"

    return make


def _scaled_integers(path: Path, rng: np.random.Generator) -> Expected:
    write(path, tone(rng) * 32_768, subtype="FLOAT")
    return "refused"


def _a_little_over(path: Path, rng: np.random.Generator) -> Expected:
    write(path, tone(rng) * 6, subtype="FLOAT")
    return "accepted"


# --- No recordings at all ---


def _empty(path: Path, rng: np.random.Generator) -> Expected:
    path.touch()
    return "refused"


def _text(path: Path, rng: np.random.Generator) -> Expected:
    path.write_text("time,temperature\n" * int(rng.integers(1, 100)))
    return "refused"


def _noise(path: Path, rng: np.random.Generator) -> Expected:
    path.write_bytes(rng.bytes(int(rng.integers(1, 20_000))))
    return "refused"


def _zeros(path: Path, rng: np.random.Generator) -> Expected:
    path.write_bytes(bytes(int(rng.integers(1, 20_000))))
    return "refused"


def _riff_of_zeros(path: Path, rng: np.random.Generator) -> Expected:
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + bytes(int(rng.integers(1, 200_000))))
    return "refused"


def _lossy(container: str, subtype: str) -> "_Make":
    def make(path: Path, rng: np.random.Generator) -> Expected:
        write(path, tone(rng), subtype=subtype, container=container)
        return "refused"

    return make


def _folder(path: Path, rng: np.random.Generator) -> Expected:
    path.mkdir()
    return "refused"


def _named_pipe(path: Path, rng: np.random.Generator) -> Expected:
    os.mkfifo(path)
    return "refused"


def _link_to_nowhere(path: Path, rng: np.random.Generator) -> Expected:
    path.symlink_to(path.with_name("gone.wav"))
    return "refused"


def _link_to_itself(path: Path, rng: np.random.Generator) -> Expected:
    path.symlink_to(path)
    return "refused"


def _vanished(path: Path, rng: np.random.Generator) -> Expected:
    _wav(path, rng)
    path.unlink()
    return "refused"


def _not_ours(path: Path, rng: np.random.Generator) -> Expected:
    _wav(path, rng)
    path.chmod(0)
    return "accepted" if os.access(path, os.R_OK) else "refused"  # root reads everything


_Make = Callable[[Path, np.random.Generator], Expected]

KINDS: Final[dict[str, tuple[str, _Make]]] = {
    "8-khz": (".wav", _sound(8_000, "PCM_16")),
    "11-khz": (".wav", _sound(11_025, "PCM_16")),
    "16-khz": (".wav", _sound(16_000, "PCM_16")),
    "22-khz": (".wav", _sound(22_050, "PCM_16")),
    "32-khz": (".wav", _sound(32_000, "PCM_16")),
    "44-khz": (".flac", _sound(44_100, "PCM_16")),
    "48-khz": (".wav", _sound(48_000, "PCM_16")),
    "96-khz": (".flac", _sound(96_000, "PCM_24")),
    "8-channels": (".wav", _sound(48_000, "PCM_24", channels=8)),
    "24-bit": (".wav", _sound(16_000, "PCM_24")),
    "32-bit": (".wav", _sound(16_000, "PCM_32")),
    "float": (".wav", _sound(16_000, "FLOAT")),
    "double": (".wav", _sound(16_000, "DOUBLE")),
    "wavex": (".wav", _sound(48_000, "PCM_16", channels=2, container="WAVEX")),
    "rf64": (".wav", _sound(16_000, "PCM_16", container="RF64")),
    "wave64": (".wav", _sound(16_000, "PCM_16", container="W64")),
    "silence": (".wav", _silence),
    "too-short": (".wav", _too_short),
    "odd-name": ("\udcff \n.wav", _sound(16_000, "PCM_16")),  # a byte that is no UTF-8, a line break
    "size-0": (".wav", _size_left_open(0)),
    "size-of-ffmpeg": (".wav", _size_left_open(0xFFFF_FFFF)),
    "size-of-arecord": (".wav", _size_left_open(0x8000_0000)),
    "a-little-over": (".wav", _a_little_over),
    "cut-wav": (".wav", _cut_off),
    "cut-flac": (".flac", _cut_off),
    "cut-wavex": (".wav", _cut_off_long_header("WAVEX")),
    "cut-rf64": (".wav", _cut_off_long_header("RF64")),
    "cut-wave64": (".wav", _cut_off_long_header("W64")),
    "cut-header": (".wav", _cut_off_within_header),
    "no-samples": (".wav", _no_samples),
    "no-samples-but-notes": (".wav", _no_samples_but_notes),
    "no-samples-flac": (".flac", _no_samples),
    "flipped-wav": (".wav", _bits_flipped_in_header),
    "flipped-flac": (".flac", _bits_flipped_in_header),
    "garbage": (".flac", _garbage_inside),
    "hole": (".flac", _hole_inside),
    "nan": (".wav", _one_sample_is(np.nan, "FLOAT")),
    "infinity": (".wav", _one_sample_is(-np.inf, "DOUBLE")),
    "too-large-for-float": (".wav", _one_sample_is(1e300, "DOUBLE")),
    "scaled-integers": (".wav", _scaled_integers),
    "empty": (".wav", _empty),
    "text": (".wav", _text),
    "noise": (".flac", _noise),
    "zeros": (".wav", _zeros),
    "riff-of-zeros": (".wav", _riff_of_zeros),
    "mp3": (".wav", _lossy("MP3", "MPEG_LAYER_III")),
    "mu-law": (".wav", _lossy("WAV", "ULAW")),
    "folder": (".wav", _folder),
    "named-pipe": (".wav", _named_pipe),
    "link-to-nowhere": (".wav", _link_to_nowhere),
    "link-to-itself": (".flac", _link_to_itself),
    "vanished": (".wav", _vanished),
    "not-ours": (".wav", _not_ours),
}
"""53 kinds: a suffix, and what writes the file and says what is to become of it."""
