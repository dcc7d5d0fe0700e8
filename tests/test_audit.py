"""Wrong data is named before anything is trained on it: every kind of it is really made on disk here."""

import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from edge.errors import EarshotError
from tests.conftest import DEMO, REAL_DATA, needs_real_data
from trainer import audit as audits
from trainer.audit import Finding, audit, check_data, listen, refuse_errors
from trainer.dataset import Clip, read_layout

WINDOW_SECONDS = 0.5
SECONDS = 0.6

Sound = NDArray[np.float32]


def noise(seed: int, *, seconds: float = SECONDS, rate_hz: int = 16_000) -> Sound:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32).clip(-1, 1)


def put(path: Path, sound: Sound, rate_hz: int = 16_000, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate_hz, **options)
    return path


class Factory:
    """A folder with two good sections of a fan, source domain only, two training clips and four test clips each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for section in ("00", "01"):
            for number in range(2):
                self.put(f"train/section_{section}_source_train_normal_{number:04d}.wav")
                for label in ("normal", "anomaly"):
                    self.put(f"test/section_{section}_source_test_{label}_{number:04d}.wav")

    def path(self, name: str) -> Path:
        return self.root / "fan" / name

    def put(self, name: str, sound: Sound | None = None, rate_hz: int = 16_000, **options: str) -> Path:
        """Write a recording: the one given, or noise as no other file has it."""
        seed = zlib.crc32(name.encode())
        return put(self.path(name), noise(seed, rate_hz=rate_hz) if sound is None else sound, rate_hz, **options)

    def audit(self, *, for_evaluation: bool = True, cache: Path | None = None) -> list[Finding]:
        clips = read_layout([self.root])
        return audit(clips, for_evaluation=for_evaluation, cache=cache, window_seconds=WINDOW_SECONDS)

    def one(self) -> Finding:
        """The only finding there is."""
        (finding,) = self.audit()
        return finding


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return Factory(tmp_path / "data")


def told(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.kind) for finding in findings]


TRAIN = "train/section_00_source_train_normal_0000.wav"
TEST = "test/section_00_source_test_normal_0000.wav"
ANOMALY = "test/section_00_source_test_anomaly_0000.wav"


def test_good_data_is_not_complained_of(factory: Factory) -> None:
    assert factory.audit() == []
    assert factory.audit(for_evaluation=False) == []
    assert check_data(read_layout([factory.root]), for_evaluation=True, window_seconds=WINDOW_SECONDS) == []


# --- Sections and labels ---


def test_a_tested_section_without_training_clips_is_an_error(factory: Factory) -> None:
    for label in ("normal", "anomaly"):
        factory.put(f"test/section_02_source_test_{label}_0000.wav")
    found = factory.one()
    assert told([found]) == [("error", "section")]
    assert found.text == "fan/02: 2 test clips and no training clips of this section: expected both"
    assert len(found.paths) == 2
    assert factory.audit(for_evaluation=False) == []


def test_a_trained_section_without_test_clips_is_mentioned(factory: Factory) -> None:
    factory.put("train/section_02_source_train_normal_0000.wav")
    put(factory.root / "pump/train/section_00_source_train_normal_0000.wav", noise(1))  # no machine that is graded
    found = factory.one()
    assert told([found]) == [("warning", "section")]
    assert found.text == "fan/02: training clips and no test clips: it is learned, not graded"


def test_a_section_of_which_nothing_can_be_read_is_missing(factory: Factory) -> None:
    for number in range(2):
        factory.path(f"train/section_01_source_train_normal_{number:04d}.wav").write_bytes(b"RIFF")
    findings = factory.audit()
    assert told(findings)[:3] == [("error", "section"), ("error", "class"), ("error", "section")]
    assert findings[0].text == "fan/01: none of its 2 training clips can be read: expected some normal sound"
    assert findings[2].text == "fan/01: 4 test clips and no training clips of this section: expected both"


def test_a_hole_in_the_numbering_is_mentioned(factory: Factory) -> None:
    factory.put("train/section_04_source_train_normal_0000.wav")
    for label in ("normal", "anomaly"):
        factory.put(f"test/section_04_source_test_{label}_0000.wav")
    assert factory.one().text == "fan: section 02, 03 is not there, 00, 01, 04 are"


def test_machines_of_2020_have_holes(tmp_path: Path) -> None:
    for section in ("00", "02", "04"):
        for name in ("train/normal", "test/normal", "test/anomaly"):
            path = tmp_path / f"pump/{name}_id_{section}_00000000.wav"
            put(path, noise(zlib.crc32(str(path).encode())))
    assert audit(read_layout([tmp_path]), for_evaluation=True, window_seconds=WINDOW_SECONDS) == []


def test_a_domain_that_is_tested_and_not_trained_is_mentioned(factory: Factory) -> None:
    for label in ("normal", "anomaly"):
        factory.put(f"test/section_00_target_test_{label}_0000.wav")
    found = factory.one()
    assert told([found]) == [("warning", "section")]
    assert found.text.startswith("fan/00: 2 test clips and no training clips of its target domain")


def test_one_class_is_nothing_to_tell_apart(factory: Factory) -> None:
    for path in factory.path("").rglob("section_01_*.wav"):
        path.unlink()
    found = factory.one()
    assert told([found]) == [("error", "class")]
    assert found.text == "one class only, fan/00: expected training clips of two sections or machines to tell apart"
    clips = read_layout([factory.root])
    assert not audit(clips, for_evaluation=True, for_training=False, window_seconds=WINDOW_SECONDS)


def test_test_clips_of_one_label_are_an_error_and_in_one_domain_a_warning(factory: Factory) -> None:
    for number in range(2):
        factory.path(f"test/section_01_source_test_anomaly_{number:04d}.wav").unlink()
    factory.put("test/section_00_target_test_anomaly_0000.wav")
    factory.put("train/section_00_target_train_normal_0000.wav")
    findings = factory.audit()
    assert told(findings) == [("error", "class"), ("warning", "class")]
    assert findings[0].text == "fan/01: 2 test clips, all normal: expected normal and anomalous ones"
    assert findings[1].text == "fan/00: 1 test clip in its target domain, all anomaly: it has no grade"


def test_labels_that_nobody_tells_are_mentioned(factory: Factory) -> None:
    path = factory.put("test/section_00_source_test_0002.wav")
    found = factory.one()
    assert told([found]) == [("warning", "label")]
    assert found.text.startswith("fan/00: 1 of 5 test clips have no label: they cannot be graded without the ground")
    assert found.paths == (path,)


def test_an_anomaly_to_train_on_is_an_error(factory: Factory) -> None:
    clips = read_layout([factory.root])
    anomaly = next(clip for clip in clips if clip.label == "anomaly")
    moved = Clip(anomaly.path, "fan", "00", "source", "train", "anomaly")
    findings = audit(
        [clip for clip in clips if clip != anomaly] + [moved], for_evaluation=False, window_seconds=WINDOW_SECONDS
    )
    assert told(findings) == [("error", "label")]
    assert findings[0].text.startswith(f"{anomaly.path}: an anomaly among the training clips")


def test_nothing_to_grade_is_an_error_only_where_it_is_asked_for(factory: Factory) -> None:
    shutil.rmtree(factory.path("test"))
    assert told(factory.audit()) == [("error", "section")]
    assert factory.audit(for_evaluation=False) == []


def test_a_finished_detector_is_graded_without_training_clips(factory: Factory) -> None:
    clips = [clip for clip in read_layout([factory.root]) if clip.split == "test"]
    assert audit(clips, for_evaluation=True, window_seconds=WINDOW_SECONDS) == []


# --- Recordings ---


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a recording", None])
def test_damage_is_left_out_of_training_and_refused_in_a_test(factory: Factory, content: bytes | None) -> None:
    for name in (TRAIN, TEST):
        whole = factory.path(name).read_bytes()
        factory.path(name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    error, warning = factory.audit()
    assert told([error, warning]) == [("error", "unreadable"), ("warning", "unreadable")]
    assert error.text.startswith(f"{factory.path(TEST)}: ")
    assert error.text.endswith(": a test clip that cannot be scored")
    assert warning.text.startswith(f"{factory.path(TRAIN)}: ")
    assert warning.text.endswith(": left out")
    assert told(factory.audit(for_evaluation=False)) == [("warning", "unreadable")]


def test_a_rate_that_is_too_low_cannot_be_used(factory: Factory) -> None:
    factory.put(TRAIN, rate_hz=8_000)
    assert "8000 Hz: there is nothing above 4 kHz in it" in factory.one().text


def test_a_link_that_leads_nowhere_is_named(factory: Factory) -> None:
    factory.path(TRAIN).unlink()
    factory.path(TRAIN).symlink_to("gone.wav")
    assert factory.one().text.startswith(f"{factory.path(TRAIN)}: No such file")


@pytest.mark.parametrize("name", [TRAIN, TEST])
@pytest.mark.parametrize("kind", ["zeros", "constant", "rounding"])
def test_silence_is_an_error(factory: Factory, name: str, kind: str) -> None:
    sound = np.full(9_600, 0.25 if kind == "constant" else 0, np.float32)
    if kind == "rounding":
        sound[::3], sound[1::3] = 1 / 32_768, -1 / 32_768
    found = factory.put(name, sound), factory.one()
    assert told(found[1:]) == [("error", "silent")]
    assert found[1].text.startswith(f"{found[0]}: silent, one value throughout")


def test_a_quiet_room_is_not_silence(factory: Factory) -> None:
    factory.put(TRAIN, np.float32(2 / 0.1 / 32_768) * noise(3))  # a deviation of two steps of 16 bits
    assert factory.audit() == []


@pytest.mark.parametrize(("still_seconds", "is_named"), [(0.25, False), (0.32, True)])
def test_a_stretch_of_digital_silence_is_mentioned(factory: Factory, still_seconds: float, is_named: bool) -> None:
    for name in (TRAIN, TEST):
        sound = noise(5 if name == TRAIN else 6)
        sound[1_000 : 1_000 + round(16_000 * still_seconds)] = 0.1
        factory.put(name, sound)
    findings = factory.audit()
    assert told(findings) == [("warning", "silent")] * (2 if is_named else 0)
    for found, name in zip(findings, (TEST, TRAIN), strict=False):
        assert str(factory.path(name)) in found.text
        assert "0.3 of 0.6 s" in found.text


def test_a_stretch_is_measured_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BLOCK_SAMPLES", 100)
    sound = noise(1, seconds=0.1)
    sound[95:405] = 0.5
    heard = listen([put(tmp_path / "a.wav", sound)])[tmp_path / "a.wav"]
    assert heard.still_samples == 310
    assert heard.n_samples == 1600


def test_short_clips_are_repeated_in_training_and_refused_in_a_test(factory: Factory) -> None:
    for name, seconds in ((TRAIN, 0.4), (TEST, 0.49), (ANOMALY, 0.5)):
        factory.put(name, noise(round(1000 * seconds), seconds=seconds))
    error, warning = factory.audit()
    assert told([error, warning]) == [("error", "short"), ("warning", "short")]
    assert error.text == f"{factory.path(TEST)}: 0.49 s, shorter than a window of 0.5 s: it cannot be scored"
    assert warning.text.startswith("fan: 1 training clip shorter than a window of 0.5 s (shortest: ")
    assert warning.paths == (factory.path(TRAIN),)


def test_two_rates_of_one_machine_are_an_error(factory: Factory) -> None:
    path = factory.put(TRAIN, rate_hz=48_000)
    found = factory.one()
    assert told([found]) == [("error", "rate")]
    assert found.text.startswith(f"fan: 11 clips at 16000 Hz, 1 clip at 48000 Hz (first at 48000 Hz: {path})")
    assert found.paths == (path,)


def test_another_machine_at_another_rate_is_mentioned(factory: Factory) -> None:
    put(factory.root / "pump/train/section_00_source_train_normal_0000.wav", noise(1, rate_hz=32_000), 32_000)
    found = factory.one()
    assert told([found]) == [("warning", "rate")]
    assert found.text == "machines have different sampling rates: fan at 16000 Hz; pump at 32000 Hz"


# --- One sound twice ---


def test_a_training_clip_among_the_test_clips_is_an_error_however_it_is_packed(factory: Factory) -> None:
    sound, rate_hz = soundfile.read(factory.path(TRAIN), dtype="float32")
    factory.path(TEST).unlink()
    path = put(factory.path(TEST).with_suffix(".flac"), sound, rate_hz, subtype="PCM_24")
    assert path.read_bytes() != factory.path(TRAIN).read_bytes()
    found = factory.one()
    assert told([found]) == [("error", "duplicate")]
    assert found.text.startswith(f"{path}: the same sound as the training clip {factory.path(TRAIN)}")
    assert told(factory.audit(for_evaluation=False)) == [("error", "duplicate")]  # before any training


def test_a_tag_more_is_no_other_sound(factory: Factory) -> None:
    shutil.copy(factory.path(TRAIN), factory.path(TEST))
    with factory.path(TEST).open("ab") as file:
        file.write(b"note\x04\x00\x00\x00tag!")
    assert told(factory.audit()) == [("error", "duplicate")]


def test_one_sound_under_two_labels_is_an_error(factory: Factory) -> None:
    shutil.copy(factory.path(TEST), factory.path(ANOMALY))
    found = factory.one()
    assert told([found]) == [("error", "duplicate")]
    assert "the same sound, with another label, as " in found.text


@pytest.mark.parametrize("name", [TRAIN, TEST])
def test_one_sound_twice_within_train_or_test_is_mentioned(factory: Factory, name: str) -> None:
    other = factory.path(name.replace("section_00", "section_01"))
    shutil.copy(factory.path(name), other)
    found = factory.one()
    assert told([found]) == [("warning", "duplicate")]
    assert found.text == f"{factory.path(name)}: the same sound as {other} (of fan/00 and fan/01)"


def test_silence_twice_is_not_called_a_duplicate(factory: Factory) -> None:
    for name in (TRAIN, TEST):
        factory.put(name, np.zeros(9_600, np.float32))
    assert told(factory.audit()) == [("error", "silent")] * 2


def test_parts_of_one_recording_on_both_sides_are_mentioned(factory: Factory) -> None:
    factory.put("train/section_00_source_train_normal_0002_flight_1_part_0.wav")
    factory.put("test/section_00_source_test_normal_0002_flight_1_part_1.wav")
    factory.put("test/section_00_source_test_normal_0003_flight_2_part_0.wav")
    found = factory.one()
    assert told([found]) == [("warning", "recording")]
    assert found.text.startswith("fan/00/flight_1: parts of this recording are in train and in test: ")


# --- All of it at once ---


def test_every_error_is_in_one_message_and_many_of_a_kind_are_counted(factory: Factory) -> None:
    for number in range(12):
        factory.put(f"train/section_00_source_train_normal_{number:04d}.wav", np.zeros(9_600, np.float32))
    shutil.copy(factory.path("train/section_01_source_train_normal_0000.wav"), factory.path(TEST))
    with pytest.raises(EarshotError) as refused:
        check_data(read_layout([factory.root]), for_evaluation=True, window_seconds=WINDOW_SECONDS)
    lines = str(refused.value).splitlines()
    assert lines[0] == "the data has 13 errors:"
    assert sum(": silent, one value throughout" in line for line in lines) == 10
    assert "    and 2 more of this kind (silent)" in lines
    assert sum("the same sound as the training clip" in line for line in lines) == 1


def test_warnings_are_told_and_do_not_refuse(factory: Factory) -> None:
    factory.put("train/section_02_source_train_normal_0000.wav")
    told = check_data(read_layout([factory.root]), for_evaluation=True, window_seconds=WINDOW_SECONDS)
    assert told == ["fan/02: training clips and no test clips: it is learned, not graded"]
    refuse_errors([Finding("warning", "section", told[0])])


# --- What was heard before ---


def test_the_next_time_nothing_is_decoded(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = factory.root.parent / "run" / "audit.json"
    put(factory.path(TRAIN), np.zeros(9_600, np.float32))
    before = factory.audit(cache=cache)
    assert told(before) == [("error", "silent")]
    assert [path.name for path in cache.parent.iterdir()] == ["audit.json"]

    monkeypatch.setattr(audits, "_hear", lambda path: pytest.fail(f"{path} was decoded again"))
    assert factory.audit(cache=cache) == before


def test_what_has_changed_is_decoded_again_whatever_its_times_say(factory: Factory) -> None:
    cache = factory.root / "audit.json"
    assert factory.audit(cache=cache) == []

    # As large as before, in the same place, and no younger: only ctime and inode can tell.
    path, stat = factory.path(TEST), factory.path(TEST).stat()
    shutil.copy(factory.path(TRAIN), path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert told(factory.audit(cache=cache)) == [("error", "duplicate")]

    put(factory.root / "other.wav", noise(9)).replace(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert factory.audit(cache=cache) == []


def test_what_could_not_be_read_is_tried_again(factory: Factory) -> None:
    cache = factory.root / "audit.json"
    factory.path(TRAIN).write_bytes(b"RIFF")
    factory.audit(cache=cache)
    assert str(factory.path(TRAIN)) not in json.loads(cache.read_text())["files"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 0, "files": {}}', "7"])
def test_a_cache_that_cannot_be_read_is_made_anew(factory: Factory, text: str) -> None:
    cache = factory.root / "audit.json"
    cache.write_text(text)
    assert factory.audit(cache=cache) == []
    assert len(json.loads(cache.read_text())["files"]) == 12


def test_a_cache_that_cannot_be_written_is_named(factory: Factory) -> None:
    with pytest.raises(EarshotError, match=f"{re.escape(str(factory.path(TRAIN)))}/audit.json: cannot be written: "):
        factory.audit(cache=factory.path(TRAIN) / "audit.json")


def test_processes_hear_the_same(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(factory.path("").rglob("*.wav"))
    alone = listen(paths)
    monkeypatch.setattr(audits, "_WORTH_A_POOL", 1)
    assert listen(paths) == alone
    assert len({heard.digest for heard in alone.values()}) == len(paths)


def test_names_that_are_no_text_can_be_kept(factory: Factory) -> None:
    path = factory.path("train") / os.fsdecode(b"section_00_source_train_normal_0009_\xff.wav")
    shutil.copy(factory.path(TRAIN), path)
    cache = factory.root / "audit.json"
    first = factory.audit(cache=cache)
    assert told(first) == [("warning", "duplicate")]
    assert factory.audit(cache=cache) == first


@needs_real_data
def test_real_recordings_pass() -> None:
    clips = read_layout([REAL_DATA / "uav", REAL_DATA / "fan", REAL_DATA / "motors"])
    (told,) = check_data(clips, for_evaluation=True)
    assert told.startswith("motors: 105 training clips shorter than a window of 9.6 s")


def test_the_audit_needs_no_torch() -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'scipy', 'sklearn', 'onnx'])); import trainer.audit"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DEMO.parents[1])
