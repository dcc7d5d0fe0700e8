"""The paper in one command, on a factory small enough to be killed half-way."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge import detector as detectors
from edge.detector.golden import verify
from edge.errors import EarshotError
from tests.conftest import COMMAND, Ran, run_process
from trainer.dataset import Clip, read_layout
from trainer.evaluation import paper
from trainer.evaluation.tables import Role, read_tables
from trainer.reproduction import Reproduction, key_of, lonely_machines, network_of, plan_of, steps_of
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
        assert plain.start == with_centre.start == by_name[f"general-{f_min_hz:04.0f}"]
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


def test_a_step_is_as_valid_as_all_it_rests_on(factory: Path, recipe: Path) -> None:
    clips = read_layout([factory])
    train, test = ([clip for clip in clips if clip.split == split] for split in ("train", "test"))

    def keys(epochs: int | None = None) -> dict[str, str]:
        plan = plan_of(str(recipe), ["fan"], epochs=epochs)
        return {step.name: key_of(step, test) for step in steps_of(plan, train, 0)}

    before = keys()
    assert before == keys()
    assert not set(before.values()) & set(keys(epochs=7).values())
    os.utime(train[0].path, ns=(0, 0))
    after = keys()
    assert before["general-0000"] != after["general-0000"]
    assert before["fan-plain"] != after["fan-plain"]  # it begins with the general network


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
