"""A run, on a few seconds of tones: what it holds out, goes on from, refuses, and how it ends when it is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from torch import Tensor, device  # noqa: E402

from edge.ear.frontend import FrontendSettings  # noqa: E402
from edge.errors import EarshotError  # noqa: E402
from edge.source import Pickup  # noqa: E402
from tests.conftest import COMMAND, Ran, environment  # noqa: E402
from trainer import runs, training  # noqa: E402
from trainer.adacos import SubclusterAdacos  # noqa: E402
from trainer.dataset import Clip, read_layout  # noqa: E402
from trainer.features import compute_features  # noqa: E402
from trainer.network import Network  # noqa: E402
from trainer.recipe import Recipe  # noqa: E402
from trainer.runs import load_clips, load_held_out, load_metrics, load_network  # noqa: E402
from trainer.training import Batches, train  # noqa: E402

TINY = Recipe(
    epochs=3,
    batch_size=4,
    stem_channels=4,
    stage_channels=(8, 8, 8),
    head_channels=16,
    centre_weight=0.01,
    warmup=0.0,
    holdout=0.0,
    threads=1,
)
N_CLIPS = 6
"""Of each class."""


def changed(**keys: object) -> Recipe:
    return TINY.model_copy(update=keys)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of two sections, as DCASE has them: a tone for each section, in noise."""
    root = tmp_path_factory.mktemp("tones") / "data"
    rng = np.random.default_rng(0)
    seconds = np.arange(16_000) / 16_000
    for machine, pitch_hz in (("fan", 300), ("pump", 500)):
        for section, factor in (("00", 1), ("01", 5)):
            for i in range(N_CLIPS):
                path = root / machine / "train" / f"section_{section}_source_train_normal_{i:04}_load_1.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                tone = np.sin(2 * np.pi * pitch_hz * factor * seconds)
                soundfile.write(path, 0.1 * tone + rng.normal(0, 0.1, seconds.size), 16_000)
    return root


@pytest.fixture
def clips(data: Path) -> list[Clip]:
    return read_layout([data])


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all of these runs."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def run(data: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(read_layout([data]), TINY, folder, features=features)
    return folder


@pytest.fixture(scope="session")
def tuned(data: Path, run: Path, features: Path) -> Path:
    """The fans, fine-tuned from all machines."""
    folder = run.parent / "tuned"
    train(fans(read_layout([data])), changed(f_min_hz=1000.0), folder, start=run, features=features)
    return folder


def fans(clips: Sequence[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.machine == "fan"]


def assert_same_network(one: Path, other: Path) -> None:
    a, b = load_network(one)[0].state_dict(), load_network(other)[0].state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


# --- What a run tells ---


def test_both_terms_of_the_loss_are_logged(run: Path) -> None:
    rows = load_metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {"epoch", "loss", "softmax", "centre", "accuracy", "seconds"}
    for row in rows:
        assert row["loss"] == pytest.approx(row["softmax"] + TINY.centre_weight * row["centre"], abs=1e-3)
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_a_run_remembers_the_channel_and_another_is_another_run(clips: list[Clip], data: Path, tmp_path: Path) -> None:
    second = read_layout([data], pickup=Pickup(1, -6.0))
    runs.begin(tmp_path / "run", TINY, second, set(), None)
    assert load_clips(tmp_path / "run") == second
    with pytest.raises(EarshotError, match="begun with other data"):
        runs.begin(tmp_path / "run", TINY, clips, set(), None)
    runs.begin(tmp_path / "usual", TINY, clips, set(), None)
    assert "pickup" not in (tmp_path / "usual" / "data.json").read_text()  # as runs of before have it


def test_the_clips_of_a_run(run: Path, clips: list[Clip]) -> None:
    assert load_clips(run) == clips
    assert load_held_out(run) == set()


def test_what_is_held_out_is_not_even_looked_at(clips: list[Clip], tmp_path: Path) -> None:
    train(clips, changed(epochs=1, holdout=0.2), tmp_path / "run")
    held_out = load_held_out(tmp_path / "run")
    assert len(held_out) == 4  # one of six in each of four sections
    (lines,) = (tmp_path / "run" / "features").glob("*.jsonl")
    looked_at = {Path(json.loads(line)[0]) for line in lines.read_text().splitlines()}
    assert looked_at == {clip.path for clip in clips} - held_out
    assert load_clips(tmp_path / "run") == clips


# --- General, then specific ---


def test_fine_tuning_begins_with_the_backbone(
    run: Path, clips: list[Clip], features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []

    class Spy(training.Learner):
        def __init__(self, network: Network, recipe: Recipe, *, n_steps: int, device: device) -> None:
            begun.append({name: value.clone() for name, value in network.state_dict().items()})
            super().__init__(network, recipe, n_steps=n_steps, device=device)

    monkeypatch.setattr(training, "Learner", Spy)
    recipe = changed(epochs=1, f_min_hz=1000.0)
    train(fans(clips), recipe, tmp_path / "run", start=run, features=features)
    general = load_network(run)[0].state_dict()
    fresh = {name for name in general if not torch.equal(general[name], begun[0].get(name, torch.zeros(0)))}
    assert fresh == {"classify.directions", "classify.scale", "band_mean", "band_deviation"}
    assert len(begun[0]["classify.directions"]) == 2 * recipe.subclusters

    mean, _ = compute_features(fans(clips), FrontendSettings(f_min_hz=1000.0), features).band_moments(range(12))
    np.testing.assert_array_equal(begun[0]["band_mean"][:, 0].numpy(), mean)


def test_a_fine_tuned_run_says_so(tuned: Path, run: Path) -> None:
    assert load_network(tuned)[1] == ["fan/00", "fan/01"]
    assert json.loads((tuned / "start.json").read_text())["run"] == str(run)
    assert json.loads((run / "start.json").read_text()) is None


def test_a_start_that_does_not_fit_is_refused_with_what_differs(run: Path, clips: list[Clip], tmp_path: Path) -> None:
    recipe = changed(stage_channels=(8, 8, 16), stem="depthwise", dropout=0.5)
    with pytest.raises(EarshotError) as caught:
        train(clips, recipe, tmp_path / "run", start=run)
    assert "stage_channels (8, 8, 8), here (8, 8, 16)" in str(caught.value)
    assert "stem dense, here depthwise" in str(caught.value)
    assert "dropout" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_not_finished_is_refused(clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    with pytest.raises(EarshotError, match=r"network\.pt: not there: the run is not finished"):
        train(clips, TINY, tmp_path / "run", start=tmp_path / "start")


def test_a_start_that_has_seen_what_is_to_be_held_out_is_refused(
    run: Path, clips: list[Clip], features: Path, tmp_path: Path
) -> None:
    with pytest.raises(EarshotError, match="was trained on 2 of the 2 clips that are to be held out"):
        train(fans(clips), changed(holdout=0.2), tmp_path / "run", start=run)
    once = changed(holdout=0.2, epochs=1)
    train(clips, once, tmp_path / "general", features=features)
    train(fans(clips), once, tmp_path / "specific", start=tmp_path / "general", features=features)
    assert load_held_out(tmp_path / "specific") == {
        path for path in load_held_out(tmp_path / "general") if "fan" in path.parts
    }


# --- A run goes on, or is refused ---


def begun_run(tmp_path: Path, clips: Sequence[Clip], features: Path) -> Path:
    train(clips, changed(epochs=1), tmp_path / "run", features=features)
    return tmp_path / "run"


def test_other_settings_are_refused_by_key(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    folder = begun_run(tmp_path, clips, features)
    with pytest.raises(EarshotError, match=r"recipe\.yaml.*other settings.*epochs was 1, is 2; seed was 0, is 5"):
        train(clips, changed(epochs=2, seed=5), folder, features=features)


def test_keys_that_a_run_is_older_than_were_at_their_defaults(
    clips: list[Clip], features: Path, tmp_path: Path
) -> None:
    folder = begun_run(tmp_path, clips, features)
    recipe = folder / "recipe.yaml"
    lines = recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join(line for line in lines if not line.startswith(("score", "centre_decay"))))
    train(clips, changed(epochs=1), folder, features=features)
    with pytest.raises(EarshotError, match=r"holdout was 0\.0, is 0\.2"):
        train(clips, changed(epochs=1, holdout=0.2), folder, features=features)


def rewrite(clips: list[Clip]) -> list[Clip]:
    clips[0].path.write_bytes(clips[1].path.read_bytes())
    return clips


def take_one_away(clips: list[Clip]) -> list[Clip]:
    return clips[1:]


def move_to_another_section(clips: list[Clip]) -> list[Clip]:
    return [replace(clips[0], section="01"), *clips[1:]]


@pytest.mark.parametrize("change", [rewrite, take_one_away, move_to_another_section])
def test_changed_data_is_refused_by_name(
    change: Callable[[list[Clip]], list[Clip]], clips: list[Clip], features: Path, tmp_path: Path
) -> None:
    copies = []
    for clip in clips:
        path = tmp_path / "data" / clip.machine / clip.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.path.read_bytes())
        copies.append(replace(clip, path=path))
    folder = begun_run(tmp_path, copies, features)
    train(copies, changed(epochs=1), folder, features=features)
    with pytest.raises(EarshotError, match=r"data\.json.*other data.*changed since: .*section_00_source") as caught:
        train(change(list(copies)), changed(epochs=1), folder, features=features)
    assert str(copies[0].path) in str(caught.value)
    assert str(copies[1].path) not in str(caught.value)


def test_another_start_is_refused(run: Path, tuned: Path, clips: list[Clip], features: Path) -> None:
    recipe = changed(f_min_hz=1000.0)
    with pytest.raises(EarshotError, match=r"start\.json: the run was begun from .*whole.*go on from nothing"):
        train(fans(clips), recipe, tuned, features=features)
    with pytest.raises(EarshotError, match=r"begun from nothing, is now to go on from .*tuned"):
        train(clips, TINY, run, start=tuned, features=features)


# --- Killed ---


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("moment", ["before the metrics", "in the checkpoint", "after the checkpoint"])
def test_killed_in_the_second_epoch(
    moment: str, run: Path, tuned: Path, clips: list[Clip], features: Path, tmp_path: Path
) -> None:
    save_epoch, save = runs.save_epoch, torch.save

    def torn(content: object, file: BinaryIO) -> None:
        save(content, file)
        file.flush()
        os.truncate(file.fileno(), file.tell() // 2)
        raise Killed

    def killing(folder: Path, parts: Mapping[str, Any], metrics: Sequence[runs.Row]) -> None:
        if len(metrics) < 2:
            save_epoch(folder, parts, metrics)
            return
        with pytest.MonkeyPatch.context() as patch:
            if moment == "in the checkpoint":
                patch.setattr(torch, "save", torn)
            if moment != "before the metrics":
                save_epoch(folder, parts, metrics)
        raise Killed

    def begin() -> None:
        train(fans(clips), changed(f_min_hz=1000.0), tmp_path / "run", start=run, features=features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "save_epoch", killing)
        with pytest.raises(Killed):
            begin()
    assert not (tmp_path / "run" / "network.pt").exists()
    begin()
    assert [row["epoch"] for row in load_metrics(tmp_path / "run")] == [1, 2, 3]
    assert_same_network(tmp_path / "run", tuned)


def test_killed_by_the_system(run: Path, tuned: Path, data: Path, features: Path, tmp_path: Path) -> None:
    """With the centre loss, fine-tuning, by the command: it goes on and ends as if nothing had been."""
    command: list[str] = [*COMMAND, "train", str(data), "--machine", "fan", "--recipe", str(tuned / "recipe.yaml")]
    command += ["--from", str(run), "--output", str(tmp_path / "run"), "--features", str(features)]
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    first = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()

    again = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    assert "trained on 12 clips of 2 classes" in again.stdout
    assert [row["epoch"] for row in load_metrics(tmp_path / "run")] == [1, 2, 3]
    assert_same_network(tmp_path / "run", tuned)


# --- Several processes ---


def test_the_slices_of_all_processes_are_the_batches_of_one(
    clips: list[Clip], features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = compute_features(clips, FrontendSettings(), features)
    labels = list(range(len(clips)))
    whole = list(Batches(store, labels, TINY).of_epoch(1))
    assert sorted(torch.cat([batch for _, batch in whole]).tolist()) == labels

    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        for (frames, batch), (own_frames, own) in zip(whole, Batches(store, labels, TINY).of_epoch(1), strict=True):
            assert torch.equal(own, batch[rank::2])
            assert torch.equal(own_frames, frames[rank::2])
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(EarshotError, match="batch_size 4: expected a multiple of 3"):
        Batches(store, labels, TINY)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(EarshotError, match="a slice of two clips or more"):
        Batches(store, labels, TINY)


class ByHalves(training.Learner):
    """One process that does what two should: the mean of the gradients of two halves, of which none sees the other."""

    def learn(self, frames: Tensor, labels: Tensor) -> Tensor:
        self._network.train()
        self._optimizer.zero_grad()
        halves = [self._work(frames[half::2], labels[half::2]) for half in (0, 1)]
        losses = [half.loss for half in halves]
        (0.5 * (losses[0].joint + losses[1].joint)).backward()  # type: ignore[no-untyped-call]  # torch's own
        self._optimizer.step()
        self._schedule.step()
        classifier = self._network.classify
        assert isinstance(classifier, SubclusterAdacos)
        before, scales = classifier.scale.clone(), []
        for half in halves:
            classifier.scale.copy_(before)
            classifier.adapt(half.embedding, half.targets)
            scales.append(classifier.scale.clone())
        classifier.scale.copy_(torch.stack(scales).mean())
        softmax = 0.5 * (losses[0].softmax + losses[1].softmax)
        return softmax.detach().expand(len(training.TERMS))


def test_two_processes_learn_as_one(
    data: Path, clips: list[Clip], features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, object] = {"epochs": 8, "batch_size": 24, "learning_rate": 0.003, "precision": "float32"}
    recipe = changed(**keys, mixup_alpha=0.0, dropout=0.0, centre_weight=0.0)
    for seed in (0, 1):
        train(clips, changed(**recipe.model_dump() | {"seed": seed}), tmp_path / f"{seed}", features=features)
    with monkeypatch.context() as patch:
        patch.setattr(training, "Learner", ByHalves)
        train(clips, recipe, tmp_path / "halves", features=features)

    shutil.copy(tmp_path / "0" / "recipe.yaml", tmp_path / "recipe.yaml")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    options = ["--recipe", f"{tmp_path}/recipe.yaml", "--output", f"{tmp_path}/two", "--features", str(features)]
    done = subprocess.run(
        [*launcher, *COMMAND, "train", str(data), *options],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained on 24 clips of 4 classes") == 1
    assert load_network(tmp_path / "two")[1] == load_network(tmp_path / "0")[1]

    two, one, other, halves = (
        np.array([row["softmax"] for row in load_metrics(tmp_path / name)]) for name in ("two", "0", "1", "halves")
    )
    np.testing.assert_allclose(two, halves, atol=2e-3)
    assert np.abs(two - one).mean() < 0.12  # what batch norm makes of halves of 12 clips; 0.22 without mean gradients
    assert np.abs(two - one).mean() < np.abs(other - one).mean() / 2


# --- Choices ---


@pytest.mark.parametrize(
    ("choice", "n_clips", "expected"),
    [("auto", 40, False), ("auto", 100_000, True), (True, 40, True), (False, 100_000, False)],
)
def test_compiled_where_it_pays(choice: object, n_clips: int, expected: bool) -> None:
    assert training.compile_pays(changed(compile=choice), n_clips // TINY.batch_size) is expected


def test_a_machine_that_is_not_in_the_data(data: Path, tmp_path: Path, earshot: Callable[..., Ran]) -> None:
    ran = earshot("train", data, "--output", tmp_path / "run", "--machine", "fan", "--machine", "zeppelin")
    assert ran.code == 1
    assert "machine zeppelin: not in the data: expected some of fan, pump" in ran.stderr
