"""A trained network as a streaming graph: the same weights, with what a window remembers as explicit state.

Whole, or only as far as the early map that strangers are told by: the texture (edge/ear/texture.py).

Two changes are made for the runtime's sake, neither of which changes a number: batch norms are folded into the
convolutions before them, and time is the height of the images, so that a step of few columns still gives long rows.
"""

import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from edge.ear import DEAD_DB, HOP_FRAMES, QUIET_PER_DB, QUIET_ROWS
from trainer.adacos import SubclusterAdacos, unit
from trainer.network import DualBlock, Network, PointConv, TimeConv

OPSET: Final = 20


class EarlyGraph(nn.Module):
    """As far as the texture: (features (N, 1, M, 16 m), *state) -> (texture (N, m, C, R), quiet (N, m, R), *state)."""

    band_mean: Tensor
    band_scale: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        if network.settings.pad_time:
            raise ValueError("a network that pads time cannot be cached: expected WholeWindowGraph")
        self.register_buffer("band_mean", network.band_mean.T.clone())
        self.register_buffer("band_scale", 1 / network.band_deviation.T)
        stem = [_Columns(conv) for conv in network.stem]
        self.stem = nn.ModuleList(stem)
        self.height = network.settings.n_mels // math.prod(conv.stride for conv in stem)
        self.texture = _Texture(network.settings.n_mels)
        self._state_shapes = dict(_early_shapes(stem, network.settings.n_mels))

    def empty_state(self, n_streams: int) -> dict[str, Tensor]:
        """Return zeros for every state, by its name."""
        return {name: torch.zeros(n_streams, *shape) for name, shape in self._state_shapes.items()}

    def forward(self, features: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Step N streams by m hops."""
        kept = list[Tensor]()
        _, texture = self.begin(features, iter(state), kept)
        return (*texture, *kept)

    def begin(
        self, features: Tensor, past: Iterator[Tensor], kept: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the stem's map, time first, and what it gives."""
        frames = features.transpose(2, 3)
        x = (frames - self.band_mean) * self.band_scale
        for conv in self.stem:
            x = conv(_remember(x, past, kept))
        return x, self.texture(x, _remember(frames, past, kept))


class StreamingGraph(EarlyGraph):
    """The whole network: (features (N, 1, M, 16 m), *state) -> (embedding (N, m, D), logits (N, m, k), texture, quiet,
    *state).
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        blocks = [_Block(block) for block in network.blocks]
        self.blocks = nn.ModuleList(blocks)
        self.widen = _point(network.widen)
        self.head = _Head(network)
        self._state_shapes |= dict(_late_shapes(blocks, self.head, self.height))

    def forward(self, features: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Step N streams by m hops."""
        past, kept = iter(state), list[Tensor]()
        x, texture = self.begin(features, past, kept)
        for block in self.blocks:
            x = block(x, past, kept)
        x = _remember(self.widen(x), past, kept)
        return (*self.head(x), *texture, *kept)


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


Graph = StreamingGraph | EarlyGraph | WholeWindowGraph


def graph_of(network: Network, *, early: bool = False) -> Graph:
    """Return the graph that keeps the streaming contract for this network, in evaluation mode.

    early: its texture alone.
    """
    if early:
        return EarlyGraph(network).eval()
    graph = WholeWindowGraph(network) if network.settings.pad_time else StreamingGraph(network)
    return graph.eval()


def outputs_of(graph: Graph) -> list[str]:
    """Return the names of a graph's outputs, before those of its state."""
    whole, early = ["embedding", "logits"], ["texture", "quiet"]
    if isinstance(graph, WholeWindowGraph):
        return whole
    return [*whole, *early] if isinstance(graph, StreamingGraph) else early


def write_onnx(network: Network, path: Path, properties: dict[str, str], *, early: bool = False) -> None:
    """Write the network's graph, one file, with `properties` in its metadata."""
    graph = graph_of(network, early=early)
    n_mels = network.settings.n_mels
    is_whole = isinstance(graph, WholeWindowGraph)
    n_streams, n_hops = 2, 1 if is_whole else 3
    state = graph.empty_state(n_streams)
    features = torch.zeros(n_streams, 1, n_mels, HOP_FRAMES * n_hops)

    streams = torch.export.Dim("streams", min=1, max=4096)
    frames = {0: streams}
    if not is_whole:
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
            output_names=[*outputs_of(graph), *(f"next.{name}" for name in state)],
            dynamic_shapes=(frames, tuple({0: streams} for _ in state)),
        )
    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("metadata_props")  # the exporter's stack traces, with the paths of whoever exported
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def _early_shapes(stem: list["_Columns"], n_mels: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield name and shape (channels, columns, bands) of every state, in the order in which `forward` takes them."""
    height = n_mels
    for i, conv in enumerate(stem):
        yield f"state.stem{i}", (conv.channels_in, conv.past_columns, height)
        height //= conv.stride
    yield "state.frames", (1, _Texture.PAST_FRAMES, n_mels)


def _late_shapes(blocks: list["_Block"], head: "_Head", height: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield those of what comes after the stem; height: the rows of its map."""
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


class _Texture(nn.Module):
    """The stem's map, rows joined, summed over each hop with weights that fall with the level beneath a column.

    Column j of a hop is made of its frames 2 j - 5 to 2 j + 1; the level is that of the two in the middle.
    """

    PAST_FRAMES: ClassVar[int] = 3
    FRAMES_A_COLUMN: ClassVar[int] = 2

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.bands_a_row = max(1, n_mels // QUIET_ROWS)
        self.rows = n_mels // self.bands_a_row

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, C, 8 m, M / 2), frames (N, 1, 3 + 16 m, M) in dB -> texture (N, m, C, R), quiet (N, m, R)."""
        columns = HOP_FRAMES // self.FRAMES_A_COLUMN
        n, c, t, _ = x.shape
        level = frames[:, 0, : -self.PAST_FRAMES].reshape(n, t, self.FRAMES_A_COLUMN, self.rows, self.bands_a_row)
        level = level.mean(dim=(2, 4))
        weight = torch.exp(-QUIET_PER_DB * level) * (level > DEAD_DB)
        joined = x.reshape(n, c, t, self.rows, -1).mean(4)
        summed = (joined * weight[:, None]).reshape(n, c, -1, columns, self.rows).sum(3)
        return summed.transpose(1, 2), weight.reshape(n, -1, columns, self.rows).sum(2)


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
