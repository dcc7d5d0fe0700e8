"""A file put together from bytes in memory and stretches of a real one: what a decoder is shown of a recording."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence

Stretch = tuple[int, int]
"""First byte in the real file, and how many."""


class Pieces(io.RawIOBase):
    """A head, then stretches of `file`, as one file that can be read and sought in. Nothing is copied."""

    def __init__(self, file: io.FileIO, head: bytes, stretches: Sequence[Stretch]) -> None:
        self._file = file
        self._head = head
        self._stretches = stretches
        self._starts = [len(head)]
        for _, n_bytes in stretches:
            self._starts.append(self._starts[-1] + n_bytes)
        self._at = 0
        self.interrupted: BaseException | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # soundfile passes a cffi buffer
        wanted, data = len(buffer), b""
        try:
            while len(data) < wanted and (piece := self._some(wanted - len(data))):
                data += piece
        except BaseException as error:  # a signal: C, which called us, would print and forget it
            self.interrupted = error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def _some(self, n_bytes: int) -> bytes:
        if self._at < len(self._head):
            piece = self._head[self._at : self._at + n_bytes]
        else:
            number = bisect_right(self._starts, self._at) - 1
            if number >= len(self._stretches):
                return b""
            within = self._at - self._starts[number]
            first, length = self._stretches[number]
            self._file.seek(first + within)
            piece = self._file.read(min(n_bytes, length - within)) or b""
        self._at += len(piece)
        return piece
