"""Where what we say goes, so that a write that fails is known from whatever else fails while we say it.

Inside a `with open_output(...)` files are read and recordings judged: an OSError of theirs is not the output's.
"""

import errno
import io
import os
from typing import IO, Any, TextIO


class OutletError(OSError):
    """What was to be said could not be written. strerror: why."""


class OutletClosedError(OutletError, BrokenPipeError):
    """The same where the reader has left, as `head` does."""


class Outlet(io.FileIO):
    """A file whose writes say that they are the ones that failed: OutletError."""

    def write(self, data: Any) -> int:  # noqa: ANN401  what has bytes, which has no name before Python 3.12
        """Write, as FileIO does."""
        try:
            return super().write(data)
        except OSError as error:
            raise _of(error) from error

    def close(self) -> None:
        """Close, as FileIO does: some disks say only then that they are full."""
        try:
            super().close()
        except OSError as error:
            raise _of(error) from error


def open_outlet(file: str | os.PathLike[str]) -> IO[str]:
    """Open a file for text, UTF-8; names of files go out as the bytes that they are."""
    return io.TextIOWrapper(io.BufferedWriter(Outlet(file, "w")), encoding="utf-8", errors="surrogateescape")


def standard_outlet(stdout: TextIO | None) -> TextIO:
    """Return what stands for `sys.stdout`, and speaks as it does; `sys.__stdout__` goes on to hold the file.

    None, as Python has it for who was started without (`>&-`): the next file that is opened would get the number.
    """
    if stdout is None:
        nowhere = os.open(os.devnull, os.O_RDONLY)  # what is written to it fails, as it should
        return io.TextIOWrapper(io.BufferedWriter(Outlet(nowhere, "w")), encoding="utf-8")
    try:
        outlet = Outlet(stdout.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # it lives in memory
        return stdout
    return io.TextIOWrapper(io.BufferedWriter(outlet), stdout.encoding, stdout.errors, line_buffering=outlet.isatty())


def _of(error: OSError) -> OutletError:
    kind = OutletClosedError if error.errno == errno.EPIPE else OutletError
    return kind(error.errno, error.strerror)
