"""What each choice in the network and its training is worth, on machines it knows and on strangers.

    python -m benchmarks.ablation OUT --known DATA/uav --known DATA/background ... --stranger DATA/fan ...

One training a variant and seed. `known` data is trained on; `stranger` data is not: its sections are enrolled from
their normal clips, as on a device. A result is one JSON line in OUT/results.jsonl; what stands there is not run again
unless the recipe or the clips are others.
Scores are those of the first window of each clip, straight from torch: what export and stream keep to 1e-4.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score
from torch.utils.flop_counter import FlopCounterMode

from edge.ear import FloatArray, FrontendSettings, band_statistics
from edge.judge import NormalWindows, Scorer, fit_section
from trainer.dataset import Clip, read_layout
from trainer.evaluation.metrics import PAUC_MAX_FPR
from trainer.features import FeatureStore, compute_features
from trainer.network import Network, NetworkSettings
from trainer.recipe import Recipe
from trainer.training import load_network, train, window_of

log = logging.getLogger(__name__)

BATCH: Final = 16

TABLE_1: Final[Mapping[str, Any]] = {"stem_channels": 64, "stage_channels": (128, 128, 128)}

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "streaming": {},
    "padded": {"pad_time": True},
    "slopes a channel": {"slope_per_channel": True},
    "padded, slopes a channel": {"pad_time": True, "slope_per_channel": True},
    "linear classifier": {"classifier": "linear"},
    "paper": {"preset": "paper"},
    "paper, directions": {"preset": "paper", "classifier": "subcluster_adacos"},
    "widths of Table 1": TABLE_1,
    "narrower still, branch at stride 2": {
        **{"stem_channels": 16, "stage_channels": (32, 64, 128)},
        "linear_branch": "stride2",
    },
    "depthwise stem": {"stem": "depthwise"},
    "branch at stride 2": {"linear_branch": "stride2"},
    "no branch": {"linear_branch": "none"},
    "four directions a class": {"subclusters": 4},
    "no mixup": {"mixup_alpha": 0.0},
    "mixup, uniform": {"mixup_alpha": 1.0},
    "mixup, labels kept": {"mixup_labels": "kept"},
    "centre loss": {"centre_weight": 0.003},
    "high-pass 1 kHz": {"f_min_hz": 1000.0},
    "high-pass 2 kHz": {"f_min_hz": 2000.0},
    "no dropout": {"dropout": 0.0},
    "last weights": {"ema_decay": 0.0},
}


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--known", multiple=True, required=True, type=click.Path(path_type=Path), help="Trained on, and graded.")
@click.option("--stranger", multiple=True, type=click.Path(path_type=Path), help="Enrolled, and graded.")
@click.option("--hold-out", multiple=True, help="machine/NN of the known data that is a stranger all the same.")
@click.option("--variant", "variants", multiple=True, type=click.Choice(list(VARIANTS)), help="Else all of them.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
@click.option("--epochs", type=int, default=12, show_default=True)
@click.option("--threads", type=int, default=0, help="Of the processor; 0 takes every core.")
def main(
    out: Path,
    known: Sequence[Path],
    stranger: Sequence[Path],
    hold_out: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    threads: int,
) -> None:
    """Run what is missing in OUT/results.jsonl, then print the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out.mkdir(parents=True, exist_ok=True)
    clips = read_layout([*known, *stranger])
    strange = {clip.machine for clip in read_layout(stranger)} if stranger else set()
    if missing := sorted(set(hold_out) - {clip.name for clip in clips}):
        raise click.BadParameter(f"{', '.join(missing)}: not in the data", param_hint="--hold-out")
    trained = [c for c in clips if c.split == "train" and c.machine not in strange and c.name not in hold_out]

    data, done = _digest(clips, trained), {}
    for seed in seeds:
        for name in variants or VARIANTS:
            given = {"seed": seed, "epochs": epochs, "threads": threads, "holdout": 0.0, "compile": True}
            recipe = Recipe(**{**given, **VARIANTS[name]})
            key = _key(recipe, data)
            if key not in (rows := _read(out)):
                run = out / f"{name.replace(', ', '-').replace(' ', '_')}-seed{seed}-{key}"
                train(trained, recipe, run, features=out / "features")
                network, classes = load_network(run)
                cells = grade(network, classes, clips, recipe, out)
                rows[key] = {"key": key, "megamacs": round(megamacs(network.settings), 1), "cells": cells}
                with (out / "results.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"variant": name, "seed": seed, **rows[key]}) + "\n")
                log.info("%s, seed %d: done", name, seed)
            done[name, seed] = rows[key]
    click.echo(table(done))


def grade(
    network: Network, classes: Sequence[str], clips: Sequence[Clip], recipe: Recipe, out: Path
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return (AUC, pAUC) of each score of each section with labelled test clips, by `known:` or `stranger:` name."""
    tested = {clip.name for clip in clips if clip.split == "test" and clip.label}
    own = [clip for clip in clips if clip.name in tested and (clip.split == "train" or clip.label)]
    store = compute_features(own, FrontendSettings(f_min_hz=recipe.f_min_hz), out / "features")
    windows = _measure(network, store)

    cells: dict[str, dict[str, tuple[float, float]]] = {}
    for name in sorted(tested):
        index = classes.index(name) if name in classes else None
        rows = np.array([clip.name == name for clip in store.clips])
        train_rows = rows & np.array([clip.split == "train" for clip in store.clips])
        test_rows = rows & ~train_rows
        statistics = fit_section(windows.take(train_rows), index).statistics
        test = windows.take(test_rows)
        scores = Scorer(statistics)(test.embedding, test.texture, test.logits, test.bands)
        truth = [clip.label == "anomaly" for clip, taken in zip(store.clips, test_rows, strict=True) if taken]
        cells[f"{'stranger' if index is None else 'known'}:{name}"] = {
            score: (float(roc_auc_score(truth, v)), float(roc_auc_score(truth, v, max_fpr=PAUC_MAX_FPR)))
            for score, v in scores.items()
        }
    return cells


def megamacs(settings: NetworkSettings) -> float:
    """Return how many multiplications and additions a window takes, in millions."""
    network = Network(settings, 1).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, settings.n_mels, settings.window_frames))
    return float(counter.get_total_flops()) / 2e6


def table(done: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    """Return a row a variant: the mean over cells of the harmonic mean of AUC and pAUC, and its spread over seeds."""
    columns = ("variant", "seeds", "MMAC", "known: embedding", "fused", "strangers: embedding", "fused")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in dict.fromkeys(name for name, _ in done):
        own = [row for (other, _), row in done.items() if other == name]
        figures = [_spread([_mean(row, kind, score) for row in own]) for kind, score in _FIGURES]
        lines.append(f"| {name} | {len(own)} | {own[0]['megamacs']:.0f} | {' | '.join(figures)} |")
    return "\n".join(lines)


_FIGURES: Final = (("known", "mahalanobis"), ("known", "fused"), ("stranger", "mahalanobis"), ("stranger", "fused"))


def _measure(network: Network, store: FeatureStore) -> NormalWindows:
    settings = network.settings
    n = len(store.clips)
    windows = [window_of(store[i], 0, settings.window_frames) for i in range(n)]
    embedding, logits = [], []
    with torch.no_grad():
        for start in range(0, n, BATCH):
            batch = torch.from_numpy(np.stack(windows[start : start + BATCH])[:, None])
            e, k = network(batch)
            embedding.append(e[:, 0].numpy())
            logits.append(k[:, 0].numpy())
    bands: FloatArray = np.stack([band_statistics(window) for window in windows])
    return NormalWindows(
        domain=[clip.domain for clip in store.clips],
        embedding=np.concatenate(embedding),
        texture=np.empty((n, 0), np.float32),
        logits=np.concatenate(logits),
        bands=bands,
        recording=[clip.recording for clip in store.clips],
        apart=np.ones(n, np.bool_),
        trained_on=np.zeros(n, np.bool_),
        series=np.arange(n),
    )


def _digest(clips: Sequence[Clip], trained: Sequence[Clip]) -> str:
    """Return what is trained on and graded, as a hash."""
    rows = [f"{clip.path} {clip.path.stat().st_mtime_ns} {clip in trained}" for clip in sorted(clips)]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _key(recipe: Recipe, data: str) -> str:
    return hashlib.sha256(f"{recipe.model_dump_json(exclude={'threads'})} {data}".encode()).hexdigest()[:16]


def _mean(row: Mapping[str, Any], kind: str, score: str) -> float:
    own = [hmean(cell[score]) for name, cell in row["cells"].items() if name.startswith(kind)]
    return float(np.mean(own)) if own else float("nan")


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def _read(out: Path) -> dict[str, dict[str, Any]]:
    """Return what was run before, by its key."""
    path = out / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
