"""What the names of files and folders say: section, domain, label, split; and which section a file is scored as."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import detector as detectors
from edge.detector.folder import Detector
from edge.detector.naming import Named, parse_name, section_of
from edge.errors import DetectorError, EarshotError
from tests.conftest import DEMO
from trainer.dataset import Clip, read_layout

# --- File names ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 2020: development, and the evaluation set that keeps its labels secret
        ("normal_id_00_00000000.wav", Named("00", "source", "normal", "")),
        ("anomaly_id_06_00000123.wav", Named("06", "source", "anomaly", "")),
        ("id_01_00000000.wav", Named("01", "source", None, "")),
        # 2021
        ("section_00_source_train_normal_0000_strength_1_amb.wav",
         Named("00", "source", "normal", "strength_1_amb", "train", True)),
        ("section_02_target_train_normal_0002_strength_2_amb.wav",
         Named("02", "target", "normal", "strength_2_amb", "train", True)),
        ("section_01_target_test_anomaly_0003.wav", Named("01", "target", "anomaly", "", "test", True)),
        ("section_03_source_test_0199.wav", Named("03", "source", None, "", "test", True)),
        # 2022 to 2025
        ("section_00_source_train_normal_0025_m-n_X.wav", Named("00", "source", "normal", "m-n_X", "train", True)),
        ("section_00_target_train_normal_0009_vel_1.5_loc_A.wav",
         Named("00", "target", "normal", "vel_1.5_loc_A", "train", True)),
        ("section_00_source_train_normal_0001_noAttribute.wav",
         Named("00", "source", "normal", "noAttribute", "train", True)),
        ("section_00_source_test_normal_0004_n_A_0001_target.flac",
         Named("00", "source", "normal", "n_A_0001_target", "test", True)),
        ("section_00_0117.wav", Named("00", "source", None, "")),
        ("section_12_normal_0001.wav", Named("12", "source", "normal", "")),
    ],
)  # fmt: skip
def test_dcase_names(name: str, expected: Named) -> None:
    assert parse_name(Path("/data/pump/test", name)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "pump.wav",
        "0001.wav",
        "normal.wav",
        "normal_00000000.wav",
        "section_00.wav",
        "section_00_source_train_normal.wav",
        "section_00_source_train_broken_0000.wav",
        "section_00_sideways_train_normal_0000.wav",
        "section_xx_source_train_normal_0000.wav",
        "my_section_00_source_train_normal_0000.wav",
        "Section_00_source_train_normal_0000.wav",
        "normal_id_0.wav",
        "anomaly_id_00_00000000_copy.wav",
        ".wav",
    ],
)
def test_other_names(name: str) -> None:
    assert parse_name(Path("/data/section_00_source_train_normal_0000", name)) is None


# --- Which section a file is scored as ---


@pytest.fixture(scope="module")
def detector(three_sections: Path) -> Detector:
    return detectors.read(three_sections)


NORMAL = "section_{}_source_test_normal_0000.wav"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/data/pump/test/{NORMAL.format('00')}", "pump/00"),
        (f"/data/fan/test/{NORMAL.format('00')}", "fan/00"),
        (f"/data/pump/fan/test/{NORMAL.format('00')}", "fan/00"),  # the nearest folder
        (f"/data/pump/{NORMAL.format('01')}", "pump/01"),
        ("/data/pump/anomaly_id_01_00000000.wav", "pump/01"),
        (f"/data/anywhere/{NORMAL.format('01')}", "pump/01"),  # only one machine has it
    ],
)
def test_section_by_folder_and_name(detector: Detector, path: str, expected: str) -> None:
    assert section_of(Path(path), detector).card.name == expected


def test_a_relative_path_is_read_like_an_absolute_one(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fan").mkdir()
    monkeypatch.chdir(tmp_path / "fan")
    assert section_of(Path(NORMAL.format("00")), detector).card.name == "fan/00"


@pytest.mark.parametrize(
    ("path", "asked", "expected"),
    [
        (f"/data/anywhere/{NORMAL.format('00')}", None, "section 00 fits several"),
        (f"/data/pump/{NORMAL.format('07')}", None, "section pump/07 is not there"),
        (f"/data/fan/{NORMAL.format('01')}", None, "section fan/01 is not there"),  # and pump/01 is no answer
        ("/data/pump/0001.wav", None, "/data/pump/0001.wav: no section in its name"),
        ("/data/pump/0001.wav", "00", "section 00 fits several"),
        ("/data/pump/0001.wav", "pump", "section pump fits several"),
        (f"/data/pump/{NORMAL.format('00')}", "zeppelin/00", "section zeppelin/00 is not there"),
    ],
)
def test_no_section_is_guessed(detector: Detector, path: str, asked: str | None, expected: str) -> None:
    with pytest.raises(DetectorError, match=r"expected .*pump/00, pump/01, fan/00") as refused:
        section_of(Path(path), detector, asked)
    assert expected in str(refused.value)


@pytest.mark.parametrize(("asked", "expected"), [("fan/00", "fan/00"), ("01", "pump/01"), ("fan", "fan/00")])
def test_the_section_that_was_asked_for(detector: Detector, asked: str, expected: str) -> None:
    assert section_of(Path(f"/data/pump/{NORMAL.format('00')}"), detector, asked).card.name == expected


def test_the_only_section_needs_no_name() -> None:
    demo = detectors.read(DEMO / "detector")
    (only,) = demo.sections
    assert section_of(Path("/data/0001.wav"), demo).card.name == only


# --- Folders of recordings ---

Tree = Callable[..., Path]


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


def told(clips: list[Clip]) -> list[tuple[str, str, str, str | None]]:
    return [(clip.name, clip.domain, clip.split, clip.label) for clip in clips]


def test_layout_of_2020(tree: Tree) -> None:
    root = tree(
        "pump/test/anomaly_id_02_00000000.wav",
        "pump/test/id_04_00000000.wav",
        "pump/test/normal_id_02_00000000.wav",
        "pump/train/normal_id_02_00000000.wav",
    )
    expected = [
        ("pump/02", "source", "test", "anomaly"),
        ("pump/04", "source", "test", None),
        ("pump/02", "source", "test", "normal"),
        ("pump/02", "source", "train", "normal"),
    ]
    assert told(read_layout([root])) == expected
    assert told(read_layout([root / "pump"])) == expected


def test_layout_of_2021(tree: Tree) -> None:
    root = tree(
        "fan/source_test/section_00_source_test_anomaly_0000.wav",
        "fan/target_test/section_00_target_test_normal_0000.wav",
        "fan/train/section_00_source_train_normal_0000_strength_1_ambient.wav",
        "fan/train/section_00_target_train_normal_0000_strength_2_ambient.wav",
    )
    clips = read_layout([root])
    assert told(clips) == [
        ("fan/00", "source", "test", "anomaly"),
        ("fan/00", "target", "test", "normal"),
        ("fan/00", "source", "train", "normal"),
        ("fan/00", "target", "train", "normal"),
    ]
    assert [clip.attributes for clip in clips] == ["", "", "strength_1_ambient", "strength_2_ambient"]


def test_layout_of_later_years(tree: Tree) -> None:
    root = tree(
        "ToyCar/supplemental/section_00_supplemental_clean_0000.wav",
        "ToyCar/test/section_00_0000.wav",
        "ToyCar/train/section_00_source_train_normal_0000_noAttribute.flac",
        "ToyCar/train/._section_00_source_train_normal_0000_noAttribute.flac",
        "ToyCar/train/readme.txt",
        ".cache/train/0001.wav",
    )
    assert told(read_layout([root])) == [
        ("ToyCar/00", "source", "test", None),
        ("ToyCar/00", "source", "train", "normal"),
    ]


def test_a_folder_a_class(tree: Tree) -> None:
    root = tree("motors/20pct/a.wav", "motors/20pct/b.FLAC", "motors/50pct/a.wav")
    clips = read_layout([root / "motors"])
    assert told(clips) == [
        ("motors/20pct", "source", "train", "normal"),
        ("motors/20pct", "source", "train", "normal"),
        ("motors/50pct", "source", "train", "normal"),
    ]
    assert clips[0].path == root / "motors/20pct/a.wav"


def test_layouts_side_by_side(tree: Tree) -> None:
    root = tree(
        "dcase/fan/train/normal_id_00_00000000.wav",
        "dcase/pump/train/section_01_target_train_normal_0000.wav",
        "motors/20pct/a.wav",
        "valve/train/section_02_source_train_normal_0000.wav",
    )
    clips = read_layout([root / "valve", root / "motors", root / "dcase"])
    assert [clip.name for clip in clips] == ["fan/00", "pump/01", "motors/20pct", "valve/02"]
    assert clips == sorted(clips, key=lambda clip: clip.path)


def test_a_relative_path_has_the_name_of_its_folder(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree("pump/train/normal_id_00_00000000.wav") / "pump")
    assert [clip.name for clip in read_layout([Path()])] == ["pump/00"]


@pytest.mark.parametrize(
    ("names", "paths", "expected"),
    [
        (["pump/train/anomaly_id_00_00000000.wav"], ["."], r"_00000000\.wav: an anomaly among the training"),
        (["pump/train/section_00_target_train_anomaly_0000.wav"], ["pump"], r"_anomaly_0000\.wav: an anomaly among"),
        (["pump/train/0001.wav"], ["."], r"pump/train/0001\.wav: not a DCASE name: expected section_NN_"),
        (["a/pump/train/id_00_0.wav", "b/pump/train/id_00_0.wav"], ["a", "b"], r"machine pump is also in .*a/pump"),
        (["a/pump/train/id_00_0000.wav", "pump/x/0001.wav"], ["a", "pump"], r"machine pump is also in "),
        (["empty/.hidden"], ["empty"], r"empty: no folders in it: expected train/ and test/"),
        (["pump/train/readme.txt"], ["pump"], r"pump/train: holds no recordings"),
        (["motors/20pct/readme.txt"], ["motors"], r"motors/20pct: holds no recordings"),
        (["pump.wav"], ["pump.wav"], r"pump\.wav: not a folder: expected recordings in the DCASE layout"),
        ([], ["nowhere"], r"nowhere: not a folder"),
    ],
)  # fmt: skip
def test_a_layout_that_is_none_of_these_is_refused(
    tree: Tree, names: list[str], paths: list[str], expected: str
) -> None:
    root = tree(*names)
    with pytest.raises(EarshotError, match=expected):
        read_layout([root / path for path in paths])


def test_a_machine_that_is_given_twice_is_not_heard_twice(tree: Tree) -> None:
    root = tree("pump/train/normal_id_00_00000000.wav")
    for paths in ([root, root], [root, root / "pump"], [root / "pump", root / "pump" / ".." / "pump"]):
        try:
            clips = read_layout(paths)
        except EarshotError:
            continue
        assert len(clips) == 1


def test_folders_below_a_class_belong_to_it(tree: Tree) -> None:
    root = tree("motors/20pct/a.wav", "motors/50pct/monday/a.wav", "motors/50pct/tuesday/a.wav")
    assert [clip.name for clip in read_layout([root / "motors"])] == ["motors/20pct", "motors/50pct", "motors/50pct"]


def test_reading_a_layout_needs_no_torch() -> None:
    extra = ["torch", "scipy", "sklearn", "onnx", "tqdm"]
    code = f"import sys; sys.modules.update(dict.fromkeys({extra})); import trainer.dataset"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DEMO.parents[1])
