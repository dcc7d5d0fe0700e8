"""A folder of recordings, one after the other, as a source."""

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.errors import SourceError
from edge.source.audio_file import read_blocks
from edge.source.block import SAMPLE_RATE_HZ, Block, Stretch

log = logging.getLogger(__name__)

SUFFIXES: Final = {".wav", ".flac"}


def find_audio(path: Path) -> list[Path]:
    """Return the WAV and FLAC files below a folder, sorted; a file is returned as it is, whatever its name.

    Hidden files and folders are left out (macOS leaves `._pump.wav` beside `pump.wav`). Links are followed, and one
    that leads nowhere is returned: whoever opens it will say so.
    Raises SourceError, which names `path`, if it does not exist or holds none.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    if not is_folder:
        return [path]

    found = sorted(file for folder in _folders(path) for file in folder if file.suffix.lower() in SUFFIXES)
    if not found:
        raise SourceError(f"{path}: holds no recordings, expected .wav or .flac files in it or below")
    return found


def _folders(root: Path) -> Iterator[list[Path]]:
    """Yield the visible files of every visible folder; each folder once, though links may lead in circles."""
    seen: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True, onerror=_say_unreadable):
        identity = _identity(Path(folder))
        if identity is None or identity in seen:
            below.clear()
            continue
        seen.add(identity)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield [Path(folder, name) for name in names if not name.startswith(".")]


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what stays the same whichever links led there; None if nothing is there (any more)."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _say_unreadable(error: OSError) -> None:
    log.warning("%s: left out: %s", error.filename, error.strerror)


def _ignore_skipped(path: Path, reason: str) -> None:
    """Nobody asked."""


class FolderSource:
    """The recordings below a folder (or one file) in the order of their names.

    A file that cannot be used is logged, reported to `on_skip` and skipped; what it gave before its damage was reached
    has gone out by then. The files follow one another without a pause: the first begins at `start_time`.
    """

    def __init__(
        self,
        path: Path,
        *,
        channel: int = 0,
        realtime: bool = False,
        loop: bool = False,
        block_samples: int = 1600,
        start_time: float | None = None,
        on_skip: Callable[[Path, str], None] = _ignore_skipped,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Open nothing.

        channel     which one, counted from 0; never a mix of them
        realtime    hand each block out when a microphone would: at its last sample, by the monotonic clock
        loop        begin again after the last file, with the files that are there by then
        start_time  of the first sample, by `monotonic`; None: when `blocks()` begins
        on_skip     called with the file and the reason, which names the file too
        wait        sleeps for so many seconds or until `close()`; with `monotonic` a clock that a test can hold
        """
        self.path = path
        self.channel = channel
        self.realtime = realtime
        self.loop = loop
        self.block_samples = block_samples
        self.start_time = start_time
        self._on_skip = on_skip
        self._monotonic = monotonic
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of file after file; `start_sample` counts from the beginning of each.

        Raises SourceError if the folder is not there, holds nothing or vanishes, and after a pass without any sound:
        a loop over nothing but damage would run hot and say nothing.
        """
        started = self._monotonic()
        start_time = started if self.start_time is None else self.start_time
        n_samples = 0
        while True:
            n_before = n_samples
            files = find_audio(self.path)
            for file in files:
                for block in self._of_file(file, start_time=start_time + n_samples / SAMPLE_RATE_HZ):
                    n_samples += block.samples.size
                    if self.realtime:
                        self._wait(max(0.0, started + n_samples / SAMPLE_RATE_HZ - self._monotonic()))
                    if self._closed.is_set():
                        return
                    yield block

            if n_samples == n_before:
                raise SourceError(f"{self.path}: none of its {len(files)} recording(s) can be used")
            if not self.loop:
                return

    def close(self) -> None:
        """End `blocks()` at its next block, and its waiting at once."""
        self._closed.set()

    def _of_file(self, file: Path, *, start_time: float) -> Iterator[Block]:
        stretch = Stretch(str(file), start_time=start_time)
        try:
            for samples in read_blocks(file, channel=self.channel, block_samples=self.block_samples):
                yield stretch.block(samples)
        except SourceError as error:
            log.warning("skipped after %.1f s: %s", stretch.n_samples / SAMPLE_RATE_HZ, error)
            self._on_skip(file, str(error))
            if _identity(self.path) is None:
                raise SourceError(f"{self.path}: vanished while it was read") from error
