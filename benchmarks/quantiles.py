"""Which quantile of a band's level over time tells a machine from its surroundings? Without a network.

python -m benchmarks.quantiles DATA/uav
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from sklearn.metrics import roc_auc_score

from edge.ear import Features, FloatArray, Frontend, FrontendSettings
from edge.judge import fit_gaussian
from edge.source import read_samples
from trainer.dataset import Clip, read_layout
from trainer.evaluation.metrics import PAUC_MAX_FPR

WINDOW_FRAMES = 299
QUANTILES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(data: Sequence[Path]) -> None:
    """Print AUC / pAUC of every section, fitted on its training clips, for each kind of band statistics."""
    clips = [clip for clip in read_layout(data) if clip.split == "train" or clip.label]
    frontend = Frontend(FrontendSettings())
    windows = {clip.path: frontend(read_samples(clip.path))[:, :WINDOW_FRAMES] for clip in clips}
    sections = sorted({clip.name for clip in clips if clip.split == "test"})

    click.echo(f"{'AUC / pAUC':24}{'mean':>16}" + "".join(f"{name:>16}" for name in sections))
    rows: dict[str, Callable[[Features], FloatArray]] = {
        "mean and deviation": lambda window: np.concatenate([window.mean(1), window.std(1)]),
        "mean": lambda window: window.mean(1),
        **{f"exceeded {1 - q:.0%} of the time": _quantile(q) for q in QUANTILES},
    }
    for label, measure in rows.items():
        values = {path: measure(window) for path, window in windows.items()}
        cells = [_grade([clip for clip in clips if clip.name == name], values) for name in sections]
        shown = [np.mean(cells, axis=0), *cells]
        click.echo(f"{label:24}" + "".join(f"{auc:9.3f} / {pauc:.3f}" for auc, pauc in shown))


def _quantile(q: float) -> Callable[[Features], FloatArray]:
    return lambda window: np.quantile(window, q, axis=1).astype(np.float32)


def _grade(clips: Sequence[Clip], values: dict[Path, FloatArray]) -> tuple[float, float]:
    train = [clip for clip in clips if clip.split == "train"]
    test = [clip for clip in clips if clip.split == "test"]
    gaussian = fit_gaussian(np.stack([values[clip.path] for clip in train]), [clip.domain for clip in train])
    distance = gaussian.distance(np.stack([values[clip.path] for clip in test]))
    truth = [clip.label == "anomaly" for clip in test]
    return float(roc_auc_score(truth, distance)), float(roc_auc_score(truth, distance, max_fpr=PAUC_MAX_FPR))


if __name__ == "__main__":
    main()
