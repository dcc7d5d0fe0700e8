"""What is kept of an episode: its sound and a picture of it, from a ring in memory, on a disk that is never filled.

    Evidence    one source: the newest seconds in memory; hears along in the listening thread, and never waits there
    ClipStore   all sources: one thread that packs and writes, whole files or none, within a quota and above a floor

    <folder>/<source>/20261123T214500Z-<episode>.flac, .png     boot-0000000123s-<episode>: nobody had set the clock

Without an episode nothing is written. When the disk is full or broken clips stop, detection does not, and clips resume
by themselves. A file that a person renamed is theirs: it is neither counted nor deleted.
"""

import io
import logging
import math
import queue
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge import clock
from edge.config import SAMPLE_RATE_HZ, EvidenceSettings
from edge.ear import Newest, Samples, as_pcm
from edge.memory.picture import Beside, spectrogram
from edge.memory.shelf import MEGABYTE, Shelf
from edge.source import Block

log = logging.getLogger(__name__)

State = Literal["off", "ready", "paused: disk"]
OnPicture = Callable[[bytes], None]

SAMPLE_BYTES: Final = 2
PICTURE_BYTES: Final = 200_000
"""The largest picture, of 300 s of noise, is a little less."""

MEMORY_BYTES: Final = 32 * MEGABYTE
"""For clips that are open or wait to be written. Hundreds of sources may open an episode at once, when the power fails:
then the first are kept."""

LOOK_SECONDS: Final = 10.0
"""How often the disk is asked for its room. A question, no writing."""

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
    beside: Beside
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
        self.written_clips = 0
        self.lost_clips = 0
        self._clip_bytes = int(settings.max_clip_seconds * SAMPLE_RATE_HZ) * SAMPLE_BYTES
        self._shelf = Shelf(settings, folder)
        self._slots = threading.BoundedSemaphore(max(2, MEMORY_BYTES // self._clip_bytes))
        self._queue: queue.SimpleQueue[_Clip | None] = queue.SimpleQueue()  # never longer than there are slots
        self._thread = threading.Thread(target=self._work, name="evidence", daemon=True)

    @property
    def clips_bytes(self) -> int:
        """Bytes of the clips that are kept."""
        return self._shelf.n_bytes

    @property
    def written_bytes(self) -> int:
        """Bytes that were written since the start."""
        return self._shelf.written_bytes

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
        self._shelf.tidy()
        self._look()
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

    def _look(self) -> None:
        """Pause or resume: is there room for a whole clip above the floor?"""
        self._shelf.look()
        try:
            fault = self._shelf.fault(self._clip_bytes + PICTURE_BYTES)
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
            clip.beside,
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
            self._shelf.write(files)
        except OSError as error:
            self.lost_clips += 1
            self._shelf.doubt()
            self._enter("paused: disk", str(error))
            return
        self.written_clips += 1


class Evidence:
    """What one source sounded like lately. All methods are for the listening thread, and none of them waits.

    newest  the sound itself: all that was heard since it last began anew, as far as it fits
    """

    def __init__(
        self, store: ClipStore, source: str, on_picture: OnPicture | None = None, *, keeps_seconds: float = 0.0
    ) -> None:
        """on_picture: called with the PNG of each episode, from the store's thread, disk or no disk.

        keeps_seconds: how much of the newest sound others want of it, unless nothing is to be kept (`newest`).
        """
        settings = store.settings
        self.source = source
        self._store = store
        self._on_picture = on_picture
        self._is_off = settings.privacy == "off"
        self._suffix = ".flac" if settings.privacy == "audio" else ".png"
        self._post_samples = int(settings.post_roll_seconds * SAMPLE_RATE_HZ)
        self._clip_samples = int(settings.max_clip_seconds * SAMPLE_RATE_HZ)
        self._pre_samples = int(settings.pre_roll_seconds * SAMPLE_RATE_HZ)
        n_samples = max(self._pre_samples, math.ceil(keeps_seconds * SAMPLE_RATE_HZ))
        self.newest = Newest(0 if self._is_off else n_samples)
        self._heard_until = 0.0
        self._clip: _Clip | None = None
        self._named: tuple[str, str | None] = "", None

    def hear(self, block: Block) -> None:
        """Remember a block."""
        if self._is_off:
            return
        if block.starts_anew:
            self.flush()
            self.newest.reset()
        samples = as_pcm(block.samples)
        self.newest.push(samples)
        self._heard_until = block.time + samples.size / SAMPLE_RATE_HZ
        if self._clip is not None:
            self._clip.append(samples)
            if self._clip.is_full:
                self.flush()

    def opened(self, episode_id: str, time: float, beside: Beside | None = None) -> str | None:
        """Keep the sound from now on, and that before; return `clip_name`.

        time: when the episode opened, of the sound, monotonic seconds. beside: what its picture is to show.
        Raises ValueError if the id is no uuid4().hex.
        """
        if not _EPISODE.fullmatch(episode_id):
            raise ValueError(f"episode {episode_id!r}: expected 32 hexadecimal digits")
        self.flush()
        self._named = episode_id, None
        if self._is_off or not self._store.admit():
            return None

        before = self.newest.last(self._pre_samples)
        name = f"{self.source}/{_stamp(time)}-{episode_id}" if self._store.state == "ready" else None
        self._clip = _Clip(
            self.source,
            episode_id,
            name,
            starts_at=self._heard_until - before.size / SAMPLE_RATE_HZ,
            opened_at=time,
            on_picture=self._on_picture,
            beside=beside or Beside(),
            samples=np.empty(self._clip_samples, np.int16),
        )
        self._clip.append(before)
        self._named = episode_id, None if name is None else name + self._suffix
        return self._named[1]

    def moved(self, episode_id: str, bands: Sequence[tuple[float, float, float]]) -> None:
        """Other bands have moved since: the picture will show these, unless it is made already."""
        if self._clip is not None and self._clip.episode_id == episode_id:
            self._clip.beside = replace(self._clip.beside, moved=tuple(bands))

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


def _flac(samples: NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _stamp(time: float) -> str:
    """Return UTC, or seconds since the boot where no time server has set the clock since then."""
    if clock.synced() is False:
        return f"boot-{max(0, int(time)):010d}s"
    return datetime.fromtimestamp(clock.utc_of_sound(time), UTC).strftime("%Y%m%dT%H%M%SZ")
