"""The layout of 2021 in its several roots, ground truth as the evaluator has it, and what a clip was cut from."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edge.errors import EarshotError
from tests.conftest import REAL_DATA, needs_real_data
from trainer.dataset import Clip, only_sections, read_ground_truth, read_layout

Tree = Callable[..., Path]

DEVELOPMENT = (
    "dev_data/fan/train/section_00_source_train_normal_0000_strength_1_ambient.wav",
    "dev_data/fan/train/section_00_target_train_normal_0000_strength_2_ambient.wav",
    "dev_data/fan/source_test/section_00_source_test_normal_0000.wav",
    "dev_data/fan/source_test/section_00_source_test_anomaly_0000.wav",
    "dev_data/fan/target_test/section_00_target_test_normal_0000.wav",
)
ADDITIONAL = ("eval_data/fan/train/section_03_source_train_normal_0000_strength_1_ambient.wav",)
EVALUATION = (
    "eval_data/fan/source_test/section_03_source_test_0000.wav",
    "eval_data/fan/source_test/section_03_source_test_0001.wav",
    "eval_data/fan/target_test/section_03_target_test_0000.wav",
)
TRUTH = {
    "ground_truth_fan_section_03_source_test.csv": "section_03_source_test_0000.wav,1\n"
    "section_03_source_test_0001.wav,0\n",
    "ground_truth_fan_section_03_target_test.csv": "section_03_target_test_0000.wav,0\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make empty files: a layout is read from names alone."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def write_truth(root: Path, files: Mapping[str, str]) -> Path:
    folder = root / "ground_truth_data"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def told(clips: list[Clip]) -> list[tuple[str, str, str, str | None]]:
    rows = [(clip.name, clip.domain, clip.split, clip.label) for clip in clips]
    return sorted(rows, key=lambda row: (*row[:3], str(row[3])))


# --- Several roots ---

WHOLE = [
    ("fan/00", "source", "test", "anomaly"),
    ("fan/00", "source", "test", "normal"),
    ("fan/00", "source", "train", "normal"),
    ("fan/00", "target", "test", "normal"),
    ("fan/00", "target", "train", "normal"),
    ("fan/03", "source", "test", None),
    ("fan/03", "source", "test", None),
    ("fan/03", "source", "train", "normal"),
    ("fan/03", "target", "test", None),
]


@pytest.mark.parametrize(
    "paths",
    [
        ["."],
        ["dev_data", "eval_data"],
        ["eval_data", "dev_data", "dev_data/fan"],
        ["dev_data/fan", "eval_data/fan"],
    ],
)
def test_a_machine_in_several_roots_is_one_machine(tree: Tree, paths: list[str]) -> None:
    root = tree(*DEVELOPMENT, *ADDITIONAL, *EVALUATION)
    clips = read_layout([root / path for path in paths])
    assert told(clips) == WHOLE
    assert clips == sorted(clips, key=lambda clip: clip.path)


def test_additional_and_evaluation_data_may_lie_apart(tree: Tree) -> None:
    root = tree(*DEVELOPMENT, *ADDITIONAL, "late/fan/source_test/section_03_source_test_0000.wav")
    clips = read_layout([root / "dev_data", root / "eval_data", root / "late"])
    assert Counter(clip.section for clip in clips) == {"00": 5, "03": 2}
    assert clips == read_layout([root])


def test_a_folder_that_holds_roots_may_hold_other_things(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(*DEVELOPMENT, *ADDITIONAL, "motors/20pct/a.wav", "ground_truth_data/readme.txt", "readme.txt")
    with caplog.at_level(logging.WARNING):
        assert {clip.machine for clip in read_layout([root])} == {"fan"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{root / 'motors'}: left out: no train or test folder in it, as the machines beside it have"
    ]


def test_classes_of_several_roots_come_together(tree: Tree) -> None:
    root = tree("a/motors/20pct/a.wav", "b/motors/20pct/b.wav", "b/motors/50pct/a.wav")
    clips = read_layout([root / "a/motors", root / "b/motors"])
    assert [clip.name for clip in clips] == ["motors/20pct", "motors/20pct", "motors/50pct"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["a/fan/source_test/section_03_source_test_0000.wav", "b/fan/source_test/section_03_source_test_0000.wav"],
            r"b/fan/.*test_0000\.wav: this test clip of section 03 of machine fan is also in .*a/fan/.*test_0000\.wav",
        ),
        # Fans of two years: one number, two machines.
        (
            [
                "a/fan/train/section_00_source_train_normal_0000_strength_1_ambient.wav",
                "b/fan/train/section_00_source_train_normal_0000_m-n_W.wav",
            ],
            r"0000_m-n_W\.wav: this train clip of section 00 of machine fan is also in .*0000_strength_1_ambient\.wav",
        ),
        (["a/fan/x/0001.wav", "b/fan/x/0001.wav"], r"this train clip of section x of machine fan is also in "),
        (["a/fan/train/id_00_0000.wav", "b/fan/x/1.wav"], r"b/fan: machine fan is also in .*a/fan: expected both in"),
    ],
)
def test_roots_that_contradict_each_other_are_refused(tree: Tree, names: list[str], expected: str) -> None:
    root = tree(*names)
    with pytest.raises(EarshotError, match=expected):
        read_layout([root / name.split("/")[0] / "fan" for name in names])


def test_the_same_name_in_two_splits_or_machines_is_no_contradiction(tree: Tree) -> None:
    root = tree("a/fan/train/normal_id_00_0.wav", "b/fan/test/normal_id_00_0.wav", "b/pump/train/normal_id_00_0.wav")
    assert len(read_layout([root / "a", root / "b"])) == 3


# --- Folders and names that disagree ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fan/source_test/section_00_target_test_normal_0000.wav", "a target clip among those of source_test"),
        ("fan/target_test/section_00_source_test_normal_0000.wav", "a source clip among those of target_test"),
        ("fan/test/section_00_source_train_normal_0000.wav", "a train clip among those of test"),
        ("fan/train/section_00_source_test_normal_0000.wav", "a test clip among those of train"),
        ("fan/train/section_00_source_train_anomaly_0000.wav", "an anomaly among the training clips"),
    ],
)
def test_a_clip_in_the_wrong_folder_is_refused_by_name(tree: Tree, name: str, expected: str) -> None:
    root = tree(name)
    with pytest.raises(EarshotError, match=f"{re.escape(str(root / name))}: {expected}"):
        read_layout([root])


def test_a_folder_gives_the_domain_that_a_name_does_not(tree: Tree) -> None:
    root = tree("fan/target_test/section_00_0000.wav", "fan/source_test/section_00_0000.wav")
    assert [clip.domain for clip in read_layout([root])] == ["source", "target"]


# --- Ground truth ---


def test_ground_truth_fills_in_the_labels_of_the_evaluation_set(tree: Tree) -> None:
    root = tree(*DEVELOPMENT, *ADDITIONAL, *EVALUATION)
    clips = read_layout([root], write_truth(root, TRUTH))
    found = {clip.path.name: clip.label for clip in clips if clip.section == "03" and clip.split == "test"}
    assert found == {
        "section_03_source_test_0000.wav": "anomaly",
        "section_03_source_test_0001.wav": "normal",
        "section_03_target_test_0000.wav": "normal",
    }
    assert told([c for c in clips if c.section == "00"]) == WHOLE[:5]


def test_ground_truth_fits_recordings_that_became_flac(tree: Tree) -> None:
    root = tree("eval_data/fan/target_test/section_03_target_test_0000.flac")
    (clip,) = read_layout([root], write_truth(root, {k: v for k, v in TRUTH.items() if "target" in k}))
    assert clip.label == "normal"


def test_ground_truth_is_read_as_people_save_it(tmp_path: Path) -> None:
    (tmp_path / "ground_truth_fan_section_03_test.csv").write_bytes(
        b"\xef\xbb\xbfsection_03_0000.wav,0\r\nsection_03_0001.wav, 1.0\r\n\r\n"
    )
    labels = {name: label for (_, name), (label, _) in read_ground_truth(tmp_path).items()}
    assert labels == {"section_03_0000": "normal", "section_03_0001": "anomaly"}


def test_labels_without_a_clip_are_counted(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(*EVALUATION[:2])
    pump = {"ground_truth_pump_section_03_source_test.csv": "section_03_source_test_0000.wav,1\n"}
    with caplog.at_level(logging.WARNING):
        clips = read_layout([root], write_truth(root, {**TRUTH, **pump}))
    assert [clip.label for clip in clips] == ["anomaly", "normal"]
    (said,) = caplog.messages
    assert re.search(r"1 labels have no clip here, the first at .*fan_section_03_target_test\.csv:1", said)


SOURCE = "ground_truth_fan_section_03_source_test.csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "section_03_source_test_0000.wav,1\nsection_03_source_test_0001.wav,maybe\n",
            rf"{SOURCE}:2: label 'maybe' of section_03_source_test_0001\.wav: expected 0 \(normal\) or 1 \(anomaly\)",
        ),
        ("section_03_source_test_0000.wav,2\n", rf"{SOURCE}:1: label '2' of "),
        ("section_03_source_test_0000.wav,\n", rf"{SOURCE}:1: label '' of "),
        ("section_03_source_test_0000.wav,nan\n", rf"{SOURCE}:1: label 'nan' of "),
        ("section_03_source_test_0000.wav\n", rf"{SOURCE}:1: 1 columns: expected 2"),
        ("section_03_source_test_0000.wav;1\n", rf"{SOURCE}:1: 1 columns: expected 2"),
        ("section_03_source_test_0000.wav,1,source\n", rf"{SOURCE}:1: 3 columns"),
        ("name,label\nsection_03_source_test_0000.wav,1\n", rf"{SOURCE}:1: label 'label' of name"),
        ("section_04_source_test_0000.wav,1\n", rf"{SOURCE}:1: 'section_04_.*': expected a file of section 03"),
        ("0000.wav,1\n", rf"{SOURCE}:1: '0000\.wav': expected a file of section 03"),
        ("section_03_source_test_0000.wav,1\n" * 2, rf"{SOURCE}:2: .*_0000\.wav is already in .*{SOURCE}:1"),
        ("section_03_source_test_0000.wav,1\n", r"test_0001\.wav: not in the ground truth of fan/03 in .*_data"),
    ],
)  # fmt: skip
def test_ground_truth_that_cannot_be_trusted_is_refused_by_line(tree: Tree, text: str, expected: str) -> None:
    root = tree(*EVALUATION)
    folder = write_truth(root, {**TRUTH, SOURCE: text})
    with pytest.raises(EarshotError, match=expected):
        read_layout([root], folder)


def test_ground_truth_that_is_no_text_or_no_folder_is_refused(tree: Tree) -> None:
    root = tree(*EVALUATION)
    with pytest.raises(EarshotError, match="nowhere: not a folder: expected ground_truth_<machine>"):
        read_layout([root], root / "nowhere")
    folder = write_truth(root, {})
    with pytest.raises(EarshotError, match="ground_truth_data: no ground_truth_<machine>_section"):
        read_layout([root], folder)
    (folder / SOURCE).write_bytes(b"section_03_source_test_0000.wav,\xff\n")
    with pytest.raises(EarshotError, match=f"{SOURCE}: cannot be read: .*utf-8"):
        read_layout([root], folder)
    (folder / SOURCE).rename(folder / "ground_truth_fan.csv")
    with pytest.raises(EarshotError, match=r"ground_truth_fan\.csv: expected a name like "):
        read_layout([root], folder)


def test_ground_truth_that_contradicts_a_name_is_refused(tree: Tree) -> None:
    root = tree("dev_data/fan/source_test/section_00_source_test_normal_0000.wav")
    name = "ground_truth_fan_section_00_source_test.csv"
    folder = write_truth(root, {name: "section_00_source_test_normal_0000.wav,1\n"})
    with pytest.raises(EarshotError, match=rf"{name}:1: anomaly, but the name says normal: .*normal_0000\.wav"):
        read_layout([root], folder)


# --- What a clip was cut from ---


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("cfg_0000_flight_1_part_4", "cfg_0000_flight_1"),
        ("cfg_0000_flight_10_part_14", "cfg_0000_flight_10"),
        ("strength_1_ambient", None),
        ("part_4", None),
        ("counter_party_4", None),
        ("", None),
    ],
)
def test_clips_of_one_recording_are_known_by_their_parts(attributes: str, expected: str | None) -> None:
    stem = f"section_00_source_train_normal_0004_{attributes}"
    clip = Clip(Path(f"{stem}.wav"), "uav", "00", "source", "train", "normal", attributes)
    assert clip.recording == f"uav/00/{expected or stem}"


@needs_real_data
def test_real_flights_are_recordings() -> None:
    flights: dict[str, set[str]] = {}
    for clip in read_layout([REAL_DATA / "uav"]):
        flights.setdefault(clip.recording, set()).add(clip.split)
    assert 36 < len(flights) < 100
    assert all(len(splits) == 1 for splits in flights.values())


def test_only_the_wanted_sections_are_tested_and_unknown_ones_refused(tree: Tree) -> None:
    clips = read_layout([tree(*DEVELOPMENT, *ADDITIONAL, *EVALUATION)])
    chosen = only_sections(clips, ["03"])
    assert {clip.section for clip in chosen if clip.split == "test"} == {"03"}
    assert {clip.section for clip in chosen if clip.split == "train"} == {"00", "03"}
    assert only_sections(clips, []) == clips
    with pytest.raises(EarshotError, match=r"^section 04, 3: no test clips in the data: expected some of 00, 03$"):
        only_sections(clips, ["03", "04", "3"])


# --- Names that call a fault or a test, and classes that are called as a split is ---


def test_a_class_may_lie_in_a_folder_that_is_called_train(tmp_path: Path) -> None:
    for name in ("train/locomotive_1.wav", "rain/1.wav", "sea/1.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [clip.name for clip in read_layout([tmp_path])] == [
        f"{tmp_path.name}/rain",
        f"{tmp_path.name}/sea",
        f"{tmp_path.name}/train",
    ]


def test_both_splits_without_names_of_dcase_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/1.wav", "test/1.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(EarshotError, match="not a DCASE name"):
        read_layout([tmp_path])


def test_faults_and_tests_in_a_folder_of_classes_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["a/1.wav", "a/pump_anomaly_2.wav", "a/abnormal/3.wav", "a/test/4.wav", "a/supplemental/5.wav", "b/6.wav"]
    names += ["test/7.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [clip.path.name for clip in read_layout([tmp_path])] == ["1.wav", "6.wav"]
    assert caplog.text.count("left out: ") == 5
    assert len(read_layout([tmp_path], take_all=True)) == len(names)
