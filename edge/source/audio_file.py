"""Recordings on disk, WAV and FLAC, streamed: one channel, at 16 kHz. Damage is named, never read over.

libsndfile reads on in silence where a WAV ends early, sees no sound where a recorder left the size open, believes every
size that is too small, and takes NaN for a sample. Hence `riff`, `flac` and the checks here. docs/sound.md is the table
of what is read, what is refused, and what to do then.
"""

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn

import numpy as np
import soundfile

from edge.errors import SourceError, shown
from edge.source.block import SAMPLE_RATE_HZ, Samples
from edge.source.channels import OtherChannels
from edge.source.convert import Resampler, fault_in, fault_of_rate, log_conversion
from edge.source.flac import find_flac
from edge.source.pickup import AS_IT_IS, Note, OnNote, Pickup, say_once
from edge.source.pieces import Pieces
from edge.source.riff import WavSound, find_wav

FORMATS: Final = {"WAV", "WAVEX", "RF64", "W64", "FLAC"}
"""What keeps every sample. MP3 and its like throw away what people do not hear, and machines do not know people."""

_BEGINNINGS: Final = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"ID3")  # taggers put ID3 before a FLAC

_SQUEEZED: Final = re.compile(r"(.+_)?\d{8}_\d{6}T\.wav", re.IGNORECASE)
"""How an AudioMoth calls a recording whose quiet parts it did not write: at each, a few samples say how long it was."""

_READ_SAMPLES: Final = 1 << 18  # at most at once, over all channels: 1 MiB as float32
_LEAST_FRAMES: Final = 1 << 12  # and no more than this, or a block: a folder that is played holds it all the time
_SALVAGE_SAMPLES: Final = 1 << 10  # where a piece with damage in it is lost as a whole
_NO_LENGTH: Final = 1 << 62  # libsndfile says 2^63 - 1 frames where the head of a FLAC does not say


def read_blocks(
    path: Path,
    pickup: Pickup = AS_IT_IS,
    *,
    block_samples: int,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    on_note: OnNote | None = None,
) -> Iterator[Samples]:
    """Yield the sound of one file, shape (block_samples,) each but for the last, float32, full scale [-1, 1].

    The file is never in memory as a whole, and the samples do not depend on `block_samples`.

    on_note: told what is odd about a file that is read all the same, before its last block; else the first of each kind
    is logged.
    Raises SourceError, which names the file. Before the first block: what is not there or no WAV or FLAC, empty,
    compressed, a WAV that is cut off, a wrong rate, a channel that it does not have. When it is reached: NaN,
    infinity, a level out of this world, a FLAC that is damaged or cut off. So a file has a score only if its blocks
    came to an end: whatever was made of them before the error is to be thrown away. With `pickup.salvage`, a file that
    is cut off or damaged ends there, and is noted.
    """
    note = on_note or (lambda told: say_once(path, told))
    n_blocks = 0
    with _naming(path), _opened(path, pickup, note) as recording:
        sound = recording.sound
        _check(path, sound, pickup.channel, sample_rate_hz)
        log_conversion(shown(path), sound.samplerate, sound.channels, pickup.channel, sample_rate_hz)
        samples = _one_channel(path, recording, pickup, note, max(_LEAST_FRAMES, block_samples))
        for block in _cut(_resampled(samples, sound.samplerate, sample_rate_hz), block_samples):
            n_blocks += 1
            yield block

    if n_blocks == 0:
        _refuse(path, "there is no sound in it, only a header")


def read_samples(path: Path, pickup: Pickup = AS_IT_IS) -> Samples:
    """Return the whole sound of one file, shape (T,), as `read_blocks` gives it and with the same errors."""
    return np.concatenate(list(read_blocks(path, pickup, block_samples=1 << 18)))


def seconds_in(path: Path, pickup: Pickup = AS_IT_IS) -> float | None:
    """Return how long a recording is, by its header and its size; None where only reading it can tell.

    Raises SourceError as `read_blocks` does before its first block.
    """
    with _naming(path), _opened(path, pickup, lambda _: None) as recording:
        n_frames = recording.promised_frames
        return None if n_frames is None else n_frames / recording.sound.samplerate


def rate_in(path: Path, pickup: Pickup = AS_IT_IS) -> int:
    """Return the sampling rate of a recording, Hz. Raises SourceError as `seconds_in`."""
    with _naming(path), _opened(path, pickup, lambda _: None) as recording:
        return int(recording.sound.samplerate)


def _refuse(path: Path, reason: str) -> NoReturn:
    raise SourceError(f"{shown(path)}: {reason}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise SourceError(f"{shown(path)}: damaged, or not what its name says: {error.error_string}") from error
    except OSError as error:
        raise SourceError(f"{shown(path)}: {error.strerror or error}") from error


# --- Opening ---


class _Sound(soundfile.SoundFile):  # type: ignore[misc] # soundfile ships no types
    """A sound file that is read from beginning to end.

    soundfile seeks after every read of what can seek, and that fails at the end of a FLAC that does not say its length.
    """

    def seekable(self) -> Literal[False]:
        return False


@dataclass(frozen=True)
class _Recording:
    """promised_frames: how many there should be; None if whoever wrote the file did not know."""

    sound: _Sound
    promised_frames: int | None
    pieces: Pieces | None

    def read(self, n_frames: int) -> Samples:
        """Return the next frames, shape (n, channels), float32; none at the end. Raises as libsndfile does."""
        try:
            frames: Samples = self.sound.read(n_frames, dtype="float32", always_2d=True)
        finally:
            if self.pieces is not None and self.pieces.interrupted is not None:
                raise self.pieces.interrupted
        return frames


@contextmanager
def _opened(path: Path, pickup: Pickup, note: OnNote) -> Iterator[_Recording]:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):  # before opening: a named pipe would block
        _refuse(path, "is a folder: expected a WAV or FLAC file" if stat.S_ISDIR(mode) else "is not a regular file")
    if _SQUEEZED.fullmatch(path.name):
        _refuse(
            path,
            "an AudioMoth left out its quiet parts (T in its name): expected the recording as it was; expand it with "
            "the AudioMoth Configuration App, File > Expand AudioMoth Recordings",
        )

    with path.open("rb", buffering=0) as file:
        beginning = file.read(4)
        if not beginning:
            _refuse(path, "is empty (0 bytes): expected a WAV or FLAC file")
        if not beginning.startswith(_BEGINNINGS):
            _refuse(path, f"begins with {beginning!r}: expected a WAV or FLAC file")

        wav, flac = find_wav(file), None
        pieces: Pieces | None = None
        if wav:
            if wav.fault:
                _refuse(path, wav.fault)
            wav = _as_cut(path, wav, pickup, note)
            pieces = None if wav.plain else wav.as_file(file)
        elif beginning.startswith((b"fLaC", b"ID3")) and (flac := find_flac(file)):
            pieces = flac.file
        for each in [*(wav.notes if wav else ()), *([flac.note] if flac and flac.note else ())]:
            note(each)

        file.seek(0)
        # Else by its descriptor: a name that ends in .raw, or is no UTF-8, makes soundfile stumble.
        with _Sound(pieces or file.fileno(), closefd=False) as sound:
            promised = flac.promised_samples if flac else sound.frames
            yield _Recording(sound, promised if promised and promised < _NO_LENGTH else None, pieces)


def _as_cut(path: Path, wav: WavSound, pickup: Pickup, note: OnNote) -> WavSound:
    """Return a WAV as it is to be read, which for one that is cut off is a matter of `salvage`."""
    if not wav.cut_off:
        return wav
    words = f"cut off: its header promises {wav.promised_bytes} bytes of sound, {wav.there_bytes} are there"
    if not pickup.salvage or not wav.there_bytes:
        _refuse(path, f"{words}; `--salvage` takes those" if wav.there_bytes else words)
    note(Note("cut off", words))
    return WavSound(wav.form, wav.fmt, wav.stretches, wav.there_bytes, wav.notes, plain=False)


def _check(path: Path, sound: _Sound, channel: int, wanted_hz: int) -> None:
    if sound.format not in FORMATS or not sound.subtype.startswith(("PCM", "FLOAT", "DOUBLE")):
        _refuse(path, f"holds {sound.format} {sound.subtype}: expected WAV or FLAC, integers or floats")
    fault = fault_of_rate(sound.samplerate, wanted_hz=wanted_hz)
    if fault:
        _refuse(path, fault)
    if not 0 <= channel < sound.channels:
        _refuse(path, f"has {sound.channels} channel(s), there is no channel {channel}; they count from 0")


# --- Reading ---


def _one_channel(
    path: Path, recording: _Recording, pickup: Pickup, note: OnNote, most_frames: int
) -> Iterator[Samples]:
    sound, promised = recording.sound, recording.promised_frames
    n_read, rate = 0, sound.samplerate
    others = OtherChannels(sound.channels, pickup.channel)
    most_samples = _SALVAGE_SAMPLES if pickup.salvage else _READ_SAMPLES
    n_at_once = max(1, min(most_samples // sound.channels, most_frames))
    try:
        while True:
            # Never beyond what libsndfile says is there: behind the last frame of a FLAC it takes zeros for damage.
            frames = recording.read(min(n_at_once, sound.frames - n_read))
            if not len(frames):
                break
            others.hear(frames)

            samples = np.ascontiguousarray(frames[:, pickup.channel])
            if pickup.gain_db:
                samples *= np.float32(pickup.factor)
            fault = fault_in(samples)
            if fault:
                _refuse(path, f"sample {n_read + fault[0]} (at {(n_read + fault[0]) / rate:.3f} s) {fault[1]}")
            yield samples
            n_read += len(samples)
    except soundfile.LibsndfileError as error:
        if not pickup.salvage or not n_read:
            raise
        note(Note("cut off", f"damaged or cut off after {n_read / rate:.3f} s: {error.error_string}"))
        promised = None

    if promised is not None and n_read < promised:
        words = f"cut off: its header promises {promised / rate:.3f} s, it ends after {n_read / rate:.3f} s"
        if not pickup.salvage:
            _refuse(path, f"{words}; `--salvage` takes those" if n_read else words)
        note(Note("cut off", words))
    elif promised is not None and n_read > promised:
        note(
            Note(
                "stale", f"its header promises {promised / rate:.3f} s, {n_read / rate:.3f} are there: read to its end"
            )
        )
    if elsewhere := others.in_words():
        note(Note("dead channel", elsewhere))


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

        joined = np.concatenate(held) if len(held) > 1 else piece
        n_whole = n_held - n_held % block_samples
        yield from (joined[start : start + block_samples] for start in range(0, n_whole, block_samples))
        held = [joined[n_whole:]]
        n_held -= n_whole

    if n_held:
        yield np.concatenate(held)
