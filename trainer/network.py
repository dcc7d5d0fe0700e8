"""The network of the paper's Table 1, in two presets of one definition; `export` turns it into a streaming graph.

    features (N, 1, M, F) -> stem -> three stages of two dual blocks -> 1x1 -> global depthwise -> embedding -> logits

`paper`      zero padding in time, one PReLU slope a channel, windows of 311 frames (10 s): the reference.
`streaming`  no padding in time, one PReLU slope a layer: a window's columns can be cached, and a step of 16 new
             frames gives the same numbers as the whole window. A narrower stem and first stage: 392 million
             multiplications a window instead of 1039, for a fused score that is as good (docs/ablation.md). Its
             embedding is a unit vector, and every class several directions (trainer/adacos.py).
"""

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from trainer.adacos import SubclusterAdacos, unit
from trainer.norm import BatchNorm

EMBEDDING_DIM: Final = 128
TIME_STRIDE: Final = 16
"""Frames a hop: four layers of stride 2."""

Branch = Literal["none", "stride2", "all"]
Stem = Literal["dense", "depthwise"]
"""The second layer: a full 3x3 convolution as in the paper's Table 1, or a depthwise one as in MobileFaceNet [11]."""

Classifier = Literal["linear", "subcluster_adacos"]
"""What makes logits of an embedding: a linear layer (the paper), or directions on a sphere (trainer/adacos.py)."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """What a network is made of; it travels in the checkpoint and in `detector.json`. Widths are those of Table 1."""

    preset: Literal["streaming", "paper"] = "streaming"
    n_mels: int = 128
    window_frames: int = 299
    pad_time: bool = False
    slope_per_channel: bool = False
    linear_branch: Branch = "all"
    stem: Stem = "dense"
    stem_channels: int = 64
    stage_channels: tuple[int, ...] = (128, 128, 128)
    expansions: tuple[int, ...] = (2, 4, 4)
    head_channels: int = 512
    classifier: Classifier = "linear"
    subclusters: int = 16
    dropout: float = 0.2


def preset(name: Literal["streaming", "paper"], *, n_mels: int = 128) -> NetworkSettings:
    """Return the settings that `name` stands for."""
    if name == "paper":
        return NetworkSettings(preset="paper", n_mels=n_mels, window_frames=311, pad_time=True, slope_per_channel=True)
    return NetworkSettings(
        n_mels=n_mels, stem_channels=32, stage_channels=(64, 128, 128), classifier="subcluster_adacos"
    )


class TimeConv(nn.Module):
    """3x3 convolution, BN and, unless `linear`, PReLU: the only layers that look along time.

    Frequency is padded by one zero on either side; time only with `pad_time`. Without it, a stream needs the last
    `3 - stride` columns of the input before: `past_columns`.
    """

    def __init__(
        self, c_in: int, c_out: int, *, stride: int, settings: NetworkSettings, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.past_columns = 3 - stride
        padding = (1, int(settings.pad_time))
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, padding, groups=groups, bias=False)
        self.norm = BatchNorm(c_out)
        self.activation: nn.Module = nn.Identity() if linear else prelu(c_out, settings)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, M', F') -> (N, c_out, M' / stride, columns)."""
        y: Tensor = self.activation(self.norm(self._convolve(x)))
        return y

    def _convolve(self, x: Tensor) -> Tensor:
        if self.conv.groups == 1 or self.conv.stride[0] == 1 or x.device.type != "cpu":
            y: Tensor = self.conv(x)
            return y
        # oneDNN has no fast bfloat16 kernel for the input gradient of a strided depthwise convolution: 223 ms against
        # 37 ms in float32 for 32 x 128 x 64 x 147, a quarter of the whole training step (benchmarks/training.py).
        with torch.autocast("cpu", enabled=False):
            wide: Tensor = self.conv(x.float())
            return wide


class PointConv(nn.Sequential):
    """1x1 convolution, BN and, unless `linear`, PReLU: a column at a time."""

    def __init__(self, c_in: int, c_out: int, *, settings: NetworkSettings, linear: bool = False) -> None:
        layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, 1, bias=False), BatchNorm(c_out)]
        if not linear:
            layers.append(prelu(c_out, settings))
        super().__init__(*layers)


class DualBlock(nn.Module):
    """An inverted residual beside a linear branch, and the input too where the stride is 1 (the paper's Sec. 2.1).

    "a linear branch without using any activation function is added to reduce the loss of information caused by
    PReLU": depthwise 3x3 - BN - 1x1 - BN.
    """

    def __init__(self, c_in: int, c_out: int, *, expansion: int, stride: int, settings: NetworkSettings) -> None:
        super().__init__()
        self.expansion = expansion
        hidden = c_in * expansion
        self.expand = PointConv(c_in, hidden, settings=settings)
        self.depthwise = TimeConv(hidden, hidden, stride=stride, settings=settings, groups=hidden)
        self.project = PointConv(hidden, c_out, settings=settings, linear=True)

        self.has_branch = settings.linear_branch == "all" or (settings.linear_branch == "stride2" and stride == 2)
        if self.has_branch:
            self.branch_depthwise = TimeConv(c_in, c_in, stride=stride, settings=settings, groups=c_in, linear=True)
            self.branch_project = PointConv(c_in, c_out, settings=settings, linear=True)

        self.has_skip = stride == 1 and c_in == c_out
        self.skip_crop = 0 if settings.pad_time else 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, M', F') -> (N, c_out, M' / stride, columns)."""
        return self.join(self.depthwise(self.expand(x)), x)

    def join(self, main: Tensor, x: Tensor) -> Tensor:
        """Project the main path and add what runs beside it; `x` holds the columns that `main` was made from."""
        y: Tensor = self.project(main)
        if self.has_branch:
            y = y + self.branch_project(self.branch_depthwise(x))
        if self.has_skip:
            y = y + x[..., self.skip_crop : x.shape[-1] - self.skip_crop]
        return y


class Network(nn.Module):
    """The classifier whose 128-dimensional embedding the anomaly score is measured on."""

    band_mean: Tensor
    band_deviation: Tensor

    def __init__(self, settings: NetworkSettings, n_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.n_classes = n_classes
        s, c = settings, settings.stem_channels

        # Mean and deviation of each mel band over the training data, (M, 1): constants, never updated by a batch.
        self.register_buffer("band_mean", torch.zeros(s.n_mels, 1))
        self.register_buffer("band_deviation", torch.ones(s.n_mels, 1))

        self.stem = nn.Sequential(
            TimeConv(1, c, stride=2, settings=s),
            TimeConv(c, c, stride=1, settings=s, groups=c if s.stem == "depthwise" else 1),
        )
        blocks = []
        for c_out, expansion in zip(s.stage_channels, s.expansions, strict=True):
            blocks.append(DualBlock(c, c_out, expansion=expansion, stride=2, settings=s))
            blocks.append(DualBlock(c_out, c_out, expansion=expansion, stride=1, settings=s))
            c = c_out
        self.blocks = nn.ModuleList(blocks)

        self.widen = PointConv(c, s.head_channels, settings=s)
        self.head_columns = head_columns(s)
        kernel = (s.n_mels // TIME_STRIDE, self.head_columns)
        self.global_depthwise = nn.Conv2d(s.head_channels, s.head_channels, kernel, groups=s.head_channels, bias=False)
        self.global_norm = BatchNorm(s.head_channels)
        self.embed = nn.Conv2d(s.head_channels, EMBEDDING_DIM, 1, bias=False)
        self.embed_norm = BatchNorm(EMBEDDING_DIM)
        self.dropout = nn.Dropout(s.dropout)
        self.classify: nn.Module = nn.Conv2d(EMBEDDING_DIM, n_classes, 1)
        # A classifier that looks at angles alone leaves the lengths to chance, and a distance must not see them.
        self.on_sphere = s.classifier == "subcluster_adacos"
        if self.on_sphere:
            self.classify = SubclusterAdacos(EMBEDDING_DIM, n_classes, s.subclusters)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding (N, m, 128) and the logits (N, m, k) of log-mel frames (N, 1, M, F) in dB.

        m = 1 for F = `window_frames`; without padding in time, one more for every 16 frames more.
        """
        x = self.stem(self.normalise(features))
        for block in self.blocks:
            x = block(x)
        return self.head(self.widen(x))

    def normalise(self, features: Tensor) -> Tensor:
        """Centre and scale each mel band by the training data's."""
        return (features - self.band_mean) / self.band_deviation

    def head(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, head_channels, M / 16, head_columns + m - 1) -> embedding (N, m, 128), logits (N, m, k)."""
        embedding = self.embed_norm(self.embed(self.global_norm(self.global_depthwise(x))))
        if self.on_sphere:
            embedding = unit(embedding.float())
        logits = self.classify(self.dropout(embedding))
        return embedding[:, :, 0].transpose(1, 2), logits[:, :, 0].transpose(1, 2)


def prelu(channels: int, settings: NetworkSettings) -> nn.PReLU:
    """PReLU with one slope a channel or one a layer; the latter exports as LeakyRelu, which runtimes fuse."""
    return nn.PReLU(channels if settings.slope_per_channel else 1)


def head_columns(settings: NetworkSettings) -> int:
    """Return how many columns a window leaves for the head: 14 of 299 frames unpadded, 20 of 311 padded."""
    columns = settings.window_frames
    strides = [2, 1] + [2, 1] * len(settings.stage_channels)
    for stride in strides:
        columns = (columns - 3 + 2 * int(settings.pad_time)) // stride + 1
    return columns
