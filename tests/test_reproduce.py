"""The paper in one command, on a factory small enough to be killed half-way."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge import detector as detectors
from edge.detector.golden import verify
from edge.errors import EarshotError
from tests.conftest import COMMAND, DEMO, Ran, run_process
from trainer.dataset import Clip, read_layout
from trainer.evaluation import paper
from trainer.evaluation.tables import Role, read_tables
from trainer.judging import judging
from trainer.network import preset
from trainer.recipe import Recipe, load_recipe
from trainer.reproduction import Reproduction, Step, lonely_machines, network_of, plan_of, steps_of
from trainer.reproduction.workshop import Workshop
from trainer.simulator.dataset import Plan, write

ROOT = Path(__file__).parents[1]
RECIPE = """
stem_channels: 8
stage_channels: [8, 8, 8]
head_channels: 16
epochs: 2
batch_size: 8
compile: false
precision: float32
threads: 1
"""


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fan with two sections."""
    folder = tmp_path_factory.mktemp("factory") / "data"
    write(folder, Plan(machines=("fan",), sections=2, train_source=10, train_target=3, test=2))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


def wait_for(path: Path, process: "subprocess.Popen[bytes]", seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def reproduce(*arguments: str | Path) -> Ran:
    """In a process of its own, as a person would: pytest's log of all that torch traces takes longer than the work."""
    return run_process([*COMMAND, "reproduce", *arguments])


@pytest.mark.timeout(1200)
def test_killed_half_way_and_resumed_gives_the_same_tables(
    factory: Path, recipe: Path, tmp_path: Path, earshot: Callable[..., Ran]
) -> None:
    arguments: list[str | Path] = [factory, "--recipes", recipe, "--no-peers", "--output"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    command = [*COMMAND, "reproduce", *map(str, arguments), str(killed)]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(killed / "seed0" / "fan-plain" / "run" / "metrics.jsonl", first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert (killed / "seed0" / "general-0000" / "step.json").exists()
    assert not (killed / "seed0" / "fan-plain" / "step.json").exists()
    assert not (killed / "tables.json").exists()

    resumed = reproduce(*arguments, killed)
    assert resumed.code == 0, resumed.stderr
    assert "general-0000, seed 0: done already" in resumed.stderr
    assert "fan-plain, seed 0: goes on" in resumed.stderr

    # The general network was done before the kill: what was interrupted is what comes after it.
    shutil.copytree(killed / "seed0" / "general-0000", whole / "seed0" / "general-0000")
    uninterrupted = reproduce(*arguments, whole)
    assert uninterrupted.code == 0, uninterrupted.stderr
    assert resumed.stdout == uninterrupted.stdout
    assert (killed / "tables.json").read_bytes() == (whole / "tables.json").read_bytes()
    assert scores_below(killed) == scores_below(whole)

    # What else comes of it: detectors that prove themselves, the challenge's files, a page.
    detector = detectors.read(whole / "detectors" / "fan")
    verify(detector)
    assert (detector.card.name, list(detector.sections)) == ("fan", ["fan/00", "fan/01"])
    files = list((whole / "challenge" / "teams" / "specific-seed0").glob("*.csv"))
    assert len(files) == 2 * 2 * 2  # scores and decisions, sections, domains
    assert "<html" in (whole / "report.html").read_text()[:200]

    again = earshot("evaluate", "--tables", whole)
    assert (again.code, again.stdout) == (0, uninterrupted.stdout)
    assert [table.number for table in read_tables(whole).tables] == [2, 3, 4, 5, 6, 7, 0]
    assert not any(table.has_paper for table in read_tables(whole).tables)  # simulated: not the paper's data


def scores_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "seed0").rglob("scores-*.json")}


def clips_of(*names: str) -> list[Clip]:
    clips = []
    for name in names:
        machine, section = name.split("/")
        clips += [Clip(Path(name, f"{i}.wav"), machine, section, "source", "train", "normal") for i in (0, 1)]
    return clips


def test_the_steps_are_those_of_the_paper() -> None:
    plan = plan_of("paper", paper.MACHINES)
    clips = clips_of(*(f"{machine}/{section}" for machine in paper.MACHINES for section in ("00", "01")))
    steps = steps_of(plan, clips, 0)
    assert [step.name for step in steps[:3]] == ["general-0000", "general-1000", "general-2000"]
    assert len(steps) == 3 + 2 * 7
    by_name = {step.name: step for step in steps}
    for machine, (centre, f_min_hz) in paper.TABLE_7.items():
        plain, with_centre = by_name[f"{machine}-plain"], by_name[f"{machine}-centre"]
        assert plain.recipe.f_min_hz == with_centre.recipe.f_min_hz == f_min_hz
        assert plain.recipe.centre_weight == 0 < with_centre.recipe.centre_weight
        assert plain.start == with_centre.start == by_name["general-0000"]  # the high-pass comes with the fine-tuning
        assert {clip.machine for clip in plain.clips} == {machine}
        assert plan.configurations()[machine].centre_loss is centre
    # Table 6 weighs the centre loss alike for all, whether their own recipe has it or not.
    assert len({by_name[f"{machine}-centre"].recipe.centre_weight for machine in paper.MACHINES}) == 1
    assert (plan.base.epochs, plan.base.batch_size, plan.base.learning_rate) == (50, 64, 1e-3)


def test_quick_recipes_keep_table_7() -> None:
    plan = plan_of("quick", [*paper.MACHINES, "uav"], epochs=3)
    shown = {name: (own.centre_loss, own.f_min_hz) for name, own in plan.configurations().items()}
    assert shown == {**paper.TABLE_7, "uav": (False, 0)}
    assert {own.epochs for own in plan.machines.values()} == {3}


def export_demo(
    run: Path, output: Path, *, name: str, false_alarm_rate: float, only: Sequence[str] | None = None
) -> detectors.Detector:
    """An exporter that is done at once: the shipped section under the names that are asked for."""
    demo, sections = detectors.read(DEMO / "detector"), {}
    for section in only or ():
        machine, number = section.split("/")
        named = demo.section(None).card.model_copy(update={"machine": machine, "section": number})
        sections[section] = replace(demo.section(None), card=named)
    assert demo.card.golden is not None
    golden = demo.card.golden.model_copy(update={"section": next(iter(sections))})
    cards = [own.card for own in sections.values()]
    card = demo.card.model_copy(update={"name": name, "sections": cards, "golden": golden})
    return detectors.write(
        output, card, sections, model=demo.path / "model.onnx", golden=demo.path / "golden.flac", model_card="# demo\n"
    )


@dataclass
class Did:
    """What one call of a workshop did."""

    trained: bool
    exported: bool
    scored: bool


@dataclass
class Trial:
    """A workshop over one small general network; all that it remembers lies in its folder."""

    output: Path
    clips: Sequence[Clip]
    recipe: Recipe

    @property
    def run(self) -> Path:
        return self.output / "seed0" / "general" / "run"

    def do(self) -> Did:
        train, test = ([clip for clip in self.clips if clip.split == split] for split in ("train", "test"))
        folder = self.run.parent
        files = [self.run / "network.pt", folder / "detector" / "model.onnx", folder / "scores-min.json"]
        before = [file.stat().st_mtime_ns if file.exists() else None for file in files]
        Workshop(self.output, test, export_demo).do(Step("general", self.recipe, train), "the step")
        return Did(*(file.stat().st_mtime_ns != was for file, was in zip(files, before, strict=True)))


@pytest.fixture(scope="module")
def done_once(factory: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    trial = Trial(tmp_path_factory.mktemp("once"), read_layout([factory]), load_recipe(recipe))
    assert trial.do() == Did(trained=True, exported=True, scored=True)
    assert trial.do() == Did(trained=False, exported=False, scored=False)
    return trial


@pytest.fixture
def trial(done_once: Trial, tmp_path: Path) -> Trial:
    """A copy of what was done, to be changed; times of files come along."""
    shutil.copytree(done_once.output, tmp_path / "out")
    return replace(done_once, output=tmp_path / "out")


def test_labels_names_and_times_of_test_clips_train_nothing_anew(trial: Trial) -> None:
    def changed(**what: str | None) -> Trial:
        return replace(trial, clips=[replace(c, **what) if c.split == "test" else c for c in trial.clips])  # type: ignore[arg-type]

    relabelled = changed(label=None, attributes="another")
    assert relabelled.do() == Did(trained=False, exported=False, scored=False)
    assert changed(domain="target").do() == Did(trained=False, exported=False, scored=True)
    fewer = replace(trial, clips=[c for c in trial.clips if c.split == "train" or c.section == "00"])
    assert fewer.do() == Did(trained=False, exported=True, scored=True)  # of another section nothing is to be graded
    assert trial.do() == Did(trained=False, exported=True, scored=True)
    some = next(clip for clip in trial.clips if clip.split == "test")
    stat = some.path.stat()
    os.utime(some.path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert trial.do() == Did(trained=False, exported=False, scored=True)
    os.utime(some.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # others look at it too


def test_labels_that_came_later_are_in_the_kept_scores(trial: Trial) -> None:
    train, test = ([clip for clip in trial.clips if clip.split == split] for split in ("train", "test"))
    unlabelled = [replace(clip, label=None) for clip in test]
    step = Step("general", trial.recipe, train)
    secret, told = (Workshop(trial.output, clips, never).do(step, "the step") for clips in (unlabelled, test))
    assert {s.clip.label for s in secret.systems["min"].scored} == {None}
    assert {s.clip.label for s in told.systems["min"].scored} == {"normal", "anomaly"}


def test_another_recipe_puts_the_finished_training_aside(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    before = (trial.run / "network.pt").read_bytes()
    other = replace(trial, recipe=trial.recipe.model_copy(update={"dropout": 0.4}))
    assert other.do() == Did(trained=True, exported=True, scored=True)
    assert (trial.run.with_name("run.1") / "network.pt").read_bytes() == before
    assert "dropout was 0.2, is 0.4" in caplog.text
    assert str(trial.run.with_name("run.1")) in caplog.text
    assert trial.do().trained  # and back again: the other one is kept as well
    assert (trial.run.with_name("run.2") / "network.pt").exists()


def test_what_changes_nothing_of_what_is_learned_trains_nothing_anew(trial: Trial) -> None:
    assert replace(trial, recipe=trial.recipe.model_copy(update={"threads": 2})).do() == Did(
        trained=False, exported=False, scored=False
    )
    by_doubt = replace(trial, recipe=trial.recipe.model_copy(update={"score": "confidence"}))
    assert by_doubt.do() == Did(trained=False, exported=True, scored=True)


def test_a_preset_that_came_to_mean_another_network_is_noticed(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (trial.run / "network.pt").read_bytes()
    monkeypatch.setattr("trainer.recipe.preset", lambda name: replace(preset(name), linear_branch="none"))
    assert trial.do() == Did(trained=True, exported=True, scored=True)
    assert (trial.run.with_name("run.1") / "network.pt").read_bytes() == before


def test_another_judge_scores_anew_and_trains_nothing(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    judging.cache_clear()
    monkeypatch.setattr("edge.judge.fit.KNOWN", ("mahalanobis", "bands"))
    assert trial.do() == Did(trained=False, exported=True, scored=True)
    judging.cache_clear()


def test_a_machine_of_one_section_has_its_general_network(recipe: Path) -> None:
    clips = clips_of("fan/00", "fan/01", "gearbox/00")
    plan = plan_of(str(recipe), ["fan", "gearbox"])
    assert [step.name for step in steps_of(plan, clips, 0)] == [
        "general-0000",
        "general-2000",
        "fan-plain",
        "fan-centre",
    ]

    def network(role: Role, machine: str) -> str | None:
        return network_of(plan, set(lonely_machines(plan, clips)), role, machine)

    assert network("specific", "fan") == "fan-centre"
    assert network("plain", "fan") == "fan-plain"
    assert network("specific", "gearbox") == network("plain", "gearbox") == "general-2000"
    assert network("general", "gearbox") == "general-0000"
    assert network("general/high-pass", "fan") is None


def never(*_: object, **__: object) -> detectors.Detector:
    raise AssertionError("nothing is exported here")


def test_a_folder_of_others_is_left_alone(factory: Path, recipe: Path, tmp_path: Path) -> None:
    mine = tmp_path / "seed0" / "general-0000" / "holiday.txt"
    mine.parent.mkdir(parents=True)
    mine.touch()
    own = Reproduction(read_layout([factory]), tmp_path, plan_of(str(recipe), ["fan"]), export=never, peers={})
    with pytest.raises(EarshotError, match="something else"):
        own.run()
    assert mine.exists()


def test_the_channel_that_is_meant_is_the_one_that_is_learnt(
    factory: Path, recipe: Path, tmp_path: Path, earshot: Callable[..., Ran]
) -> None:
    """As with every command that reads recordings: these have one channel, and are not taken for what they are not."""
    ran = earshot("reproduce", factory, "--output", tmp_path, "--recipes", recipe, "--channel", "1", "--gain-db", "-6")
    assert ran.code == 1
    assert "channel 1" in ran.stderr
    assert not (tmp_path / "seed0").exists()


def test_wrong_data_is_refused_before_anything_is_trained(
    factory: Path, recipe: Path, tmp_path: Path, earshot: Callable[..., Ran]
) -> None:
    """A section that is tested and that nothing was trained on."""
    for split in ("train", "test"):
        (tmp_path / "data" / "fan" / split).mkdir(parents=True)
        for file in (factory / "fan" / split).iterdir():
            if not (split == "train" and file.name.startswith("section_01")):
                (tmp_path / "data" / "fan" / split / file.name).symlink_to(file)
    ran = earshot("reproduce", tmp_path / "data", "--output", tmp_path / "out", "--recipes", recipe)
    assert ran.code == 1
    assert "fan/01" in ran.stderr or "section 01" in ran.stderr
    assert not (tmp_path / "out" / "seed0").exists()
