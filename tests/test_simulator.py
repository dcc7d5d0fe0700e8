"""The simulator keeps the promises of physics, and is the same whatever else is made beside it."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

from edge.ear.frontend import Frontend, FrontendSettings, Samples
from edge.errors import EarshotError
from trainer.audit import check_data
from trainer.dataset import Clip, read_layout
from trainer.simulator.command import command
from trainer.simulator.dataset import Plan, entries, fault_of, path_of, write
from trainer.simulator.faults import FAULTS, imbalance_rise_db
from trainer.simulator.machines import DOMAINS, KINDS, Individual, Motion, healthy, move
from trainer.simulator.recording import Scene, clip, episode, machine_of
from trainer.simulator.sound import (
    SAMPLE_RATE_HZ,
    Dice,
    Spectrum,
    Wave,
    crossings,
    noise,
    ringing,
    rms,
    spin,
    struck,
    turns_of,
)

SEED = 7
FILE_NAME = re.compile(
    r"section_(?P<section>\d\d)_(?P<domain>source|target)_(?P<split>train|test)_(?P<label>normal|anomaly)_\d{4}"
    r"_spd_\d+_ld_\d+(_fault_(?P<fault>[a-z]+)_sev_\d+)?\.(flac|wav)"
)


def scene(machine: str = "fan", section: int = 0, name: str = "a", seed: int = SEED) -> Scene:
    return Scene(machine=machine, section=section, domain="source", name=name, seed=seed)


def running(machine: str, seconds: float = 8.0) -> tuple[Individual, Motion]:
    """A machine at its nominal speed, before any room or background."""
    one = machine_of(machine, 0, SEED)
    return one, move(one, one.points["source"][1], Dice(("test",)), seconds=seconds)


def always(motion: Motion, severity: float) -> Samples:
    return np.full(motion.n_samples, severity, dtype=np.float32)


def mean_shaft_hz(motion: Motion) -> float:
    return float(motion.turns[-1] - motion.turns[0]) / (motion.n_samples / SAMPLE_RATE_HZ)


def line_amplitude(sound: Samples, motion: Motion, order: float) -> float:
    """The amplitude of what turns `order` times a turn, however the speed wanders."""
    return float(2 * np.abs(np.mean(sound * np.exp(-2j * np.pi * order * motion.turns))))


def band_level_db(sound: Samples, low_hz: float, high_hz: float) -> float:
    hz, power = scipy.signal.welch(sound, SAMPLE_RATE_HZ, nperseg=1024)
    return float(10 * np.log10(np.sum(power[(hz >= low_hz) & (hz < high_hz)])))


def strongest_hz(sound: Samples | NDArray[np.float64], low_hz: float, high_hz: float) -> float:
    hz, power = scipy.signal.welch(sound, SAMPLE_RATE_HZ, nperseg=2 * SAMPLE_RATE_HZ)
    inside = (hz >= low_hz) & (hz <= high_hz)
    return float(hz[inside][np.argmax(power[inside])])


# Primitives


def test_noise_has_the_shape_and_the_level_it_is_asked_for() -> None:
    sound = noise(np.random.default_rng(0), 160_000, Spectrum((500, 1_000, 4_000), (0, 0, -24)))

    assert rms(sound) == pytest.approx(1, rel=0.02)
    # 24 dB over two octaves: a narrow band at 2 kHz lies 12 dB under one at 1 kHz.
    fall_db = band_level_db(sound, 950, 1_050) - band_level_db(sound, 1_950, 2_050)
    assert fall_db == pytest.approx(12, abs=1)


def test_a_wave_is_a_cosine_at_each_of_its_orders() -> None:
    turns = turns_of(np.full(SAMPLE_RATE_HZ, 25.0))
    wave = Wave(np.array([1, 40]), np.array([0.5, 0.2]), np.array([0.0, 1.0]))

    expected = 0.5 * np.cos(2 * np.pi * turns) + 0.2 * np.cos(2 * np.pi * 40 * turns + 1.0)
    np.testing.assert_allclose(spin(wave.turn(), turns), expected, atol=1e-3)


def test_crossings_come_at_their_rate_and_only_inside() -> None:
    turns = turns_of(np.full(2 * SAMPLE_RATE_HZ, 10.0))

    at = crossings(turns, order=3.2)
    assert at.size == pytest.approx(64, abs=1)
    np.testing.assert_allclose(np.diff(at), SAMPLE_RATE_HZ / 32, atol=1)


def test_a_strike_carries_the_square_of_its_amplitude_and_ends_with_the_recording() -> None:
    kernel = ringing(1_000, decay_seconds=0.01)

    inside = struck(SAMPLE_RATE_HZ, np.array([100]), np.array([3.0]), kernel)
    assert np.sum(np.square(inside)) == pytest.approx(9, rel=1e-3)
    outside = struck(SAMPLE_RATE_HZ, np.array([-5, SAMPLE_RATE_HZ]), np.array([3.0, 3.0]), kernel)
    assert not outside.any()


# Machines


@pytest.mark.parametrize("machine", ["fan", "pump", "gearbox"])
def test_the_strongest_line_near_blade_pass_is_blade_pass(machine: str) -> None:
    one, motion = running(machine)
    shaft_hz = mean_shaft_hz(motion)
    pass_hz = one.pass_order * shaft_hz

    found_hz = strongest_hz(healthy(one, motion), 0.7 * pass_hz, 1.3 * pass_hz)
    assert found_hz == pytest.approx(pass_hz, rel=0.01)
    assert shaft_hz == pytest.approx(one.shaft_hz, rel=0.05)


def test_a_carriage_at_rest_is_quiet_and_strikes_its_stops() -> None:
    one, motion = running("slider")
    sound = np.square(healthy(one, motion))

    moving, resting = motion.effort == 1, motion.effort == 0
    assert np.median(sound[moving]) > 100 * np.median(sound[resting])
    after_a_stop = crossings(motion.cycles, order=1, offset=KINDS["slider"].strikes_at[0])[0] + np.arange(80)
    assert np.mean(sound[after_a_stop]) > np.mean(sound[moving])


# Faults


@pytest.mark.parametrize("machine", ["pump", "gearbox", "ToyCar"])
def test_the_envelope_of_a_bearing_fault_peaks_at_the_ball_pass_frequency(machine: str) -> None:
    one, motion = running(machine)
    sound = healthy(one, motion) + FAULTS["bearing"](one, motion, always(motion, 1.0))

    band = (one.resonance_hz - 500, one.resonance_hz + 500)
    filtered = scipy.signal.sosfilt(scipy.signal.butter(4, band, "bandpass", fs=SAMPLE_RATE_HZ, output="sos"), sound)
    envelope = np.abs(scipy.signal.hilbert(filtered))

    bearing = one.bearing
    ratio = bearing.ball_mm / bearing.pitch_mm * np.cos(np.deg2rad(bearing.contact_degrees))
    shaft_hz = mean_shaft_hz(motion)
    bpfo_hz = shaft_hz * bearing.balls * (1 - ratio) / 2
    # Whole turns would be those of the shaft: a ball bearing is never in step with it.
    assert abs(bpfo_hz / shaft_hz - round(bpfo_hz / shaft_hz)) > 0.02
    found_hz = strongest_hz(envelope - envelope.mean(), 1.5 * shaft_hz, 1.5 * bpfo_hz)
    assert found_hz == pytest.approx(bpfo_hz, rel=0.01)


@pytest.mark.parametrize("machine", ["fan", "gearbox", "ToyCar"])
@pytest.mark.parametrize("severity", [0.3, 1.0])
def test_imbalance_raises_the_line_at_once_a_turn_by_the_stated_decibels(machine: str, severity: float) -> None:
    one, motion = running(machine)
    well = healthy(one, motion)
    ill = well + FAULTS["imbalance"](one, motion, always(motion, severity))

    rise_db = 20 * np.log10(line_amplitude(ill, motion, 1) / line_amplitude(well, motion, 1))
    assert rise_db == pytest.approx(imbalance_rise_db(severity), abs=0.7)
    at_pass = line_amplitude(ill, motion, one.pass_order) / line_amplitude(well, motion, one.pass_order)
    assert abs(20 * np.log10(at_pass)) < 0.7


@pytest.mark.parametrize("machine", ["pump", "valve"])
def test_a_leak_raises_the_high_bands_only(machine: str) -> None:
    well = clip(scene(machine), seconds=4)
    ill = clip(scene(machine), seconds=4, fault="leak", severity=1.0)

    assert band_level_db(ill, 5_800, 8_000) - band_level_db(well, 5_800, 8_000) > 2
    assert abs(band_level_db(ill, 0, 2_500) - band_level_db(well, 0, 2_500)) < 0.05
    one, motion = running(machine, seconds=4)
    hiss = FAULTS["leak"](one, motion, always(motion, 1.0))
    assert band_level_db(hiss, 0, 2_500) < band_level_db(hiss, 5_800, 8_000) - 50


def test_a_chipped_tooth_knocks_once_a_turn() -> None:
    one, motion = running("gearbox")
    knocks = FAULTS["chipped"](one, motion, always(motion, 1.0))

    envelope = np.abs(scipy.signal.hilbert(knocks))
    shaft_hz = mean_shaft_hz(motion)
    found_hz = strongest_hz(envelope - envelope.mean(), 0.3 * shaft_hz, 1.7 * shaft_hz)
    assert found_hz == pytest.approx(shaft_hz, rel=0.02)


def test_a_belt_squeals_in_its_own_band_and_between_its_slips_is_silent() -> None:
    one, motion = running("fan")
    squeal = FAULTS["belt"](one, motion, always(motion, 1.0))

    assert band_level_db(squeal, 1_500, 6_500) - band_level_db(squeal, 0, 1_400) > 40
    assert 0.1 < np.mean(squeal == 0) < 0.9


def test_cavitation_crackles() -> None:
    one, motion = running("pump")
    added = FAULTS["cavitation"](one, motion, always(motion, 1.0))

    high = scipy.signal.sosfilt(scipy.signal.butter(4, 1_500, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), added)
    kurtosis = np.mean(high**4) / np.mean(high**2) ** 2
    assert kurtosis > 6  # Gaussian noise has 3


def test_a_sticking_valve_clicks_late_and_twice() -> None:
    one, motion = running("valve")
    due = crossings(motion.cycles, order=1)[2]
    sound = healthy(one, motion) + FAULTS["sticking"](one, motion, always(motion, 1.0))

    def loudness(after_seconds: float) -> float:
        start = due + round(after_seconds * SAMPLE_RATE_HZ)
        return rms(sound[start : start + 80])

    assert rms(healthy(one, motion)[due : due + 80]) > 3 * loudness(0.0)
    assert loudness(0.08) > 3 * loudness(0.06)
    assert max(loudness(0.14 + shift) for shift in (-0.01, -0.005, 0, 0.005, 0.01)) > 1.5 * loudness(0.12)


@pytest.mark.parametrize(("machine", "fault"), [(name, fault) for name, kind in KINDS.items() for fault in kind.faults])
def test_a_fault_grows_from_nothing_to_plain_and_never_drowns_the_machine(machine: str, fault: str) -> None:
    one, motion = running(machine, seconds=4.0)

    assert not FAULTS[fault](one, motion, always(motion, 0.0)).any()
    subtle, plain = (rms(FAULTS[fault](one, motion, always(motion, severity))) for severity in (0.1, 1.0))
    assert subtle < plain
    assert 0.1 < plain / rms(healthy(one, motion)) < 2


# Recordings


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("machine", KINDS)
def test_levels_are_those_of_a_microphone_and_nothing_clips(machine: str, domain: str) -> None:
    place = Scene(machine=machine, section=1, domain="source" if domain == "source" else "target", name="a", seed=SEED)

    for fault in (None, KINDS[machine].faults[0]):
        sound = clip(place, seconds=4, fault=fault, severity=1.0)
        assert sound.dtype == np.float32
        assert sound.shape == (4 * SAMPLE_RATE_HZ,)
        assert np.abs(sound).max() < 0.99
        assert -38 < 20 * np.log10(rms(sound)) < -18


def test_a_recording_is_the_same_twice_and_another_under_another_name_section_or_seed() -> None:
    sound = clip(scene(), seconds=2)

    np.testing.assert_array_equal(clip(scene(), seconds=2), sound)
    for other in (scene(name="b"), scene(section=1), scene(seed=SEED + 1), scene(machine="pump")):
        assert np.abs(clip(other, seconds=2) - sound).max() > 0.01


@pytest.mark.parametrize("machine", KINDS)
def test_passages_of_a_recording_are_of_one_day_and_not_the_same_sound(machine: str) -> None:
    frames, today = Frontend(FrontendSettings()), scene(machine)
    names = (name for name in "bcdefghijk" if scene(machine, name=name).operating_point == today.operating_point)
    one, next_one, another_day = (
        clip(replace(today, name=name, passage=passage), seconds=20)
        for name, passage in (("a", 0), ("a", 1), (next(names), 0))
    )

    assert abs(np.corrcoef(one, next_one)[0, 1]) < 0.5
    first, second, other = (frames(sound).mean(axis=1) for sound in (one, next_one, another_day))
    assert np.abs(first - second).mean() < 0.5 * np.abs(first - other).mean()


@pytest.mark.parametrize(("machine", "fault"), [("pump", "bearing"), ("pump", "cavitation"), ("valve", "sticking")])
def test_a_fault_goes_on_from_passage_to_passage(machine: str, fault: str) -> None:
    one, next_one = (
        clip(place, seconds=2, fault=fault, severity=1.0) - clip(place, seconds=2)
        for place in (replace(scene(machine), passage=i) for i in (0, 1))
    )

    assert rms(one) == pytest.approx(rms(next_one), rel=0.3)
    assert abs(np.corrcoef(one, next_one)[0, 1]) < 0.5


def test_the_severity_changes_nothing_but_the_fault() -> None:
    well = clip(scene("pump"), seconds=2)

    np.testing.assert_array_equal(clip(scene("pump"), seconds=2, fault="bearing", severity=0.0), well)
    half, full = (clip(scene("pump"), seconds=2, fault="bearing", severity=s) - well for s in (0.5, 1.0))
    np.testing.assert_allclose(2 * half, full, atol=1e-5)


def test_an_episode_opens_closes_and_is_the_machine_of_the_clips() -> None:
    sound = episode("pump", 0, fault="bearing", start_seconds=6, end_seconds=14, seconds=20, seed=SEED)
    resonance_hz = machine_of("pump", 0, SEED).resonance_hz
    before, during, after = (
        band_level_db(
            sound[start * SAMPLE_RATE_HZ : (start + 4) * SAMPLE_RATE_HZ], resonance_hz - 200, resonance_hz + 200
        )
        for start in (1, 9, 15)
    )

    assert during > before + 3
    assert after == pytest.approx(before, abs=1)
    frames = Frontend(FrontendSettings())
    start = frames(sound[: 6 * SAMPLE_RATE_HZ]).mean(axis=1)
    same, other = (frames(clip(scene("pump", section), seconds=6)).mean(axis=1) for section in (0, 1))
    assert np.abs(start - same).mean() < 0.5 * np.abs(start - other).mean()


def test_what_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"fault 'leak' of a fan: expected one of imbalance, bearing, belt"):
        clip(scene("fan"), seconds=1, fault="leak", severity=1.0)
    with pytest.raises(ValueError, match=r"machine 'kettle': expected one of fan, gearbox"):
        clip(scene("kettle"), seconds=1)
    with pytest.raises(ValueError, match="from 9 to 5 s of 20 s"):
        episode("fan", 0, fault="belt", start_seconds=9, end_seconds=5, seconds=20, seed=SEED)


# Data sets


def small(*, machines: tuple[str, ...] = ("fan", "valve"), sections: int = 2, test: int = 3) -> Plan:
    return Plan(machines=machines, sections=sections, train_source=2, train_target=1, test=test, seconds=1.0, seed=SEED)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_layout_and_names_are_those_of_dcase(tmp_path: Path) -> None:
    n_clips = write(tmp_path / "out", small())

    paths = sorted((tmp_path / "out").glob("*/*/*.flac"))
    assert n_clips == len(paths) == 2 * 2 * (2 + 1 + 2 * 2 * 3)
    for path in paths:
        named = FILE_NAME.fullmatch(path.name)
        assert named is not None, path.name
        assert path.parent.name == named["split"]
        assert (named["label"] == "anomaly") == (named["fault"] is not None)
        assert named["fault"] is None or named["fault"] in KINDS[path.parent.parent.name].faults
        assert named["split"] == "test" or named["label"] == "normal"
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (16_000, 1, 16_000, "PCM_16")
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (described["seed"], described["clips"], described["machines"]) == (SEED, n_clips, ["fan", "valve"])


def small_2021(sections: int = 3) -> Plan:
    return replace(small(sections=sections, test=2), layout="dcase2021", train_target=3)


@pytest.fixture(scope="module")
def data_of_2021(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "2021"
    write(out, small_2021())
    return out


SOURCE_OF_2021 = r"section_\d\d_source_(train_normal_000[01]_spd_\d+_ld_\d+|test_(normal|anomaly)_000[01])\.wav"
TARGET_OF_2021 = r"section_\d\d_target_(train_normal_000[012]_spd_\d+_ld_\d+|test_(normal|anomaly)_000[01])\.wav"


def test_the_layout_of_2021_is_exactly_that_of_the_challenge(data_of_2021: Path) -> None:
    files = [path.relative_to(data_of_2021) for path in data_of_2021.rglob("*") if path.is_file()]
    counts = Counter(path.parent.as_posix() for path in files)

    folders = {f"{root}/{machine}" for root in ("dev_data", "eval_data") for machine in ("fan", "valve")}
    assert counts == {
        ".": 1,
        "ground_truth_data": 2 * 3 * 2,
        **{f"{folder}/train": 3 * (2 + 3) for folder in folders},
        **{f"{folder}/{domain}_test": 3 * 2 * 2 for folder in folders for domain in DOMAINS},
    }
    for path in (path for path in files if path.suffix == ".wav"):
        root, _, split = path.parent.parts
        assert re.match(r"section_0[012]_" if root == "dev_data" else r"section_0[345]_", path.name)
        if root == "eval_data" and split != "train":
            assert re.fullmatch(rf"section_\d\d_{split}_000[0123]\.wav", path.name)
            continue
        assert re.fullmatch(SOURCE_OF_2021, path.name) or re.fullmatch(TARGET_OF_2021, path.name)
        assert split == "train" or f"_{split}_" in path.name
        assert "_fault_" not in path.name


def test_ground_truth_of_2021_is_what_its_evaluator_reads(data_of_2021: Path) -> None:
    truth = data_of_2021 / "ground_truth_data"
    assert {path.name for path in truth.iterdir()} == {
        f"ground_truth_{machine}_section_{section}_{domain}_test.csv"
        for machine in ("fan", "valve")
        for section in ("03", "04", "05")
        for domain in DOMAINS
    }
    for path in truth.iterdir():
        rows = [row.split(",") for row in path.read_bytes().decode("ascii").split("\n")[:-1]]
        stem = path.stem.removeprefix("ground_truth_").partition("_")[2]
        assert [name for name, _ in rows] == [f"{stem}_{number:04d}.wav" for number in range(4)]
        assert sorted(label for _, label in rows) == ["0", "0", "1", "1"]
    orders = {tuple(row[-1] for row in path.read_text().splitlines()) for path in truth.iterdir()}
    assert len(orders) > 1


def test_the_layout_of_2021_is_read_with_its_labels_and_passes_the_audit(data_of_2021: Path) -> None:
    clips = read_layout([data_of_2021], data_of_2021 / "ground_truth_data")

    cells = Counter((clip.name, clip.domain, clip.split, clip.label) for clip in clips)
    for machine in ("fan", "valve"):
        for section in range(6):
            for domain in DOMAINS:
                name = f"{machine}/{section:02d}"
                assert cells.pop((name, domain, "train", "normal")) == (2 if domain == "source" else 3)
                assert cells.pop((name, domain, "test", "normal")) == cells.pop((name, domain, "test", "anomaly")) == 2
    assert not cells
    assert check_data(clips, for_evaluation=True, window_seconds=1.0) == []


def test_a_section_sounds_the_same_in_both_layouts_and_its_labels_are_true(tmp_path: Path) -> None:
    write(tmp_path / "plain", replace(small(machines=("valve",), sections=2, test=2), format="wav"))
    write(tmp_path / "2021", replace(small(machines=("valve",), sections=1, test=2), layout="dcase2021"))

    def sounds(clips: list[Clip]) -> set[tuple[str, str, str, str | None, bytes]]:
        return {(clip.section, clip.domain, clip.split, clip.label, clip.path.read_bytes()) for clip in clips}

    of_2021 = read_layout([tmp_path / "2021"], tmp_path / "2021" / "ground_truth_data")
    assert sounds(of_2021) == sounds(read_layout([tmp_path / "plain"]))


def test_more_sections_than_two_digits_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match="102 sections in all: expected at most 100"):
        write(tmp_path / "out", small_2021(sections=51))
    assert not (tmp_path / "out").exists()


def test_every_fault_has_its_turn_and_severities_differ() -> None:
    plan = small(machines=("pump",), sections=1, test=6)
    found = [fault_of(entry, SEED) for entry in entries(plan) if entry.label == "anomaly"]

    assert {fault for fault, _ in found} == set(KINDS["pump"].faults)
    assert len({severity for _, severity in found}) == len(found)
    assert all(0.1 <= severity <= 1 for _, severity in found)


def test_source_and_target_are_run_differently() -> None:
    paths = [path_of(entry, small(test=20)) for entry in entries(small(test=20)) if entry.machine == "fan"]
    points = {
        domain: {re.sub(r".*_(spd_\d+_ld_\d+).*", r"\1", path.name) for path in paths if f"_00_{domain}_" in path.name}
        for domain in DOMAINS
    }

    assert (len(points["source"]), len(points["target"])) == (3, 2)
    assert not points["source"] & points["target"]


def test_a_clip_has_the_same_bytes_alone_in_company_and_from_two_processes(tmp_path: Path) -> None:
    write(tmp_path / "alone", small(machines=("valve",), sections=1, test=1))
    write(tmp_path / "company", small(), jobs=2)

    alone, company = bytes_below(tmp_path / "alone"), bytes_below(tmp_path / "company")
    del alone["dataset.json"]
    assert len(alone) == 7
    assert {name: company[name] for name in alone} == alone


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(EarshotError, match=f"{re.escape(str(tmp_path))}: expected a new or an empty folder"):
        write(tmp_path, small())
    with pytest.raises(EarshotError, match="found a file"):
        write(tmp_path / "mine.txt", small())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# The command


def test_the_command_makes_what_it_is_told(tmp_path: Path) -> None:
    counts = "--sections 1 --train-source 2 --train-target 1 --test 1 --seconds 1 --seed 3 --format wav --jobs 1"
    result = CliRunner().invoke(command, [str(tmp_path / "out"), "--machine", "slider", *counts.split()])

    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "7 clips" in result.stderr
    assert len(list((tmp_path / "out" / "slider").glob("*/section_00_*.wav"))) == 7


def test_the_command_makes_the_layout_of_2021(tmp_path: Path) -> None:
    counts = "--layout dcase2021 --machine fan --sections 1 --train-source 1 --test 1 --seconds 1 --jobs 1"
    for file_format in ("wav", "flac"):
        out = tmp_path / file_format
        result = CliRunner().invoke(
            command, [str(out), *counts.split(), *(["--format", "flac"] * (file_format != "wav"))]
        )
        assert result.exit_code == 0, result.output
        assert len(list(out.glob(f"*_data/fan/*/section_0[01]_*.{file_format}"))) == 2 * (1 + 3 + 4)
        assert json.loads((out / "dataset.json").read_text())["format"] == file_format
        assert f"test_0001.{file_format}," in next((out / "ground_truth_data").iterdir()).read_text()


def test_the_command_refuses_what_is_taken_and_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    taken = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(taken.exception, EarshotError)
    unknown = CliRunner().invoke(command, [str(tmp_path / "out"), "--machine", "kettle"])
    assert unknown.exit_code == 2
    assert "kettle" in unknown.stderr
