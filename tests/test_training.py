"""From recordings to a detector that listens: the whole workstation on a small simulated factory."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge import detector as detectors  # noqa: E402
from edge.detector.golden import verify  # noqa: E402
from edge.errors import ConfigError, EarshotError  # noqa: E402
from export.bundle import export, export_texture  # noqa: E402
from export.gate import check_runtime  # noqa: E402
from tests.conftest import COMMAND  # noqa: E402
from trainer.dataset import read_layout  # noqa: E402
from trainer.evaluation.metrics import grade  # noqa: E402
from trainer.evaluation.plain import grades_table  # noqa: E402
from trainer.evaluation.scoring import score_clips  # noqa: E402
from trainer.recipe import Recipe, load_recipe  # noqa: E402
from trainer.simulator.dataset import Plan, write  # noqa: E402
from trainer.training import Compiled, load_network, train  # noqa: E402

ROOT = Path(__file__).parents[1]
SMALL = Recipe(
    epochs=3,
    batch_size=8,
    stem_channels=8,
    stage_channels=(16, 16, 16),
    head_channels=32,
    holdout=0.0,
    compile=False,
    threads=1,
)


@pytest.fixture(scope="session")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of one section each, a few clips."""
    folder = tmp_path_factory.mktemp("factory") / "data"
    write(folder, Plan(machines=("fan", "pump"), sections=1, train_source=12, train_target=3, test=3))
    return folder


@pytest.fixture(scope="session")
def run(factory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train(training_clips(factory), SMALL, folder)
    return folder


@pytest.fixture(scope="session")
def detector(run: Path) -> detectors.Detector:
    return export(run, run.parent / "detector", name="small", false_alarm_rate=0.05)


def training_clips(factory: Path) -> list:  # type: ignore[type-arg]
    return [clip for clip in read_layout([factory]) if clip.split == "train"]


def test_a_run_says_what_it_was(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert load_recipe(run / "recipe.yaml") == SMALL
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    assert load_network(run)[1] == ["fan/00", "pump/00"]


def test_the_exported_detector_verifies_and_hears_anomalies(detector: detectors.Detector, factory: Path) -> None:
    verify(detectors.read(detector.path))
    assert set(detector.sections) == {"fan/00", "pump/00"}
    assert detector.card.sections[0].domains == ["source", "target"]

    scored, skipped = score_clips(detector, read_layout([factory]))
    assert len(scored) == 2 * 2 * 2 * 3
    assert not skipped
    grades = grade(scored)
    assert {g.domain for g in grades} == {"all", "source", "target"}
    assert max(g.auc for g in grades if g.domain == "all" and g.score == "fused") > 0.7
    assert "fan mean" in grades_table(grades)


def test_one_section_alone_can_be_exported(run: Path, tmp_path: Path) -> None:
    small = export(run, tmp_path / "pump", name="pump", false_alarm_rate=0.05, only=["pump/00"])
    assert list(small.sections) == ["pump/00"]
    assert small.card.classes == ["fan/00", "pump/00"]
    with pytest.raises(EarshotError, match="zeppelin"):
        export(run, tmp_path / "none", name="none", false_alarm_rate=0.05, only=["zeppelin/00"])


def test_weights_that_changed_since_do_not_pass_the_gate(
    detector: detectors.Detector, run: Path, factory: Path
) -> None:
    network, _ = load_network(run)
    clips = training_clips(factory)[:1]
    check_runtime(network, detector, clips)
    with torch.no_grad():
        network.embed.weight[::2] *= 1.001  # of all, a unit vector would not tell
    with pytest.raises(EarshotError, match="torch and onnxruntime disagree"):
        check_runtime(network, detector, clips)


def test_nothing_is_written_when_the_gate_closes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.gate.RUNTIME_TOLERANCE", 0.0)
    with pytest.raises(EarshotError, match="no detector is written"):
        export(run, tmp_path / "out" / "detector", name="none", false_alarm_rate=0.05)
    assert list((tmp_path / "out").iterdir()) == []


def test_killed_and_resumed_is_as_if_nothing_had_happened(run: Path, factory: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    shutil.copy(run / "recipe.yaml", recipe)
    command = [*COMMAND, "train", str(factory), "--recipe", str(recipe)]
    command += ["--output", str(tmp_path / "run")]
    metrics = tmp_path / "run" / "metrics.jsonl"

    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "run" / "network.pt").exists()

    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == [1, 2, 3]
    resumed, whole = load_network(tmp_path / "run")[0].state_dict(), load_network(run)[0].state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_run_begun_with_other_settings_is_refused(run: Path, factory: Path) -> None:
    with pytest.raises(EarshotError, match=r"recipe\.yaml.*other settings"):
        train(training_clips(factory), SMALL.model_copy(update={"epochs": 4}), run)


def test_one_class_alone_teaches_nothing(factory: Path, tmp_path: Path) -> None:
    clips = [clip for clip in training_clips(factory) if clip.machine == "fan"]
    with pytest.raises(EarshotError, match="one class only, fan/00"):
        train(clips, SMALL, tmp_path / "run")


def test_a_damaged_recording_is_named_and_left_out(
    factory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Path(shutil.copytree(factory, tmp_path / "data"))
    victim = training_clips(data)[0].path
    victim.write_bytes(victim.read_bytes()[:5000])
    train(training_clips(data), SMALL.model_copy(update={"epochs": 1}), tmp_path / "run")
    assert victim.name in caplog.text
    verify(export(tmp_path / "run", tmp_path / "detector", name="small", false_alarm_rate=0.05))


def test_a_wrong_recipe_names_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("epochs: 0\nlerning_rate: 0.1\npreset: papyrus\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    text = str(caught.value)
    assert "recipe.yaml:1" in text
    assert "lerning_rate" in text
    assert "learning_rate" in text
    assert "papyrus" in text


def test_a_python_that_torch_cannot_compile_for_trains_all_the_same(
    factory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_new(*_: object, **__: object) -> None:
        raise RuntimeError("torch.compile is not supported on Python 4")

    monkeypatch.setattr(torch, "compile", too_new)
    train(training_clips(factory), SMALL.model_copy(update={"epochs": 1, "compile": True}), tmp_path / "run")
    assert "goes on without it: torch.compile is not supported on Python 4" in caplog.text
    assert load_network(tmp_path / "run")[1] == ["fan/00", "pump/00"]


def test_without_a_compiler_a_network_works_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """torch's own search for one, which finds none: only the first call tells."""
    inductor = pytest.importorskip("torch._inductor.config")
    monkeypatch.setattr(inductor.cpp, "cxx", ("/nowhere/g++",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    network, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    assert torch.equal(Compiled(network)(x), network(x))
    assert "goes on without it" in caplog.text
    assert "C++ compiler" in caplog.text


def test_what_is_no_matter_of_compiling_is_not_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: object) -> None:  # noqa: ARG002
            raise ValueError("a defect of ours")

    with pytest.raises(ValueError, match="a defect of ours"):
        Compiled(Broken())(torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="a and b must have same reduction dim"):
        Compiled(torch.nn.Linear(4, 2))(torch.ones(1, 3))
    assert "without it" not in caplog.text


def test_the_threshold_of_a_section_does_not_depend_on_those_beside_it(factory: Path, tmp_path: Path) -> None:
    """Each has three of fifteen recordings held out: both together are enough to tell what is new, one is not."""
    train(training_clips(factory), SMALL.model_copy(update={"holdout": 0.2}), tmp_path / "run")
    exported = {
        len(only): export(tmp_path / "run", tmp_path / str(len(only)), name="x", false_alarm_rate=0.01, only=only)
        for only in (["pump/00"], ["fan/00", "pump/00"])
    }
    alone, beside = (exported[n].sections["pump/00"] for n in (1, 2))
    assert alone.card.thresholds == beside.card.thresholds
    assert alone.ordinary == beside.ordinary


def test_a_detector_alarms_by_the_score_of_its_recipe(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    text = (run / "recipe.yaml").read_text()
    for score in ("fused", "confidence"):
        (tmp_path / "run" / "recipe.yaml").write_text(text.replace("score: fused", f"score: {score}"))
        made = export(tmp_path / "run", tmp_path / "detector", name="small", false_alarm_rate=0.05)
        verify(detectors.read(made.path))
        assert made.card.score == score
        assert f"threshold ({score})" in (made.path / "MODEL_CARD.md").read_text()
    with pytest.raises(EarshotError, match="score confidence: expected fused, by which a texture is used"):
        export_texture(tmp_path / "run", tmp_path / "texture", name="ear", false_alarm_rate=0.05)


@pytest.mark.parametrize("start", [0, 7])
def test_short_clips_are_repeated(start: int) -> None:
    import numpy as np

    from trainer.training import window_of

    frames = np.arange(5, dtype=np.float32)[None]
    assert window_of(frames, start, 12)[0].tolist() == [(start + i) % 5 for i in range(12)]
