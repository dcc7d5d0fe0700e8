"""A run folder: what a run was begun with, how far it is, and what it left.

    recipe.yaml        the recipe, every key
    data.json          the clips: what they are called, size and time of each, and which were held out
    network.json       what the network and its frames are made of, whatever the preset stood for
    start.json         null, or the run that a fine-tuning began with and the hash of its network
    environment.json   versions and commit
    metrics.jsonl      a line an epoch
    checkpoint.pt      to go on after a kill
    network.pt         at the end, which `export` reads

Each file is written whole or not at all.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch import Tensor

from edge import __version__
from edge.ear import FrontendSettings
from edge.errors import EarshotError
from trainer.cores import usable_cores
from trainer.dataset import Clip
from trainer.network import Network, NetworkSettings
from trainer.recipe import Recipe

PACKAGES: Final = ("torch", "numpy", "scipy", "scikit-learn", "onnx", "onnxruntime", "soundfile", "soxr")

NOT_LEARNED: Final = frozenset({"score", "precision", "compile", "threads"})
"""Keys of a recipe that change nothing of what is learned but for rounding: a run goes on with others."""

Row = dict[str, Any]
Weights = Mapping[str, Tensor]


class OtherRunError(EarshotError):
    """A run folder holds another run."""


def begin(run: Path, recipe: Recipe, clips: Sequence[Clip], held_out: AbstractSet[Path], start: Path | None) -> None:
    """Write down what the run is, or check that it is the same run, recordings included.

    Raises OtherRunError that says which keys or recordings differ.
    """
    run.mkdir(parents=True, exist_ok=True)
    is_new = not (run / "recipe.yaml").exists()
    _begin_start(run / "start.json", start, is_new=is_new)
    _begin_recipe(run / "recipe.yaml", recipe)
    _begin_network(run, recipe)
    _begin_data(run / "data.json", clips, held_out)
    _write(run / "environment.json", json.dumps(_environment(), indent=2) + "\n")


def resolved(recipe: Recipe) -> Row:
    """Return what a recipe makes the network and its frames of: a preset is a name, and may come to mean another."""
    return {**asdict(recipe.network()), "frontend": FrontendSettings(f_min_hz=recipe.f_min_hz).fingerprint}


def _begin_network(run: Path, recipe: Recipe) -> None:
    path, now = run / "network.json", resolved(recipe)
    then: Row = {}
    if path.exists():
        then = json.loads(path.read_text(encoding="utf-8"))
    elif (run / "network.pt").exists():  # of before there was such a file
        then = asdict(load_network(run)[0].settings)
    _refuse_differing(path, {**now, **then}, now)
    _write(path, json.dumps(now, indent=2) + "\n")


def _begin_recipe(path: Path, recipe: Recipe) -> None:
    now = recipe.model_dump(mode="json")
    if path.exists():
        # A key that is younger than the run was at its default then.
        then = Recipe().model_dump(mode="json") | yaml.safe_load(path.read_text(encoding="utf-8"))
        _refuse_differing(path, then, now)
    _write(path, yaml.safe_dump(now, sort_keys=False))


def _refuse_differing(path: Path, then: Row, now: Row) -> None:
    keys = [key for key in then | now if key not in NOT_LEARNED and _plain(then.get(key)) != _plain(now.get(key))]
    if keys:
        differing = "; ".join(f"{key} was {then.get(key)}, is {now.get(key)}" for key in keys)
        raise OtherRunError(f"{path}: the run was begun with other settings: expected a new --output; {differing}")


def _plain(value: object) -> object:
    """JSON knows no tuples."""
    return list(value) if isinstance(value, tuple) else value


def _begin_data(path: Path, clips: Sequence[Clip], held_out: AbstractSet[Path]) -> None:
    now = [_clip_row(clip, clip.path in held_out) for clip in clips]
    if not path.exists():
        _write(path, json.dumps(now, indent=0))
        return
    then = {row["path"]: row for row in _rows(path)}
    differing = [row["path"] for row in now if then.get(row["path"]) != row]
    differing += sorted(then.keys() - {row["path"] for row in now})
    if differing:
        some = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
        raise OtherRunError(
            f"{path}: the run was begun with other data: expected a new --output; added, gone or changed since: {some}"
        )


def _clip_row(clip: Clip, is_held_out: bool) -> Row:
    try:
        stat = clip.path.stat()
        size, mtime_ns = stat.st_size, stat.st_mtime_ns
    except OSError:  # training will say so, and leave it out
        size, mtime_ns = None, None
    return {**clip.as_row(), "held_out": is_held_out, "size": size, "mtime_ns": mtime_ns}


def _begin_start(path: Path, start: Path | None, *, is_new: bool) -> None:
    now = start and {"run": str(start), "sha256": hashlib.sha256((start / "network.pt").read_bytes()).hexdigest()}
    if is_new:
        _write(path, json.dumps(now, indent=2) + "\n")
        return
    then = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if (then and then["sha256"]) != (now and now["sha256"]):
        was, is_now = (f"{which['run']} ({which['sha256'][:8]})" if which else "nothing" for which in (then, now))
        raise OtherRunError(f"{path}: the run was begun from {was}, is now to go on from {is_now}: expected the same")


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


def save_network(run: Path, weights: Weights, settings: NetworkSettings, classes: Sequence[str]) -> None:
    """Finish a run."""
    _save(run / "network.pt", {"settings": asdict(settings), "classes": classes, "weights": weights})


def load_clips(run: Path) -> list[Clip]:
    """Return the clips that a run was begun with, those held out among them."""
    return [Clip.of_row(row) for row in _rows(run / "data.json")]


def load_held_out(run: Path) -> set[Path]:
    """Return the paths of the clips that were given to a run but that its network did not see."""
    return {Path(row["path"]) for row in _rows(run / "data.json") if row.get("held_out")}


def load_metrics(run: Path) -> list[Row]:
    """Return what each epoch came to."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def save_epoch(run: Path, parts: Mapping[str, Any], metrics: Sequence[Row]) -> None:
    """Save where the training is after an epoch.

    The checkpoint comes last and holds the metrics too: after a kill in between, the epoch that both know is the last,
    and the next one to be saved writes all metrics anew.
    """
    _write(run / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in metrics))
    _save(
        run / "checkpoint.pt", {"metrics": list(metrics), **{name: part.state_dict() for name, part in parts.items()}}
    )


def load_epoch(run: Path, parts: Mapping[str, Any]) -> list[Row]:
    """Load the checkpoint into the parts, if there is one; return the metrics of the epochs that are done."""
    path = run / "checkpoint.pt"
    if not path.exists():
        return []
    stored = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(stored[name])
    metrics: list[Row] = stored["metrics"]
    return metrics


def _write(path: Path, text: str) -> None:
    """Write whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _save(path: Path, content: Mapping[str, object]) -> None:
    """Write whole or not at all: after a kill, or a power cut, the last one is there."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _rows(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _environment() -> Row:
    git = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "earshot": __version__,
        "commit": git.stdout.strip() or None,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": usable_cores(),
        **{name: version(name) for name in PACKAGES},
    }
