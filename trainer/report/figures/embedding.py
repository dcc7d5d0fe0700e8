"""Maps of the embedding: clips as points of a plane, of all sections and of one."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from trainer.report.content import Point
from trainer.report.figures.drawing import ANOMALY, MUTED, NORMAL, SERIES, FloatArray, finish, panel, series, style

MAP_POINTS: Final = 1500
PANEL_POINTS: Final = 400


def embedding_map(points: Sequence[Point]) -> tuple[Markup, str, list[str]]:
    """Draw all sections on one map; return it, how it was made, and the classes in the order of their colours.

    Classes are the sections where there are at most eight, and else the machines.
    """
    sections = sorted({p.name for p in points})
    by_machine = len(sections) > len(SERIES)
    classes = sorted({_class(name, by_machine) for name in sections})
    x, how = _plane(points, np.array([sections.index(p.name) for p in points]), len(sections))
    with style():
        figure = Figure(figsize=(4.4, 3.4))
        axes = figure.add_axes((0.09, 0.125, 0.9, 0.865))
        shown = _thinned(points, MAP_POINTS)
        for kind in ("train", "normal", "anomaly"):
            for i, name in enumerate(classes):
                rows = [j for j in shown if points[j].kind == kind and _class(points[j].name, by_machine) == name]
                _scatter(axes, x[rows], kind, series(i))
        axes.set(xlabel=f"{how}, first axis (no unit)", ylabel="second axis (no unit)")
        _quiet_ticks(axes)
        return finish(figure, f"Map of {len(points)} clips of {len(sections)} sections"), how, classes


def section_map(points: Sequence[Point]) -> Markup:
    """Draw the clips of one section: those it was trained on, its normal test clips and its anomalies."""
    x = _principal(np.stack([p.embedding for p in points]).astype(np.float64))
    train = np.array([p.kind == "train" for p in points])
    x = x - (x[train].mean(0) if train.any() else 0)
    x = x / (np.sqrt(np.square(x[train] if train.any() else x).sum(1).mean()) or 1.0)
    shown = _thinned(points, PANEL_POINTS)
    with style():
        figure, axes = panel()
        for kind, colour in (("train", MUTED), ("normal", NORMAL), ("anomaly", ANOMALY)):
            _scatter(axes, x[[j for j in shown if points[j].kind == kind]], kind, colour)
        axes.set(xlabel="first axis, radii of the training clips", ylabel="second axis, radii")
        _quiet_ticks(axes)
        return finish(figure, f"Map of {len(points)} clips of {points[0].name}")


def _class(name: str, by_machine: bool) -> str:
    return name.split("/")[0] if by_machine else name


def _plane(points: Sequence[Point], section: NDArray[np.int64], n_sections: int) -> tuple[FloatArray, str]:
    """Lay embeddings (n, D) into a plane (n, 2): LDA of the training clips where it has two axes, else PCA of all."""
    x = np.stack([p.embedding for p in points]).astype(np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    train = np.array([p.kind == "train" for p in points])
    counts = np.bincount(section[train], minlength=n_sections) if train.any() else np.zeros(1, int)
    if (counts > 1).sum() < 3:
        return _principal(x), "PCA"
    discriminant = LinearDiscriminantAnalysis(n_components=2, solver="eigen", shrinkage="auto")
    usable = train & np.isin(section, np.flatnonzero(counts > 1))
    return np.asarray(discriminant.fit(x[usable], section[usable]).transform(x)), "LDA of the training clips"


def _principal(x: FloatArray) -> FloatArray:
    """Return the first two principal components of (n, D), as (n, 2), with zeros for those that there are not."""
    left, deviations, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    components = (left * deviations)[:, :2]
    return np.pad(components, ((0, 0), (0, 2 - components.shape[1])))


def _thinned(points: Sequence[Point], most: int) -> list[int]:
    """Return indices of at most `most` points or so, the same share of each kind of each section."""
    step = max(1.0, len(points) / most)
    order = sorted(range(len(points)), key=lambda i: (points[i].name, points[i].kind, i))
    return [order[int(i * step)] for i in range(int(len(order) / step))]


def _scatter(axes: Axes, x: FloatArray, kind: str, colour: str) -> None:
    if not len(x):
        return
    marker, size, face = {"train": ("o", 5, colour), "normal": ("o", 17, "none"), "anomaly": ("x", 16, colour)}[kind]
    alpha = 0.55 if kind == "train" else 0.9
    style: dict[str, Any] = {"facecolors": face, "edgecolors": colour} if marker != "x" else {"color": colour}
    width = 0 if kind == "train" else 1
    axes.scatter(x[:, 0], x[:, 1], s=size, marker=marker, linewidths=width, alpha=alpha, **style)


def _quiet_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
