"""What is kept of an episode: its sound and a picture of it, from a ring in memory, on a disk that is never filled.

    Evidence    one source: the newest seconds in memory; hears along in the listening thread, and never waits there
    ClipStore   all sources: one thread that packs and writes, whole files or none, within a quota and above a floor

    <folder>/<source>/20261123T214500Z-<episode>.flac, .png     boot-0000000123s-<episode>: nobody had set the clock

Without an episode nothing is written. When the disk is full or broken clips stop, detection does not, and clips resume
by themselves. A file that a person renamed is theirs: it is neither counted nor deleted.
"""

import heapq
import io
import logging
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge import clock
from edge.config import SAMPLE_RATE_HZ, EvidenceSettings
from edge.ear import Frontend, FrontendSettings, Samples
from edge.memory.picture import spectrogram
from edge.source import Block

log = logging.getLogger(__name__)

State = Literal["off", "ready", "paused: disk"]
OnPicture = Callable[[bytes], None]

MEGABYTE: Final = 1_000_000
SAMPLE_BYTES: Final = 2
PICTURE_BYTES: Final = 200_000
"""The largest picture, of 300 s of noise, is a little less."""

MEMORY_BYTES: Final = 32 * MEGABYTE
"""For clips that are open or wait to be written. Hundreds of sources may open an episode at once, when the power fails:
then the first are kept."""

LOOK_SECONDS: Final = 10.0
"""How often the disk is asked for its room. A question, no writing."""

COUNT_SECONDS: Final = 3600.0
"""How often all files are looked at, in case a person has tidied up: between, what is written is added up."""

SPARE: Final = 0.01
"""The part of the quota that is emptied beyond need, so that the files are not looked at for each clip."""

_OWN_NAME: Final = re.compile(r"(\d{8}T\d{6}Z|boot-\d{10}s)-[0-9a-f]{32}\.(flac|png)")
_PART_NAME: Final = re.compile(rf"\.{_OWN_NAME.pattern}\.part")
_EPISODE: Final = re.compile(r"[0-9a-f]{32}")


@dataclass
class _Clip:
    """Sound of one episode, from `starts_at` on; times are those of the sound, monotonic seconds.

    name  its path in the folder without the suffix; None if the disk had no room when it was opened: only its picture
          is made then
    """

    source: str
    episode_id: str
    name: str | None
    starts_at: float
    opened_at: float
    on_picture: OnPicture | None
    samples: NDArray[np.int16] = field(repr=False)
    n_samples: int = 0
    closed_at: float | None = None
    left_samples: int | None = None

    @property
    def is_full(self) -> bool:
        return self.n_samples == self.samples.size or self.left_samples == 0

    def append(self, samples: NDArray[np.int16]) -> None:
        room = self.samples.size - self.n_samples
        taken = samples[: room if self.left_samples is None else min(room, self.left_samples)]
        self.samples[self.n_samples : self.n_samples + taken.size] = taken
        self.n_samples += taken.size
        if self.left_samples is not None:
            self.left_samples -= taken.size


class ClipStore:
    """Writes the clips of all sources, in a thread of its own. Its methods never wait for the disk, but `close`."""

    def __init__(self, settings: EvidenceSettings, folder: Path) -> None:
        """Touch no disk yet: `start` does."""
        self.settings = settings
        self.folder = folder
        self.state: State = "off" if settings.privacy == "off" else "ready"
        self.clips_bytes = 0
        self.written_bytes = 0
        self.written_clips = 0
        self.lost_clips = 0
        self._frontend = Frontend(FrontendSettings())  # all that there is, whatever a detector listens to
        self._clip_bytes = int(settings.max_clip_seconds * SAMPLE_RATE_HZ) * SAMPLE_BYTES
        self._counted_at = -math.inf
        self._newest_ns = 0
        self._slots = threading.BoundedSemaphore(max(2, MEMORY_BYTES // self._clip_bytes))
        self._queue: queue.SimpleQueue[_Clip | None] = queue.SimpleQueue()  # never longer than there are slots
        self._thread = threading.Thread(target=self._work, name="evidence", daemon=True)

    def start(self) -> None:
        """Begin to look after the disk, unless nothing is to be kept."""
        if self.state != "off":
            self._thread.start()

    def close(self, timeout_seconds: float) -> bool:
        """Write what was handed over, for so long at most; return whether all of it was. Hand over nothing after it."""
        if not self._thread.is_alive():
            return True
        self._queue.put(None)
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            log.warning("%s: not all clips were written within %g s", self.folder, timeout_seconds)
        return not self._thread.is_alive()

    def admit(self) -> bool:
        """Whether there is memory for one more clip; every one that was let in has to be handed over."""
        if self._slots.acquire(blocking=False):
            return True
        self.lost_clips += 1
        log.warning("%s: a clip is not kept: too many at once", self.folder)
        return False

    def hand_over(self, clip: _Clip) -> None:
        """Take a clip to be written; nobody appends to it any more."""
        self._queue.put(clip)

    # --- In the thread ---

    def _work(self) -> None:
        self._tidy()
        while True:
            try:
                clip = self._queue.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if clip is None:
                return
            try:
                self._keep(clip)
            except Exception:  # the next episode's clip is worth as much as this one's
                log.exception("%s: a defect of ours", self.folder)
                self.lost_clips += 1
            finally:
                self._slots.release()

    def _tidy(self) -> None:
        """Remove what a power cut left half written; see what is there."""
        for path in self._paths(_PART_NAME):
            with suppress(OSError):
                path.unlink()
        self._look()

    def _look(self) -> None:
        """Pause or resume: is there room for a whole clip above the floor?"""
        if time.monotonic() > self._counted_at + COUNT_SECONDS:
            self._count()
        try:
            fault = self._fault_of_disk(self._clip_bytes + PICTURE_BYTES)
        except OSError as error:
            fault = str(error)
        self._enter("paused: disk" if fault else "ready", fault)

    def _enter(self, state: State, why: str | None) -> None:
        if state != self.state:
            log.log(
                logging.WARNING if why else logging.INFO, "%s: clips %s%s", self.folder, state, f" ({why})" * bool(why)
            )
            self.state = state

    def _keep(self, clip: _Clip) -> None:
        samples = clip.samples[: clip.n_samples]
        as_float: Samples = samples.astype(np.float32) / np.float32(32_768)
        end = clip.starts_at + samples.size / SAMPLE_RATE_HZ
        picture = spectrogram(
            as_float,
            self._frontend,
            opened_seconds=clip.opened_at - clip.starts_at,
            closed_seconds=(end if clip.closed_at is None else clip.closed_at) - clip.starts_at,
            title=f"{clip.source} {clip.episode_id}",
        )
        if picture is None:
            return  # half a second is no evidence
        if clip.on_picture is not None:
            clip.on_picture(picture)
        if clip.name is None:
            self.lost_clips += 1
            return
        files = {self.folder / f"{clip.name}.png": picture}
        if self.settings.privacy == "audio":
            files[self.folder / f"{clip.name}.flac"] = _flac(samples)
        try:
            self._write(files)
        except OSError as error:
            self.lost_clips += 1
            self._counted_at = -math.inf  # nobody knows what is there now
            self._enter("paused: disk", str(error))

    def _write(self, files: dict[Path, bytes]) -> None:
        """Write all files, each whole or not at all. Raises OSError."""
        n_bytes = sum(map(len, files.values()))
        going = self._beyond_quota(n_bytes)
        places = {path.parent for path in files}
        for place in places:
            place.mkdir(mode=0o750, parents=True, exist_ok=True)
            freed_bytes = sum(each.n_bytes for each in going if _on_one_disk(each.path, place))
            if fault := self._fault_of_disk(n_bytes, place, freed_bytes=freed_bytes):
                raise OSError(fault)

        for each in going:
            each.path.unlink(missing_ok=True)
            self.clips_bytes -= each.n_bytes
        for path, data in files.items():
            write_whole(path, data)
            self._put_last(path)
            self.written_bytes += len(data)
            self.clips_bytes += len(data)
        self.written_clips += 1

    def _put_last(self, path: Path) -> None:
        """See that a file is newer than all that are kept: a clock that began in 1970 has other ideas of it."""
        written_ns = path.stat().st_mtime_ns
        self._newest_ns = max(self._newest_ns + 1, written_ns)
        if written_ns != self._newest_ns:
            os.utime(path, ns=(self._newest_ns, self._newest_ns))

    def _count(self) -> None:
        self.clips_bytes = 0
        for each in self._kept():
            self.clips_bytes += each.n_bytes
            self._newest_ns = max(self._newest_ns, -each.minus_written_ns)
        self._counted_at = time.monotonic()

    def _beyond_quota(self, n_bytes: int) -> "list[_Kept]":
        """Return the oldest files, those that have to go if `n_bytes` more are to be kept."""
        quota_bytes = self.settings.quota_megabytes * MEGABYTE
        if self.clips_bytes + n_bytes > quota_bytes:
            self._count()
        if self.clips_bytes + n_bytes <= quota_bytes:
            return []
        goal_bytes = self.clips_bytes + n_bytes - quota_bytes * (1 - SPARE)
        oldest, total = list[_Kept](), 0  # a heap with the newest of them on top: there may be 30,000 files beside them
        for each in self._kept():
            heapq.heappush(oldest, each)
            total += each.n_bytes
            while total - oldest[0].n_bytes >= goal_bytes:
                total -= heapq.heappop(oldest).n_bytes
        return oldest

    def _fault_of_disk(self, n_bytes: int, place: Path | None = None, *, freed_bytes: int = 0) -> str | None:
        """Return why so many bytes should not be written to a folder, None if they may. Raises OSError."""
        place = place or self.folder
        disk = os.statvfs(next(path for path in (place, *place.absolute().parents) if path.exists()))
        if disk.f_flag & os.ST_RDONLY:
            return "read-only"
        free, floor = disk.f_bavail * disk.f_frsize + freed_bytes, self.settings.min_free_megabytes * MEGABYTE
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


class Evidence:
    """What one source sounded like lately. All methods are for the listening thread, and none of them waits."""

    def __init__(self, store: ClipStore, source: str, on_picture: OnPicture | None = None) -> None:
        """on_picture: called with the PNG of each episode, from the store's thread, disk or no disk."""
        settings = store.settings
        self.source = source
        self._store = store
        self._on_picture = on_picture
        self._is_off = settings.privacy == "off"
        self._suffix = ".flac" if settings.privacy == "audio" else ".png"
        self._post_samples = int(settings.post_roll_seconds * SAMPLE_RATE_HZ)
        self._clip_samples = int(settings.max_clip_seconds * SAMPLE_RATE_HZ)
        self._ring = np.zeros(0 if self._is_off else int(settings.pre_roll_seconds * SAMPLE_RATE_HZ), np.int16)
        self._n_heard = 0
        self._heard_until = 0.0
        self._clip: _Clip | None = None
        self._named: tuple[str, str | None] = "", None

    def hear(self, block: Block) -> None:
        """Remember a block."""
        if self._is_off:
            return
        if block.starts_anew:
            self.flush()
            self._n_heard = 0
        # By 2^15, so that samples that were 16-bit come out as they were.
        scaled = block.samples * np.float32(32_768)
        np.rint(scaled, out=scaled)
        np.maximum(scaled, -32_768, out=scaled)
        np.minimum(scaled, 32_767, out=scaled)
        samples = scaled.astype(np.int16)
        self._remember(samples)
        self._heard_until = block.time + samples.size / SAMPLE_RATE_HZ
        if self._clip is not None:
            self._clip.append(samples)
            if self._clip.is_full:
                self.flush()

    def opened(self, episode_id: str, time: float) -> str | None:
        """Keep the sound from now on, and that before; return `clip_name`.

        time: when the episode opened, of the sound, monotonic seconds. Raises ValueError if the id is no uuid4().hex.
        """
        if not _EPISODE.fullmatch(episode_id):
            raise ValueError(f"episode {episode_id!r}: expected 32 hexadecimal digits")
        self.flush()
        self._named = episode_id, None
        if self._is_off or not self._store.admit():
            return None

        before = self._newest()
        name = f"{self.source}/{_stamp(time)}-{episode_id}" if self._store.state == "ready" else None
        self._clip = _Clip(
            self.source,
            episode_id,
            name,
            starts_at=self._heard_until - before.size / SAMPLE_RATE_HZ,
            opened_at=time,
            on_picture=self._on_picture,
            samples=np.empty(self._clip_samples, np.int16),
        )
        self._clip.append(before)
        self._named = episode_id, None if name is None else name + self._suffix
        return self._named[1]

    def closed(self, episode_id: str) -> None:
        """The episode has ended: the clip goes on for the post-roll, if sound does."""
        if self._clip is not None and self._clip.episode_id == episode_id:
            self._clip.closed_at = self._heard_until
            self._clip.left_samples = self._post_samples
            if self._clip.is_full:
                self.flush()

    def flush(self) -> None:
        """No more sound comes, or none that belongs to it: hand over what is there."""
        if self._clip is not None:
            self._store.hand_over(self._clip)
            self._clip = None

    def clip_name(self, episode_id: str) -> str | None:
        """Return where in the folder the newest episode's clip is or will be; None if it is not kept, or not known."""
        return self._named[1] if self._named[0] == episode_id else None

    def _remember(self, samples: NDArray[np.int16]) -> None:
        size = self._ring.size
        if size == 0:
            return
        newest = samples[-size:]
        at = (self._n_heard + samples.size - newest.size) % size
        first = min(newest.size, size - at)
        self._ring[at : at + first] = newest[:first]
        self._ring[: newest.size - first] = newest[first:]
        self._n_heard += samples.size

    def _newest(self) -> NDArray[np.int16]:
        """Return what the ring holds, oldest first."""
        size = self._ring.size
        if self._n_heard <= size:
            return self._ring[: self._n_heard]
        return np.roll(self._ring, -(self._n_heard % size))


def _on_one_disk(path: Path, folder: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_dev == folder.stat().st_dev
    return False


def write_whole(path: Path, data: bytes) -> None:
    """Write a new file under `path`: whole, also after a power cut, or not at all; strangers may not read it.

    Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
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


def _flac(samples: NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _stamp(time: float) -> str:
    """Return UTC, or seconds since the boot where no time server has set the clock since then."""
    if clock.synced() is False:
        return f"boot-{max(0, int(time)):010d}s"
    return datetime.fromtimestamp(clock.utc_of_sound(time), UTC).strftime("%Y%m%dT%H%M%SZ")
