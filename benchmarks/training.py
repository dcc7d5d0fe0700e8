"""A training step: as `earshot train` takes it, against plain PyTorch.

Plain is what one would write first: float32, tensors as they come, no compiler, the optimizer and nothing else. Ours is
`trainer.training.Learner`: bfloat16 where the processor computes in it, channels last, torch.compile, an average of the
weights and both losses. Both mix the same batch and have the same network.
"""

import time
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Table, Work, against, cpu_seconds, ms
from edge.daemon import keep_freed_memory
from trainer.loss import mixup
from trainer.network import Network, preset
from trainer.recipe import Recipe
from trainer.training import COMPILE_FROM_CLIPS, Learner

BATCH: Final = 16
"""Clips a step, as in the default recipe: a round stays within seconds."""

CLASSES: Final = 36
ROUNDS: Final = 5

PresetName = Literal["streaming", "paper"]
PRESETS: Final[tuple[PresetName, ...]] = ("streaming", "paper")


@dataclass(frozen=True)
class Step:
    """Seconds of one thread, a clip."""

    plain: float
    eager: float
    ours: float
    compile_seconds: float

    @property
    def pays_from_clips(self) -> float:
        """How many clips win back what compiling takes."""
        return self.compile_seconds / max(self.eager - self.ours, 1e-9)


def training_step() -> Table:
    """Measure a step of both presets, in turns."""
    torch.set_num_threads(1)
    keep_freed_memory()  # for both: what it saves, up to a third of a step, is not in the ratio
    steps = {name: _measure(name) for name in PRESETS}
    rows = [
        [
            name,
            *(ms(seconds) for seconds in (step.plain, step.eager, step.ours)),
            f"{step.plain / step.ours:.1f}x",
            against(step.plain / step.ours, 10),
            f"{step.compile_seconds:.0f}",
            f"{step.pays_from_clips:.0f}",
        ]
        for name, step in steps.items()
    ]
    return Table(
        "A training step, one thread",
        (
            "preset",
            "plain, ms",
            "ours, not compiled, ms",
            "ours, ms",
            "ratio",
            "asked for",
            "compiling, s",
            "pays from",
        ),
        rows,
        f"Milliseconds a clip, of batches of {BATCH}; median of {ROUNDS} rounds. Plain: float32, eager, contiguous. "
        f"Ours: {_precision()}, channels last, torch.compile. "
        "Compiling happens once a process, on one core, in seconds by the clock; the last column is how many clips, "
        f"over all epochs, win it back. `compile: auto` compiles from {COMPILE_FROM_CLIPS} on.",
    )


def _measure(name: PresetName) -> Step:
    settings = preset(name)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.normal(-60, 10, (BATCH, 1, settings.n_mels, settings.window_frames)))
    frames, labels = frames.float(), torch.from_numpy(rng.integers(0, CLASSES, BATCH))
    eager, ours = (_learner(name, compiled=compiled) for compiled in (False, True))

    eager.learn(frames, labels)
    started = time.monotonic()
    ours.learn(frames, labels)
    first = time.monotonic() - started
    works: dict[str, Work] = {
        "plain": _Plain(name, frames, labels),
        "eager": lambda: eager.learn(frames, labels),
        "ours": lambda: ours.learn(frames, labels),
    }
    seconds = cpu_seconds(works, rounds=ROUNDS)
    each = {work: taken / BATCH for work, taken in seconds.items()}
    return Step(**each, compile_seconds=max(0.0, first - seconds["ours"]))


def _learner(name: PresetName, *, compiled: bool) -> Learner:
    recipe = Recipe(preset=name, batch_size=BATCH, compile=compiled)
    return Learner(Network(preset(name), CLASSES), recipe, n_steps=1000, device=torch.device("cpu"))


class _Plain:
    """A training step as one would write it first."""

    def __init__(self, name: PresetName, frames: Tensor, labels: Tensor) -> None:
        self._network = Network(preset(name), CLASSES).train()
        self._optimizer = torch.optim.Adam(self._network.parameters())
        self._frames, self._labels = frames, labels

    def __call__(self) -> None:
        mixed, targets = mixup(self._frames, self._labels, CLASSES, alpha=0.5, mixed_labels=True)
        _, logits = self._network(mixed)
        loss = F.cross_entropy(logits[:, 0], targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def _precision() -> str:
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32, as bfloat16 is emulated here"
