"""Where the samples of a WAV lie (RIFF, RIFX, RF64, BW64, Wave64), and what its header gets wrong. No samples are read.

A header that contradicts itself is a fault: a decoder would take one of its words, and read noise by the other.

A recorder that loses its power leaves the sizes of an hour ago, one that writes beyond 4 GiB those of what is left over
after 4 GiB, others count the header among the samples. A decoder that believes them reads seconds of hours in silence.
What is certain is the end of the file, and that what lies behind the samples, if anything does, is made of chunks.
"""

import io
import os
import struct
from dataclasses import dataclass, field
from typing import Final

from edge.source.pickup import Note
from edge.source.pieces import Pieces, Stretch

WRAP_BYTES: Final = 1 << 32
"""What a size of 32 bits cannot tell from nothing."""


@dataclass(frozen=True)
class WavSound:
    """The samples of one file.

    stretches       where they lie
    promised_bytes  what the header says; None if whoever wrote it could not know
    notes           where the header was not believed
    plain           whether a decoder finds the same by the header alone
    fault           why nobody can know what the samples are; None: it is told
    """

    form: bytes
    fmt: bytes
    stretches: tuple[Stretch, ...]
    promised_bytes: int | None
    notes: tuple[Note, ...] = ()
    plain: bool = True
    fault: str | None = None

    @property
    def there_bytes(self) -> int:
        """How much there is."""
        return sum(n_bytes for _, n_bytes in self.stretches)

    @property
    def cut_off(self) -> bool:
        """Whether the file ends before its sound does."""
        return self.promised_bytes is not None and self.promised_bytes > self.there_bytes

    def as_file(self, file: io.FileIO) -> Pieces:
        """Return the samples behind a header that says how many they are."""
        size = self.there_bytes
        big = "big" if self.form == b"RIFX" else "little"

        def chunk(name: bytes, content_bytes: int) -> bytes:
            return name + min(content_bytes, 0xFFFF_FFFF).to_bytes(4, big)  # type: ignore[arg-type]  # a literal

        fmt = chunk(b"fmt ", len(self.fmt)) + self.fmt + b"\0" * (len(self.fmt) % 2)
        if size + len(fmt) + 100 < WRAP_BYTES:
            head = chunk(self.form, 4 + len(fmt) + 8 + size) + b"WAVE" + fmt + chunk(b"data", size)
        else:
            long = b"ds64" + struct.pack("<IQQQI", 28, 4 + 36 + len(fmt) + 8 + size, size, 0, 0)
            head = chunk(b"RF64", WRAP_BYTES) + b"WAVE" + long + fmt + chunk(b"data", WRAP_BYTES)
        return Pieces(file, head, self.stretches)


def find_wav(file: io.FileIO) -> WavSound | None:
    """Return the samples of a WAV, None if it has none or the file is no kind of RIFF. Moves the position."""
    layout = _LAYOUTS.get(_read_at(file, 0, 4))
    if layout is None:
        return None
    found = _Found(file, layout, os.fstat(file.fileno()).st_size)
    at = layout.first_chunk_at
    for _ in range(_MOST_CHUNKS):
        chunk = _chunk_at(file, layout, at)
        if chunk is None or (found.stretches and not chunk.is_named):
            break
        at = found.take(chunk)
        if at % layout.alignment and not found.forgot_to_pad(at):
            at += -at % layout.alignment
    return found.sound()


# --- Chunks ---


@dataclass(frozen=True)
class _Layout:
    """How a family of files writes the head of a chunk: a name, then the size of the content."""

    form: bytes
    head: struct.Struct
    size_counts_head: bool = False
    alignment: int = 2
    first_chunk_at: int = 12
    whole_size: struct.Struct = field(default_factory=lambda: struct.Struct("<4xI"))


_LAYOUTS: Final = {
    b"RIFF": _Layout(b"RIFF", struct.Struct("<4sI")),
    b"RF64": _Layout(b"RIFF", struct.Struct("<4sI")),
    b"BW64": _Layout(b"RIFF", struct.Struct("<4sI")),
    b"RIFX": _Layout(b"RIFX", struct.Struct(">4sI"), whole_size=struct.Struct(">4xI")),
    # Names are GUIDs that begin with the four letters of old.
    b"riff": _Layout(
        b"RIFF",
        struct.Struct("<4s12xQ"),
        size_counts_head=True,
        alignment=8,
        first_chunk_at=40,
        whole_size=struct.Struct("<16xQ"),
    ),
}

_MOST_CHUNKS: Final = 1000
"""A recording has a dozen. More is silence or noise taken for chunks, and gigabytes of that would take hours."""

_KNOWN: Final = frozenset(
    name.ljust(4).encode()
    for names in (
        "fmt data LIST list bext iXML id3 ID3 JUNK junk PAD FLLR",
        "cue fact axml chna PEAK smpl inst wamd guan",
    )
    for name in names.split()
)
"""Chunks that stand behind the samples of recordings; of others the size has to be right, too."""


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    size: int
    content_at: int

    @property
    def is_named(self) -> bool:
        return all(0x20 <= letter < 0x7F for letter in self.name)

    @property
    def end(self) -> int:
        return self.content_at + self.size


def _chunk_at(file: io.FileIO, layout: _Layout, at: int) -> _Chunk | None:
    head = _read_at(file, at, layout.head.size)
    if len(head) < layout.head.size:
        return None
    name, size = layout.head.unpack(head)
    if layout.size_counts_head:
        size = max(0, size - layout.head.size)
    return _Chunk(name, size, at + layout.head.size)


class _Found:
    """What the chunks of one file have told so far."""

    def __init__(self, file: io.FileIO, layout: _Layout, file_bytes: int) -> None:
        self.stretches: list[Stretch] = []
        self._file = file
        self._layout = layout
        self._file_bytes = file_bytes
        self._fmt = b""
        self._fault: str | None = None
        self._ds64_bytes: int | None = None
        self._promised: int | None = 0
        self._notes: list[Note] = []
        self._plain = _read_at(file, 0, 4) != b"BW64"  # which libsndfile 1.2 does not know

    def sound(self) -> WavSound | None:
        if not self.stretches:
            return None
        if len(self.stretches) > 1:
            self._note("chunks", f"the sound is in {len(self.stretches)} data chunks, which follow one another")
        return WavSound(
            self._layout.form,
            self._fmt,
            tuple(self.stretches),
            self._promised,
            tuple(self._notes),
            self._plain,
            self._fault or _fault_of(self._fmt, big=self._layout.form == b"RIFX"),
        )

    def forgot_to_pad(self, at: int) -> bool:
        """Whether a chunk of an odd length is followed at once by the next one, and not by a byte first."""
        here, there = (_chunk_at(self._file, self._layout, each) for each in (at, at + 1))
        if here is None or here.name not in _KNOWN or (there is not None and there.name in _KNOWN):
            return False
        self._note("not padded", "a chunk of an odd length is not padded: the next one is read where it lies")
        return True

    def take(self, chunk: _Chunk) -> int:
        """Take what a chunk tells; return where it ends."""
        if chunk.name == b"ds64" and not self.stretches:
            # > ds64: riffSize, dataSize, sampleCount, 64 bits each (EBU Tech 3306)
            self._ds64_bytes = int.from_bytes(_read_at(self._file, chunk.content_at + 8, 8), "little")
        elif chunk.name == b"fmt " and not self.stretches:
            fmt = _read_at(self._file, chunk.content_at, min(chunk.size, 1 << 10))
            if self._fmt:
                self._plain = False  # libsndfile finds no samples behind a second one
                if fmt != self._fmt:
                    self._fault = "says twice, and differently, what its samples are (fmt)"
            self._fmt = self._fmt or fmt
        elif chunk.name == b"data" and (chunk.size or not self.stretches):
            return self._take_data(chunk)
        return chunk.end

    def _take_data(self, chunk: _Chunk) -> int:
        if not self._fmt:
            self._fault = "its samples come before it says what they are (fmt)"
        there = max(0, self._file_bytes - chunk.content_at)
        size = self._promised_by(chunk)
        n_bytes = there if size is None else self._true_size(chunk, size, there)
        self.stretches.append((chunk.content_at, min(n_bytes, there)))
        if self._promised is not None:
            self._promised = None if size is None else self._promised + n_bytes
        return chunk.content_at + n_bytes

    def _promised_by(self, chunk: _Chunk) -> int | None:
        """Return how many bytes the header promises, None where its writer could not know."""
        if self._ds64_bytes is not None and chunk.size == 0xFFFF_FFFF:
            if 0 < self._ds64_bytes < _NEVER:
                return self._ds64_bytes
            self._note("open", "its writer never came back to fill in how long it is: read to its end")
            return None
        if chunk.size == 0 and self._left_open():
            self._plain = False  # libsndfile sees no sound there
            return None
        # What writers put who cannot go back: SoX, others, arecord; ffmpeg writes 0xFFFFFFFF.
        unknown = {0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000} if self._layout.alignment == 2 else set()
        if chunk.size in unknown or (self._layout.alignment == 2 and chunk.size >= 0xFFFF_FF00) or chunk.size >= _NEVER:
            self._plain = self._plain and chunk.size < _NEVER
            return None
        return chunk.size

    def _true_size(self, chunk: _Chunk, size: int, there: int) -> int:
        """Return how many bytes of sound there are where the header promises `size`; more than are there: cut off."""
        whole = {self._file_bytes, self._file_bytes - 8}
        if size > there and (size in whole or size - there in {chunk.content_at, chunk.content_at - 8}):
            self._note("counts header", "the size of its sound counts the header: read to its end")
            return there
        if size >= there or self._is_end(chunk.content_at + size):
            return size
        wrapped = range(size + WRAP_BYTES, there + 1, WRAP_BYTES) if self._layout.alignment == 2 else ()
        for true in wrapped:
            if self._is_end(chunk.content_at + true):
                self._note(
                    "wrapped",
                    f"its header promises {size} bytes of sound, its size having passed 4 GiB: read to its end",
                )
                return true
        self._note("stale", f"its header promises {size} bytes of sound, {there} are there: read to its end")
        return there

    def _is_end(self, at: int) -> bool:
        """Whether no sound lies behind `at`: nothing, chunks, or zeros."""
        for _ in range(_MOST_CHUNKS):
            unpadded = _chunk_at(self._file, self._layout, at) if at % self._layout.alignment else None
            if unpadded is not None and unpadded.name in _KNOWN:
                return True
            at += -at % self._layout.alignment
            rest = self._file_bytes - at
            chunk = _chunk_at(self._file, self._layout, at) if rest >= self._layout.head.size else None
            if chunk is None or chunk.name in _KNOWN:
                return True
            if not chunk.is_named or chunk.end > self._file_bytes + 1:
                return (rest == 128 and chunk.name.startswith(b"TAG")) or self._only_zeros(at)
            at = chunk.end
        return False

    def _only_zeros(self, at: int) -> bool:
        while piece := _read_at(self._file, at, 1 << 20):
            if piece.strip(b"\0"):
                return False
            at += len(piece)
        return True

    def _left_open(self) -> bool:
        """Whether the size of the whole file is wrong too: then a data size of 0 is not the truth but a beginning."""
        (whole,) = self._layout.whole_size.unpack(_read_at(self._file, 0, self._layout.whole_size.size))
        return bool(whole + (0 if self._layout.size_counts_head else 8) != self._file_bytes)

    def _note(self, kind: str, text: str) -> None:
        self._plain = False
        self._notes.append(Note(kind, text))


def _fault_of(fmt: bytes, *, big: bool) -> str | None:
    """Return what contradicts itself in the `fmt ` of integers or floats, for a person; None: nothing does."""
    if len(fmt) < _FMT_BYTES:
        return None
    tag, n_channels, rate_hz, _, frame_bytes, bits = struct.unpack_from(">HHIIHH" if big else "<HHIIHH", fmt)
    if tag not in _PLAIN_TAGS:
        return None
    if not n_channels or not bits or not 0 < rate_hz < 1 << 31:
        return f"its header says {n_channels} channel(s), {rate_hz} Hz, {bits} bits a sample: no sound is like that"
    expected = n_channels * ((bits + 7) // 8)
    if frame_bytes not in (0, expected % (1 << 16)):
        return (
            f"its header contradicts itself: {n_channels} channel(s) of {bits} bits are {expected} bytes a frame, "
            f"and it says {frame_bytes}"
        )
    return None


_FMT_BYTES: Final = 16
_PLAIN_TAGS: Final = frozenset({1, 3, 0xFFFE})
"""WAVE_FORMAT_PCM, _IEEE_FLOAT, _EXTENSIBLE: those of which it can be counted how long a frame is."""

_NEVER: Final = 1 << 62
"""More bytes than any file has: all ones, or a sign bit."""


def _read_at(file: io.FileIO, position: int, n_bytes: int) -> bytes:
    try:
        file.seek(position)
    except (OSError, OverflowError):  # a damaged size points beyond what any file can have
        return b""
    return file.read(n_bytes) or b""
