"""How training went: curves over the epochs."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from trainer.report.content import Run
from trainer.report.figures.drawing import FloatArray, dash, finish, panel, series, style

CURVES: Final = {
    "softmax": ("Softmax loss (Eq. 1)", "nats"),
    "loss": ("Loss", "nats"),
    "centre": ("Centre loss (Eq. 2)", "squared distance"),
    "accuracy": ("Accuracy", "% of the training windows"),
}
"""What is drawn of metrics.jsonl: heading and axis. The sum is left out where its terms are there."""


def curves_in(runs: Sequence[Run]) -> list[str]:
    """Return which curves there is something to draw of."""
    names = [name for name in CURVES if any(np.isfinite(_curve(run, name)[1]).any() for run in runs)]
    if "softmax" in names and "loss" in names:
        names.remove("loss")
    return [name for name in names if name != "centre" or any(np.nansum(np.abs(_curve(r, name)[1])) for r in runs)]


def learning_curve(runs: Sequence[Run], name: str) -> Markup:
    """Draw one curve of every run over the epochs; the colours are those of `series_legend`."""
    with style():
        figure, axes = panel()
        for i, run in enumerate(runs):
            epoch, values = _curve(run, name)
            seen = np.isfinite(values)
            values = values * 100 if name == "accuracy" else values
            marker = "o" if seen.sum() < 3 else ""
            axes.plot(epoch[seen], values[seen], dash(i), color=series(i), marker=marker, markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel(CURVES[name][1])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return finish(figure, f"{CURVES[name][0]} over the epochs of {len(runs)} runs")


def _curve(run: Run, name: str) -> tuple[FloatArray, FloatArray]:
    epoch = np.array([row.get("epoch", i + 1) for i, row in enumerate(run.epochs)], np.float64)
    values = [row.get(name) for row in run.epochs]
    return epoch, np.array([np.nan if value is None else value for value in values], np.float64)
