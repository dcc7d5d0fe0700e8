"""What was learnt, from start to start: whole, of this detector only, checked, and never in the way."""

import json
import logging
from pathlib import Path

import pytest

from edge import detector as detectors
from edge.config.settings import EventSettings
from edge.daemon.remembered import WRITE_SECONDS, Remembered
from edge.detector.judge import Judge
from edge.judge.learning import Learnt
from edge.memory.notes import MOST_BYTES, Notes
from tests.conftest import DEMO

DETECTOR = detectors.read(DEMO / "detector")
SECTION = DETECTOR.section(None)
LEARNT = Learnt(3.25, -0.1, 0.02, 0.01, ((0.1, 0.01), (0.2, 0.02)))


def judge(settings: EventSettings | None = None) -> Judge:
    return Judge(settings or EventSettings(), DETECTOR, SECTION, learns=True)


def remembered(folder: Path | None, of: Judge, detector: detectors.Detector = DETECTOR) -> tuple[Notes, Remembered]:
    notes = Notes(folder)
    return notes, Remembered(notes, "pump", detector, SECTION, of)


def write(folder: Path) -> dict[str, object]:
    one = judge()
    notes, memory = remembered(folder, one)
    one.recall(LEARNT)
    memory.keep()
    notes.close(10)
    content: dict[str, object] = json.loads((folder / "pump.json").read_text())
    return content


def test_what_was_learnt_is_there_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "learnt")
    other = judge()
    before = other.threshold
    remembered(tmp_path / "learnt", other)[1].recall()
    assert other.learnt == LEARNT
    assert other.threshold < before
    assert [path.name for path in (tmp_path / "learnt").iterdir()] == ["pump.json"]


def test_a_new_enrolment_starts_anew(tmp_path: Path) -> None:
    write(tmp_path)
    other = judge()
    enrolled_again = detectors.Detector(DETECTOR.path, DETECTOR.card, DETECTOR.model, DETECTOR.sections, "1" * 64)
    remembered(tmp_path, other, enrolled_again)[1].recall()
    assert other.learnt == Learnt()


def test_another_score_starts_anew(tmp_path: Path) -> None:
    write(tmp_path)
    other = judge(EventSettings(score="bands"))
    remembered(tmp_path, other)[1].recall()
    assert other.learnt == Learnt()


@pytest.mark.parametrize(
    "learnt",
    [{}, None, 3, {"hours": "a", "mean": 0, "square": 0, "within": 0, "waiting": []}, {**vars(LEARNT), "hours": -1}],
)
def test_what_cannot_be_believed_is_learnt_anew(
    tmp_path: Path, learnt: object, caplog: pytest.LogCaptureFixture
) -> None:
    content = write(tmp_path)
    (tmp_path / "pump.json").write_text(json.dumps({**content, "learnt": learnt}))
    other = judge()
    remembered(tmp_path, other)[1].recall()
    assert other.learnt == Learnt()
    assert "learnt anew" in caplog.text


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b" " * MOST_BYTES + b"{}", b"[" * 50_000])
def test_a_damaged_note_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pump.json").write_bytes(data)
    assert Notes(tmp_path).read("pump") is None


def test_without_a_folder_it_lives_in_memory() -> None:
    one = judge()
    notes, memory = remembered(None, one)
    memory.recall()
    one.recall(LEARNT)
    memory.keep()
    notes.close(1)
    assert one.learnt == LEARNT


def test_it_is_written_each_hour_and_not_for_nothing(tmp_path: Path) -> None:
    one = judge()
    notes, memory = remembered(tmp_path, one)
    memory.keep()
    notes.close(10)
    assert list(tmp_path.iterdir()) == [], "nothing was learnt"
    one.recall(LEARNT)
    memory.hear(WRITE_SECONDS - 1)
    notes.close(10)
    assert list(tmp_path.iterdir()) == []
    memory.hear(2)
    notes.close(10)
    (file,) = tmp_path.iterdir()
    file.unlink()
    memory.hear(WRITE_SECONDS)
    notes.close(10)
    assert list(tmp_path.iterdir()) == [], "nothing new"


def test_a_disk_that_fails_costs_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "learnt").write_text("a file in the way")
    notes = Notes(tmp_path / "learnt")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            notes.write("pump", {})
            notes.close(10)
    assert len(caplog.records) == 1
    assert "it is not kept" in caplog.text
