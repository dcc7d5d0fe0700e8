"""Trains the classifier: read it from top to bottom.

Every epoch draws its order, crops, mixing and dropout from (seed, epoch) alone: a run that was killed goes on as if it
had not been. `trainer/runs.py` tells what lies in the run folder.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed  # torch has no public name for it
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from edge.daemon import keep_freed_memory
from edge.ear import Features, FrontendSettings
from edge.errors import EarshotError
from trainer import distributed, runs
from trainer.adacos import SubclusterAdacos
from trainer.augment import augment
from trainer.cores import usable_cores
from trainer.dataset import Clip
from trainer.features import FeatureStore, compute_features
from trainer.holdout import choose_held_out
from trainer.keys import put_aside
from trainer.loss import Centres, Loss, joint_loss, mixup
from trainer.network import EMBEDDING_DIM, Network
from trainer.recipe import Recipe
from trainer.runs import OtherRunError
from trainer.runs import load_clips as load_clips
from trainer.runs import load_held_out as load_held_out
from trainer.runs import load_network as load_network

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]

NOT_OF_THE_BACKBONE: Final = ("classify.", "band_mean", "band_deviation")
"""What a fine-tuning makes anew: its classes are others, and its bands may lie elsewhere (`f_min_hz`)."""

TERMS: Final = ("loss", "softmax", "centre", "accuracy")
"""What a step tells of itself: the means over its batch."""

COMPILE_OPTIONS: Final[dict[str, Any]] = {"realize_reads_threshold": 16, "realize_opcount_threshold": 100}
"""On a processor a value is sooner computed twice than written to main memory and read again: of a batch norm with its
PReLU, forward and backward, that is 40 instead of 60 ms (trainer/norm.py)."""

COMPILE_FROM_CLIPS: Final = 1000
"""Fewer, over all epochs, are trained before torch.compile has won back what it takes (benchmarks/training.py)."""


def train(
    clips: Sequence[Clip], recipe: Recipe, run: Path, *, start: Path | None = None, features: Path | None = None
) -> None:
    """Train on normal clips and leave `network.pt` in the run folder.

    start: a finished run to fine-tune: the backbone begins with its weights, the classifier anew with the classes of
    the clips. features: a folder to share with other runs, else one of its own.

    Goes on from `run/checkpoint.pt` where there is one, and leaves a finished run alone. Under torchrun every process
    calls this, with the same things.
    Raises OtherRunError if the run was begun with another recipe, start or other data, and EarshotError if `start` has
    another network or has seen clips that are to be held out, if no clip can be read, or if they make fewer than two
    classes.
    """
    keep_freed_memory()
    with distributed.processes() as device:
        _train(clips, recipe, run, start, features or run / "features", device)


def train_anew_if_other(
    clips: Sequence[Clip], recipe: Recipe, run: Path, *, start: Path | None = None, features: Path | None = None
) -> None:
    """Do as `train`, for a folder whose name is ours: another run there, days of work perhaps, is put aside."""
    try:
        train(clips, recipe, run, start=start, features=features)
    except OtherRunError as error:
        log.warning("%s. That run is kept as %s, and a new one begins", error, put_aside(run))
        train(clips, recipe, run, start=start, features=features)


def _train(
    clips: Sequence[Clip], recipe: Recipe, run: Path, start: Path | None, features: Path, device: torch.device
) -> None:
    held_out = choose_held_out(clips, recipe.holdout, recipe.seed)
    backbone = _backbone(start, recipe, held_out) if start else {}
    if distributed.rank() == 0:
        runs.begin(run, recipe, clips, held_out, start)
    distributed.wait_for_all()
    if (run / "network.pt").exists():
        log.info("%s: finished already", run)
        return
    torch.set_num_threads(recipe.threads or usable_cores(distributed.processes_here()))
    torch.manual_seed(recipe.seed)

    seen = [clip for clip in clips if clip.path not in held_out]
    store = compute_features(seen, FrontendSettings(f_min_hz=recipe.f_min_hz), features)
    classes = sorted({clip.name for clip in store.clips})
    if len(classes) < 2:
        raise EarshotError(f"one class only, {classes[0]}: expected at least two sections or machines to tell apart")
    batches = Batches(store, [classes.index(clip.name) for clip in store.clips], recipe)

    network = _new_network(recipe, store, len(classes))
    network.load_state_dict(network.state_dict() | backbone)
    learner = Learner(network, recipe, n_steps=recipe.epochs * len(batches), device=device)
    metrics = runs.load_epoch(run, learner.parts)
    if metrics:
        log.info("going on after epoch %d of %s", len(metrics), run)

    for epoch in range(len(metrics), recipe.epochs):
        started = time.monotonic()
        torch.manual_seed(recipe.seed * 100_003 + epoch + (distributed.rank() << 40))
        title = f"epoch {epoch + 1}/{recipe.epochs}"
        waiting = tqdm(total=len(batches), desc=title, leave=False, disable=distributed.rank() > 0)
        sums = torch.zeros(len(TERMS), device=device)
        for frames, labels in _to_device(batches.of_epoch(epoch), device):
            sums += learner.learn(frames, labels)
            waiting.update()
        waiting.close()

        means = distributed.total(sums) / (len(batches) * distributed.world_size())
        row = {**dict(zip(TERMS, means.tolist(), strict=True)), "seconds": time.monotonic() - started}
        metrics.append({"epoch": epoch + 1, **{name: round(value, 5) for name, value in row.items()}})
        log.info("%s: %s", title, ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        if distributed.rank() == 0:
            runs.save_epoch(run, learner.parts, metrics)

    if distributed.rank() == 0:
        runs.save_network(run, learner.final().state_dict(), network.settings, classes)
    distributed.wait_for_all()


class Learner:
    """A network and all that changes with it, a batch at a time."""

    def __init__(self, network: Network, recipe: Recipe, *, n_steps: int, device: torch.device) -> None:
        self._recipe = recipe
        self._precision = precision_of(recipe, device)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._centres = Centres(network.n_classes, EMBEDDING_DIM, recipe.centre_decay).to(device)
        self._average = AveragedModel(self._network, multi_avg_fn=_ema(recipe.ema_decay), use_buffers=True)
        # Without weight decay, AdamW is the Adam of the paper.
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, _rate(recipe, n_steps))
        self._forward: Forward = distributed.parallel(self._network)
        if compile_pays(recipe, n_steps):
            self._forward = Compiled(self._forward)

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint must hold, by name."""
        return {
            "network": self._network,
            "centres": self._centres,
            "average": self._average,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
        }

    def final(self) -> nn.Module:
        """Return the network to keep: the average over the last steps, or the last one."""
        return self._average.module if self._recipe.ema_decay else self._network

    def learn(self, frames: Tensor, labels: Tensor) -> Tensor:
        """Take one step on frames (N, 1, M, F) in dB and labels (N,); return its `TERMS`, detached."""
        self._network.train()
        came = self._work(frames, labels)
        self._optimizer.zero_grad()
        came.loss.joint.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        if isinstance(classifier := self._network.classify, SubclusterAdacos):
            classifier.adapt(came.embedding, came.targets)
        self._average.update_parameters(self._network)
        right = (came.logits.argmax(1) == labels).float().mean()
        return torch.stack([came.loss.joint, came.loss.softmax, came.loss.centre, right]).detach()

    def _work(self, frames: Tensor, labels: Tensor) -> "_Worked":
        alpha, mixed_labels = self._recipe.mixup_alpha, self._recipe.mixup_labels == "mixed"
        frames = augment(frames, self._recipe)
        mixed, targets = mixup(frames, labels, self._network.n_classes, alpha=alpha, mixed_labels=mixed_labels)
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self._precision == torch.bfloat16):
            embedding, logits = self._forward(mixed.contiguous(memory_format=torch.channels_last))
        loss = joint_loss(embedding[:, 0], logits[:, 0], targets, self._centres, self._recipe.centre_weight)
        return _Worked(loss, embedding[:, 0], logits[:, 0], targets)


class _Worked(NamedTuple):
    """What a batch came to, mixed as the recipe has it: its loss, embedding (N, D), logits and targets (N, k)."""

    loss: Loss
    embedding: Tensor
    logits: Tensor
    targets: Tensor


def window_of(frames: Features, start: int, window_frames: int) -> Features:
    """Return `window_frames` frames from `start` on, shape (M, window_frames); clips that are shorter are repeated."""
    columns = np.arange(start, start + window_frames) % frames.shape[1]
    window: Features = frames[:, columns]
    return window


def _backbone(start: Path, recipe: Recipe, held_out: AbstractSet[Path]) -> dict[str, Tensor]:
    """Return the weights that a fine-tuning begins with; they must fit, and not know what is to be new to them."""
    network, _ = runs.load_network(start)
    theirs, ours = asdict(network.settings), asdict(recipe.network())
    differing = [f"{key} {theirs[key]}, here {ours[key]}" for key in ours if ours[key] != theirs[key]]
    differing = [text for text in differing if not text.startswith("dropout ")]  # it has no weights
    if differing:
        raise EarshotError(f"{start}: its network has {'; '.join(differing)}: expected the same network to begin with")
    known = {clip.path for clip in runs.load_clips(start)} - runs.load_held_out(start)
    if held_out & known:
        raise EarshotError(
            f"{start}: was trained on {len(held_out & known)} of the {len(held_out)} clips that are to be held out, "
            f"{min(held_out & known)} for one: expected a run with the same holdout and seed"
        )
    return {name: weights for name, weights in network.state_dict().items() if not name.startswith(NOT_OF_THE_BACKBONE)}


def _new_network(recipe: Recipe, store: FeatureStore, n_classes: int) -> Network:
    network = Network(recipe.network(), n_classes)
    mean, deviation = store.band_moments(range(len(store.clips)))
    network.band_mean.copy_(torch.from_numpy(mean)[:, None])
    network.band_deviation.copy_(torch.from_numpy(deviation)[:, None])
    return network


class Batches:
    """The clips in batches: each once an epoch, cut at a random place, the last batch filled up with the first ones."""

    def __init__(self, store: FeatureStore, labels: Sequence[int], recipe: Recipe) -> None:
        n_processes = distributed.world_size()
        # Of one clip a process, the last batch norms would have a single value a channel.
        if recipe.batch_size % n_processes or recipe.batch_size < 2 * n_processes:
            raise EarshotError(
                f"batch_size {recipe.batch_size}: expected a multiple of {n_processes}, a slice of two clips or more "
                "a process"
            )
        self._store = store
        self._labels = np.array(labels)
        self._recipe = recipe
        self._window_frames = recipe.network().window_frames

    def __len__(self) -> int:
        return -(-len(self._labels) // self._recipe.batch_size)

    def of_epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield frames (N, 1, M, window_frames) and labels (N,): of every batch, the slice of this process."""
        rng = np.random.default_rng([self._recipe.seed, epoch])
        order = np.resize(rng.permutation(len(self._labels)), len(self) * self._recipe.batch_size)
        for batch in order.reshape(len(self), -1):
            starts = [self._random_start(i, rng) for i in batch]  # of all slices: the places depend on the seed alone
            mine = slice(distributed.rank(), None, distributed.world_size())
            windows = [
                window_of(self._store[i], start, self._window_frames)
                for i, start in zip(batch[mine], starts[mine], strict=True)
            ]
            yield torch.from_numpy(np.stack(windows)[:, None]), torch.from_numpy(self._labels[batch[mine]])

    def _random_start(self, index: int, rng: np.random.Generator) -> int:
        """A whole window inside the clip; anywhere in a clip that must be repeated anyway."""
        n_frames = self._store.n_frames(index)
        return int(rng.integers(n_frames - self._window_frames + 1 if n_frames >= self._window_frames else n_frames))


def _to_device(batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Read the next batch from the disk while the network works on this one."""

    def load() -> tuple[Tensor, ...] | None:
        batch = next(batches, None)
        return batch and tuple(part.pin_memory() if device.type == "cuda" else part for part in batch)

    with ThreadPoolExecutor(1) as loader:
        following = loader.submit(load)
        while batch := following.result():
            following = loader.submit(load)
            frames, labels = (part.to(device, non_blocking=True) for part in batch)
            yield frames, labels


def _ema(decay: float) -> Callable[..., None]:
    average: Callable[..., None] = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return average


def _rate(recipe: Recipe, n_steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at a step: a linear warm-up, then half a cosine to zero; or constant."""
    n_warm = max(1, round(recipe.warmup * n_steps))

    def factor(step: int) -> float:
        if recipe.constant_rate:
            return 1.0
        if step < n_warm:
            return (step + 1) / n_warm
        return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, n_steps - n_warm)))

    return factor


def compile_pays(recipe: Recipe, n_steps: int) -> bool:
    """Decided by the whole run, never by what is left of it: a run that goes on must compute as it did before."""
    if recipe.compile == "auto":
        return n_steps * recipe.batch_size // distributed.world_size() >= COMPILE_FROM_CLIPS
    return recipe.compile


def precision_of(recipe: Recipe, device: torch.device) -> torch.dtype:
    if recipe.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" or _cpu_has_bfloat16() else torch.float32
    return torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Emulated, bfloat16 is slower than float32."""
    # Without oneDNN, as on a Mac, there is nothing to ask.
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Compiled:
    """torch.compile, or the network as it is where that does not work: only the first call tells."""

    def __init__(self, network: Forward) -> None:
        self._network = network
        self._forward: Forward | None = None

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        if self._forward is None:
            options = COMPILE_OPTIONS if features.device.type == "cpu" else None
            try:
                self._forward = _compile(self._network, options)
                return self._forward(features)
            except (CannotCompileError, BackendCompilerFailed) as error:
                first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
                log.warning("torch.compile does not work here: training goes on without it: %s", first_line)
                self._forward = self._network
        return self._forward(features)


class CannotCompileError(Exception):
    """This torch or this Python has no compiler."""


def _compile(network: Forward, options: dict[str, Any] | None) -> Forward:
    """Return what compiles at its first call. BackendCompilerFailed is what that raises where it cannot: without a C++
    compiler, say. Raises CannotCompileError where torch.compile itself refuses: a Python that is too new for it, an
    option that it does not know.
    """
    try:
        compiled: Forward = torch.compile(network, options=options)
    except RuntimeError as error:
        raise CannotCompileError(str(error)) from error
    return compiled
