"""Numbers that grow while something is listened to, on disk: batches in one bounded file, each whole or not there.

    length and CRC-32 of a batch (8 bytes), the batch, and so on; the first says whose they are, in JSON, the others are
    arrays (.npz, no pickle)

What a power cut left half written is the end of the file, and is cut off when it is read. For one thread.
"""

import io
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.arrays import Array, arrays_of
from edge.files import read_plain

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<II")


class Batches:
    """One file of batches."""

    def __init__(self, path: Path, whose: Mapping[str, Any], *, most_bytes: int) -> None:
        """Open nothing. whose: what the batches have to be of, to be of use later."""
        self.path = path
        self._whose = json.dumps(whose, sort_keys=True).encode()
        self._most_bytes = most_bytes

    def read(self) -> list[Mapping[str, Array]]:
        """Return the batches in their order; none where there is no file, or it is of something else.

        What cannot be read to its end is cut off there, so that what is appended follows what was read.
        """
        try:
            data = read_plain(self.path, self._most_bytes)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("%s: %s: begun anew", self.path, error.strerror)
            return []
        found = list(_batches(data))
        if not found or found[0][0] != self._whose:
            log.warning("%s: it is not of this enrolment: begun anew", self.path)
            self.clear()
            return []
        batches, end = list[Mapping[str, Array]](), found[0][1]
        for payload, until in found[1:]:
            arrays = _arrays(payload)
            if arrays is None:
                break
            batches.append(arrays)
            end = until
        if end < len(data):
            log.warning("%s: its last %d bytes are damaged, and left out", self.path, len(data) - end)
            with suppress(OSError):
                os.truncate(self.path, end)
        return batches

    def append(self, arrays: Mapping[str, Array]) -> None:
        """Write one more batch, and wait until the disk has it.

        Raises OSError, also where the file would be too large; what was half written is taken back.
        """
        packed = io.BytesIO()
        np.savez(packed, **dict[str, Any](arrays))
        begun = self.path.exists() and self.path.stat().st_size > 0
        data = b"".join(_framed(part) for part in ([] if begun else [self._whose]) + [packed.getvalue()])
        before = self.path.stat().st_size if begun else 0
        if before + len(data) > self._most_bytes:
            raise OSError(f"{self.path}: more than {self._most_bytes} bytes")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self.path, "ab", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(self.path, before)
            raise

    def clear(self) -> None:
        """Forget all of it."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _framed(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _batches(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each batch that is whole, and where it ends."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        at += _HEAD.size + length
        if len(payload) < length or zlib.crc32(payload) != check:
            return
        yield payload, at


def _arrays(payload: bytes) -> Mapping[str, Array] | None:
    try:
        return arrays_of(payload)
    except ValueError:
        return None
