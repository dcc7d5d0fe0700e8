"""The network is Table 1, and its streaming graph gives the whole window's numbers."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge.ear import FrontendSettings  # noqa: E402
from edge.ear.model import Model  # noqa: E402
from export.graph import write_onnx  # noqa: E402
from trainer.network import DualBlock, Network, NetworkSettings, preset  # noqa: E402

SMALL = {"stem_channels": 8, "stage_channels": (16, 16, 16), "head_channels": 32}


def random_network(**settings: object) -> Network:
    """A small network whose norms and slopes are no identities."""
    torch.manual_seed(0)
    network = Network(NetworkSettings(**{**SMALL, **settings}), n_classes=5)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, torch.nn.PReLU):
            torch.nn.init.uniform_(module.weight, 0.1, 0.4)
    network.band_mean.normal_(-40, 5)
    network.band_deviation.uniform_(5, 10)
    return network.eval()


@pytest.mark.parametrize(("name", "columns", "macs_million"), [("streaming", 14, 392), ("paper", 20, 1139)])
def test_presets_are_as_heavy_as_they_say(name: str, columns: int, macs_million: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    settings = preset(name)  # type: ignore[arg-type]
    network = Network(settings, n_classes=6).eval()
    assert network.head_columns == columns
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        embedding, logits = network(torch.zeros(1, 1, 128, settings.window_frames))
    assert embedding.shape == (1, 1, 128)
    assert logits.shape == (1, 1, 6)
    assert counter.get_total_flops() / 2e6 == pytest.approx(macs_million, rel=0.01)


def test_what_the_paper_leaves_open_is_as_the_decisions_say() -> None:
    paper = preset("paper")
    block = DualBlock(8, 8, expansion=2, stride=1, settings=paper)
    assert (block.has_branch, block.has_skip) == (True, True)
    ten_seconds = FrontendSettings().frames_in(160_000)
    assert ten_seconds == paper.window_frames == 311


@pytest.mark.parametrize("branch", ["all", "stride2", "none"])
def test_streaming_graph_equals_whole_windows(branch: str, tmp_path: Path) -> None:
    network = random_network(linear_branch=branch)
    write_onnx(network, tmp_path / "model.onnx", {})
    compare_with_whole_windows(network, Model(tmp_path / "model.onnx"))


def test_streaming_graph_of_directions_equals_whole_windows(tmp_path: Path) -> None:
    network = random_network(classifier="subcluster_adacos", subclusters=3)
    write_onnx(network, tmp_path / "model.onnx", {})
    compare_with_whole_windows(network, Model(tmp_path / "model.onnx"))


def test_paper_graph_keeps_the_same_contract(tmp_path: Path) -> None:
    network = random_network(preset="paper", window_frames=311, pad_time=True, slope_per_channel=True)
    write_onnx(network, tmp_path / "model.onnx", {})
    compare_with_whole_windows(network, Model(tmp_path / "model.onnx"))


def test_many_hops_and_many_streams_are_one_hop_of_one_stream(tmp_path: Path) -> None:
    network = random_network()
    write_onnx(network, tmp_path / "model.onnx", {})
    model = Model(tmp_path / "model.onnx")
    features = np.random.default_rng(0).normal(-40, 8, (3, 128, 16 * 21)).astype(np.float32)
    together, _ = model(features, model.empty_cache(3))
    for i, stream in enumerate(features):
        cache, hops = model.empty_cache(), []
        for start in range(0, stream.shape[1], 16):
            heard, cache = model(stream[np.newaxis, :, start : start + 16], cache)
            hops.append(heard)
        for name in ("embedding", "texture", "quiet"):
            alone = np.stack([getattr(heard, name)[0, 0] for heard in hops])
            expected = getattr(together, name)[i]
            np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))


def test_frames_that_are_no_whole_hops_are_refused(tmp_path: Path) -> None:
    write_onnx(random_network(), tmp_path / "model.onnx", {})
    model = Model(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="16"):
        model(np.zeros((1, 128, 17), np.float32), model.empty_cache())


def test_one_file_without_external_data(tmp_path: Path) -> None:
    write_onnx(random_network(), tmp_path / "model.onnx", {"frontend": "abc"})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_nothing_of_the_computer_that_exported_is_in_the_file(tmp_path: Path) -> None:
    write_onnx(random_network(), tmp_path / "model.onnx", {})
    content = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[1]).encode() not in content
    assert b".py" not in content


def compare_with_whole_windows(network: Network, model: Model) -> None:
    window = network.settings.window_frames
    prime = -window % 16
    frames = np.random.default_rng(1).normal(-40, 8, (128, window + 32)).astype(np.float32)
    primed = np.pad(frames, ((0, 0), (prime, 0)))[np.newaxis]
    (embeddings, logits, *_), _ = model(primed, model.empty_cache())
    for i in range(3):
        with torch.no_grad():
            embedding, logit = network(torch.from_numpy(frames[None, None, :, 16 * i : 16 * i + window]))
        for came, expected in ((embeddings[0, i - 3], embedding[0, 0]), (logits[0, i - 3], logit[0, 0])):
            np.testing.assert_allclose(came, expected, atol=1e-5 * float(expected.abs().max()))
