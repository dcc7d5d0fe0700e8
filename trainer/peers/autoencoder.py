"""The autoencoder baseline of DCASE 2021 Task 2: what it cannot rebuild, it has not heard before."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.dataset import Clip
from trainer.peers.fitting import Group, best_device, each_group, machine_of, seeded
from trainer.peers.frames import Sounds, Stacks
from trainer.peers.peer import Peer, PeerScores

WIDTHS: Final = (128, 128, 128, 128, 8, 128, 128, 128, 128)
"""Of the hidden layers; the narrow one holds the code."""


@dataclass(frozen=True)
class Autoencoder(Peer):
    """One network a machine, for all its sections; the score is the mean squared error of a clip's vectors."""

    about: ClassVar[str] = "DCASE 2021 baseline: dense autoencoder of five frames, mean squared error"
    default_score: ClassVar[str] = "error"

    name: str = "autoencoder"
    frames: int = 5
    epochs: int = 40
    vectors_an_epoch: int = 65_536
    batch_size: int = 512
    learning_rate: float = 1e-3

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Fit and score every machine under test."""
        sounds = Sounds.read(train, test, folder)

        def fit_and_score(machine: Group) -> PeerScores:
            normal, unknown = (
                Stacks(sounds, clips, length=self.frames, hop=1) for clips in (machine.normal, machine.unknown)
            )
            network = self._fit(normal, seed)
            return PeerScores(self._score(network, unknown), self._score(network, normal))

        return each_group(sounds, train, test, machine_of, fit_and_score, min_frames=self.frames)

    def _fit(self, normal: Stacks, seed: int) -> "Rebuilder":
        with seeded(seed) as rng:
            network = Rebuilder(*normal.moments(), frames=self.frames).to(best_device())
            optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
            for _ in range(self.epochs):
                for rows in normal.batches(rng, self.batch_size, self.vectors_an_epoch):
                    loss = network(normal.take(rows).to(best_device())).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        return network.eval()

    def _score(self, network: "Rebuilder", stacks: Stacks) -> dict[Path, dict[str, float]]:
        with torch.no_grad():
            errors = [network(stacks.take(rows).to(best_device())).cpu().numpy() for rows in stacks.in_order(8192)]
        return stacks.mean_of_clips(np.concatenate(errors), self.default_score)


class Rebuilder(nn.Module):
    """Stacked frames through a bottleneck of eight and back."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, *, frames: int) -> None:
        super().__init__()
        # One scale for all bands: the error of each counts as it does in the baseline, which rebuilds plain dB.
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation.mean())
        width = frames * len(mean)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((width, *WIDTHS)):
            layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], width))

    def forward(self, stacks: Tensor) -> Tensor:
        """Return the mean squared error, (B,), of stacks (B, frames, M) in dB."""
        x = ((stacks - self.mean) / self.deviation).flatten(1)
        return F.mse_loss(self.layers(x), x, reduction="none").mean(1)
