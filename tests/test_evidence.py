"""Clips and pictures of episodes: what is in them, that files are whole, that memory and disk stay bounded."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from edge import clock
from edge.config.settings import EvidenceSettings
from edge.ear.frontend import Frontend, FrontendSettings
from edge.memory import clips as evidence
from edge.memory.clips import ClipStore, Evidence
from edge.memory.picture import COLUMN_FRAMES, Beside, spectrogram
from edge.memory.shelf import MEGABYTE, write_whole
from edge.source import Block
from edge.source.block import Stretch

RATE_HZ = 16_000
STARTED = 1000.0
IDS = [f"{number:032x}" for number in range(100)]


def counted(seconds: float) -> NDArray[np.float32]:
    """Samples that tell where they are from: a 16-bit counter."""
    return ((np.arange(int(seconds * RATE_HZ)) % 60_000 - 30_000) / 32_768).astype(np.float32)


def blocks(samples: NDArray[np.float32], size: int = 1600) -> Iterator[Block]:
    stretch = Stretch("a test", start_time=STARTED)
    for start in range(0, samples.size, size):
        yield stretch.block(samples[start : start + size])


SHORT = EvidenceSettings(
    privacy="audio", pre_roll_seconds=2, post_roll_seconds=1, max_clip_seconds=10, min_free_megabytes=0
)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Callable[..., ClipStore]]:
    made: list[ClipStore] = []

    def make(**changes: object) -> ClipStore:
        made.append(ClipStore(SHORT.model_copy(update=changes), tmp_path / "clips"))
        made[-1].start()
        return made[-1]

    yield make
    assert all(store.close(10) for store in made)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def hear_an_episode(
    ear: Evidence,
    samples: NDArray[np.float32],
    *,
    opened: float,
    closed: float,
    size: int = 1600,
    episode: str = IDS[0],
) -> str | None:
    """Hear the samples out; open and close an episode at these seconds of them."""
    name: str | None = None
    for block in blocks(samples, size):
        before = block.start_sample / RATE_HZ
        heard = (block.start_sample + block.samples.size) / RATE_HZ
        ear.hear(block)
        if before < opened <= heard:
            name = ear.opened(episode, STARTED + heard)
        if before < closed <= heard:
            ear.closed(episode)
    return name


def clip_of(store: ClipStore, name: str | None) -> NDArray[np.float32]:
    assert store.close(10)
    assert name is not None
    samples, rate_hz = soundfile.read(store.folder / name, dtype="float32")
    assert rate_hz == RATE_HZ
    return np.asarray(samples, np.float32)


@pytest.mark.parametrize("keeps_seconds", [0.0, 7.0])  # who looks again may want more of it than a clip has
@pytest.mark.parametrize("size", [160, 1600, 441, 40_000])
def test_the_clip_is_the_sound_around_the_opening_to_the_sample(
    stores: Callable[..., ClipStore], size: int, keeps_seconds: float
) -> None:
    store, sound = stores(), counted(12)
    ear = Evidence(store, "pump", keeps_seconds=keeps_seconds)
    name = hear_an_episode(ear, sound, opened=5, closed=7.5, size=size)
    heard = clip_of(store, name)
    (begin,) = np.flatnonzero(sound[: 6 * RATE_HZ] == heard[0])[:1]
    assert np.array_equal(heard, sound[begin : begin + heard.size])
    block_seconds = size / RATE_HZ
    assert begin / RATE_HZ == pytest.approx(5 - 2, abs=block_seconds)
    assert heard.size / RATE_HZ == pytest.approx(2 + 2.5 + 1, abs=2 * block_seconds)


def test_the_name_is_known_at_the_opening_and_is_told_again(
    stores: Callable[..., ClipStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "synced", lambda: True)
    ear = Evidence(stores(), "pump")
    name = hear_an_episode(ear, counted(8), opened=3, closed=4)
    assert name is not None
    assert name.startswith("pump/2")
    assert name.endswith(f"Z-{IDS[0]}.flac")
    assert ear.clip_name(IDS[0]) == name
    assert ear.clip_name(IDS[1]) is None


def test_a_clock_that_nobody_set_names_no_clip(
    stores: Callable[..., ClipStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "synced", lambda: False)
    name = hear_an_episode(Evidence(stores(), "pump"), counted(8), opened=3, closed=4)
    assert name == f"pump/boot-0000001003s-{IDS[0]}.flac"


def test_features_keep_a_picture_and_no_sound(stores: Callable[..., ClipStore]) -> None:
    store = stores(privacy="features")
    pictures: list[bytes] = []
    name = hear_an_episode(Evidence(store, "pump", pictures.append), counted(8), opened=3, closed=4)
    assert store.close(10)
    (file,) = files(store.folder)
    assert (file.relative_to(store.folder).as_posix(), file.suffix) == (name, ".png")
    assert file.read_bytes() == pictures[0]
    assert store.clips_bytes == store.written_bytes == file.stat().st_size


def test_off_keeps_and_tells_nothing(stores: Callable[..., ClipStore]) -> None:
    store = stores(privacy="off")
    pictures: list[bytes] = []
    assert hear_an_episode(Evidence(store, "pump", pictures.append), counted(8), opened=3, closed=4) is None
    assert store.close(10)
    assert (store.state, pictures, store.folder.exists()) == ("off", [], False)


def test_without_an_episode_nothing_is_written(stores: Callable[..., ClipStore]) -> None:
    store = stores()
    ear = Evidence(store, "pump")
    for block in blocks(counted(30)):
        ear.hear(block)
    assert store.close(10)
    assert (store.written_bytes, store.folder.exists()) == (0, False)


def test_an_episode_of_an_hour_is_kept_at_its_longest_while_it_lasts(stores: Callable[..., ClipStore]) -> None:
    store = stores()
    ear = Evidence(store, "pump")
    name = hear_an_episode(ear, counted(30), opened=5, closed=99)
    assert ear.clip_name(IDS[0]) == name
    ear.closed(IDS[0])
    assert clip_of(store, name).size == 10 * RATE_HZ


def test_an_episode_in_the_post_roll_of_another_has_a_clip_of_its_own(stores: Callable[..., ClipStore]) -> None:
    store, sound = stores(), counted(12)
    ear, names = Evidence(store, "pump"), list[str | None]()
    for number, block in enumerate(blocks(sound)):
        ear.hear(block)
        if number in (40, 55):
            names.append(ear.opened(IDS[number], block.time))
        if number in (50, 70):
            ear.closed(IDS[40 if number == 50 else 55])
    first, second = (clip_of(store, name) for name in names)
    assert first.size == (2 * 10 + 15) * 1600
    assert np.array_equal(second, sound[36 * 1600 : 81 * 1600])


def test_a_source_that_is_lost_leaves_what_was_heard(stores: Callable[..., ClipStore]) -> None:
    store = stores()
    ear = Evidence(store, "pump")
    name = hear_an_episode(ear, counted(6), opened=5, closed=99)
    ear.closed(IDS[0])
    ear.flush()
    assert clip_of(store, name).size == 3 * RATE_HZ


def test_no_clip_reaches_across_a_gap(stores: Callable[..., ClipStore]) -> None:
    store = stores()
    ear = Evidence(store, "pump")
    hear_an_episode(ear, counted(4), opened=99, closed=99)
    name = hear_an_episode(ear, counted(2), opened=1, closed=99)
    hear_an_episode(ear, counted(4), opened=99, closed=99)
    assert clip_of(store, name).size == 2 * RATE_HZ


def test_an_id_that_is_no_file_name_is_refused(stores: Callable[..., ClipStore]) -> None:
    with pytest.raises(ValueError, match="expected 32 hexadecimal digits"):
        Evidence(stores(), "pump").opened("../../etc/passwd", 0.0)


# --- Bounds ---


def test_the_oldest_go_first_and_what_a_person_renamed_stays(
    stores: Callable[..., ClipStore], rng: np.random.Generator
) -> None:
    """20 MB for clips of 0.3 MB noise each: after a hundred, the newest fit in."""
    store = stores(quota_megabytes=20)
    noise = rng.uniform(-1, 1, 10 * RATE_HZ).astype(np.float32)
    names = list[str]()
    for number in range(80):
        ear = Evidence(store, "pump")
        name = hear_an_episode(ear, noise, opened=1, closed=99, episode=IDS[number])
        ear.flush()
        assert name is not None
        names.append(name)
        wait_until(partial(has_written, store, number + 1))
        if number == 0:
            first = store.folder / name
            first.rename(first.with_name(f"keep-{first.name}"))
    assert store.close(10)
    kept = {path.name for path in files(store.folder)}
    own = [path for path in files(store.folder) if not path.name.startswith("keep-")]
    assert sum(path.stat().st_size for path in own) == store.clips_bytes <= 20 * MEGABYTE
    assert store.clips_bytes > 19 * MEGABYTE
    assert f"keep-{Path(names[0]).name}" in kept
    assert Path(names[1]).name not in kept
    flacs = [Path(name).name in kept for name in names[1:]]
    assert flacs == sorted(flacs)


def test_what_a_person_took_away_makes_room(stores: Callable[..., ClipStore], tmp_path: Path) -> None:
    folder = tmp_path / "clips" / "pump"
    folder.mkdir(parents=True)
    old = [folder / f"20260101T00000{n}Z-{IDS[n]}.flac" for n in range(2)]
    for path in old:
        path.write_bytes(bytes(10 * MEGABYTE - 1))
    store = stores(quota_megabytes=20)
    wait_until(lambda: store.clips_bytes == 2 * (10 * MEGABYTE - 1))
    old[1].unlink()
    ear = Evidence(store, "pump")
    hear_an_episode(ear, counted(8), opened=1, closed=99)
    ear.flush()
    wait_until(partial(has_written, store, 1))
    assert old[0].exists()
    assert store.clips_bytes == sum(path.stat().st_size for path in files(store.folder))


def test_memory_for_clips_is_bounded_and_comes_back(stores: Callable[..., ClipStore]) -> None:
    """A power failure opens an episode at every source at once."""
    store = stores(max_clip_seconds=60)
    ears = [Evidence(store, f"pump{number}") for number in range(50)]
    names = [hear_an_episode(ear, counted(3), opened=2, closed=99) for ear in ears]
    n_kept = sum(name is not None for name in names)
    assert n_kept * 60 * RATE_HZ * 2 <= evidence.MEMORY_BYTES
    assert store.lost_clips == 50 - n_kept
    for ear in ears:
        ear.flush()
    wait_until(lambda: store.written_clips == n_kept)
    assert ears[-1].opened(IDS[1], STARTED) is not None


def test_a_picture_that_nobody_takes_stops_nothing(stores: Callable[..., ClipStore]) -> None:
    store = stores()

    def refuse(_: bytes) -> None:
        raise RuntimeError("nobody is there")

    hear_an_episode(Evidence(store, "fan", refuse), counted(8), opened=3, closed=4)
    name = hear_an_episode(Evidence(store, "pump"), counted(8), opened=3, closed=4)
    assert clip_of(store, name).size
    assert store.lost_clips == 1


def test_closing_does_not_wait_for_a_disk_that_hangs(
    stores: Callable[..., ClipStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, answer = stores(), threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: answer.wait(20))
    hear_an_episode(Evidence(store, "pump"), counted(8), opened=3, closed=4)
    began = time.monotonic()
    assert not store.close(0.2)
    assert time.monotonic() - began < 10
    answer.set()


def test_what_a_power_cut_left_half_written_is_removed_at_the_start(
    stores: Callable[..., ClipStore], tmp_path: Path
) -> None:
    folder = tmp_path / "clips" / "pump"
    folder.mkdir(parents=True)
    half, own, strange = (
        folder / name
        for name in (
            f".20260101T000000Z-{IDS[0]}.flac.part",
            f"20260101T000000Z-{IDS[0]}.png",
            ".download.part",
        )
    )
    for path in (half, own, strange):
        path.write_bytes(b"12345")
    store = stores()
    wait_until(lambda: store.clips_bytes == 5)
    assert files(tmp_path / "clips") == sorted([own, strange])


def test_a_folder_that_cannot_be_made_pauses_clips(stores: Callable[..., ClipStore], tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("a file in the way")
    store = stores()
    pictures: list[bytes] = []
    hear_an_episode(Evidence(store, "pump", pictures.append), counted(8), opened=3, closed=4)
    assert store.close(10)
    assert (store.state, store.lost_clips, len(pictures)) == ("paused: disk", 1, 1)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "clip", b"sound")
    assert files(tmp_path) == []


def has_written(store: ClipStore, n_clips: int) -> bool:
    return store.written_clips == n_clips


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "not within 20 s"
        time.sleep(0.005)


# --- The picture ---


def pixels(picture: bytes) -> NDArray[np.uint8]:
    """Decode the PNG, (height, width, 3): by somebody else's reader."""
    image = pytest.importorskip("matplotlib.image").imread(io.BytesIO(picture), format="png")
    return np.asarray(np.rint(255 * image[..., :3]), np.uint8)


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend(FrontendSettings())


def picture_of(samples: NDArray[np.float32], frontend: Frontend, opened: float = 0, closed: float = 0) -> bytes:
    picture = spectrogram(samples, Beside(), opened_seconds=opened, closed_seconds=closed)
    assert picture is not None
    return picture


def test_a_tone_is_a_line_at_its_height_and_in_its_time(frontend: Frontend, rng: np.random.Generator) -> None:
    t = np.arange(20 * RATE_HZ) / RATE_HZ
    tone = np.where(t > 10, 0.1 * np.sin(2 * np.pi * 3000 * t), 0) + rng.normal(0, 1e-3, t.size)
    image = pixels(picture_of(tone.astype(np.float32), frontend)).astype(int).sum(axis=-1)[6:-6]
    row, _ = np.unravel_index(image[:, 20:].argmax(), image[:, 20:].shape)
    band = (image.shape[0] - 1 - int(row)) // 2
    assert frontend.band_edges_hz[band] < 3000 < frontend.band_edges_hz[band + 2]
    assert image[row, image.shape[1] * 3 // 4] > 500 > image[row, image.shape[1] // 4]


def test_the_episode_is_marked_from_its_opening_to_its_end(frontend: Frontend) -> None:
    image = pixels(picture_of(counted(20), frontend, opened=5, closed=15))[:, 8:-16]
    marked = np.flatnonzero((image[2] == (64, 224, 208)).all(axis=-1)) / image.shape[1] * 20
    assert (marked[0], marked[-1]) == pytest.approx((5, 15), abs=0.6)


def test_what_is_usual_stands_beside_it_in_the_same_colours_and_what_moved_is_marked(frontend: Frontend) -> None:
    samples = np.random.default_rng(0).normal(0, 0.03, 20 * RATE_HZ).astype(np.float32)
    usual = np.stack([np.full(128, -90), frontend(samples).mean(axis=1)]).astype(np.float32)
    beside = Beside(usual_db=usual, moved=[(4000, 5000, 9.0), (300, 600, -9.0)])
    picture = spectrogram(samples, beside, opened_seconds=5, closed_seconds=15)
    assert picture is not None
    image = pixels(picture)[6:-6].astype(int)
    left, clip, right = image[:, 6:34].mean(axis=(0, 1)), image[:, 60:-40].mean(axis=(0, 1)), image[:, -8]
    assert np.abs(left - clip).max() < 25  # the nearer of the two, in one scale
    louder, quieter = ((right == colour).all(axis=-1) for colour in ((255, 176, 0), (100, 143, 255)))
    middles = np.repeat(frontend.band_edges_hz[1:-1][::-1], 2)
    assert (middles[louder].min(), middles[louder].max()) == (pytest.approx(4000, abs=90), pytest.approx(5000, abs=90))
    assert (middles[quieter].min(), middles[quieter].max()) == (pytest.approx(300, abs=25), pytest.approx(600, abs=25))


def test_a_picture_of_a_minute_is_small(frontend: Frontend, rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.1, 300 * RATE_HZ).astype(np.float32)
    assert len(picture_of(noise[: 60 * RATE_HZ], frontend)) < 50_000
    assert len(picture_of(noise, frontend)) < evidence.PICTURE_BYTES


@pytest.mark.parametrize("samples", [np.zeros(5000, np.float32), np.zeros(0, np.float32)])
def test_half_a_second_is_no_picture(frontend: Frontend, samples: NDArray[np.float32]) -> None:
    assert spectrogram(samples, Beside(), opened_seconds=0, closed_seconds=0) is None


def test_silence_is_a_picture_too(frontend: Frontend) -> None:
    assert pixels(picture_of(np.zeros(2 * RATE_HZ, np.float32), frontend)).max() > 0


def test_what_was_said_within_a_column_is_gone(frontend: Frontend, rng: np.random.Generator) -> None:
    """Syllables, or the same syllables backwards within each half second: hardly a pixel can tell."""
    hop = FrontendSettings().hop_samples
    column = COLUMN_FRAMES * hop
    t = np.arange(column // 4) / RATE_HZ
    syllable = [np.sin(2 * np.pi * f * t) * np.hanning(t.size) for f in (300, 700, 1200, 2500)]
    words = [[syllable[i] for i in rng.permutation(4)] for _ in range(20)]
    noise = rng.normal(0, 0.003, 20 * column)
    said = (np.concatenate([np.concatenate(word) for word in words]) * 0.1 + noise).astype(np.float32)
    reversed_ = (np.concatenate([np.concatenate(word[::-1]) for word in words]) * 0.1 + noise).astype(np.float32)
    assert np.corrcoef(said, reversed_)[0, 1] < 0.7
    one, other = (pixels(picture_of(samples, frontend)).astype(int)[6:-6] for samples in (said, reversed_))
    assert np.abs(one - other).mean() < 0.02 * 255


# --- One view of one tree, in an order that no clock can change ---


def keep(store: ClipStore, number: int, source: str = "pump") -> None:
    ear = Evidence(store, source)
    for block in blocks(np.random.default_rng(number).normal(0, 0.1, 9 * RATE_HZ).astype(np.float32)):
        ear.hear(block)
    ear.opened(IDS[number], STARTED + 8)
    ear.flush()


def written(store: ClipStore, n: int) -> None:
    deadline = time.monotonic() + 30
    while store.written_clips + store.lost_clips < n:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_that_is_a_link_counts_for_the_quota(stores: Callable[..., ClipStore], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "pump").symlink_to(elsewhere)
    (tmp_path / "clips" / "twice").symlink_to(elsewhere)
    old = elsewhere / f"20260101T000000Z-{IDS[50]}.flac"
    old.write_bytes(bytes(2 * MEGABYTE))
    os.utime(old, (1e9, 1e9))
    store = stores(quota_megabytes=2)
    keep(store, 0)
    written(store, 1)

    assert not old.exists()
    assert store.clips_bytes == sum(path.stat().st_size for path in elsewhere.iterdir())
    assert len(list(elsewhere.iterdir())) == 2


def test_the_newest_clip_stays_though_the_clock_says_1970(stores: Callable[..., ClipStore], tmp_path: Path) -> None:
    """What is there was written by a clock that was right, or that was ahead by years."""
    folder = tmp_path / "clips" / "pump"
    folder.mkdir(parents=True)
    ahead = time.time() + 1e9
    for number in range(4):
        path = folder / f"20260101T00000{number}Z-{IDS[50 + number]}.flac"
        path.write_bytes(bytes(MEGABYTE))
        os.utime(path, (ahead + number, ahead + number))
    store = stores(quota_megabytes=4)
    for number in range(3):
        keep(store, number)
        written(store, number + 1)

    kept = {path.stem[-32:] for path in files(folder)}
    assert {IDS[0], IDS[1], IDS[2]} <= kept
    assert IDS[50] not in kept


def test_strangers_may_not_read_a_clip(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_whole(tmp_path / "clip.flac", b"what the microphone heard")
    finally:
        os.umask(old)
    assert (tmp_path / "clip.flac").stat().st_mode & 0o777 == 0o640
