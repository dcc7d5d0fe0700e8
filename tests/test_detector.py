"""A detector is read as it was written, or refused with the reason; it is never half there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import detector as detectors
from edge.detector.archive import score_file
from edge.detector.golden import verify
from edge.detector.line import Line
from edge.errors import DetectorError
from edge.source import find_audio
from tests.conftest import DEMO


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped detector, to be spoilt."""
    return Path(shutil.copytree(DEMO / "detector", tmp_path / "detector"))


def edit_card(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    card = json.loads((folder / "detector.json").read_text())
    change(card)
    (folder / "detector.json").write_text(json.dumps(card))


def rehash(folder: Path) -> None:
    """Make the hashes fit again, so that what lies behind them is looked at."""
    edit_card(
        folder,
        lambda card: card.update(files={name: detectors.file_sha256(folder / name) for name in card["files"]}),  # type: ignore[attr-defined]
    )


def test_the_shipped_detector_verifies(folder: Path) -> None:
    verify(detectors.read(folder))


@pytest.mark.parametrize("name", ["model.onnx", "scorer.npz", "golden.flac", "MODEL_CARD.md"])
def test_any_flipped_byte_is_noticed(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DetectorError, match=name):
        detectors.read(folder)


@pytest.mark.parametrize("name", ["model.onnx", "scorer.npz", "golden.flac", "detector.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DetectorError, match=name):
        detectors.read(folder)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="nowhere"):
        detectors.read(tmp_path / "nowhere")


def test_another_frontend_is_refused(folder: Path) -> None:
    edit_card(folder, lambda card: card["frontend"].update(f_min_hz=500.0))  # type: ignore[attr-defined]
    with pytest.raises(DetectorError, match="fingerprint"):
        detectors.read(folder)


def test_a_newer_schema_is_refused(folder: Path) -> None:
    edit_card(folder, lambda card: card.update(schema_version=99))
    with pytest.raises(DetectorError, match="99"):
        detectors.read(folder)


def test_text_in_place_of_json_is_refused(folder: Path) -> None:
    (folder / "detector.json").write_text("hello")
    with pytest.raises(DetectorError, match="not JSON"):
        detectors.read(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.encode("utf-16"), r"detector\.json: got the byte 0xff at 0: expected JSON in UTF-8$"),
        (lambda text: text.replace('"name": "', '"name": "\\ud800', 1).encode(), r"detector\.json: not JSON: "),
        (
            lambda text: text.replace('_frames": ', '_frames": ' + "9" * 5000, 1).encode(),
            r"has 5003 digits",
        ),
    ],
    ids=["UTF-16", "half a letter", "a number of 5003 digits"],
)
def test_text_that_is_nearly_json_is_refused_with_its_fault(
    change: Callable[[str], bytes], words: str, folder: Path
) -> None:
    card = folder / "detector.json"
    card.write_bytes(change(card.read_text(encoding="utf-8")))
    with pytest.raises(DetectorError, match=words):
        detectors.read(folder)


def test_a_byte_order_mark_is_no_fault(folder: Path) -> None:
    card = folder / "detector.json"
    card.write_bytes(b"\xef\xbb\xbf" + card.read_bytes())
    detectors.read(folder)


def test_golden_scores_that_differ_say_by_how_much(folder: Path) -> None:
    edit_card(folder, lambda card: card["golden"].update(scores=[s * 1.01 for s in card["golden"]["scores"]]))  # type: ignore[index,attr-defined]
    with pytest.raises(DetectorError, match=r"golden\.flac scores .* expected"):
        verify(detectors.read(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card["golden"].update(scores=[]), r"golden\.scores \[\]: expected the score of each window"),
        (lambda card: card.update(files={}), r"files"),
        (lambda card: card["files"].update({"../../etc/passwd": "0" * 64}), r"names of files in the folder"),
        (lambda card: card["sections"][0]["thresholds"].update(fused=float("nan")), r"NaN is no number"),
        (lambda card: card["sections"][0]["thresholds"].update(fused=0.0), r"expected a number above 0"),
        (lambda card: card["sections"][0].update(class_index=7), r"class_index 7: expected"),
    ],
    ids=["no golden score", "no file", "a file elsewhere", "no number", "everything abnormal", "no such class"],
)
def test_a_card_that_proves_nothing_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    edit_card(folder, change)
    with pytest.raises(DetectorError, match=words):
        detectors.read(folder)


def test_nan_in_the_statistics_is_refused(folder: Path) -> None:
    arrays = dict(np.load(folder / "scorer.npz"))
    next(iter(arrays.values())).flat[0] = np.nan
    np.savez(folder / "scorer.npz", **arrays)
    rehash(folder)
    with pytest.raises(DetectorError, match="NaN"):
        detectors.read(folder)


def test_a_graph_that_breaks_the_contract_is_refused(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "model.onnx")
    model.graph.output[0].name, model.graph.node[-1].output[0] = "elsewhere", "elsewhere"
    (folder / "model.onnx").write_bytes(b"not an onnx file")
    rehash(folder)
    with pytest.raises(DetectorError, match="expected an ONNX graph"):
        detectors.read(folder)


def test_a_section_that_is_not_there_lists_what_is(folder: Path) -> None:
    detector = detectors.read(folder)
    with pytest.raises(DetectorError, match=next(iter(detector.sections))):
        detector.section("zeppelin/07")


def test_a_failed_write_leaves_what_was_there(folder: Path) -> None:
    detector = detectors.read(folder)

    def refuse(_: Path) -> None:
        raise DetectorError("not good enough")

    with pytest.raises(DetectorError, match="not good enough"):
        write_again(detector, folder, check=refuse)
    verify(detectors.read(folder))
    assert [path.name for path in folder.parent.iterdir()] == ["detector"]


def test_writing_over_something_that_is_no_detector_is_refused(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "wedding.jpg").write_bytes(b"...")
    with pytest.raises(DetectorError, match="no detector folder"):
        write_again(detectors.read(folder), precious)
    assert (precious / "wedding.jpg").exists()


def test_written_and_read_is_the_same(folder: Path, tmp_path: Path) -> None:
    detector = detectors.read(folder)
    again = write_again(detector, tmp_path / "again")
    verify(again)
    assert again.card.sections == detector.card.sections


def write_again(
    detector: detectors.Detector, output: Path, check: Callable[[Path], None] | None = None
) -> detectors.Detector:
    return detectors.write(
        output,
        detector.card,
        detector.sections,
        model=detector.path / "model.onnx",
        golden=detector.path / "golden.flac",
        model_card="# again\n",
        check=check,
    )


def test_a_link_to_a_detector_stays_a_link(folder: Path, tmp_path: Path) -> None:
    current, before = tmp_path / "current", (folder / "MODEL_CARD.md").read_text()
    current.symlink_to(folder)
    written = write_again(detectors.read(current), current)
    assert current.is_symlink()
    assert written.path == folder
    assert (current / "MODEL_CARD.md").read_text() == "# again\n"
    assert (tmp_path / "detector.old" / "MODEL_CARD.md").read_text() == before
    shutil.rmtree(folder)  # what a crash between the two renames leaves: the link points to nothing
    verify(detectors.read(current))


def test_after_a_crash_while_it_was_replaced_the_one_before_is_read(folder: Path) -> None:
    write_again(detectors.read(folder), folder)
    shutil.rmtree(folder)  # what a crash between the two renames leaves
    verify(detectors.read(folder))


def test_the_shipped_clips_are_told_apart() -> None:
    detector = detectors.read(DEMO / "detector")
    line, threshold = Line(detector, detector.section(None)), detector.section(None).card.thresholds["fused"]
    for clip in find_audio(DEMO / "clips"):
        assert (score_file(line, clip)["fused"] > threshold) == ("anomaly" in clip.name)
