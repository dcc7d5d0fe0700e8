"""The early map by itself: a stream in any blocks is the whole window, and a detector of it learns machines."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge import detector as detectors  # noqa: E402
from edge.detector import Stretch, enroll, normal_windows, verify  # noqa: E402
from edge.ear import Ear, Frontend, FrontendSettings, HopPlan, Model, Samples, measured_shapes  # noqa: E402
from edge.errors import DetectorError, EarshotError  # noqa: E402
from edge.judge import Scorer, fit_section  # noqa: E402
from export.bundle import export_texture  # noqa: E402
from export.gate import check_runtime  # noqa: E402
from export.graph import write_onnx  # noqa: E402
from tests.conftest import Ran  # noqa: E402
from trainer import runs  # noqa: E402
from trainer.network import Network, NetworkSettings  # noqa: E402
from trainer.recipe import Recipe  # noqa: E402

WriteWav = Callable[..., Path]

SETTINGS = NetworkSettings(window_frames=155, stem_channels=4, stage_channels=(8, 8, 8), head_channels=16)
PLAN = HopPlan(FrontendSettings(), 299)
RATE_HZ = 16_000


def random_network(settings: NetworkSettings = SETTINGS) -> Network:
    torch.manual_seed(0)
    network = Network(settings, 3)
    network.band_mean.fill_(-60.0)
    network.band_deviation.fill_(12.0)
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 1, 128, settings.window_frames) * 12 - 60)  # for the batch norms
    return network.eval()


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network()


@pytest.fixture(scope="module")
def model(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("early") / "model.onnx"
    write_onnx(network, path, {}, early=True)
    return Model(path)


def gusts(rng: np.random.Generator, seconds: float) -> Samples:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (rng.normal(0, 0.05, time.size) * (1.2 + np.sin(2 * np.pi * 0.7 * time))).astype(np.float32)


@pytest.mark.parametrize("block", [160, 1000, 7919, 48_000])
def test_any_blocks_give_the_same_texture(model: Model, rng: np.random.Generator, block: int) -> None:
    samples = gusts(rng, 13)
    whole = Ear(model, PLAN).feed(samples)
    ear = Ear(model, PLAN)
    blocks = [one for at in range(0, samples.size, block) for one in ear.feed(samples[at : at + block])]
    assert [one.end_sample for one in blocks] == [one.end_sample for one in whole]
    for came, expected in zip(blocks, whole, strict=True):
        assert came.embedding.size == came.logits.size == 0
        np.testing.assert_allclose(came.texture, expected.texture, rtol=1e-4, atol=1e-5)


def test_a_louder_moment_counts_less(model: Model, network: Network, rng: np.random.Generator) -> None:
    quiet = rng.normal(0, 0.005, PLAN.window_samples).astype(np.float32)
    struck = quiet.copy()
    struck[60_000:76_000] *= 100  # 40 dB for one second of nine
    before, after = (Ear(model, PLAN).feed(samples)[0].texture for samples in (quiet, struck))
    with torch.no_grad():
        frames = torch.from_numpy(np.stack([Frontend(PLAN.frontend)(each) for each in (quiet, struck)]))[:, None]
        plain = network.stem(network.normalise(frames)).mean(3)
    moved = float(np.square(after - before).mean())
    assert moved < 0.05 * float((plain[1] - plain[0]).square().mean())


def test_the_whole_network_has_the_same_texture(
    network: Network, model: Model, tmp_path: Path, rng: np.random.Generator
) -> None:
    write_onnx(network, tmp_path / "whole.onnx", {})
    samples = gusts(rng, 11)
    early, whole = (Ear(each, PLAN).feed(samples)[-1] for each in (model, Model(tmp_path / "whole.onnx")))
    np.testing.assert_allclose(whole.texture, early.texture, rtol=1e-4, atol=1e-5)
    assert whole.embedding.size == 128


def test_what_is_not_wanted_is_not_measured_and_the_rest_is_the_same_to_the_bit(
    network: Network, tmp_path: Path, rng: np.random.Generator
) -> None:
    write_onnx(network, tmp_path / "whole.onnx", {})
    whole, samples = Model(tmp_path / "whole.onnx"), gusts(rng, 13)
    everything = Ear(whole, PLAN).feed(samples)
    for came, expected in zip(Ear(whole, PLAN, quiet=False).feed(samples), everything, strict=True):
        assert np.array_equal(came.embedding, expected.embedding)
        assert np.array_equal(came.logits, expected.logits)
        assert np.array_equal(came.bands[:3], expected.bands[:3])
        assert came.texture.size == 0
        assert np.isnan(came.bands[3]).all()
        assert {name: getattr(came, name).shape for name in measured_shapes(whole)} == measured_shapes(
            whole, quiet=False
        )


def test_a_machine_that_the_network_knows_scores_the_same_by_what_it_needs_alone(
    network: Network, tmp_path: Path, rng: np.random.Generator
) -> None:
    write_onnx(network, tmp_path / "whole.onnx", {})
    whole, samples = Model(tmp_path / "whole.onnx"), gusts(rng, 13)
    windows = normal_windows(Ear(whole, PLAN), [Stretch(f"{i}", Ear(whole, PLAN).feed(gusts(rng, 70))) for i in (0, 1)])
    assert windows is not None
    known, stranger = (fit_section(windows, class_index).statistics for class_index in (0, None))
    assert not known.needs_quiet
    assert stranger.needs_quiet
    scorer = Scorer(known)
    for lean, full in zip(Ear(whole, PLAN, quiet=False).feed(samples), Ear(whole, PLAN).feed(samples), strict=True):
        of_both = [scorer(x.embedding[None], x.texture[None], x.logits[None], x.bands[None]) for x in (lean, full)]
        assert of_both[0] == of_both[1]


# --- A detector of it ---


@pytest.fixture
def run(network: Network, tmp_path: Path, write_wav: WriteWav, rng: np.random.Generator) -> Path:
    """A finished run, of two clips."""
    clips = [write_wav(f"clips/{i}.wav", gusts(rng, 12)) for i in range(2)]
    row = {"machine": "a", "section": "b", "domain": "source", "split": "train", "label": "normal", "attributes": ""}
    folder = tmp_path / "run"
    folder.mkdir()
    runs.save_network(folder, network.state_dict(), network.settings, ["a/b", "a/c", "a/d"])
    (folder / "data.json").write_text(json.dumps([{**row, "path": str(path)} for path in clips]))
    recipe = Recipe().model_dump(mode="json")
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    (folder / "CREDITS.md").write_text("Wind by Anna, CC BY 3.0.\n")
    return folder


def test_a_machine_is_enrolled_on_a_texture(
    run: Path, tmp_path: Path, write_wav: WriteWav, earshot: Callable[..., Ran]
) -> None:
    base = export_texture(run, tmp_path / "general", name="general", false_alarm_rate=0.02)
    assert not base.sections
    assert base.card.metrics["largest_differences"].keys() >= {"texture", "blocks of 7919"}
    with pytest.raises(DetectorError, match="knows no machine: expected one enrolled on it"):
        base.section(None)

    rng = np.random.default_rng(1)
    normal = [write_wav(f"normal/{i}.wav", gusts(rng, 10)) for i in range(12)]
    output = tmp_path / "fan"
    ran = earshot("enroll", "fan", "--from", normal[0].parent, "--detector", base.path, "--output", output)
    assert ran.code == 0, ran.stderr
    enrolled = detectors.read(output)
    verify(enrolled)
    assert set(enrolled.section(None).statistics.typical) == {"texture", "levels", "quiet"}
    assert enrolled.card.false_alarm_rate == 0.02


def test_credits_go_with_the_network_from_detector_to_detector(run: Path, tmp_path: Path, write_wav: WriteWav) -> None:
    rng = np.random.default_rng(1)
    normal = [write_wav(f"normal/{i}.wav", gusts(rng, 10)) for i in range(12)]
    base = export_texture(run, tmp_path / "general", name="general", false_alarm_rate=0.02)
    first = enroll("fan", normal, base, tmp_path / "fan")
    second = enroll("pump", normal, first, tmp_path / "pump")
    for detector in (base, first, second):
        assert (detector.path / "MODEL_CARD.md").read_text().count("Wind by Anna, CC BY 3.0.") == 1
    assert "# fan" not in (second.path / "MODEL_CARD.md").read_text()


def test_the_gate_notices_another_network(run: Path, network: Network, tmp_path: Path) -> None:
    base = export_texture(run, tmp_path / "general", name="general", false_alarm_rate=0.02)
    other = Network(network.settings, 3)
    other.load_state_dict({name: weights * 1.01 for name, weights in network.state_dict().items()})
    with pytest.raises(EarshotError, match="torch and onnxruntime disagree: texture by"):
        check_runtime(other.eval(), base, runs.load_clips(run))


def test_a_network_that_pads_time_has_no_texture_of_its_own(run: Path, tmp_path: Path) -> None:
    padded = NetworkSettings(**{**asdict(SETTINGS), "pad_time": True})
    runs.save_network(run, Network(padded, 3).state_dict(), padded, ["a/b", "a/c", "a/d"])
    with pytest.raises(EarshotError, match="its network pads time"):
        export_texture(run, tmp_path / "general", name="general", false_alarm_rate=0.02)


@pytest.mark.parametrize("hops", [1, 2, 5])
def test_hops_together_are_hops_one_by_one(model: Model, hops: int) -> None:
    frames = np.random.default_rng(0).normal(-60, 8, (2, 128, 16 * 10)).astype(np.float32)
    one, _ = model(frames, model.empty_cache(2))
    cache, textures = model.empty_cache(2), []
    for at in range(0, frames.shape[2], 16 * hops):
        heard, cache = model(frames[:, :, at : at + 16 * hops], cache)
        textures.append(heard.texture / heard.quiet[:, :, None])
    expected = one.texture / one.quiet[:, :, None]
    np.testing.assert_allclose(np.concatenate(textures, axis=1), expected, rtol=1e-3, atol=1e-4)


def test_the_definition(network: Network, model: Model, rng: np.random.Generator) -> None:
    """A mean over the last 288 of 299 frames, written out in numpy, a column at a time."""
    samples = gusts(rng, 9.6)[: PLAN.window_samples]
    frames = Frontend(PLAN.frontend)(samples)
    with torch.no_grad():
        stem = network.stem(network.normalise(torch.from_numpy(frames)[None, None]))[0].double().numpy()
    total, weights = np.zeros((4, 32)), np.zeros(32)
    for column in range(3, 147):
        level = frames[:, 2 * column + 2 : 2 * column + 4].reshape(32, 4, 2).mean((1, 2))
        weight = np.exp(-0.3 * level.astype(np.float64))
        total += weight * stem[:, :, column].reshape(4, 32, 2).mean(2)
        weights += weight
    (heard,) = Ear(model, PLAN).feed(samples)
    np.testing.assert_allclose(heard.texture, (total / weights).ravel(), rtol=1e-3, atol=1e-4)
