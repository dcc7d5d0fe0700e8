"""When a recording was made: what its name says, what its file says, and never in the future."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge.source import FolderSource, recorded
from edge.source.recorded import start_in_name

WriteWav = Callable[..., Path]
SOUND = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.fixture(autouse=True)
def two_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("20230515_142300", "2023-05-15T14:23:00"),  # AudioMoth: UTC
        ("646241D4", "2023-05-15T14:29:40"),  # AudioMoth before 2019
        ("S4A01234_20230515_142300", "2023-05-15T12:23:00"),  # Song Meter: local
        ("S4A01234_0+1_20230515_142300", "2023-05-15T12:23:00"),
        ("230515_142300", "2023-05-15T12:23:00"),  # Zoom: local
        ("230515_142300_Tr1", "2023-05-15T12:23:00"),
        ("20231345_142300", None),
        ("12345678", None),
        ("section_00_source_train_normal_0000_speed_1", None),
        ("pump", None),
    ],
)
def test_what_a_name_says(stem: str, expected: str | None) -> None:
    found = start_in_name(stem)
    told = None if found is None else datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert told == expected


def test_a_file_without_a_time_in_its_name_ended_when_it_was_written(write_wav: WriteWav) -> None:
    path = write_wav("pump.wav", SOUND)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert (recorded(path).start, recorded(path).by) == (1_699_999_999, "file")


def test_no_recording_ends_later_than_now(write_wav: WriteWav) -> None:
    for name in ("20990101_000000.wav", "pump.wav"):
        path = write_wav(name, SOUND)
        os.utime(path, (5_000_000_000, 5_000_000_000))
        before = time.time()
        assert before - 1.5 < recorded(path).start <= time.time() - 1


def test_a_folder_in_no_hurry_has_the_times_of_its_recordings(write_wav: WriteWav) -> None:
    folder = write_wav("20230515_142300.wav", SOUND).parent
    write_wav("20230515_142400.wav", SOUND)
    blocks = list(FolderSource(folder, block_samples=8000).blocks())

    starts = [block.time + time.time() - time.monotonic() for block in blocks]
    first = datetime(2023, 5, 15, 14, 23, tzinfo=UTC).timestamp()
    assert starts == pytest.approx([first, first + 0.5, first + 60, first + 60.5], abs=0.1)


def test_nothing_is_heard_in_the_future_though_it_is_read_at_once(write_wav: WriteWav) -> None:
    folder = write_wav("a.wav", np.tile(SOUND, 60)).parent
    write_wav("b.wav", np.tile(SOUND, 60))
    assert all(
        block.time + block.samples.size / 16_000 <= time.monotonic() + 0.01 for block in FolderSource(folder).blocks()
    )
