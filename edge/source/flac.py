"""What the head of a FLAC promises, and where its sound ends: some writers leave zeros or a tag behind it."""

import io
import os
from dataclasses import dataclass
from typing import Final

from edge.source.pickup import Note
from edge.source.pieces import Pieces

_TAG_BYTES: Final = 128
_CHECK_SUM_BYTES: Final = 2
"""A frame ends in one (RFC 9639, 9.3), which may be zero."""

_STREAMINFO_BYTES: Final = 34
_TOTAL_AT: Final = 8 + 13
"""`fLaC`, the head of STREAMINFO, and 108 bits of it; then the 36 bits of the number of samples (RFC 9639, 8.2)."""


@dataclass(frozen=True)
class FlacSound:
    """A FLAC as a decoder reads it to its end.

    promised_samples  a channel, as the head says; None where whoever wrote it did not know
    note              what lies behind the sound, which is left out
    file              the same, but its head promises nothing, so that more than it promises is decoded too
    """

    promised_samples: int | None
    note: Note | None
    file: Pieces


def find_flac(file: io.FileIO) -> FlacSound | None:
    """Return the sound of a FLAC; None where its head is damaged, so that a decoder may say in what way."""
    start = _behind_id3(file)
    head = bytearray(_read_at(file, start, _TOTAL_AT + 5))
    if len(head) < _TOTAL_AT + 5 or head[:4] != b"fLaC" or head[4] & 0x7F != 0 or head[7] != _STREAMINFO_BYTES:
        return None
    promised = int.from_bytes(head[_TOTAL_AT : _TOTAL_AT + 5], "big") & 0xF_FFFF_FFFF
    size = os.fstat(file.fileno()).st_size
    end, what = _end_of_sound(file, size)
    note = Note("behind", f"{what} behind the sound, left out") if what else None
    if promised and end < size:
        # With its length the decoder stops by itself, and zeros may be the end of its last frame: nothing is cut away.
        return FlacSound(promised, note, Pieces(file, b"", [(start, size - start)]))
    head[_TOTAL_AT] &= 0xF0
    head[_TOTAL_AT + 1 :] = bytes(4)
    rest = (start + len(head), end - start - len(head))
    return FlacSound(promised or None, note, Pieces(file, bytes(head), [rest]))


def _behind_id3(file: io.FileIO) -> int:
    """Return where the FLAC begins: some taggers put an ID3v2 before it."""
    head = _read_at(file, 0, 10)
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _end_of_sound(file: io.FileIO, size: int) -> tuple[int, str]:
    """Return where the sound ends, and what lies behind it, empty where nothing does."""
    if size > _TAG_BYTES and _read_at(file, size - _TAG_BYTES, 3) == b"TAG":
        return size - _TAG_BYTES, f"the {_TAG_BYTES} bytes of an ID3v1 tag"
    end = size
    while end > 0:
        piece = _read_at(file, max(0, end - (1 << 20)), min(end, 1 << 20))
        kept = piece.rstrip(b"\0")
        end -= len(piece) - len(kept)
        if kept:
            break
    return end, f"{size - end} bytes of zeros" if size - end > _CHECK_SUM_BYTES else ""


def _read_at(file: io.FileIO, position: int, n_bytes: int) -> bytes:
    file.seek(position)
    return file.read(n_bytes) or b""
