"""Clips on a real disk that fills up, turns read-only and comes back: a small tmpfs, which only root may mount."""

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.config.settings import EvidenceSettings
from edge.memory import clips as evidence
from edge.memory.clips import ClipStore, Evidence
from edge.memory.shelf import MEGABYTE, write_whole
from edge.source import Block
from edge.source.block import Stretch
from tests.real.mosquitto import program, wait_until

SOAK = int(os.environ.get("EARSHOT_SOAK", "1"))
RATE_HZ = 16_000
DISK_MEGABYTES = 32
SETTINGS = EvidenceSettings(
    privacy="audio",
    pre_roll_seconds=2,
    post_roll_seconds=1,
    max_clip_seconds=20,
    quota_megabytes=20,
    min_free_megabytes=4,
)
NOISE = np.random.default_rng(0).uniform(-1, 1, 30 * RATE_HZ).astype(np.float32)
"""What FLAC cannot shorten: 0.6 MB a clip."""


def mount(*arguments: str) -> None:
    subprocess.run([program("mount"), *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("only root may mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "earshot-test", str(folder))
    except subprocess.CalledProcessError as error:
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain(f"no tmpfs can be mounted here: {error.stderr}")
    yield folder
    subprocess.run([program("umount"), "-l", str(folder)], check=True)


@pytest.fixture
def store(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClipStore]:
    monkeypatch.setattr(evidence, "LOOK_SECONDS", 0.05)
    made = ClipStore(SETTINGS, disk / "clips")
    made.start()
    yield made
    assert made.close(20)


class Machine:
    """A source that never stops, and has an episode now and then."""

    def __init__(self, store: ClipStore) -> None:
        self.pictures: list[bytes] = []
        self.ear = Evidence(store, "pump", self.pictures.append)
        self._stretch = Stretch("a test", start_time=1000.0)
        self._n_episodes = 0

    def episode(self) -> str | None:
        """Hear three seconds, an episode of ten, and its post-roll; return the name of the clip."""
        episode_id = f"{self._n_episodes:032x}"
        self._n_episodes += 1
        self._hear(3)
        name = self.ear.opened(episode_id, self._stretch.end_time)
        self._hear(10)
        self.ear.closed(episode_id)
        self._hear(2)
        return name

    def _hear(self, seconds: int) -> None:
        for start in range(0, seconds * RATE_HZ, 1600):
            self.ear.hear(self._block(NOISE[start : start + 1600]))

    def _block(self, samples: NDArray[np.float32]) -> Block:
        return self._stretch.block(samples)


def counts(store: ClipStore, name: str, n: int) -> bool:
    return bool(getattr(store, name) == n)


def is_idle_after(store: ClipStore, machine: Machine, n_pictures: int) -> bool:
    return len(machine.pictures) == store.written_clips + store.lost_clips == n_pictures


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def fill(disk: Path) -> Path:
    """Use up every byte."""
    filler = disk / "somebody-elses.log"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(MEGABYTE))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return filler


def test_clips_stop_on_a_full_disk_and_go_on_when_there_is_room(disk: Path, store: ClipStore) -> None:
    machine = Machine(store)
    first = machine.episode()
    assert first is not None
    wait_until(lambda: store.written_clips == 1, "a clip is written")

    for round_ in range(1, SOAK + 1):
        filler = fill(disk)
        wait_until(lambda: store.state == "paused: disk", "clips pause")
        before, lost = names(disk), store.lost_clips
        assert [machine.episode() for _ in range(3)] == [None] * 3
        wait_until(partial(counts, store, "lost_clips", lost + 3), "the clips are counted as lost")
        assert names(disk) == before
        assert len(machine.pictures) == 1 + 4 * (round_ - 1) + 3  # for MQTT no disk is needed

        filler.unlink()
        wait_until(lambda: store.state == "ready", "clips resume")
        name = machine.episode()
        assert name is not None
        wait_until((store.folder / name).exists, "a clip is written again")
        wait_until(partial(counts, store, "written_clips", round_ + 1), "it is counted")


def test_a_disk_that_fills_up_by_itself_is_left_with_the_room_asked_for(disk: Path, store: ClipStore) -> None:
    """Somebody else leaves 10 MB: clips take 6 of them, within their quota."""
    (disk / "somebody-elses.log").write_bytes(bytes((DISK_MEGABYTES * 1024 * 1024) - 10 * MEGABYTE))
    machine = Machine(store)
    for _ in range(20):
        n_pictures = len(machine.pictures)
        machine.episode()
        wait_until(partial(is_idle_after, store, machine, n_pictures + 1), "a clip is done with")
    free = os.statvfs(disk)
    assert free.f_bavail * free.f_frsize >= SETTINGS.min_free_megabytes * MEGABYTE
    assert store.written_clips > 5
    wait_until(lambda: store.state == "paused: disk", "clips pause")
    assert not [name for name in names(disk) if name.endswith(".part")]


def test_a_clip_that_meets_the_end_of_the_disk_leaves_nothing(disk: Path) -> None:
    (disk / "somebody-elses.log").write_bytes(bytes(DISK_MEGABYTES * 1024 * 1024 - MEGABYTE))
    with pytest.raises(OSError, match="No space left"):
        write_whole(disk / "clip.flac", bytes(2 * MEGABYTE))
    assert names(disk) == ["somebody-elses.log"]
    write_whole(disk / "clip.flac", bytes(MEGABYTE // 2))


def test_a_disk_with_room_that_takes_no_file_pauses_clips(disk: Path, store: ClipStore) -> None:
    """No inode is left: the bytes are there, and every write fails in the middle."""
    machine = Machine(store)
    mount("-o", "remount,nr_inodes=3", str(disk))  # the disk itself, the two folders
    assert machine.episode() is not None
    wait_until(lambda: store.lost_clips == 1, "the clip is lost")
    mount("-o", "remount,nr_inodes=100", str(disk))
    assert names(disk) == []
    wait_until(lambda: store.state == "ready", "clips resume")
    machine.episode()
    wait_until(lambda: store.written_clips == 1, "a clip is written")


def test_a_card_that_turned_read_only_pauses_clips(disk: Path, store: ClipStore) -> None:
    """What a worn-out SD card does."""
    machine = Machine(store)
    mount("-o", "remount,ro", str(disk))
    wait_until(lambda: store.state == "paused: disk", "clips pause")
    assert machine.episode() is None
    mount("-o", "remount,rw", str(disk))
    wait_until(lambda: store.state == "ready", "clips resume")
    assert machine.episode() is not None
    wait_until(lambda: store.written_clips == 1, "a clip is written")


def test_the_quota_holds_at_every_moment(disk: Path, store: ClipStore) -> None:
    machine, stop, most = Machine(store), threading.Event(), [0]

    def watch() -> None:
        while not stop.is_set():
            disk_now = os.statvfs(disk)
            most[0] = max(most[0], (disk_now.f_blocks - disk_now.f_bfree) * disk_now.f_frsize)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n_written in range(1, 45 * SOAK + 1):
        machine.episode()
        wait_until(partial(counts, store, "written_clips", n_written), "a clip is written")
    stop.set()
    watcher.join()

    kept = [path for path in (disk / "clips").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) == store.clips_bytes
    page_bytes = 4096 * len(kept)  # a disk counts whole pages
    assert 18 * MEGABYTE < store.clips_bytes <= SETTINGS.quota_megabytes * MEGABYTE
    assert most[0] < SETTINGS.quota_megabytes * MEGABYTE + page_bytes  # as often as the watcher got to look
    episodes = sorted({int(path.stem[-32:], 16) for path in kept})
    assert episodes == list(range(episodes[0], 45 * SOAK))
