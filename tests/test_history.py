"""The memory in numbers: rows, files, the thread that writes them; torn, full, replaced, and by a clock that lies."""

import logging
import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge.config.settings import MemorySettings
from edge.ear import Measurement, band_levels
from edge.errors import EarshotError
from edge.memory.books import Annals, read_books, sources_in
from edge.memory.charts import chart, series, times
from edge.memory.history import BATCH_MINUTES, WAITING_MINUTES, Diary, History
from edge.memory.minute import MINUTES_A_DAY, SCALARS, Flag, Heard, Minute, layout_of
from edge.memory.table import Layout, Rows, Table, read_layout, read_rows

HOP = 0.512
WINDOW = {"embedding": (0,), "texture": (512,), "logits": (0,), "bands": (4, 128)}
ABOUT = {"source": "pump", "detector": "0" * 64, "averages_seconds": (9.6, 20.0, 60.0)}
LAYOUT = layout_of(WINDOW, ABOUT, n_averages=3, days=8)
SMALL = Layout((("x", "<f2", (8,)), ("boot", "<u8", ())), 100, {"source": "pump"})


def measured(seed: int = 0, level_dbfs: float = -30.0) -> Measurement:
    rng = np.random.default_rng(seed)
    bands = np.abs(rng.normal(2, 0.3, (4, 128))).astype(np.float32) * np.array([[-25], [1], [-26], [-27]], np.float32)
    nothing = np.zeros(0, np.float32)
    return Measurement(0, nothing, rng.normal(size=512).astype(np.float32), nothing, bands, level_dbfs)


def heard(time: float, score: float = 1.0, seed: int = 0, **more: object) -> Heard:
    own = {"threshold": 2.0, "averages": (score, None, 1.0), "rarity": score, **more}
    return Heard(time, True, measured(seed), score, **own)  # type: ignore[arg-type]


def history(folder: Path, days: int = 8) -> History:
    return History(MemorySettings(days=days), folder, min_free_megabytes=0)


def diary(of: History, source: str = "pump", about: object = ABOUT) -> Diary:
    return of.diary(source, WINDOW, about, n_averages=3, hop_seconds=HOP)  # type: ignore[arg-type]


def minutes_of(diary: Diary, n: int, start: float = 1000.0, first: int = 0) -> None:
    """Hear n minutes, three windows each; the score of a minute is its place, from `first` on."""
    for i in range(first, first + n):
        for at in (0.0, 30.0, 60.0):
            diary.hear(heard(start + 60 * i + at, score=1 + i % 1000))


def rows(numbers: Sequence[int], layout: Layout = SMALL) -> Rows:
    made = layout.empty(len(numbers))
    made["number"] = numbers
    if "x" in (layout.dtype.names or ()):
        made["x"] = np.array(numbers)[:, np.newaxis]
    return made


# --- A minute ---


def test_a_minute_is_its_means_and_one_window_whole() -> None:
    minute = Minute(LAYOUT, HOP)
    scores = [1.0, 3.0, 2.0]
    ended = [minute.hear(heard(100 + 30 * i, score, seed=i)) for i, score in enumerate(scores)]
    assert ended == [False, False, True]
    row = minute.row(boot=7, unix=1e9, synced=True)
    assert row is not None
    assert [float(row[name][0]) for name in ("score", "score_low", "score_high", "rarity")] == [2.0, 1.0, 3.0, 3.0]
    assert row["averages"][0].tolist() == [2.0, pytest.approx(np.nan, nan_ok=True), 1.0]
    assert np.allclose(row["texture"][0], measured(2).texture, atol=2e-3)
    assert np.allclose(row["bands"][0], measured(2).bands, atol=0.04)
    mean = np.mean([band_levels(measured(seed).bands) for seed in range(3)], axis=0)
    assert np.allclose(row["band_level"][0], mean, atol=0.04)
    assert (row["boot"][0], row["monotonic"][0], row["unix"][0]) == (7, 160.0, 1e9)
    assert Flag(int(row["flags"][0])) == Flag.TRUSTED | Flag.GAP | Flag.SYNCED
    assert minute.row(boot=7, unix=1e9, synced=True) is None


def test_a_minute_that_was_heard_whole_has_no_gap_and_one_that_was_not_trusted_has_no_score() -> None:
    minute = Minute(LAYOUT, HOP)
    time = 0.0
    while not minute.hear(heard(time)):
        time += HOP
    whole = minute.row(boot=0, unix=0, synced=False)
    assert whole is not None
    assert Flag(int(whole["flags"][0])) == Flag.TRUSTED
    assert whole["heard"][0] == 1.0

    minute.hear(Heard(0.0, trusted=False, measured=measured(), score=9.0))
    unwell = minute.row(boot=0, unix=0, synced=False)
    assert unwell is not None
    assert Flag(int(unwell["flags"][0])) == Flag.GAP
    assert np.isnan([unwell[name][0] for name in SCALARS[2:]]).all()
    assert np.isnan(unwell["texture"]).all()
    assert unwell["level_dbfs"][0] == -30


def test_recordings_that_are_read_fast_make_minutes_of_sound() -> None:
    """Clips of 10 s of a folder, whose times begin anew: six of them are a minute."""
    minute = Minute(LAYOUT, HOP)
    ended = [minute.hear(heard(50 + at)) for _ in range(12) for at in range(11)]
    assert ended.index(True) == 6 * 11 - 1


def test_what_is_too_large_for_the_budget_is_left_out_and_nothing_else() -> None:
    large = layout_of({**WINDOW, "texture": (4096,)}, ABOUT, n_averages=3, days=8)
    assert set(LAYOUT.dtype.names or ()) - set(large.dtype.names or ()) == {"texture", "bands"}
    assert LAYOUT.dtype.itemsize * MINUTES_A_DAY < 3.5e6
    minute = Minute(large, HOP)
    minute.hear(heard(1.0))
    assert minute.row(boot=0, unix=0, synced=False) is not None


# --- A table ---


def test_the_oldest_rows_are_written_over(tmp_path: Path) -> None:
    table = Table(tmp_path / "pump.minutes", SMALL)
    for start in range(1, 260, 7):
        table.append(rows(range(start, start + 7)))
        kept = read_rows(table.path, SMALL)["number"]
        assert kept.tolist() == list(range(max(1, start + 7 - 100), start + 7))
    size = table.path.stat().st_size
    Table(table.path, SMALL).append(rows(range(260, 270)))  # by who was started anew
    assert read_rows(table.path, SMALL)["number"].tolist() == list(range(170, 270))
    assert table.path.stat().st_size == size


def test_a_header_says_what_the_columns_are(tmp_path: Path) -> None:
    Table(tmp_path / "a", LAYOUT).append(rows([1], LAYOUT))
    assert read_layout(tmp_path / "a") == LAYOUT


@pytest.mark.parametrize("seed", range(5))
def test_torn_rows_are_passed_over_and_written_anew(tmp_path: Path, seed: int) -> None:
    """Whatever bytes a power cut left in any rows: the others are read, and nothing is invented."""
    rng = random.Random(seed)
    table = Table(tmp_path / "a", SMALL)
    table.append(rows(range(1, 131)))
    data = bytearray(table.path.read_bytes())
    size, torn = SMALL.dtype.itemsize, set()
    for _ in range(20):
        at = rng.randrange(4096, len(data))
        data[at] ^= 1 << rng.randrange(8)
        torn.add((at - 4096) // size)
    table.path.write_bytes(data[: len(data) - rng.randrange(size)])
    kept = read_rows(table.path, SMALL)
    assert np.all(kept["x"] == kept["number"][:, np.newaxis])
    assert 100 - len(torn) - 1 <= kept.size <= 100 - len(torn)
    again = Table(table.path, SMALL)
    again.append(rows(range(131, 331)))
    assert read_rows(table.path, SMALL)["number"].tolist() == list(range(231, 331))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\0" * 5000, b'{"schema": 1, "columns": [["x", "|O", []]], "capacity": 9, "about": {}}']
)
def test_what_is_no_table_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(EarshotError, match=r"a: .*expected a table"):
        read_layout(tmp_path / "a")


# --- Files of a source ---


def test_numbers_go_on_over_restarts_and_over_another_detector(tmp_path: Path) -> None:
    other = layout_of(WINDOW, {**ABOUT, "detector": "1" * 64}, n_averages=3, days=8)
    for layout in (LAYOUT, LAYOUT, other, LAYOUT):
        Annals(tmp_path, "pump", layout).append(LAYOUT.empty(10))
    found = read_books(tmp_path, "pump", ())
    assert [book.about["detector"][0] for book in found] == ["1", "0"]
    assert [book.rows["number"].tolist() for book in found] == [list(range(21, 31)), [*range(1, 21), *range(31, 41)]]
    assert sources_in(tmp_path) == ["pump"]


def test_an_old_detectors_minutes_stay_until_their_days_are_over(tmp_path: Path) -> None:
    one, two = (layout_of(WINDOW, {"detector": x}, n_averages=3, days=1) for x in "ab")
    Annals(tmp_path, "pump", one).append(one.empty(100))
    annals = Annals(tmp_path, "pump", two)
    annals.append(two.empty(MINUTES_A_DAY - 1))
    assert len(read_books(tmp_path, "pump", ())) == 2
    annals.append(two.empty(1))
    assert [book.about["detector"] for book in read_books(tmp_path, "pump", ())] == ["b"]


def test_a_file_that_is_no_table_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"pump.{'a' * 16}.minutes"
    path.write_bytes(b"nothing")
    assert read_books(tmp_path, "pump") == []
    Annals(tmp_path, "pump", LAYOUT).append(LAYOUT.empty(3))
    assert path.with_suffix(".corrupt").exists()
    assert "set aside" in caplog.text
    assert read_books(tmp_path, "pump", ())[0].rows.size == 3


def test_a_day_is_kept_when_it_is_full(tmp_path: Path) -> None:
    minutes = LAYOUT.empty(MINUTES_A_DAY)
    minutes["flags"] = Flag.TRUSTED
    minutes["score"], minutes["level_dbfs"], minutes["band_level"] = 2.0, -20.0, -40.0
    minutes["flags"][:40] = Flag.TRUSTED | Flag.EPISODE
    minutes["score"][:40] = 9.0
    annals = Annals(tmp_path, "pump", LAYOUT)
    for part in np.split(minutes, 10):
        assert not read_books(tmp_path, "pump", kind="days")
        annals.append(part)
    (day,) = read_books(tmp_path, "pump", kind="days")[0].rows
    assert (day["number"], day["minutes"], day["counts"].sum(), day["counts"][24]) == (1, 1400, 1400, 1400)
    assert day["log_score"] == pytest.approx(np.log(2))
    assert (day["level_dbfs"], day["band_level"][5]) == (-20, -40)


# --- The thread ---


def test_minutes_are_written_in_batches_and_all_of_them_at_the_end(tmp_path: Path) -> None:
    memory = history(tmp_path / "history")
    own = diary(memory)
    memory.start()
    minutes_of(own, BATCH_MINUTES - 1)
    assert not (tmp_path / "history").exists()
    assert memory.series("pump", ("score",))["score"].tolist() == list(range(1, BATCH_MINUTES))
    minutes_of(own, BATCH_MINUTES + 3, start=5000.0)
    own.hear(heard(9000.0, score=77))
    own.end()
    assert memory.close(10)
    scores = series(read_books(memory.folder, "pump"), ("score",))["score"]
    assert scores.tolist() == [*range(1, BATCH_MINUTES), *range(1, BATCH_MINUTES + 4), 77]
    assert memory.lost_minutes == 0


def test_nothing_is_written_where_nothing_is_to_be_remembered(tmp_path: Path) -> None:
    memory = history(tmp_path / "history", days=0)
    minutes_of(own := diary(memory), 100)
    memory.start()
    own.end()
    assert memory.close(10)
    assert own.waiting == []
    assert not (tmp_path / "history").exists()


def test_a_disk_that_takes_nothing_costs_what_is_older_than_an_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the folder would be: every write fails, until somebody mends it."""
    caplog.set_level(logging.INFO)
    folder = tmp_path / "history"
    folder.write_bytes(b"")
    memory = history(folder)
    memory.start()
    own = diary(memory)
    minutes_of(own, 10 * BATCH_MINUTES)
    _settle(memory)
    assert len(own.waiting) == WAITING_MINUTES
    assert memory.lost_minutes == 10 * BATCH_MINUTES - WAITING_MINUTES
    assert caplog.text.count("are not kept") == 1
    folder.unlink()
    minutes_of(own, BATCH_MINUTES)
    assert memory.close(10)
    assert series(read_books(folder, "pump"), ())["time"].size == WAITING_MINUTES + BATCH_MINUTES
    assert "kept again" in caplog.text


def _settle(memory: History) -> None:
    """Wait until the thread has taken all that it was given: a batch more is refused by nobody."""
    done = threading.Event()
    memory._queue.put(_Bell(done))  # type: ignore[arg-type]
    assert done.wait(10)


class _Bell:
    """A diary with nothing in it, that says when it was asked."""

    source, layout = "bell", LAYOUT

    def __init__(self, done: threading.Event) -> None:
        self._done = done

    @property
    def waiting(self) -> list[Rows]:
        self._done.set()
        return []


def test_a_full_disk_is_left_with_its_room(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    memory = History(MemorySettings(), tmp_path / "a", min_free_megabytes=free.f_blocks * free.f_frsize // 1_000_000)
    memory.start()
    minutes_of(diary(memory), BATCH_MINUTES)
    memory.close(10)
    assert not (tmp_path / "a").exists()


# --- When it was ---


def when(boot: int, monotonic: Sequence[float], unix: Sequence[float], synced: Sequence[int]) -> Rows:
    made = LAYOUT.empty(len(monotonic))
    made["boot"], made["monotonic"], made["unix"] = boot, monotonic, unix
    made["flags"] = np.array(synced) * int(Flag.SYNCED)
    return made


def test_what_a_clock_said_before_it_was_set_is_mended() -> None:
    """Three minutes by a clock of 1970, and one after a time server was heard."""
    rows = when(1, [60, 120, 180, 240], [60, 120, 180, 2e9], [0, 0, 0, 1])
    assert times(rows).tolist() == [2e9 - 180, 2e9 - 120, 2e9 - 60, 2e9]


@pytest.mark.parametrize("believed", [0.0, 1e9, 5e9])
def test_a_life_without_a_clock_lies_between_its_neighbours(believed: float) -> None:
    lives = [
        when(1, [100, 160], [2e9, 2e9 + 60], [1, 1]),
        when(2, [10, 70], [believed, believed + 60], [0, 0]),
        when(3, [10, 70], [2e9 + 1000, 2e9 + 1060], [1, 1]),
    ]
    found = times(np.concatenate(lives))
    assert np.all(np.diff(found) >= 0)
    assert found[[0, 1, 4, 5]].tolist() == [2e9, 2e9 + 60, 2e9 + 1000, 2e9 + 1060]
    assert found[3] - found[2] == 60


def test_a_chart_keeps_the_extremes_and_shows_gaps() -> None:
    time = np.arange(0.0, 6000.0, 60.0)
    mean = np.ones(100, np.float64)
    mean[37] = 9.0
    drawn = chart(time[:80], mean[:80], start=0.0, end=6000.0, n_points=10, high=2 * mean[:80])
    assert drawn.minutes.tolist() == [10] * 8 + [0, 0]
    assert drawn.high.tolist()[:8] == [2, 2, 2, 18, 2, 2, 2, 2]
    assert drawn.mean[3] == pytest.approx(1.8)
    assert drawn.low[3] == 1.0
    assert np.isnan(drawn.mean[8:]).all()
