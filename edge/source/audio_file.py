"""Recordings on disk, WAV and FLAC, streamed: one channel, at 16 kHz. Damage is named, never read over.

libsndfile reads on in silence where a WAV ends early, sees no sound where a recorder left the size open, and takes NaN
for a sample. Hence the checks here.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NoReturn

import numpy as np
import soundfile

from edge.errors import SourceError
from edge.source.block import SAMPLE_RATE_HZ, Samples
from edge.source.convert import Resampler, fault_in, fault_of_rate, log_conversion
from edge.source.riff import SizeFilledIn, find_data

FORMATS: Final = {"WAV", "WAVEX", "RF64", "W64", "FLAC"}
"""What keeps every sample. MP3 and its like throw away what people do not hear, and machines do not know people."""

_BEGINNINGS: Final = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"ID3")  # ID3: some taggers put one before a FLAC

_READ_SAMPLES: Final = 1 << 18  # at once, over all channels: 1 MiB as float32
_NO_LENGTH: Final = 1 << 62  # libsndfile says 2^63 - 1 frames for a FLAC that was written to a pipe


def read_blocks(
    path: Path, *, channel: int = 0, block_samples: int, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Iterator[Samples]:
    """Yield the sound of one file, shape (block_samples,) each but for the last, float32, full scale [-1, 1].

    The file is never in memory as a whole, and the samples do not depend on `block_samples`.

    Raises SourceError, which names the file. Before the first block: what is not there or no WAV or FLAC, empty,
    compressed with loss, a WAV that is cut off, a wrong rate, a channel that it does not have. When it is reached: NaN,
    infinity, a level out of this world, a FLAC that is damaged or cut off. So a file has a score only if its blocks
    came to an end: whatever was made of them before the error is to be thrown away.
    """
    n_blocks = 0
    with _naming(path), _opened(path) as sound:
        _check(path, sound, channel, sample_rate_hz)
        log_conversion(str(path), sound.samplerate, sound.channels, channel, sample_rate_hz)
        samples = _one_channel(path, sound, channel)
        for block in _cut(_resampled(samples, sound.samplerate, sample_rate_hz), block_samples):
            n_blocks += 1
            yield block

    if n_blocks == 0:
        _refuse(path, "there is no sound in it, only a header")


def read_samples(path: Path, *, channel: int = 0) -> Samples:
    """Return the whole sound of one file, shape (T,), as `read_blocks` gives it and with the same errors."""
    return np.concatenate(list(read_blocks(path, channel=channel, block_samples=1 << 18)))


def _refuse(path: Path, reason: str) -> NoReturn:
    raise SourceError(f"{path}: {reason}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise SourceError(f"{path}: damaged, or not what its name says: {error.error_string}") from error
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error


# --- Opening ---


class _Sound(soundfile.SoundFile):  # type: ignore[misc] # soundfile ships no types
    """A sound file that is read from beginning to end.

    soundfile seeks after every read of what can seek, and that fails at the end of a FLAC that does not say its length.
    """

    def seekable(self) -> Literal[False]:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[_Sound]:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):  # before opening: a named pipe would block
        _refuse(path, "is a folder: expected a WAV or FLAC file" if stat.S_ISDIR(mode) else "is not a regular file")

    with path.open("rb", buffering=0) as file:
        beginning = file.read(4)
        if not beginning:
            _refuse(path, "is empty (0 bytes): expected a WAV or FLAC file")
        if not beginning.startswith(_BEGINNINGS):
            _refuse(path, f"begins with {beginning!r}: expected a WAV or FLAC file")
        data = find_data(file)
        if data and data.cut_off:
            _refuse(
                path, f"cut off: its header promises {data.promised_bytes} bytes of sound, {data.there_bytes} are there"
            )

        file.seek(0)
        # By its descriptor: a name that ends in .raw, or is no UTF-8, makes soundfile stumble.
        open_size_at = data.open_size_at if data else None
        handle = file.fileno() if open_size_at is None else SizeFilledIn(file, open_size_at)
        with _Sound(handle, closefd=False) as sound:
            yield sound


def _check(path: Path, sound: _Sound, channel: int, wanted_hz: int) -> None:
    if sound.format not in FORMATS or not sound.subtype.startswith(("PCM", "FLOAT", "DOUBLE")):
        _refuse(path, f"holds {sound.format} {sound.subtype}: expected WAV or FLAC, integers or floats")
    fault = fault_of_rate(sound.samplerate, wanted_hz=wanted_hz)
    if fault:
        _refuse(path, fault)
    if not 0 <= channel < sound.channels:
        _refuse(path, f"has {sound.channels} channel(s), there is no channel {channel}; they count from 0")


# --- Reading ---


def _one_channel(path: Path, sound: _Sound, channel: int) -> Iterator[Samples]:
    n_read = 0
    n_at_once = max(1, _READ_SAMPLES // sound.channels)
    while True:
        frames: Samples = sound.read(n_at_once, dtype="float32", always_2d=True)
        if not len(frames):
            break

        samples = np.ascontiguousarray(frames[:, channel])
        fault = fault_in(samples)
        if fault:
            _refuse(path, f"sample {n_read + fault[0]} (at {(n_read + fault[0]) / sound.samplerate:.3f} s) {fault[1]}")
        yield samples
        n_read += len(samples)

    if n_read < sound.frames < _NO_LENGTH:
        rate = sound.samplerate
        _refuse(path, f"cut off: its header promises {sound.frames / rate:.3f} s, it ends after {n_read / rate:.3f} s")


def _resampled(pieces: Iterator[Samples], rate_hz: int, wanted_hz: int) -> Iterator[Samples]:
    resample = Resampler(rate_hz, wanted_hz)
    for samples in pieces:
        yield resample(samples)
    yield resample.flush()


def _cut(pieces: Iterator[Samples], block_samples: int) -> Iterator[Samples]:
    """Yield the same samples in blocks of `block_samples`; the last may be shorter, and none is empty."""
    held: list[Samples] = []
    n_held = 0
    for piece in pieces:
        held.append(piece)
        n_held += piece.size
        if n_held < block_samples:
            continue

        joined = np.concatenate(held)
        n_whole = n_held - n_held % block_samples
        yield from (joined[start : start + block_samples] for start in range(0, n_whole, block_samples))
        held = [joined[n_whole:]]
        n_held -= n_whole

    if n_held:
        yield np.concatenate(held)
