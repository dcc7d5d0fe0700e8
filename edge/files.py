"""Files that somebody else may have laid there: plain files only, and no more of them than is asked for.

A named pipe, a device or a terminal in a file's place holds whoever opens it, for ever, or gives bytes without end; a
link may lead anywhere. What lies there is looked at before it is opened, and once more after.
"""

import errno
import os
import stat
from pathlib import Path


def read_plain(path: Path, most_bytes: int, *, within: Path | None = None) -> bytes:
    """Return what a regular file holds.

    Links are followed; with `within` no farther than that folder.
    Raises OSError, whose `strerror` says what came and what was expected: another kind of file, one that is larger than
    `most_bytes`, one that is elsewhere.
    """
    place = Path(os.path.realpath(path, strict=True))
    if within is not None and not place.is_relative_to(os.path.realpath(within)):
        raise OSError(errno.EXDEV, f"is a link to {place}: expected a file in its folder")
    _expect_plain(place.stat())
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _expect_plain(os.fstat(descriptor))  # it may have been exchanged
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"has more than {most_bytes} bytes: expected that many at most")
    return data


def _expect_plain(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for is_it, words in _KINDS if is_it(status.st_mode)), "no file")
        raise OSError(errno.EINVAL, f"is {kind}: expected a regular file")


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
