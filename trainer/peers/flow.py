"""A masked autoregressive flow on stacked log-mel frames: the density of normal sound itself.

G. Papamakarios et al., "Masked autoregressive flow for density estimation", NeurIPS 2017, as the paper's [6] uses it
(K. Dohi et al., ICASSP 2021); without that paper's second term, which pushes other sections' likelihood down.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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

LARGEST_LOG_SCALE: Final = 3.0
"""A dimension is stretched at most twentyfold by a step: a lone stack cannot blow up the likelihood of a clip."""


@dataclass(frozen=True)
class Flow(Peer):
    """One flow a machine, told which section it hears; the score is the mean negative log-likelihood per dimension."""

    about: ClassVar[str] = "masked autoregressive flow on five frames, conditioned on the section, mean NLL"
    default_score: ClassVar[str] = "nll"

    name: str = "flow"
    frames: int = 5
    hop: int = 2
    steps: int = 3
    hidden: int = 256
    epochs: int = 12
    vectors_an_epoch: int = 32_768
    batch_size: int = 256
    learning_rate: float = 1e-3

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Fit and score every machine under test."""
        sounds = Sounds.read(train, test, folder)

        def fit_and_score(machine: Group) -> PeerScores:
            sections = sorted({clip.name for clip in machine.normal})
            stacks = [
                Stacks(sounds, clips, length=self.frames, hop=self.hop) for clips in (machine.normal, machine.unknown)
            ]
            network = self._fit(stacks[0], sections, seed)
            of_normal, of_test = (self._score(network, own, sections) for own in stacks)
            return PeerScores(of_test, of_normal)

        return each_group(sounds, train, test, machine_of, fit_and_score, min_frames=self.frames)

    def _fit(self, normal: Stacks, sections: Sequence[str], seed: int) -> "StackDensity":
        context = _one_hot(normal, sections)
        with seeded(seed) as rng:
            network = StackDensity(
                *normal.moments(), frames=self.frames, n_sections=len(sections), steps=self.steps, hidden=self.hidden
            ).to(best_device())
            n_steps = self.epochs * max(1, round(min(len(normal), self.vectors_an_epoch) / self.batch_size))
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=1e-2)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
            for _ in range(self.epochs):
                for rows in normal.batches(rng, self.batch_size, self.vectors_an_epoch):
                    loss = network(normal.take(rows).to(best_device()), context[rows].to(best_device())).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
        return network.eval()

    def _score(self, network: "StackDensity", stacks: Stacks, sections: Sequence[str]) -> dict[Path, dict[str, float]]:
        context = _one_hot(stacks, sections)
        with torch.no_grad():
            nll = [
                network(stacks.take(rows).to(best_device()), context[rows].to(best_device())).cpu().numpy()
                for rows in stacks.in_order(4096)
            ]
        return stacks.mean_of_clips(np.concatenate(nll), self.default_score)


def _one_hot(stacks: Stacks, sections: Sequence[str]) -> Tensor:
    """Return which section each stretch is said to be of, (n, k)."""
    return F.one_hot(torch.from_numpy(stacks.labels(sections)), len(sections)).float()


class StackDensity(nn.Module):
    """The flow, with bands made equal before it: a constant factor of the density, which no ranking sees."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, mean: Tensor, deviation: Tensor, *, frames: int, n_sections: int, steps: int, hidden: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.flow = AutoregressiveFlow(frames * len(mean), n_sections, steps=steps, hidden=hidden)

    def forward(self, stacks: Tensor, context: Tensor) -> Tensor:
        """Return the negative log-likelihood per dimension, nats, (B,), of stacks (B, frames, M) in dB."""
        x = ((stacks - self.mean) / self.deviation).flatten(1)
        density: Tensor = self.flow.log_density(x, context)
        return -density / x.shape[1]


class AutoregressiveFlow(nn.Module):
    """Steps of a masked autoregressive flow, each in the order reverse to the one before."""

    def __init__(self, n_dims: int, n_context: int, *, steps: int, hidden: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(MaskedStep(n_dims, n_context, hidden) for _ in range(steps))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return u, (B, D), standard normal where x is as the flow learned it, and log |det du/dx|, (B,)."""
        log_det = torch.zeros(len(x), device=x.device)
        for step in self.steps:
            x, own = step(x, context)
            x, log_det = x.flip(1), log_det + own
        return x, log_det

    def log_density(self, x: Tensor, context: Tensor) -> Tensor:
        """Return log p(x | context), nats, (B,)."""
        u, log_det = self(x, context)
        density: Tensor = log_det - 0.5 * (u.square().sum(1) + u.shape[1] * math.log(2 * math.pi))
        return density


class MaskedStep(nn.Module):
    """u_i = (x_i - shift_i) exp(-log_scale_i), where both depend on x_1 .. x_(i-1) and the context alone (MADE)."""

    input_mask: Tensor
    output_mask: Tensor

    def __init__(self, n_dims: int, n_context: int, hidden: int) -> None:
        super().__init__()
        # A hidden unit of degree d may see the inputs up to d; output i may see the units of a degree below i.
        degree_in = torch.arange(1, n_dims + 1)
        degree_hidden = torch.linspace(1, n_dims - 1, hidden).round()
        self.register_buffer("input_mask", (degree_hidden[:, None] >= degree_in).float())
        self.register_buffer("output_mask", (degree_in[:, None] > degree_hidden).float().repeat(2, 1))
        self.input = nn.Linear(n_dims, hidden)
        self.context = nn.Linear(n_context, hidden, bias=False)
        self.output = nn.Linear(hidden, 2 * n_dims)
        self.of_context = nn.Linear(n_context, 2 * n_dims, bias=False)
        nn.init.zeros_(self.output.weight)  # the flow begins as the identity
        nn.init.zeros_(self.output.bias)
        nn.init.zeros_(self.of_context.weight)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return u, (B, D), and log |det du/dx|, (B,)."""
        hidden = F.relu(F.linear(x, self.input.weight * self.input_mask, self.input.bias) + self.context(context))
        outputs = F.linear(hidden, self.output.weight * self.output_mask, self.output.bias) + self.of_context(context)
        shift, log_scale = outputs.chunk(2, dim=1)
        log_scale = LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE)
        return (x - shift) * torch.exp(-log_scale), -log_scale.sum(1)
