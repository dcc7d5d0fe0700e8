"""The MobileNetV2 baseline of DCASE 2021 Task 2: a machine that is taken for another section is strange.

M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018; width 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.judge import confidence
from trainer.dataset import Clip
from trainer.peers.fitting import Group, best_device, each_group, machine_of, seeded
from trainer.peers.frames import Sounds, Stacks
from trainer.peers.peer import Peer, PeerScores

STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels at width 1, blocks and stride of the first block (the MobileNetV2 paper's Table 2)."""

STEM_CHANNELS: Final = 32
LAST_CHANNELS: Final = 1280


@dataclass(frozen=True)
class MobileNetV2(Peer):
    """A classifier a machine, of its sections; the score is the mean of log((1 - p) / p) over a clip's patches.

    p is the probability of the section that the clip is said to be of. A machine of one section has none.
    """

    about: ClassVar[str] = "DCASE 2021 baseline: MobileNetV2 tells a machine's sections apart, mean log((1-p)/p)"
    default_score: ClassVar[str] = "doubt"

    name: str = "mobilenetv2"
    width: float = 0.5
    frames: int = 64
    hop: int = 8
    epochs: int = 10
    patches_an_epoch: int = 1536
    batch_size: int = 32
    learning_rate: float = 1e-3

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Fit and score every machine under test that has two sections or more."""
        sounds = Sounds.read(train, test, folder)

        def fit_and_score(machine: Group) -> PeerScores:
            sections = sorted({clip.name for clip in machine.normal})
            if len(sections) < 2:
                return PeerScores({}, {}, {machine.name: "one section only, nothing to tell it from"})
            stacks = [
                Stacks(sounds, clips, length=self.frames, hop=self.hop) for clips in (machine.normal, machine.unknown)
            ]
            network = self._fit(stacks[0], sections, seed)
            of_normal, of_test = (self._score(network, own, sections) for own in stacks)
            return PeerScores(of_test, of_normal)

        return each_group(sounds, train, test, machine_of, fit_and_score, min_frames=self.frames)

    def _fit(self, normal: Stacks, sections: Sequence[str], seed: int) -> "Classifier":
        labels = torch.from_numpy(normal.labels(sections))
        with seeded(seed) as rng:
            network = Classifier(*normal.moments(), n_classes=len(sections), width=self.width).to(best_device())
            steps = self.epochs * max(1, round(min(len(normal), self.patches_an_epoch) / self.batch_size))
            optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            for _ in range(self.epochs):
                for rows in normal.batches(rng, self.batch_size, self.patches_an_epoch):
                    logits = network(normal.take(rows).to(best_device()))
                    loss = F.cross_entropy(logits, labels[rows].to(logits.device))
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
        return network.eval()

    def _score(self, network: "Classifier", stacks: Stacks, sections: Sequence[str]) -> dict[Path, dict[str, float]]:
        labels = stacks.labels(sections)
        doubts = np.empty(len(stacks), np.float32)
        with torch.no_grad():
            for rows in stacks.in_order(128):
                logits = network(stacks.take(rows).to(best_device())).cpu().numpy()
                for label in np.unique(labels[rows]):
                    own = labels[rows] == label
                    doubts[rows[own]] = confidence(logits[own], int(label))
        return stacks.mean_of_clips(doubts, self.default_score)


class Classifier(nn.Module):
    """MobileNetV2 of one channel: patches (B, frames, M) in dB to logits (B, k)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, *, n_classes: int, width: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        c = _scaled(STEM_CHANNELS, width)
        layers: list[nn.Module] = [_conv(1, c, 3, stride=2)]
        for expansion, channels, n_blocks, stride in STAGES:
            for i in range(n_blocks):
                layers.append(InvertedResidual(c, c := _scaled(channels, width), expansion, stride if i == 0 else 1))
        last = max(LAST_CHANNELS, _scaled(LAST_CHANNELS, width))
        self.layers = nn.Sequential(*layers, _conv(c, last, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(last, n_classes)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits (B, k)."""
        x = ((patches - self.mean) / self.deviation)[:, None].contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.classify(self.layers(x))
        return logits


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; the input is added where shapes allow."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        widen = [_conv(c_in, hidden, 1)] if expansion > 1 else []
        project = nn.Sequential(nn.Conv2d(hidden, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.layers = nn.Sequential(*widen, _conv(hidden, hidden, 3, stride=stride, groups=hidden), project)
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.has_skip else y


def _conv(c_in: int, c_out: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6())


def _scaled(channels: int, width: float) -> int:
    """A multiple of eight near `channels * width`, and not below nine tenths of it."""
    near = max(8, int(channels * width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels * width else near
