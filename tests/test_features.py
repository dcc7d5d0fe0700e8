"""Features on disk: the same as computed anew, whatever happened to the recordings, the writer or the folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.ear.frontend import Frontend, FrontendSettings
from edge.errors import EarshotError
from edge.source import Pickup, read_samples
from tests.conftest import environment
from trainer import features
from trainer.dataset import Clip
from trainer.features import FeatureStore, compute_features

SETTINGS = FrontendSettings()
Write = Callable[..., Path]


def clip(path: Path) -> Clip:
    return Clip(path, "pump", "00", "source", "train", "normal")


def noise(seed: int, n_samples: int = 8000) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


@pytest.fixture
def clips(write_wav: Write) -> list[Clip]:
    return [clip(write_wav(f"{seed}.wav", noise(seed, 4000 + 1000 * seed))) for seed in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the recordings that were read, as they are."""
    names: list[str] = []

    def spy(path: Path, pickup: Pickup) -> NDArray[np.float32]:
        names.append(path.name)
        return read_samples(path, pickup)

    monkeypatch.setattr(features, "read_samples", spy)
    return names


def assert_true(store: FeatureStore, settings: FrontendSettings = SETTINGS) -> None:
    """Every clip has the frames that the frontend makes of its file as it is now."""
    for i, each in enumerate(store.clips):
        expected = Frontend(settings)(read_samples(each.path))
        assert store.n_frames(i) == expected.shape[1]
        np.testing.assert_array_equal(store[i], expected)


def test_read_again_without_reading_a_recording(clips: list[Clip], folder: Path, computed: list[str]) -> None:
    assert_true(compute_features(clips, SETTINGS, folder))
    assert computed == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert_true(compute_features(clips[::-1], SETTINGS, folder))
    assert len(computed) == 4


def test_another_run_adds_what_it_needs_more(clips: list[Clip], folder: Path, computed: list[str]) -> None:
    before = compute_features(clips[:2], SETTINGS, folder)
    assert_true(compute_features(clips[1:], SETTINGS, folder))
    assert computed == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert_true(before)  # what is mapped already stays what it was


def test_each_frontend_has_its_own(clips: list[Clip], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    high = FrontendSettings(f_min_hz=2000.0)
    assert_true(compute_features(clips, SETTINGS, folder))
    assert_true(compute_features(clips, high, folder), high)
    assert len(list(folder.glob("*.f32"))) == 2
    monkeypatch.setattr("edge.ear.frontend.REVISION", 99)
    compute_features(clips, SETTINGS, folder)
    assert len(list(folder.glob("*.f32"))) == 3


def rewritten(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def rewritten_with_its_old_time(path: Path, other: Path) -> None:
    stat = path.stat()
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced_by_one_as_old(path: Path, other: Path) -> None:
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewritten, rewritten_with_its_old_time, replaced_by_one_as_old])
def test_a_changed_recording_is_read_again(
    change: Callable[[Path, Path], None], clips: list[Clip], folder: Path, computed: list[str], write_wav: Write
) -> None:
    compute_features(clips, SETTINGS, folder)
    computed.clear()
    change(clips[2].path, write_wav("other.wav", noise(9, 6000)))  # of the same size
    assert_true(compute_features(clips, SETTINGS, folder))
    assert computed == ["2.wav"]


def test_a_recording_is_not_read_within_the_tick_that_it_was_written_in(write_wav: Write) -> None:
    for seed in range(5):  # another change within the same tick would have the same time
        identity = features._settled_identity(write_wav("fresh.wav", noise(seed)))
        assert identity is not None
        assert time.time_ns() - identity.ctime_ns >= features.CLOCK_TICK_NS


@pytest.mark.parametrize("torn_bytes", [1, 20, 60])
def test_a_torn_index_loses_what_is_torn(torn_bytes: int, clips: list[Clip], folder: Path, computed: list[str]) -> None:
    compute_features(clips, SETTINGS, folder)
    computed.clear()
    (lines,) = folder.glob("*.jsonl")
    lines.write_bytes(lines.read_bytes()[:-torn_bytes])
    assert_true(compute_features(clips, SETTINGS, folder))
    assert computed == ["3.wav"]
    assert_true(compute_features(clips, SETTINGS, folder))
    assert len(computed) == 1


def test_lines_without_rows_do_not_count(clips: list[Clip], folder: Path, computed: list[str]) -> None:
    compute_features(clips, SETTINGS, folder)
    computed.clear()
    (data,) = folder.glob("*.f32")
    os.truncate(data, data.stat().st_size - 700)
    assert_true(compute_features(clips, SETTINGS, folder))
    assert computed == ["3.wav"]


def test_rows_without_lines_are_cut_off(clips: list[Clip], folder: Path) -> None:
    compute_features(clips[:3], SETTINGS, folder)
    (data,) = folder.glob("*.f32")
    with data.open("ab") as file:
        file.write(b"half a row that a killed process left")
    assert_true(compute_features(clips, SETTINGS, folder))


def test_damaged_lines_and_their_followers_are_computed_anew(clips: list[Clip], folder: Path) -> None:
    compute_features(clips, SETTINGS, folder)
    (lines,) = folder.glob("*.jsonl")
    first, second, *rest = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join([first, b"\0" * len(second), b"\n[3]\nnull\n", *rest]))
    assert_true(compute_features(clips, SETTINGS, folder))


PROGRAM = """
import sys
from pathlib import Path
from edge.ear.frontend import FrontendSettings
from trainer import features
from trainer.dataset import Clip
features.CLIPS_A_SYNC = 1
paths = sorted(Path(sys.argv[1]).glob("*.wav"))
clips = [Clip(path, "pump", "00", "source", "train", "normal") for path in paths]
features.compute_features(clips, FrontendSettings(), Path(sys.argv[2]))
"""


def start(folder: Path, recordings: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", PROGRAM, str(recordings), str(folder)]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)


def test_killed_while_it_writes(folder: Path, write_wav: Write) -> None:
    clips = [clip(write_wav(f"r/{i:02}.wav", noise(i, 80_000))) for i in range(40)]
    writer = start(folder, clips[0].path.parent)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and writer.poll() is None:
        if any(lines.stat().st_size > 500 for lines in folder.glob("*.jsonl")):
            break
        time.sleep(0.002)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert_true(compute_features(clips, SETTINGS, folder))


def test_two_processes_at_once(folder: Path, write_wav: Write) -> None:
    clips = [clip(write_wav(f"r/{i:02}.wav", noise(i))) for i in range(30)]
    writers = [start(folder, clips[0].path.parent) for _ in range(2)]
    for writer in writers:
        _, complaint = writer.communicate()
        assert writer.returncode == 0, complaint
    (lines,) = folder.glob("*.jsonl")
    assert len(lines.read_bytes().splitlines()) == 30  # each was computed by one of the two
    assert_true(compute_features(clips, SETTINGS, folder))


def test_many_clips_by_several_processes(clips: list[Clip], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "FEW_CLIPS", 2)
    assert_true(compute_features(clips, SETTINGS, folder))


def test_features_stay_on_the_disk(clips: list[Clip], folder: Path) -> None:
    store = compute_features(clips, SETTINGS, folder)
    assert isinstance(store[0].base, np.memmap)
    assert not store[0].flags.writeable


def test_what_cannot_be_used_is_named_and_tried_again(
    clips: list[Clip], folder: Path, write_wav: Write, caplog: pytest.LogCaptureFixture
) -> None:
    whole = clips[1].path.read_bytes()
    clips[1].path.write_bytes(whole[:100])
    short = clip(write_wav("short.wav", noise(0, 500)))
    store = compute_features([*clips, short], SETTINGS, folder)
    assert [each.path for each in store.clips] == [clips[i].path for i in (0, 2, 3)]
    assert [path for path, _ in store.skipped] == [clips[1].path, short.path]
    assert "500 samples: expected at least 1024" in caplog.text
    assert_true(store)

    clips[1].path.write_bytes(whole)
    assert_true(compute_features(clips, SETTINGS, folder))
    with pytest.raises(EarshotError, match="none of the recordings"):
        compute_features([short], SETTINGS, folder)


def test_a_recording_that_went_away(clips: list[Clip], folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    compute_features(clips, SETTINGS, folder)
    clips[0].path.unlink()
    assert len(compute_features(clips, SETTINGS, folder).clips) == 3
    assert "0.wav" in caplog.text


def test_a_full_disk_is_said(clips: list[Clip], folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full: not on this system")
    folder.mkdir()
    compute_features(clips[:1], SETTINGS, folder)
    (data,) = folder.glob("*.f32")
    shutil.copy(data, folder / "kept")
    data.unlink()
    data.symlink_to("/dev/full")
    with pytest.raises(EarshotError, match="features cannot be written"):
        compute_features(clips, SETTINGS, folder)


def test_a_folder_that_cannot_be_made_is_said(clips: list[Clip], folder: Path) -> None:
    folder.write_text("a file is in its place")
    with pytest.raises(EarshotError, match="features: features cannot be written there"):
        compute_features(clips, SETTINGS, folder)


def test_band_moments(clips: list[Clip], folder: Path) -> None:
    store = compute_features(clips, SETTINGS, folder)
    mean, deviation = store.band_moments([0, 2])
    frames = np.concatenate([store[0], store[2]], axis=1).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(1), rtol=1e-5)
    np.testing.assert_allclose(deviation, frames.std(1), rtol=1e-4)
