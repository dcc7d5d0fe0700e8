"""Trains the classifier: read it from top to bottom.

A run is a folder: `recipe.yaml` (resolved), `data.json`, `environment.json`, `metrics.jsonl` (a line an epoch),
`features/`, `checkpoint.pt` (to go on after a kill), and at the end `network.pt`, which `export` reads.

Every epoch draws its order, crops, mixing and dropout from (seed, epoch) alone: a run that was killed goes on as if it
had not been.
"""

import json
import logging
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from edge import __version__
from edge.errors import EarshotError
from edge.frontend import Features, FrontendSettings
from trainer.dataset import Clip
from trainer.features import FeatureStore, compute_features
from trainer.holdout import choose_held_out
from trainer.loss import Centres, Loss, joint_loss, mixup
from trainer.network import EMBEDDING_DIM, Network, NetworkSettings
from trainer.recipe import Recipe

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


def train(clips: Sequence[Clip], recipe: Recipe, run: Path) -> None:
    """Train on normal clips and leave `network.pt` in the run folder.

    Goes on from `run/checkpoint.pt` where there is one. Raises EarshotError if the run was begun with another recipe
    or other data, if no clip can be read, or if the clips make fewer than two classes.
    """
    held_out = choose_held_out(clips, recipe.holdout, recipe.seed)
    _begin(run, recipe, clips, held_out)
    torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    seen = [clip for clip in clips if clip.path not in held_out]
    store = compute_features(seen, FrontendSettings(f_min_hz=recipe.f_min_hz), run / "features")
    classes = sorted({clip.name for clip in store.clips})
    if len(classes) < 2:
        raise EarshotError(f"one class only, {classes[0]}: expected at least two sections or machines to tell apart")
    labels = np.array([classes.index(clip.name) for clip in store.clips])

    network = _new_network(recipe, store, len(classes)).to(device)
    centres = Centres(len(classes), EMBEDDING_DIM, recipe.centre_decay).to(device)
    average = AveragedModel(network, multi_avg_fn=_ema(recipe.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps_per_epoch = -(-len(labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(recipe, recipe.epochs * steps_per_epoch))
    state: dict[str, Any] = {
        **{"network": network, "centres": centres, "average": average},
        **{"optimizer": optimizer, "schedule": schedule},
    }

    first_epoch = _resume(run, state)
    forward: Forward = _Compiled(network) if recipe.compile else network
    precision = _precision(recipe, device)
    for epoch in range(first_epoch, recipe.epochs):
        started = time.monotonic()
        torch.manual_seed(recipe.seed * 100_003 + epoch)
        network.train()
        sums = np.zeros(4)
        n_seen = 0
        batches = _batches(store, labels, recipe, epoch, network.settings.window_frames)
        for features, target in tqdm(batches, f"epoch {epoch + 1}/{recipe.epochs}", steps_per_epoch, leave=False):
            loss, logits = _step(forward, features.to(device), target.to(device), centres, recipe, precision)
            optimizer.zero_grad()
            loss.joint.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            n_right = (logits.argmax(1).cpu() == target).sum()
            sums += len(target) * np.array([loss.joint.item(), loss.softmax.item(), loss.centre.item(), 0])
            sums[3] += int(n_right)
            n_seen += len(target)
        _save(run / "checkpoint.pt", {"epoch": epoch + 1, **{name: part.state_dict() for name, part in state.items()}})
        terms = dict(zip(("loss", "softmax", "centre", "accuracy"), sums / n_seen, strict=True))
        _record(run, epoch, recipe, **terms, seconds=time.monotonic() - started)

    final = average.module if recipe.ema_decay else network
    _save(run / "network.pt", {"settings": asdict(network.settings), "classes": classes, "weights": final.state_dict()})


def load_network(run: Path) -> tuple[Network, list[str]]:
    """Return the trained network of a run, in evaluation mode, and its classes (`machine/section`).

    Raises EarshotError if the run is not finished.
    """
    path = run / "network.pt"
    if not path.exists():
        hint = ": the run is not finished, `earshot train` with the same --output goes on" if run.is_dir() else ""
        raise EarshotError(f"{path}: not there{hint}")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    settings = NetworkSettings(**stored["settings"])
    network = Network(settings, len(stored["classes"]))
    network.load_state_dict(stored["weights"])
    return network.eval(), list(stored["classes"])


def load_clips(run: Path) -> list[Clip]:
    """Return the clips that a run was begun with, those held out among them."""
    fields = [field.name for field in dataclass_fields(Clip)]
    return [Clip(**{**{name: row[name] for name in fields}, "path": Path(row["path"])}) for row in _data(run)]


def load_held_out(run: Path) -> set[Path]:
    """Return the paths of the clips that were given to a run but that its network did not see."""
    return {Path(row["path"]) for row in _data(run) if row.get("held_out")}


def _data(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((run / "data.json").read_text(encoding="utf-8"))
    return rows


def window_of(frames: Features, start: int, window_frames: int) -> Features:
    """Return `window_frames` frames from `start` on, shape (M, window_frames); clips that are shorter are repeated."""
    columns = np.arange(start, start + window_frames) % frames.shape[1]
    window: Features = frames[:, columns]
    return window


def _new_network(recipe: Recipe, store: FeatureStore, n_classes: int) -> Network:
    network = Network(recipe.network(), n_classes)
    mean, deviation = store.band_moments(range(len(store.clips)))
    network.band_mean.copy_(torch.from_numpy(mean)[:, None])
    network.band_deviation.copy_(torch.from_numpy(deviation)[:, None])
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _batches(
    store: FeatureStore, labels: NDArray[np.int64], recipe: Recipe, epoch: int, window_frames: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (N, 1, M, window_frames) and (N,): every clip once, at a random place, the last batch filled up."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(labels))
    order = np.resize(order, -(-order.size // recipe.batch_size) * recipe.batch_size)
    for chosen in order.reshape(-1, recipe.batch_size):
        windows = [
            window_of(store[i], _random_start(store.n_frames(i), window_frames, rng), window_frames) for i in chosen
        ]
        yield torch.from_numpy(np.stack(windows)[:, None]), torch.from_numpy(labels[chosen])


def _random_start(n_frames: int, window_frames: int, rng: np.random.Generator) -> int:
    """A whole window inside the clip; anywhere in a clip that must be repeated anyway."""
    return int(rng.integers(n_frames - window_frames + 1 if n_frames >= window_frames else n_frames))


def _step(
    forward: Forward, features: Tensor, labels: Tensor, centres: Centres, recipe: Recipe, precision: torch.dtype
) -> tuple[Loss, Tensor]:
    """Return the loss of a batch, mixed as the recipe has it, and the logits (N, k) of the mixed clips."""
    mixed, targets = mixup(
        features, labels, len(centres.points), alpha=recipe.mixup_alpha, mixed_labels=recipe.mixup_labels == "mixed"
    )
    with torch.autocast(features.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        embedding, logits = forward(mixed.contiguous(memory_format=torch.channels_last))
    return joint_loss(embedding[:, 0], logits[:, 0], targets, centres, recipe.centre_weight), logits[:, 0]


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


def _precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    if recipe.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" or _cpu_has_bfloat16() else torch.float32
    return torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Emulated, bfloat16 is slower than float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _Compiled:
    """torch.compile, or the network as it is where that does not work: only the first call tells."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._forward: Forward | None = None

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        if self._forward is None:
            self._forward = torch.compile(self._network)
            try:
                return self._forward(features)
            except Exception as error:  # no C++ compiler, or one of a hundred others
                log.warning("torch.compile does not work here (%s): training goes on without it", type(error).__name__)
                self._forward = self._network
        return self._forward(features)


def _begin(run: Path, recipe: Recipe, clips: Sequence[Clip], held_out: AbstractSet[Path]) -> None:
    """Write down what the run is, or check that it is the same run."""
    run.mkdir(parents=True, exist_ok=True)
    stated = {
        "recipe.yaml": yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False),
        "data.json": json.dumps(
            [{**asdict(clip), "path": str(clip.path), "held_out": clip.path in held_out} for clip in clips], indent=0
        ),
    }
    for name, text in stated.items():
        path = run / name
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise EarshotError(f"{path}: the run was begun with other settings or data: expected a new --output")
        path.write_text(text, encoding="utf-8")
    (run / "environment.json").write_text(json.dumps(_environment(), indent=2) + "\n", encoding="utf-8")


def _environment() -> dict[str, Any]:
    packages = ("torch", "numpy", "scipy", "scikit-learn", "onnx", "onnxruntime", "soundfile", "soxr")
    git = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "earshot": __version__,
        "commit": git.stdout.strip() or None,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        **{name: version(name) for name in packages},
    }


def _resume(run: Path, state: Mapping[str, Any]) -> int:
    """Load the checkpoint into the parts, if there is one; return the epoch to go on with."""
    path = run / "checkpoint.pt"
    if not path.exists():
        return 0
    stored = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in state.items():
        part.load_state_dict(stored[name])
    log.info("going on after epoch %d of %s", stored["epoch"], path)
    epoch: int = stored["epoch"]
    return epoch


def _record(run: Path, epoch: int, recipe: Recipe, **metrics: float | np.floating[Any]) -> None:
    row = {"epoch": epoch + 1, **{name: round(float(value), 5) for name, value in metrics.items()}}
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    text = "epoch %d/%d: loss %.4f (softmax %.4f, centre %.3f), accuracy %.3f, %.0f s"
    log.info(text, epoch + 1, recipe.epochs, *list(row.values())[1:])


def _save(path: Path, content: Mapping[str, object]) -> None:
    """Write whole or not at all: a kill in between leaves the last one."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)
