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

from edge.errors import SourceError, shown
from edge.source.audio_file import read_blocks
from edge.source.block import BLOCK_SAMPLES, SAMPLE_RATE_HZ, Block, Stretch
from edge.source.pickup import AS_IT_IS, Pickup
from edge.source.recorded import recorded

log = logging.getLogger(__name__)

SUFFIXES: Final = {".wav", ".flac"}

SETTLED_SECONDS: Final = 5.0
"""A file that has not changed for so long is complete: recorders write several times a second, copies more often."""

MOST_SAID, MOST_REMEMBERED = 200, 20_000
"""Recordings of no use that are named in a pass, and of which it is remembered for how long this process lives."""

MOST_GONE: Final = 10_000
"""How many files that are there no more are known: those of a disk that is not mounted for a while are not new."""


def find_audio(path: Path) -> list[Path]:
    """Return the WAV and FLAC files below a folder, sorted; a file is returned as it is, whatever its name.

    Hidden files and folders are left out (macOS leaves `._pump.wav` beside `pump.wav`). Links are followed, and one
    that leads nowhere is returned: whoever opens it will say so.
    Raises SourceError, which names `path`, if it does not exist or holds none.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise SourceError(f"{shown(path)}: {error.strerror}") from error
    if not is_folder:
        return [path]

    found = sorted(file for folder in _folders(path) for file in folder if file.suffix.lower() in SUFFIXES)
    if not found:
        raise SourceError(f"{shown(path)}: holds no recordings, expected .wav or .flac files in it or below")
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
    log.warning("%s: left out: %s", shown(error.filename), error.strerror)


def _ignore_skipped(path: Path, reason: str) -> None:
    """Nobody asked."""


def _forget(came_ns: int) -> None:
    """Nobody keeps it."""


class NewFiles:
    """What of a folder was there at the first look, or was heard since: the rest is new. Outlives a source."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        since_ns: int | None = None,
        keep: Callable[[int], None] = _forget,
    ) -> None:
        """Look at nothing.

        since_ns  what was kept in an earlier life: files that came into the folder later are new at the first look, too
        keep      called with what is to be kept: up to when all that came was heard, or was there at the first look
        """
        self._monotonic = monotonic
        self._since_ns = since_ns
        self._keep = keep
        self._known: dict[Path, tuple[int, ...]] | None = None
        self._growing: dict[Path, tuple[tuple[int, ...], float]] = {}

    def look(self, folder: Path) -> list[Path]:
        """Return the files that are new and complete, in the order of their names.

        A known file that has changed is new again. Raises SourceError if the folder is not there.
        """
        if not folder.is_dir():
            raise SourceError(f"{shown(folder)}: expected a folder, as `watch: new` looks into it")
        there = {path: state for files in _folders(folder) for path in files if (state := _state(path))}
        if self._known is None:
            since = self._since_ns
            self._known = {path: state for path, state in there.items() if since is None or _came_ns(path) <= since}
            if since is None:
                self._keep(max(map(_came_ns, there), default=0))
                return []

        now = self._monotonic()
        unknown = {path: state for path, state in there.items() if self._known.get(path) != state}
        self._growing = {
            path: before if (before := self._growing.get(path)) and before[0] == state else (state, now)
            for path, state in unknown.items()
        }
        new = sorted(path for path, (_, since) in self._growing.items() if now - since >= SETTLED_SECONDS)
        gone = [path for path in self._known if path not in there]
        for path in gone[:-MOST_GONE]:
            del self._known[path]
        return new

    def heard(self, path: Path) -> None:
        """Note that a new file was heard to its end, or found to be of no use."""
        if self._known is not None and path in self._growing:
            self._known[path] = self._growing.pop(path)[0]
            waiting = [_came_ns(each) - 1 for each in self._growing]  # a kill before they are heard loses none of them
            self._keep(min([_came_ns(path), *waiting]))


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a recording does; None for what is none, or is gone."""
    if path.suffix.lower() not in SUFFIXES:
        return None
    with suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino
    return None


def _came_ns(path: Path) -> int:
    """Return when a file came to be as it is here: the inode's own time, which a copy does not bring along."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


_SAID: Final[set[int]] = set()
"""What this process has complained of: a source that is lost is made anew, and does not begin again."""


class Complaints:
    """What is said of recordings that are of no use: once of each as it is, and of no more than `MOST_SAID` in a pass.

    A folder is heard again and again, maybe for years, and may hold ten thousand of them.
    """

    def __init__(self) -> None:
        self._n_new = 0

    def begin(self) -> None:
        """Start a pass over a folder."""
        self._n_new = 0

    def say(self, file: Path, words: str) -> None:
        """Say why a recording is skipped, if that is news."""
        is_new = _is_news((file, _state(file), words))
        self._n_new += is_new
        log.log(logging.WARNING if is_new and self._n_new <= MOST_SAID else logging.DEBUG, "skipped %s", words)

    def end(self, folder: Path) -> None:
        """Say of how many nothing was said."""
        n_more = self._n_new - MOST_SAID
        if n_more > 0:
            log.warning("%s: %d more recordings were skipped; log.level: debug names them", shown(folder), n_more)


def _is_news(told: object) -> bool:
    """Whether it was not said before; nothing is news any more where too much was."""
    key = hash(told)
    if key in _SAID or len(_SAID) >= MOST_REMEMBERED:
        return False
    _SAID.add(key)
    return True


class FolderSource:
    """The recordings below a folder (or one file) in the order of their names.

    A file that cannot be used is logged, reported to `on_skip` and skipped; what it gave before its damage was reached
    has gone out by then. In real time, or from a `start_time` on, the files follow one another without a pause, as a
    microphone would have heard them. Else each has the time at which it was recorded (`edge.source.recorded`).
    """

    def __init__(
        self,
        path: Path,
        pickup: Pickup = AS_IT_IS,
        *,
        realtime: bool = False,
        loop: bool = False,
        only_new: NewFiles | None = None,
        block_samples: int = BLOCK_SAMPLES,
        start_time: float | None = None,
        on_skip: Callable[[Path, str], None] = _ignore_skipped,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Open nothing.

        pickup     channel, gain, and whether what is cut off is salvaged
        realtime    hand each block out when a microphone would: at its last sample, by the monotonic clock
        loop        begin again after the last file, with the files that are there by then
        only_new    what was heard before: then `blocks()` gives those files that have come since, and ends
        start_time  of the first sample, by `monotonic`; None: when `blocks()` begins, or each file's own time
        on_skip     called with the file and the reason, which names the file too
        wait        sleeps for so many seconds or until `close()`; with `monotonic` a clock that a test can hold
        """
        self.path = path
        self.pickup = pickup
        self.realtime = realtime
        self.loop = loop
        self.only_new = only_new
        self.block_samples = block_samples
        self.start_time = start_time
        self._on_skip = on_skip
        self._complaints = Complaints()
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
        own_times = self.start_time is None and not self.realtime
        n_samples = 0
        while True:
            n_before = n_samples
            files = find_audio(self.path) if self.only_new is None else self.only_new.look(self.path)
            self._complaints.begin()
            for file in files:
                if self._closed.is_set():  # nothing comes of thousands that are of no use
                    return
                follows = None if own_times else start_time + n_samples / SAMPLE_RATE_HZ
                for block in self._of_file(file, start_time=follows):
                    n_samples += block.samples.size
                    if self.realtime:
                        self._wait(max(0.0, started + n_samples / SAMPLE_RATE_HZ - self._monotonic()))
                    if self._closed.is_set():
                        return
                    yield block
                if self.only_new is not None:
                    self.only_new.heard(file)

            self._complaints.end(self.path)
            if self.only_new is not None:
                return
            if n_samples == n_before:
                raise SourceError(f"{shown(self.path)}: none of its {len(files)} recording(s) can be used")
            if not self.loop:
                return

    def close(self) -> None:
        """End `blocks()` at its next block, and its waiting at once."""
        self._closed.set()

    def _of_file(self, file: Path, *, start_time: float | None) -> Iterator[Block]:
        stretch = Stretch(str(file), start_time=0.0 if start_time is None else start_time)
        try:
            if start_time is None:
                stretch.start_time = self._monotonic() - time.time() + recorded(file, self.pickup).start
            for samples in read_blocks(file, self.pickup, block_samples=self.block_samples):
                yield stretch.block(samples)
        except SourceError as error:
            self._complaints.say(file, f"after {stretch.n_samples / SAMPLE_RATE_HZ:.1f} s: {error}")
            self._on_skip(file, str(error))
            if _identity(self.path) is None:
                raise SourceError(f"{shown(self.path)}: vanished while it was read") from error
