"""The same sound gives the same scores: in any blocks, as a clip, as a stream, and with a real detector."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import detector as detectors
from edge.detector.line import Line, Reading
from edge.ear import Ear, Frontend, HopPlan, Model
from edge.source import read_samples
from tests.conftest import DEMO

DETECTOR = detectors.read(DEMO / "detector")
SECTION = DETECTOR.section(None)
SOUND = read_samples(next((DEMO / "recordings").glob("*.flac")))[: 16_000 * 14]


def scores_in_blocks(samples: np.ndarray, blocks: list[int]) -> list[tuple[int, float]]:
    return [(reading.end_sample, reading.scores["fused"]) for reading in in_blocks(samples, blocks)]


def in_blocks(samples: np.ndarray, blocks: list[int]) -> list[Reading]:
    line, start, readings, i = Line(DETECTOR, SECTION), 0, list[Reading](), 0
    while start < samples.size:
        block = samples[start : start + blocks[i % len(blocks)]]
        readings += line.feed(block)
        start, i = start + block.size, i + 1
    return readings


@settings(max_examples=6)
@given(st.lists(st.integers(100, 60_000), min_size=1, max_size=4))
def test_block_sizes_do_not_matter(blocks: list[int]) -> None:
    came, expected = scores_in_blocks(SOUND, blocks), scores_in_blocks(SOUND, [SOUND.size])
    assert [end for end, _ in came] == [end for end, _ in expected]
    np.testing.assert_allclose([s for _, s in came], [s for _, s in expected], rtol=1e-5)


def test_the_first_reading_comes_with_the_last_sample_of_the_first_window() -> None:
    plan: HopPlan = DETECTOR.plan
    line = Line(DETECTOR, SECTION)
    assert line.feed(SOUND[: plan.window_samples - 1]) == []
    (reading,) = line.feed(SOUND[plan.window_samples - 1 : plan.window_samples])
    assert reading.end_sample == plan.window_samples
    (reading,) = line.feed(SOUND[plan.window_samples : plan.window_samples + plan.hop_samples])
    assert reading.end_sample == plan.window_samples + plan.hop_samples


def test_a_window_in_a_stream_is_the_window_alone() -> None:
    """The cache holds nothing that came before the window."""
    plan = DETECTOR.plan
    streamed = dict(scores_in_blocks(SOUND, [8192]))
    start = 3 * plan.hop_samples
    ((_, alone),) = scores_in_blocks(SOUND[start : start + plan.window_samples], [plan.window_samples])
    assert streamed[start + plan.window_samples] == pytest.approx(alone, rel=1e-5)


def test_after_a_reset_nothing_is_left_of_the_past() -> None:
    line = Line(DETECTOR, SECTION)
    line.feed(np.random.default_rng(0).normal(0, 0.3, 200_000).astype(np.float32))
    line.reset()
    readings = line.feed(SOUND)
    assert [r.scores["fused"] for r in readings] == pytest.approx([s for _, s in scores_in_blocks(SOUND, [SOUND.size])])


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_a_dead_microphone_has_no_score(value: float) -> None:
    readings = Line(DETECTOR, SECTION).feed(np.full(200_000, value, np.float32))
    assert readings
    assert all(reading.fault == "silent or stuck" and not reading.scores for reading in readings)


def test_a_moment_of_death_spoils_the_windows_that_hold_it_and_no_other() -> None:
    sound = np.tile(SOUND, 2)
    dead_from, dead_until = 160_000, 170_000
    sound[dead_from:dead_until] = 0
    for reading in Line(DETECTOR, SECTION).feed(sound):
        start = reading.end_sample - DETECTOR.plan.window_samples
        if reading.end_sample >= dead_until and start <= dead_from:
            assert reading.fault
        if reading.end_sample <= dead_from or start >= dead_until:
            assert reading.fault is None


@pytest.mark.parametrize("offset", [0.05, 0.1, 0.5, -0.5])
def test_a_mean_off_zero_is_no_sound(offset: float) -> None:
    """A broken bias scored 2.9 with a tenth of full scale, 5.4 with half of it, of a threshold of 1.7."""
    line = Line(DETECTOR, SECTION)
    heard = line.feed(SOUND + np.float32(offset))
    assert line.ear.offset == pytest.approx(offset, abs=0.01)
    expected = Line(DETECTOR, SECTION).feed(SOUND)
    assert [r.scores["fused"] for r in heard] == pytest.approx([r.scores["fused"] for r in expected], abs=0.05)
    assert [r.level_dbfs for r in heard] == pytest.approx([r.level_dbfs for r in expected], abs=0.1)


@pytest.mark.parametrize("blocks", [[1600], [50_000, 700]])
def test_block_sizes_do_not_matter_where_a_mean_is_off_zero(blocks: list[int]) -> None:
    off = np.concatenate([SOUND, SOUND])
    off[150_000:] += np.float32(0.25)
    came, expected = in_blocks(off, blocks), in_blocks(off, [off.size])
    assert [(r.end_sample, r.fault) for r in came] == [(r.end_sample, r.fault) for r in expected]
    assert {r.fault for r in came} == {None, "offset moved"}
    scores = [[r.scores.get("fused", 0.0) for r in readings] for readings in (came, expected)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_sound_about_zero_is_left_alone_to_the_last_bit(rng: np.random.Generator) -> None:
    t = np.arange(200_000) / 16_000
    others = [rng.normal(0, 0.5, t.size), 0.5 * np.sin(40 * np.pi * t), 0.3 * np.sign(np.sin(100 * np.pi * t))]
    for sound in [SOUND, *(np.asarray(each, np.float32) for each in others)]:
        ear = Line(DETECTOR, SECTION).ear
        for came, expected in zip(ear.feed(sound), DETECTOR.ear().feed(sound), strict=True):
            assert came.fault is None
            assert (came.bands == expected.bands).all()
            assert (came.embedding == expected.embedding).all()


@pytest.mark.parametrize(("before", "after"), [(0, 0.5), (0.5, 0), (0.1, -0.05)])
def test_a_step_of_the_mean_is_an_anomaly_in_no_window_once_it_is_known(before: float, after: float) -> None:
    sound, at, known_seconds = np.tile(SOUND, 3), 250_000, 3.6
    stepped = sound + np.where(np.arange(sound.size) < at, before, after).astype(np.float32)
    readings, expected = Line(DETECTOR, SECTION).feed(stepped), Line(DETECTOR, SECTION).feed(sound)
    for reading, ordinary in zip(readings, expected, strict=True):
        start = reading.end_sample - DETECTOR.plan.window_samples
        if reading.end_sample <= at or start >= at + known_seconds * 16_000:
            assert reading.fault is None
            assert reading.scores["fused"] == pytest.approx(ordinary.scores["fused"], abs=0.05)
        elif reading.end_sample >= at + known_seconds * 16_000:
            assert reading.fault == ("offset moved" if start < at + 2.5 * 16_000 else reading.fault)


def test_level_is_that_of_the_newest_hop(rng: np.random.Generator) -> None:
    sound = rng.normal(0, 0.01, 200_000).astype(np.float32)
    sound[-30_000:] *= 10
    readings = Line(DETECTOR, SECTION).feed(sound)
    assert readings[0].level_dbfs == pytest.approx(-40, abs=0.3)
    assert readings[-1].level_dbfs == pytest.approx(-20, abs=0.3)


# --- A network that computes windows whole, as the paper's does ---


def mean_over_windows(path: Path, *, window_frames: int, n_mels: int = 128) -> Path:
    """Write a graph whose embedding is the mean of a whole window's frames; its state are the frames before the hop."""
    onnx = pytest.importorskip("onnx", reason="onnx: the train extra is not installed")
    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    past = window_frames - 16

    def value(name: str, *shape: str | int) -> object:
        return make.make_tensor_value_info(name, floats, ["streams", *shape])

    numbers = {"axis": [3], "from": [16], "to": [window_frames], "few": [0, 1, 2]}
    constants = [make.make_tensor(name, onnx.TensorProto.INT64, [len(own)], own) for name, own in numbers.items()]
    nodes = [
        make.make_node("Concat", ["state.frames", "features"], ["window"], axis=3),
        make.make_node("ReduceMean", ["window", "axis"], ["embedding"], keepdims=0),
        make.make_node("Gather", ["embedding", "few"], ["logits"], axis=2),
        make.make_node("Slice", ["window", "from", "to", "axis"], ["next.state.frames"]),
    ]
    inputs = [value("features", 1, n_mels, 16), value("state.frames", 1, n_mels, past)]
    outputs = [value("embedding", 1, n_mels), value("logits", 1, 3), value("next.state.frames", 1, n_mels, past)]
    graph = make.make_graph(nodes, "whole", inputs, outputs, constants)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("window_frames", [311, 304])  # 311 is no whole number of hops
def test_a_network_of_whole_windows_runs_once_for_each_and_not_while_it_fills(
    window_frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(mean_over_windows(tmp_path / "whole.onnx", window_frames=window_frames))
    plan = HopPlan(DETECTOR.frontend, window_frames)
    n_runs = 0
    run = model._run

    def counted(*arguments: object) -> object:
        nonlocal n_runs
        n_runs += 1
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "_run", counted)
    clip, longer = SOUND[: plan.window_samples], SOUND[: plan.window_samples + 3 * plan.hop_samples]
    (heard,) = Ear(model, plan).feed(clip)
    assert n_runs == 1
    frames = Frontend(DETECTOR.frontend)(clip)
    np.testing.assert_allclose(heard.embedding, frames.mean(axis=1), rtol=1e-5)

    # The numbers are those of the same graph, stepped through every hop.
    alone = Ear(model, plan).feed(longer)
    monkeypatch.setattr(model, "whole_frames", None)
    stepped = Ear(model, plan).feed(longer)
    assert [m.end_sample for m in alone] == [m.end_sample for m in stepped]
    assert len(alone) == 4
    for one, other in zip(alone, stepped, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=1e-5)
        np.testing.assert_allclose(one.logits, other.logits, rtol=1e-5)
