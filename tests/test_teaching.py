"""A machine learnt by what is heard of it, block by block, and what it is taught later; on the shipped network."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge import detector as detectors
from edge.config import EventSettings, load
from edge.daemon.enrolling import Enrolment
from edge.daemon.happening import Moment
from edge.daemon.in_force import learnt_detectors
from edge.daemon.proposal import Proposal
from edge.daemon.recorder import LIST_FOLDER, NUMBERS_FOLDER, EpisodeRecorder, called_normal
from edge.daemon.school import School
from edge.daemon.teaching import Teaching
from edge.detector import Detector, Judge, Lesson, Line, enroll_windows, teach
from edge.ear import Samples
from edge.errors import EarshotError
from edge.judge import Event, NormalWindows
from edge.memory import EpisodeNumbers, Episodes, Flag, History, Notes
from edge.memory.books import Annals
from edge.memory.minute import layout_of
from edge.source import Block, Pickup
from tests.conftest import DEMO, Ran

RATE_HZ = 16_000
BASE = detectors.read(DEMO / "detector")


@cache
def machine(minutes: float, *, seed: int, colour: float = 0.9, level: float = 0.05, tone_hz: float = 0) -> Samples:
    """Noise of a colour (0: white), as a machine makes it, with a tone 0 or more Hz high in it."""
    n = round(60 * minutes * RATE_HZ)
    noise = np.random.default_rng(seed).standard_normal(n)
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    spectrum = np.fft.rfft(noise) / np.maximum(hz, 50) ** colour
    sound = np.fft.irfft(spectrum, n)
    sound *= level / sound.std()
    if tone_hz:
        sound += 0.7 * level * np.sin(2 * np.pi * tone_hz * np.arange(n) / RATE_HZ)
    return cast("Samples", sound.astype(np.float32))


def blocks(sound: Samples, n: int = 1 << 14) -> Iterator[Block]:
    for start in range(0, sound.size, n):
        yield Block(sound[start : start + n], start, start / RATE_HZ, "microphone", starts_anew=start == 0)


def heard(lesson: Lesson, sound: Samples) -> Lesson:
    for block in blocks(sound):
        lesson.hear(block)
    return lesson


def happened(detector: Detector, sound: Samples) -> Iterator[Event | Moment]:
    section = detector.section(None)
    line, judge = Line(detector, section), Judge(EventSettings(), detector, section)
    for block in blocks(sound):
        for reading in line.feed(block.samples):
            at = reading.end_sample / RATE_HZ
            yield from judge.hear(reading, at)
            yield Moment(at, 0.0, at, judge.threshold, judge.episode, None, None, reading=reading)
    yield from judge.interrupt("source_lost")


def alarms(detector: Detector, sound: Samples) -> list[float]:
    return [each.time for each in happened(detector, sound) if isinstance(each, Event) and each.kind == "opened"]


def goes_wrong(seed: int, colour: float) -> Samples:
    """A minute of the machine, and then half a minute with a tone in it."""
    tone = machine(0.5, seed=seed + 100, colour=colour, tone_hz=3000)
    return np.concatenate([machine(1, seed=seed, colour=colour), tone])


def is_heard(detector: Detector, seed: int, colour: float) -> bool:
    """Whether the tone is reported, and nothing before it."""
    found = alarms(detector, goes_wrong(seed, colour))
    return bool(found) and found[0] > 60


@pytest.fixture(scope="module")
def pump(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    windows = heard(Lesson(BASE, 5), machine(5.5, seed=1)).windows()
    return enroll_windows("pump", windows, BASE, tmp_path_factory.mktemp("pump") / "pump")


def test_what_is_learnt_from_a_microphone_hears_a_fault_and_leaves_the_machine_alone(pump: Detector) -> None:
    assert pump.section(None).card.conditions == ("source",)
    assert is_heard(pump, 2, 0.9)


def runs_and_idles(minutes: float, *, seed: int, tone_hz: float = 0) -> Samples:
    """Run for the first half, and then stand idle."""
    running = machine(minutes / 2, seed=seed, tone_hz=tone_hz)
    return np.concatenate([running, machine(minutes / 2, seed=seed + 50, colour=0.5, level=0.004)])


@pytest.fixture(scope="module")
def two_states() -> NormalWindows:
    """What a lesson takes from a machine that runs and idles, in turns."""
    running, idle = machine(7, seed=1), machine(4, seed=3, colour=0.5, level=0.004)
    cut = 2 * 60 * RATE_HZ
    sound = np.concatenate([running[: 2 * cut], idle[:cut], running[2 * cut :], idle[cut:]])
    lesson = heard(Lesson(BASE, 6), sound)
    assert lesson.progress.state == "idle"
    assert lesson.progress.running_minutes == pytest.approx(6.6, abs=0.4)
    assert lesson.progress.idle_minutes == pytest.approx(3.7, abs=0.4)
    return lesson.windows()


def test_running_and_idle_are_two_conditions_and_what_lies_between_is_neither(two_states: NormalWindows) -> None:
    level = two_states.bands[:, 0].mean(axis=1)
    states = np.array(two_states.domain)
    assert set(states) == {"source", "idle"}
    assert level[states == "source"].min() > level[states == "idle"].max() + 12  # of 15 dB: none lies between


def test_a_start_and_a_stop_are_no_alarm_and_a_fault_is_one_in_both_states(
    two_states: NormalWindows, tmp_path: Path
) -> None:
    detector = enroll_windows("fan", two_states, BASE, tmp_path / "fan")
    day = np.concatenate([runs_and_idles(1.5, seed=20 + i) for i in range(3)])
    assert alarms(detector, day) == []
    started = np.concatenate([runs_and_idles(1.5, seed=20), machine(0.5, seed=30, tone_hz=3000)])
    while_idle = machine(0.5, seed=40, colour=0.5, level=0.004, tone_hz=3000)
    assert 90 < alarms(detector, started)[0] < 90 + 25  # it starts with a fault: judged once it has started
    (found,) = alarms(detector, np.concatenate([runs_and_idles(1.5, seed=20), while_idle]))
    assert 90 < found < 90 + 12


def test_one_state_is_one_whatever_it_drifts() -> None:
    sound = machine(5.5, seed=1) * np.linspace(0.7, 1.4, round(5.5 * 60 * RATE_HZ)).astype(np.float32)  # 6 dB
    assert set(heard(Lesson(BASE, 5), sound).windows().domain) == {"source"}


def test_too_little_and_too_mixed_sound_is_refused_with_what_is_missing() -> None:
    lesson = heard(Lesson(BASE, 10), machine(2, seed=1))
    with pytest.raises(EarshotError, match=r"1\.\d minutes .* expected 5 or more, so 3\.\d more"):
        lesson.windows()
    loudness = np.repeat(10 ** (np.random.default_rng(5).uniform(-2, 0, 40)), 10 * RATE_HZ).astype(np.float32)
    mixed = np.concatenate([machine(1, seed=1), (machine(7, seed=4)[: loudness.size]) * loudness])
    with pytest.raises(EarshotError, match=r"too mixed|nothing is learnt"):
        heard(Lesson(BASE, 6), mixed).windows()
    with pytest.raises(EarshotError, match="1 minutes: expected 5 to 120"):
        Lesson(BASE, 1)


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        (np.zeros(30 * RATE_HZ, np.float32), "silent"),
        (np.clip(9 * machine(0.5, seed=1), -1, 1), "at full scale"),
        (np.clip(40 * machine(0.5, seed=1), -1, 1), "clipping"),
        (1e-3 * machine(0.5, seed=1), "no more than its own noise"),
        (machine(0.5, seed=1) + np.float32(0.2), "offset"),
        (machine(0.5, seed=1) + np.float32(0.2), "off zero: a broken bias, or a cheap sound card; try another cable"),
    ],
)
def test_sound_that_makes_no_sense_is_not_learnt_and_words_say_why(sound: Samples, words: str) -> None:
    lesson = heard(Lesson(BASE, 5), sound.astype(np.float32))
    progress = lesson.progress
    assert progress.stage == "checking"
    assert progress.running_minutes == 0
    assert words in " ".join([*(each.text for each in progress.advice), progress.fault or ""])


def test_gain_control_is_noticed_while_it_listens() -> None:
    sound = machine(5.5, seed=1).copy()
    for start in range(60, 320, 60):  # after something loud it turns the gain down by 12 dB, and up again in 20 s
        fade = np.linspace(-12, 0, 20 * RATE_HZ)
        sound[start * RATE_HZ : (start + 20) * RATE_HZ] *= (10 ** (fade / 20)).astype(np.float32)
    lesson = heard(Lesson(BASE, 5), sound)
    assert [each.kind for each in lesson.progress.advice] == ["gain"]
    with pytest.raises(EarshotError, match="switch automatic gain control off"):
        lesson.windows()


def test_a_machine_that_stops_in_a_hall_of_its_own_colour_is_no_gain_control() -> None:
    running, hall = machine(6, seed=1), machine(4, seed=3, level=0.02)  # 8 dB below, all of the spectrum alike
    cut = 60 * RATE_HZ
    turns = [running[: 2 * cut], hall[: 2 * cut], running[2 * cut : 4 * cut], hall[2 * cut :], running[4 * cut :]]
    lesson = heard(Lesson(BASE, 5), np.concatenate(turns))
    assert lesson.progress.advice == ()
    assert set(lesson.windows().domain) == {"source", "idle"}


def enrolment(folder: Path, name: str = "pump") -> Enrolment:
    return Enrolment(BASE, name, minutes=5, kept=folder / "pump.heard", pickup=Pickup())


def test_it_goes_on_where_it_was_stopped_and_after_a_torn_write(tmp_path: Path) -> None:
    first = enrolment(tmp_path)
    for block in blocks(machine(3, seed=1)):
        first.hear(block)
    first.keep()
    kept = tmp_path / "pump.heard"
    whole = first.progress.running_minutes
    assert enrolment(tmp_path).recall().running_minutes == pytest.approx(whole)
    assert enrolment(tmp_path / "elsewhere", "fan").recall().running_minutes == 0
    kept.write_bytes(kept.read_bytes()[:-1000])  # the power went in the middle of the last minute
    second = enrolment(tmp_path)
    assert whole - 1.5 < second.recall().running_minutes < whole
    for block in blocks(machine(4, seed=2)):
        second.hear(block)
    assert second.finish(tmp_path / "pump", limits=False).section(None).card.windows > 30
    assert kept.exists()  # nobody has accepted it yet
    second.forget()
    assert not kept.exists()


@pytest.mark.parametrize("by_the_week", [False, True])
def test_another_condition_is_ordinary_once_it_was_taught_and_a_fault_is_not(
    pump: Detector, tmp_path: Path, by_the_week: bool
) -> None:
    """Fitted together with what the machine was enrolled from; or, where a week was counted, as a mean more."""
    other = machine(3, seed=7, colour=0.6)
    assert alarms(pump, other)
    base = replace(pump, card=pump.card.model_copy(update={"false_alarms_per_week": 1.0})) if by_the_week else pump
    windows = heard(Lesson(pump, 2.5, is_condition=True), other).windows("winter")
    taught = teach(base, [("winter", windows)], tmp_path / "taught")
    assert taught.section(None).card.conditions == ("source", "winter")
    assert is_heard(taught, 8, 0.6)
    assert is_heard(taught, 2, 0.9)


def test_what_a_person_called_normal_does_not_alarm_again_and_a_fault_does(pump: Detector, tmp_path: Path) -> None:
    numbers = EpisodeNumbers(tmp_path / NUMBERS_FOLDER)
    recorder = EpisodeRecorder(numbers, "pump", window_hops=BASE.plan.window_hops)
    door = machine(1, seed=9, colour=0.6)
    episode = ""
    for happening in happened(pump, door):
        recorder.look(happening)
        episode = happening.id if isinstance(happening, Event) else episode
    wait_for(lambda: numbers.read("pump", [episode]))
    assert called_normal(tmp_path, "pump", pump) == []  # nobody said so

    notes = Notes(tmp_path / LIST_FOLDER)
    listed = Episodes(notes, ["pump"])
    told = {"source": "pump", "kind": "closed", "id": episode, "time": "2026-11-27T00:00:00Z", "bands": [], "peak": 9.0}
    listed.hear(told)
    listed.call_normal(episode, normal=True)
    notes.close(5)
    normal = called_normal(tmp_path, "pump", pump)
    assert [name for name, _ in normal] == [f"normal-{episode[:8]}"]
    taught = teach(pump, normal, tmp_path / "taught")
    assert called_normal(tmp_path, "pump", taught) == []  # it is learnt
    assert is_heard(taught, 10, 0.6)
    assert is_heard(taught, 2, 0.9)


def wait_for(happens: Callable[[], object]) -> None:
    until = time.monotonic() + 600
    while not happens():
        assert time.monotonic() < until, "never happened"
        time.sleep(0.02)


@pytest.mark.parametrize(("leave", "stage"), [(Teaching.stop, "stopped"), (Teaching.discard, "discarded")])
def test_what_was_heard_is_kept_by_who_stops_and_forgotten_by_who_discards(
    tmp_path: Path, leave: Callable[[Teaching], None], stage: str
) -> None:
    teaching = Teaching(enrolment(tmp_path), tmp_path / "proposed", tmp_path / "final", lambda: None)
    for block in blocks(machine(1, seed=1)):
        teaching.hear(block)
        wait_for(lambda: teaching.waiting_blocks < 100)
    wait_for(lambda: teaching.waiting_blocks == 0)
    leave(teaching)
    assert teaching.progress()["stage"] == stage
    assert (tmp_path / "pump.heard").exists() == (stage == "stopped")


class Class:
    """The school of a daemon that hears one source, `fan`; what it listens to is handed over by hand."""

    def __init__(self, folder: Path, in_force: Detector = BASE) -> None:
        path = folder / "config.yaml"
        path.write_text(
            f"state_directory: state\nsources: [{{name: fan, type: stdin, detector: {DEMO / 'detector'}}}]\n"
        )
        self.config, self.configured, self.reloads = load(path), {DEMO / "detector": BASE}, list[str]()
        self.folder = folder / "state"
        self.listener = SimpleNamespace(name="fan", overhear=None)
        self.history = History(self.config.memory, self.folder / "history", min_free_megabytes=0)
        self.school = School(
            self.config,
            self.configured,
            {"fan": in_force},
            [cast("Any", self.listener)],
            on_learnt=lambda: self.reloads.append("anew"),
            history=self.history,
        )

    def learnt(self, configured: Detector = BASE) -> Mapping[str, Detector]:
        known = {DEMO / "detector": configured}
        return learnt_detectors(self.config, known, lambda paths: {path: detectors.read(path) for path in paths})

    @staticmethod
    def wait_for_a_proposal(proposal: Proposal) -> dict[str, Any]:
        wait_for(lambda: proposal.progress()["stage"] != "learning")
        told = proposal.progress()
        assert told["stage"] == "learnt", told
        return cast("dict[str, Any]", told["result"])

    def hear(self, sound: Samples) -> None:
        """Live sound comes no faster than it is worked on."""
        proposal = self.school.proposal("fan")
        assert isinstance(proposal, Teaching)
        for block in blocks(sound):
            self.listener.overhear(block)
            wait_for(lambda: proposal.waiting_blocks < 100)
        wait_for(lambda: proposal.waiting_blocks == 0)

    def remember(self, sound: Samples, detector: Detector = BASE) -> None:
        """Write down a window of sound for each minute of a night that began at 1e9 s; windows do not overlap."""
        line, model = Line(detector, detector.section(None)), detector.model
        readings = [reading for block in blocks(sound) for reading in line.feed(block.samples)]
        window = {"embedding": (model.embedding_dim,), "texture": (model.texture_shape[0] * model.texture_shape[1],)}
        shapes = {**window, "logits": (model.n_classes,), "bands": (4, model.n_mels)}
        about = {"network": detector.card.files["model.onnx"], "detector": detector.sha256}
        layout = layout_of(shapes, about, n_averages=1, days=1)
        kept = [each.measured for each in readings[:: BASE.plan.window_hops] if each.measured is not None]
        rows = layout.empty(len(kept))
        rows["flags"], rows["boot"] = Flag.TRUSTED | Flag.SYNCED, 1
        rows["unix"] = rows["monotonic"] = 1e9 + 60.0 * np.arange(len(kept))
        for row, measured in zip(rows, kept, strict=True):
            row["texture"], row["bands"] = measured.texture, measured.bands
        Annals(self.history.folder, "fan", layout).append(rows)


def test_a_running_daemon_is_taught_and_judges_by_it_when_it_is_accepted(tmp_path: Path) -> None:
    own = Class(tmp_path)
    with pytest.raises(EarshotError, match="expected one of fan"):
        own.school.enrol("pump")
    with pytest.raises(EarshotError, match="expected the machine itself to be learnt first"):
        own.school.enrol("fan", minutes=5, condition="winter")
    assert not own.school.goes_on("fan")
    teaching = own.school.enrol("fan", minutes=5)
    with pytest.raises(EarshotError, match="stop it first"):
        own.school.enrol("fan")
    with pytest.raises(EarshotError, match="expected it to have learnt something"):
        teaching.accept()
    own.hear(machine(5.5, seed=1))
    wait_for(lambda: teaching.progress()["stage"] in ("learnt", "refused"))
    told = teaching.progress()
    assert told["stage"] == "learnt", told
    assert told["result"]["conditions"] == ["source"]
    assert own.reloads == []
    assert own.school.goes_on("fan")  # whatever happens before it is accepted
    own.school.tell("fan", "accept")
    assert not own.school.goes_on("fan")
    assert own.reloads == ["anew"]
    learnt = own.learnt()["fan"]
    assert learnt.card.name == "fan"
    assert BASE.is_example
    assert not learnt.is_example
    assert own.learnt(replace(BASE, sha256="another")) == {}
    own.school.close()


@pytest.mark.parametrize(("word", "goes_on"), [(None, True), ("stop", False), ("discard", False)])
def test_an_enrolment_outlives_a_reload_unless_a_person_has_ended_it(
    tmp_path: Path, word: str | None, goes_on: bool
) -> None:
    first = Class(tmp_path)
    first.school.enrol("fan", minutes=7)
    first.hear(machine(1, seed=1))
    if word is not None:
        first.school.tell("fan", word)
    first.school.close()  # as at a reload, when settings are saved

    second = Class(tmp_path)
    second.school.resume()
    proposal = second.school.proposal("fan")
    assert (proposal is not None) == goes_on
    if proposal is not None:
        second.hear(machine(0.5, seed=2))
        told = proposal.progress()
        assert told["running_minutes"] + told["missing_minutes"] == pytest.approx(7, abs=0.05)
        assert told["running_minutes"] > 0.8
    second.school.close()


def test_a_night_that_was_normal_is_learnt_beside_what_is_known_and_a_fault_is_not(
    pump: Detector, tmp_path: Path
) -> None:
    own = Class(tmp_path, in_force=pump)
    night = machine(4, seed=7, colour=0.6)
    assert alarms(pump, night)
    own.remember(night, pump)
    with pytest.raises(EarshotError, match="nothing to learn from is remembered"):
        own.school.relearn("fan", (0.0, 1e9 - 1))
    with pytest.raises(EarshotError, match="5 minutes of the running machine are remembered: expected 12"):
        own.school.relearn("fan", (1e9 - 1, 1e9 + 270))
    proposal = own.school.relearn("fan", (1e9 - 1, 1e9 + 3600))
    wait_for(lambda: proposal.progress()["stage"] != "learning")
    told = proposal.progress()
    assert told["stage"] == "learnt", told
    assert [each[:5] for each in told["result"]["conditions"]] == ["sourc", "2001-"]
    assert own.learnt() == {}
    own.school.tell("fan", "accept")
    taught = own.learnt()["fan"]
    assert is_heard(taught, 8, 0.6)
    assert is_heard(taught, 2, 0.9)


@pytest.mark.parametrize("end", ["a reload", "a power cut", "a power cut that tears what was proposed"])
def test_what_waits_to_be_accepted_outlives(end: str, tmp_path: Path) -> None:
    first = Class(tmp_path)
    first.remember(machine(6, seed=1))
    before = first.wait_for_a_proposal(first.school.relearn("fan", (1e9 - 1, 1e9 + 3600)))
    wait_for(lambda: "made" in (Notes(first.folder / "learning").read("fan") or {}))
    proposed = first.folder / "detectors" / "fan.proposed"
    made = (proposed / "detector.json").read_bytes()
    if end == "a reload":
        first.school.close()
    if "tears" in end:
        (proposed / "scorer.npz").write_bytes(b"")
    else:
        rmtree(first.folder / "history")  # it is not made anew: a person has looked at this one

    second = Class(tmp_path)
    second.school.resume()
    proposal = second.school.proposal("fan")
    assert proposal is not None
    assert second.wait_for_a_proposal(proposal) == before
    assert "tears" in end or (proposed / "detector.json").read_bytes() == made
    second.school.tell("fan", "accept")
    assert is_heard(second.learnt()["fan"], 2, 0.9)
    assert second.reloads == ["anew"]
    second.school.close()

    third = Class(tmp_path, in_force=second.learnt()["fan"])
    third.school.resume()
    assert third.school.proposal("fan") is None


@pytest.mark.parametrize("word", ["stop", "discard"])
def test_what_a_person_has_put_aside_is_not_proposed_again(word: str, tmp_path: Path) -> None:
    first = Class(tmp_path)
    first.remember(machine(6, seed=1))
    first.wait_for_a_proposal(first.school.relearn("fan", (1e9 - 1, 1e9 + 3600)))
    first.school.tell("fan", word)
    first.school.close()
    second = Class(tmp_path)
    second.school.resume()
    assert second.school.proposal("fan") is None


def test_what_was_proposed_on_another_detector_is_learnt_anew_on_the_one_in_force(
    pump: Detector, tmp_path: Path
) -> None:
    first = Class(tmp_path)
    first.remember(machine(6, seed=1))
    first.wait_for_a_proposal(first.school.relearn("fan", (1e9 - 1, 1e9 + 3600)))
    first.school.close()
    second = Class(tmp_path, in_force=pump)  # another one was put there by hand
    second.school.resume()
    proposal = second.school.proposal("fan")
    assert proposal is not None
    result = second.wait_for_a_proposal(proposal)
    assert result["name"] == pump.card.name
    assert len(result["conditions"]) == 2


def test_a_machine_that_nobody_has_taught_is_learnt_from_what_is_remembered_alone(tmp_path: Path) -> None:
    own = Class(tmp_path)
    own.remember(machine(6, seed=1))
    proposal = own.school.relearn("fan", (1e9 - 1, 1e9 + 3600))
    wait_for(lambda: proposal.progress()["stage"] != "learning")
    assert proposal.progress()["result"]["conditions"] == ["source"]
    own.school.tell("fan", "accept")
    assert own.learnt()["fan"].section(None).card.machine == "fan"
    assert is_heard(own.learnt()["fan"], 2, 0.9)


def test_what_another_network_has_measured_teaches_nothing(pump: Detector, tmp_path: Path) -> None:
    other = replace(pump, card=pump.card.model_copy(update={"files": {**pump.card.files, "model.onnx": "another"}}))
    own = Class(tmp_path, in_force=pump)
    own.remember(machine(3, seed=1), other)
    with pytest.raises(EarshotError, match="another network"):
        own.school.relearn("fan", (1e9 - 1, 1e9 + 3600))


def test_a_night_is_learnt_by_the_command_too(pump: Detector, tmp_path: Path, earshot: Callable[..., Ran]) -> None:
    own = Class(tmp_path, in_force=pump)
    own.remember(machine(4, seed=7, colour=0.6), pump)
    when = [datetime.fromtimestamp(1e9 + seconds).strftime("%Y-%m-%dT%H:%M") for seconds in (-60, 3600)]
    where = ["--config", tmp_path / "config.yaml", "--source", "fan", "--detector", pump.path]
    stretch = ["--since", when[0], "--until", when[1]]
    ran = earshot("enroll", "fan", "--relearn", *stretch, *where, "--output", tmp_path / "taught")
    assert ran.code == 0, ran.stderr
    assert is_heard(detectors.read(tmp_path / "taught"), 8, 0.6)
    assert "--since" in earshot("enroll", "fan", "--relearn", "--until", when[1], *where).stderr
