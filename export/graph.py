"""A trained network as a streaming graph: the same weights, with what a window remembers as explicit state.

Two changes are made for the runtime's sake, neither of which changes a number: batch norms are folded into the
convolutions before them, and time is the height of the images, so that a step of few columns still gives long rows.
"""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from edge.ear import HOP_FRAMES
from trainer.adacos import SubclusterAdacos, unit
from trainer.network import DualBlock, Network, PointConv, TimeConv

OPSET: Final = 20


class StreamingGraph(nn.Module):
    """(features (N, 1, M, 16 m), *state) -> (embedding (N, m, D), logits (N, m, k), *state)."""

    band_mean: Tensor
    band_scale: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        if network.settings.pad_time:
            raise ValueError("a network that pads time cannot be cached: expected WholeWindowGraph")
        self.register_buffer("band_mean", network.band_mean.T.clone())
        self.register_buffer("band_scale", 1 / network.band_deviation.T)
        stem = [_Columns(conv) for conv in network.stem]
        blocks = [_Block(block) for block in network.blocks]
        self.stem, self.blocks = nn.ModuleList(stem), nn.ModuleList(blocks)
        self.widen = _point(network.widen)
        self.head = _Head(network)
        self._state_shapes = dict(_state_shapes(stem, blocks, self.head, network.settings.n_mels))

    def empty_state(self, n_streams: int) -> dict[str, Tensor]:
        """Return zeros for every state, by its name."""
        return {name: torch.zeros(n_streams, *shape) for name, shape in self._state_shapes.items()}

    def forward(self, features: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Step N streams by m hops."""
        past, kept = iter(state), list[Tensor]()
        x = (features.transpose(2, 3) - self.band_mean) * self.band_scale
        for conv in self.stem:
            x = _remember(x, past, kept)
            x = conv(x)
        for block in self.blocks:
            x = block(x, past, kept)
        x = _remember(self.widen(x), past, kept)
        return (*self.head(x), *kept)


class WholeWindowGraph(nn.Module):
    """The same contract for a network that needs whole windows: its state is the frames before the newest hop."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def empty_state(self, n_streams: int) -> dict[str, Tensor]:
        """Return zeros for the one state."""
        settings = self.network.settings
        return {"state.frames": torch.zeros(n_streams, 1, settings.n_mels, settings.window_frames - HOP_FRAMES)}

    def forward(self, features: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Step N streams by one hop."""
        frames = torch.cat([state[0], features], dim=3)
        embedding, logits = self.network(frames)
        return embedding, logits, frames[..., HOP_FRAMES:]


def graph_of(network: Network) -> StreamingGraph | WholeWindowGraph:
    """Return the graph that keeps the streaming contract for this network, in evaluation mode."""
    graph = WholeWindowGraph(network) if network.settings.pad_time else StreamingGraph(network)
    return graph.eval()


def write_onnx(network: Network, path: Path, properties: dict[str, str]) -> None:
    """Write the network's graph, one file, with `properties` in its metadata."""
    graph = graph_of(network)
    n_mels = network.settings.n_mels
    n_streams, n_hops = 2, 3 if isinstance(graph, StreamingGraph) else 1
    state = graph.empty_state(n_streams)
    features = torch.zeros(n_streams, 1, n_mels, HOP_FRAMES * n_hops)

    streams = torch.export.Dim("streams", min=1, max=4096)
    frames = {0: streams}
    if isinstance(graph, StreamingGraph):
        frames[3] = HOP_FRAMES * torch.export.Dim("hops", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own internals
        for talker in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(talker).setLevel(logging.ERROR)
        torch.onnx.export(
            graph,
            (features, *state.values()),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["features", *state],
            output_names=["embedding", "logits", *(f"next.{name}" for name in state)],
            dynamic_shapes=(frames, tuple({0: streams} for _ in state)),
        )
    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("metadata_props")  # the exporter's stack traces, with the paths of whoever exported
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def _state_shapes(
    stem: list["_Columns"], blocks: list["_Block"], head: "_Head", n_mels: int
) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield name and shape (channels, columns, bands) of every state, in the order in which `forward` takes them."""
    height = n_mels
    for i, conv in enumerate(stem):
        yield f"state.stem{i}", (conv.channels_in, conv.past_columns, height)
        height //= conv.stride
    for i, block in enumerate(blocks):
        yield f"state.block{i}", (block.channels_in, block.depthwise.past_columns, height)
        height //= block.depthwise.stride
    yield "state.head", (head.channels_in, head.past_columns, height)


def _remember(x: Tensor, past: Iterator[Tensor], kept: list[Tensor]) -> Tensor:
    """Put the columns before in front of the new ones, and keep the last as many for the next step."""
    before = next(past)
    joined = torch.cat([before, x], dim=2)
    kept.append(joined[:, :, -before.shape[2] :])
    return joined


class _Columns(nn.Module):
    """A `TimeConv` with its norm folded in, time first."""

    past_columns: int
    stride: int
    channels_in: int

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, TimeConv)
        self.past_columns = conv.past_columns
        self.stride = conv.conv.stride[0]
        self.channels_in = conv.conv.in_channels
        self.conv = _folded(conv.conv, conv.norm, padding=(0, 1))
        self.activation = _activation(conv.activation)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.conv(x))
        return y


class _Block(nn.Module):
    """A `DualBlock` that caches its input, and expands the columns before again: cheaper than a wider cache."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, DualBlock)
        self.has_branch, self.has_skip = block.has_branch, block.has_skip
        self.expand = _point(block.expand)
        self.depthwise = _Columns(block.depthwise)
        self.project = _point(block.project)
        self.channels_in: int = block.depthwise.conv.in_channels // block.expansion
        if self.has_branch:
            self.branch_depthwise = _Columns(block.branch_depthwise)
            self.branch_project = _point(block.branch_project)

    def forward(self, x: Tensor, past: Iterator[Tensor], kept: list[Tensor]) -> Tensor:
        x = _remember(x, past, kept)
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        if self.has_branch:
            y = y + self.branch_project(self.branch_depthwise(x))
        if self.has_skip:
            y = y + x[:, :, 1:-1]
        return y


class _Head(nn.Module):
    """Global depthwise convolution, embedding and classifier; dropout is nothing here."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.past_columns = network.head_columns - 1
        self.channels_in = network.global_depthwise.in_channels
        self.global_depthwise = _folded(network.global_depthwise, network.global_norm)
        self.embed = _folded(network.embed, network.embed_norm)
        self.on_sphere = network.on_sphere
        self.classify = _classifier(network.classify)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.embed(self.global_depthwise(x))
        if self.on_sphere:
            embedding = unit(embedding)
        logits = self.classify(embedding)
        return embedding[..., 0].transpose(1, 2), logits[..., 0].transpose(1, 2)


class _Directions(nn.Module):
    """A `SubclusterAdacos` with its scale folded into the directions, for embeddings that are unit vectors already."""

    def __init__(self, classifier: SubclusterAdacos) -> None:
        super().__init__()
        self.subclusters = classifier.subclusters
        n_directions, n_dims = classifier.directions.shape
        self.conv = nn.Conv2d(n_dims, n_directions, 1, bias=False)
        scaled = classifier.scale * unit(classifier.directions.detach())
        self.conv.weight = nn.Parameter(scaled[:, :, None, None])

    def forward(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.conv(embedding).unflatten(1, (-1, self.subclusters)).logsumexp(2)
        return logits


def _classifier(classifier: nn.Module) -> nn.Module:
    return _Directions(classifier) if isinstance(classifier, SubclusterAdacos) else classifier


def _point(layers: PointConv) -> nn.Sequential:
    folded: list[nn.Module] = [_folded(layers[0], layers[1])]
    if len(layers) > 2:
        folded.append(_activation(layers[2]))
    return nn.Sequential(*folded)


def _folded(conv: nn.Module, norm: nn.Module, padding: tuple[int, int] = (0, 0)) -> nn.Conv2d:
    """Return the convolution with the norm after it folded in, and its time and frequency exchanged."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    stride, kernel = conv.stride[0], (conv.kernel_size[1], conv.kernel_size[0])
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, kernel, stride, padding, groups=conv.groups)
    folded.weight = nn.Parameter(weight.transpose(2, 3).contiguous())
    folded.bias = nn.Parameter(bias)
    return folded


def _activation(activation: nn.Module) -> nn.Module:
    """A PReLU with one slope is a LeakyReLU, which runtimes fuse into the convolution."""
    if isinstance(activation, nn.PReLU) and activation.num_parameters == 1:
        return nn.LeakyReLU(float(activation.weight.detach()))
    return activation
