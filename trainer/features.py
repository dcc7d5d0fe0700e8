"""Log-mel frames of many clips on disk, computed once, by the device's own frontend, and shared between runs.

    <folder>/<frontend>.f32      rows of float32, a frame a row, appended and never changed
    <folder>/<frontend>.jsonl    a line a recording: its path, what it was when it was read, its first row, how many

The name is the fingerprint of the frontend, its REVISION in it, and of channel and gain where they are not the usual
ones. A recording is known by size, times of change and inode: one that was written to, replaced or restored is read
again. The rows come before the line that tells of them, so
that a kill, or a power cut, leaves at most rows that nobody knows of; the next writer cuts them off. One process writes
at a time, the others wait. What is read is mapped into memory: data may be larger than memory. Rows of recordings that
are gone stay; deleting the folder is always safe.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge.ear import Features, Frontend, FrontendSettings
from edge.errors import EarshotError
from edge.source import AS_IT_IS, Pickup, read_samples
from trainer.cores import usable_cores
from trainer.dataset import Clip

log = logging.getLogger(__name__)

CLIPS_A_SYNC: Final = 64
"""What a kill may cost: recordings whose rows are written before their lines are."""

FEW_CLIPS: Final = 64
"""Fewer are computed here: other processes take a second to start, and a clip of 10 s takes 20 ms."""

CLOCK_TICK_NS: Final = 20_000_000
"""Twice the step of the clock that Linux stamps files with (4 or 10 ms)."""

Frames = NDArray[np.float32]
"""(F, M): a frame a row."""


@dataclass(frozen=True)
class FeatureStore:
    """Frames of the clips that could be read, in their order; the others are named in `skipped`."""

    clips: Sequence[Clip]
    skipped: Sequence[tuple[Path, str]]
    _frames: Frames
    _rows: Sequence[slice]

    def __getitem__(self, index: int) -> Features:
        """Return the frames of clip `index`, shape (M, F), dB, a view of the file."""
        frames: Features = self._frames[self._rows[index]].T
        return frames

    def n_frames(self, index: int) -> int:
        """Return how many frames clip `index` has."""
        rows = self._rows[index]
        return int(rows.stop - rows.start)

    def band_moments(self, indices: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and deviation of each mel band over the frames of some clips, each (M,), dB."""
        n, total, squares = 0, 0.0, 0.0
        for index in indices:
            frames = self[index].astype(np.float64)
            n += frames.shape[1]
            total = total + frames.sum(1)
            squares = squares + np.square(frames).sum(1)
        mean = np.asarray(total / n)
        deviation = np.sqrt(np.maximum(np.asarray(squares / n) - np.square(mean), 1e-6))
        return mean.astype(np.float32), deviation.astype(np.float32)


def compute_features(clips: Sequence[Clip], settings: FrontendSettings, folder: Path) -> FeatureStore:
    """Return the frames of every clip, from `folder` where they are there and still true, else computed into it.

    A recording that cannot be used is logged by name and left out. Raises EarshotError if none is left, or if the
    folder cannot be written to.
    """
    cache = _Cache(folder, settings, clips[0].pickup if clips else AS_IT_IS)
    paths = list(dict.fromkeys(clip.path for clip in clips))
    index, skipped = cache.read(), dict[Path, str]()
    if any(not index.has(path) for path in paths):
        try:
            with cache.locked():
                index = cache.read()
                skipped = cache.append(index, [path for path in paths if not index.has(path)])
        except OSError as error:
            raise EarshotError(f"{folder}: features cannot be written there: {error.strerror or error}") from error

    for path, reason in skipped.items():
        log.warning("left out: %s", reason or path)
    kept = [clip for clip in clips if clip.path not in skipped]
    if not kept:
        raise EarshotError("none of the recordings can be used")
    rows = [index.recordings[clip.path].rows for clip in kept]
    return FeatureStore(kept, list(skipped.items()), cache.map(index.n_rows), rows)


@dataclass(frozen=True)
class _Identity:
    """What a recording was when it was read. The inode's own time (ctime) cannot be set back, unlike mtime."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return it, or None where there is no file."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@dataclass(frozen=True)
class _Recording:
    identity: _Identity
    rows: slice


@dataclass
class _Index:
    """What the lines of an index say."""

    recordings: dict[Path, _Recording] = field(default_factory=dict)
    n_rows: int = 0
    n_bytes: int = 0
    """Of the lines that hold: what follows them was being written when its writer died."""

    def has(self, path: Path) -> bool:
        """Whether the rows of a recording are there and the recording is what it was."""
        known = self.recordings.get(path)
        return known is not None and known.identity == _Identity.of(path)


class _Cache:
    """The two files of one frontend."""

    def __init__(self, folder: Path, settings: FrontendSettings, pickup: Pickup) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EarshotError(f"{folder}: features cannot be written there: {error.strerror or error}") from error
        self._settings = settings
        self._pickup = pickup
        name = settings.fingerprint[:16]
        if pickup != AS_IT_IS:
            name += f"-{hashlib.blake2b(repr(pickup).encode(), digest_size=4).hexdigest()}"
        self._data, self._lines, self._lock = (folder / f"{name}.{suffix}" for suffix in ("f32", "jsonl", "lock"))
        self._row_bytes = settings.n_mels * np.dtype(np.float32).itemsize

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer; the kernel lets go of the lock when a process dies."""
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self) -> _Index:
        """Return what the index holds, up to the first line that is torn or tells of rows that are not there."""
        index = _Index()
        if not self._lines.exists() or not self._data.exists():
            return index
        n_rows = self._data.stat().st_size // self._row_bytes
        for line in self._lines.read_bytes().splitlines(keepends=True):
            try:
                path, start, stop, *identity = json.loads(line)
                recording = _Recording(_Identity(*identity), slice(start, stop))
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n") or stop > n_rows:
                break
            index.recordings[Path(path)] = recording
            index.n_rows, index.n_bytes = stop, index.n_bytes + len(line)
        return index

    def append(self, index: _Index, paths: Sequence[Path]) -> dict[Path, str]:
        """Compute these recordings, write them and put them into the index; return why some have no frames."""
        skipped: dict[Path, str] = {}
        computed = _compute(paths, self._settings, self._pickup)
        results = iter(tqdm(computed, "features", len(paths), unit="clip", leave=False))
        with self._data.open("ab") as data, self._lines.open("ab") as lines:
            data.truncate(index.n_rows * self._row_bytes)
            lines.truncate(index.n_bytes)
            while some := list(islice(results, CLIPS_A_SYNC)):
                new: dict[Path, _Recording] = {}
                for path, identity, frames in some:
                    if identity is None or isinstance(frames, str):
                        skipped[path] = str(frames)
                        continue
                    data.write(frames.data)
                    new[path] = _Recording(identity, slice(index.n_rows, index.n_rows + len(frames)))
                    index.n_rows += len(frames)
                _to_disk(data)
                lines.writelines(_line(path, recording) for path, recording in new.items())
                _to_disk(lines)
                index.recordings |= new
        return skipped

    def map(self, n_rows: int) -> Frames:
        """Return the rows, mapped into memory."""
        return np.memmap(self._data, np.float32, "r", shape=(n_rows, self._settings.n_mels))


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _line(path: Path, recording: _Recording) -> bytes:
    row = [str(path), recording.rows.start, recording.rows.stop, *astuple(recording.identity)]
    return json.dumps(row).encode() + b"\n"


Result = tuple[Path, _Identity | None, Frames | str]
"""A recording, what it was when it was read, and its frames or why there are none."""


def _compute(paths: Sequence[Path], settings: FrontendSettings, pickup: Pickup) -> Iterator[Result]:
    jobs = [(path, settings, pickup) for path in paths]
    if len(jobs) <= FEW_CLIPS:
        yield from map(_frames_of, jobs)
        return
    # Spawned, not forked: torch has threads of its own by now, and a fork would copy their locks.
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        yield from pool.map(_frames_of, jobs, chunksize=8)


def _frames_of(job: tuple[Path, FrontendSettings, Pickup]) -> Result:
    """Compute one recording. May run in a process of its own."""
    path, settings, pickup = job
    identity = _settled_identity(path)
    try:
        samples = read_samples(path, pickup)
    except EarshotError as error:
        return path, identity, str(error)
    if samples.size < settings.frame_samples:
        reason = f"{path}: {samples.size} samples: expected at least {settings.frame_samples}, one frame"
        return path, identity, reason
    return path, identity, np.ascontiguousarray(Frontend(settings)(samples).T)


def _settled_identity(path: Path) -> _Identity | None:
    """Wait until another change would show: within a tick of its clock, a file system gives two of them one time."""
    identity = _Identity.of(path)
    while identity and abs(time.time_ns() - max(identity.mtime_ns, identity.ctime_ns)) < CLOCK_TICK_NS:
        time.sleep(CLOCK_TICK_NS / 1e9)
        identity = _Identity.of(path)
    return identity
