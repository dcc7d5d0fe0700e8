"""How much sound the header of a WAV promises (RIFF, RIFX, RF64, Wave64). Reads headers, never samples."""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DataChunk:
    """The chunk that holds the samples.

    promised_bytes  what the header says; None if whoever wrote it could not know
    there_bytes     what the file has from the first sample to its end
    open_size_at    where the size stands, if it is 0 because a recorder never came back to fill it in; else None
    """

    promised_bytes: int | None
    there_bytes: int
    open_size_at: int | None = None

    @property
    def cut_off(self) -> bool:
        """Whether the file ends before its sound does."""
        return self.promised_bytes is not None and self.promised_bytes > self.there_bytes


def find_data(file: io.FileIO) -> DataChunk | None:
    """Return the chunk with the samples, None if there is none or the file is no kind of RIFF. Moves the position."""
    file_bytes = os.fstat(file.fileno()).st_size
    ds64_bytes = None
    for chunk in _chunks(file):
        there = max(0, file_bytes - chunk.content_at)
        if chunk.name == b"ds64":
            # > ds64: riffSize, dataSize, sampleCount, 64 bits each (EBU Tech 3306)
            ds64_bytes = int.from_bytes(_read_at(file, chunk.content_at + 8, 8), "little")
        elif chunk.name == b"data" and chunk.size == 0 and _left_open(file, file_bytes):
            return DataChunk(None, there, open_size_at=chunk.size_at)
        elif chunk.name == b"data" and ds64_bytes is not None and chunk.size == 0xFFFF_FFFF:
            return DataChunk(ds64_bytes, there)
        elif chunk.name == b"data":
            return DataChunk(None if _means_unknown(chunk) else chunk.size, there)
    return None


class SizeFilledIn(io.RawIOBase):
    """The same file, but the four bytes of its open data size read 0xFFFFFFFF: libsndfile then reads to the end.

    At size 0 it sees no sound at all.
    """

    def __init__(self, file: io.FileIO, size_at: int) -> None:
        self._file = file
        self._size_at = size_at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # soundfile passes a cffi buffer
        start = self._file.tell()
        n_bytes = self._file.readinto(buffer)
        for at in range(max(start, self._size_at), min(start + n_bytes, self._size_at + 4)):
            buffer[at - start : at - start + 1] = b"\xff"
        return n_bytes


# --- Chunks ---


@dataclass(frozen=True)
class _Layout:
    """How a family of files writes the head of a chunk: a name, then the size of the content."""

    head: struct.Struct
    size_bytes: int
    size_counts_head: bool
    alignment: int
    first_chunk_at: int


_RIFF: Final = _Layout(struct.Struct("<4sI"), size_bytes=4, size_counts_head=False, alignment=2, first_chunk_at=12)
_LAYOUTS: Final = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"RIFX": _Layout(struct.Struct(">4sI"), size_bytes=4, size_counts_head=False, alignment=2, first_chunk_at=12),
    # Names are GUIDs that begin with the four letters of old.
    b"riff": _Layout(struct.Struct("<4s12xQ"), size_bytes=8, size_counts_head=True, alignment=8, first_chunk_at=40),
}

_MOST_CHUNKS: Final = 1000
"""A recording has a dozen. More is silence or noise taken for chunks, and gigabytes of that would take hours."""


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    size: int
    size_at: int
    content_at: int


def _chunks(file: io.FileIO) -> Iterator[_Chunk]:
    layout = _LAYOUTS.get(_read_at(file, 0, 4))
    if layout is None:
        return

    at = layout.first_chunk_at
    for _ in range(_MOST_CHUNKS):
        head = _read_at(file, at, layout.head.size)
        if len(head) < layout.head.size:
            return
        name, size = layout.head.unpack(head)
        if layout.size_counts_head:
            size = max(0, size - layout.head.size)
        content_at = at + layout.head.size
        yield _Chunk(name, size, content_at - layout.size_bytes, content_at)
        at = content_at + size
        at += -at % layout.alignment


def _left_open(file: io.FileIO, file_bytes: int) -> bool:
    """Whether the size of the whole file is wrong too: then a data size of 0 is not the truth but a beginning."""
    head = _read_at(file, 0, 8)
    layout = _LAYOUTS[head[:4]]
    return layout.size_bytes == 4 and layout.head.unpack(head)[1] + 8 != file_bytes


def _means_unknown(chunk: _Chunk) -> bool:
    """Whether the size is what writers put who cannot go back: SoX, others, arecord; ffmpeg writes 0xFFFFFFFF."""
    return chunk.size in {0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000} or 0xFFFF_FF00 <= chunk.size <= 0xFFFF_FFFF


def _read_at(file: io.FileIO, position: int, n_bytes: int) -> bytes:
    try:
        file.seek(position)
    except (OSError, OverflowError):  # a damaged size points beyond what any file can have
        return b""
    return file.read(n_bytes)
