"""Files of episodes on a disk that is never filled: whole or not at all, within a quota and above a floor.

The oldest go first. A file that a person renamed is theirs: it is neither counted nor deleted.
"""

import heapq
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from edge.config import EvidenceSettings

MEGABYTE: Final = 1_000_000

COUNT_SECONDS: Final = 3600.0
"""How often all files are looked at, in case a person has tidied up: between, what is written is added up."""

SPARE: Final = 0.01
"""The part of the quota that is emptied beyond need, so that the files are not looked at for each clip."""

_OWN_NAME: Final = re.compile(r"(\d{8}T\d{6}Z|boot-\d{10}s)-[0-9a-f]{32}\.(flac|png)")
_PART_NAME: Final = re.compile(rf"\.{_OWN_NAME.pattern}\.part")


class Shelf:
    """The folder of the clips. What it remembers is how much lies there; for one thread.

    n_bytes        of the files that are kept
    written_bytes  since the start
    """

    def __init__(self, settings: EvidenceSettings, folder: Path) -> None:
        """Touch no disk yet."""
        self.folder = folder
        self.n_bytes = 0
        self.written_bytes = 0
        self._quota_bytes = settings.quota_megabytes * MEGABYTE
        self._floor_bytes = settings.min_free_megabytes * MEGABYTE
        self._counted_at = -math.inf
        self._newest_ns = 0

    def tidy(self) -> None:
        """Remove what a power cut left half written; not what is being written now, by the daemon before a reload."""
        for path in self._paths(_PART_NAME):
            if os.path.realpath(path) not in _BEING_WRITTEN:
                with suppress(OSError):
                    path.unlink()

    def look(self) -> None:
        """See what is there, if that is long ago: a person may have tidied up."""
        if time.monotonic() > self._counted_at + COUNT_SECONDS:
            self._count()

    def doubt(self) -> None:
        """Nobody knows what is there now."""
        self._counted_at = -math.inf

    def write(self, files: dict[Path, bytes]) -> None:
        """Write all files, each whole or not at all. Raises OSError."""
        n_bytes = sum(map(len, files.values()))
        going = self._beyond_quota(n_bytes)
        places = {path.parent for path in files}
        for place in places:
            place.mkdir(mode=0o750, parents=True, exist_ok=True)
            freed_bytes = sum(each.n_bytes for each in going if _on_one_disk(each.path, place))
            if fault := self.fault(n_bytes, place, freed_bytes=freed_bytes):
                raise OSError(fault)

        for each in going:
            each.path.unlink(missing_ok=True)
            self.n_bytes -= each.n_bytes
        for path, data in files.items():
            write_whole(path, data)
            self._put_last(path)
            self.written_bytes += len(data)
            self.n_bytes += len(data)

    def _put_last(self, path: Path) -> None:
        """See that a file is newer than all that are kept: a clock that began in 1970 has other ideas of it."""
        written_ns = path.stat().st_mtime_ns
        self._newest_ns = max(self._newest_ns + 1, written_ns)
        if written_ns != self._newest_ns:
            os.utime(path, ns=(self._newest_ns, self._newest_ns))

    def _count(self) -> None:
        self.n_bytes = 0
        for each in self._kept():
            self.n_bytes += each.n_bytes
            self._newest_ns = max(self._newest_ns, -each.minus_written_ns)
        self._counted_at = time.monotonic()

    def _beyond_quota(self, n_bytes: int) -> "list[_Kept]":
        """Return the oldest files, those that have to go if `n_bytes` more are to be kept."""
        if self.n_bytes + n_bytes > self._quota_bytes:
            self._count()
        if self.n_bytes + n_bytes <= self._quota_bytes:
            return []
        goal_bytes = self.n_bytes + n_bytes - self._quota_bytes * (1 - SPARE)
        oldest, total = list[_Kept](), 0  # a heap with the newest of them on top: there may be 30,000 files beside them
        for each in self._kept():
            heapq.heappush(oldest, each)
            total += each.n_bytes
            while total - oldest[0].n_bytes >= goal_bytes:
                total -= heapq.heappop(oldest).n_bytes
        return oldest

    def fault(self, n_bytes: int, place: Path | None = None, *, freed_bytes: int = 0) -> str | None:
        """Return why so many bytes should not be written to a folder, None if they may. Raises OSError."""
        place = place or self.folder
        disk = os.statvfs(next(path for path in (place, *place.absolute().parents) if path.exists()))
        if disk.f_flag & os.ST_RDONLY:
            return "read-only"
        free, floor = disk.f_bavail * disk.f_frsize + freed_bytes, self._floor_bytes
        if free - n_bytes < floor:
            return f"{free / MEGABYTE:.1f} MB free, expected {(floor + n_bytes) / MEGABYTE:.1f}"
        return None

    def _kept(self) -> "Iterator[_Kept]":
        """Yield the files that are ours."""
        for path in self._paths(_OWN_NAME):
            with suppress(OSError):  # a person may be tidying up, too
                status = path.stat()
                yield _Kept(-status.st_mtime_ns, path, status.st_size)

    def _paths(self, name: re.Pattern[str]) -> Iterator[Path]:
        """Yield the files of that name in the folders of the sources: as they are written, links to folders followed,
        each folder once."""
        seen = set()
        with suppress(OSError):
            for source in os.scandir(self.folder):
                if not source.is_dir():
                    continue
                found = Path(source.path).stat()
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
                yield from (Path(each.path) for each in os.scandir(source.path) if name.fullmatch(each.name))


class _Kept(NamedTuple):
    """A file of ours; the newest sorts first."""

    minus_written_ns: int
    path: Path
    n_bytes: int


def _on_one_disk(path: Path, folder: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_dev == folder.stat().st_dev
    return False


def write_whole(path: Path, data: bytes) -> None:
    """Write a new file under `path`: whole, also after a power cut, or not at all; strangers may not read it.

    Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
    owned = os.path.realpath(part)  # a reload may have come to the same folder by another name
    _BEING_WRITTEN.add(owned)
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else the name may be on the disk before the contents
        part.rename(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    finally:
        _BEING_WRITTEN.discard(owned)


_BEING_WRITTEN: Final[set[str]] = set()
"""Parts of this process that have an owner. Those of a process that has died have none."""
