"""The figures of a report: values in, inline SVG out. Text stays text, and colours are the page's, light or dark.

matplotlib draws with stand-in colours; `_finish` turns them into CSS variables, takes away what an inline SVG does not
need, and makes the ids of one figure its own, since all figures share a page.
"""

import hashlib
import io
import re
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_curve

from edge.ear import Features, Frontend
from trainer.evaluation.metrics import PAUC_MAX_FPR, auc_and_pauc
from trainer.evaluation.scores import Scored
from trainer.report.content import Point, Run

FloatArray = NDArray[np.float64]

INK: Final = "#0a0001"
MUTED: Final = "#0a0002"
FAINT: Final = "#0a0003"
PAPER: Final = "#0a0004"
NORMAL: Final = "#0a0005"
ANOMALY: Final = "#0a0006"
SHADE: Final = "#0a0007"
SERIES: Final = tuple(f"#0a001{i}" for i in range(8))
_VARIABLES: Final = {
    **{INK: "ink", MUTED: "muted", FAINT: "faint", PAPER: "paper", NORMAL: "normal", ANOMALY: "anomaly"},
    **{SHADE: "shade"},
    **{colour: f"series-{i}" for i, colour in enumerate(SERIES)},
}
"""Stand-in colours, none of which occurs by itself, and the variables of template.html.j2 in their place."""

DASHES: Final = ("-", "--", ":", "-.")

MAP_POINTS: Final = 1500
PANEL_POINTS: Final = 400

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "earshot",  # the same report twice is the same file
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "legend.frameon": True,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
}


def plain(text: str) -> str:
    """Return text that UTF-8, XML and matplotlib can write: names of files may be neither."""
    known = (c.isprintable() or unicodedata.category(c) == "Zs" for c in text)
    printable = "".join(c if fine else "\N{REPLACEMENT CHARACTER}" for c, fine in zip(text, known, strict=True))
    return printable.encode("utf-8", "replace").decode("utf-8")


def _style(*, grid: bool = True) -> AbstractContextManager[None]:
    settings: Any = {**_STYLE, "axes.grid": grid}  # newer stubs want each key as a literal, older ones a string
    return mpl.rc_context(settings)


# --- Learning ---

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
    with _style():
        figure, axes = _panel()
        for i, run in enumerate(runs):
            epoch, values = _curve(run, name)
            seen = np.isfinite(values)
            values = values * 100 if name == "accuracy" else values
            marker = "o" if seen.sum() < 3 else ""
            axes.plot(epoch[seen], values[seen], _dash(i), color=_series(i), marker=marker, markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel(CURVES[name][1])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return _finish(figure, f"{CURVES[name][0]} over the epochs of {len(runs)} runs")


def _curve(run: Run, name: str) -> tuple[FloatArray, FloatArray]:
    epoch = np.array([row.get("epoch", i + 1) for i, row in enumerate(run.epochs)], np.float64)
    values = [row.get(name) for row in run.epochs]
    return epoch, np.array([np.nan if value is None else value for value in values], np.float64)


# --- Scores ---


def roc(scored: Sequence[Scored], score: str) -> Markup:
    """Draw the ROC of each domain and of both together, with the area of the pAUC marked."""
    with _style():
        figure, axes = _panel()
        axes.axvspan(0, PAUC_MAX_FPR, color=SHADE, linewidth=0)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.6, linestyle=(0, (2, 3)))
        cells = _domains(scored)
        told = []
        for (domain, own), colour, dash in zip(cells, (INK, *SERIES[:2]), ("-", "--", ":"), strict=False):
            truth, values = _labelled(own, score)
            if truth.all() or not truth.any():
                told.append(f"{domain}: one label only")
                continue
            false, hit, _ = roc_curve(truth, values)
            auc, pauc = auc_and_pauc(truth, values)
            told.append(f"{domain}: AUC {auc:.3f}, pAUC {pauc:.3f}")
            axes.plot(false, hit, dash, color=colour, label=f"{domain} {auc:.2f} / {pauc:.2f}", clip_on=False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", title="AUC / pAUC", title_fontsize=8, borderaxespad=0.3, handlelength=1.8)
        else:
            axes.text(0.5, 0.5, "no ROC: clips of one label only", ha="center", va="center", color=MUTED)
        axes.set(xlim=(0, 1), ylim=(0, 1.0), xlabel="false-alarm rate", ylabel="hit rate")
        axes.xaxis.set_major_locator(FixedLocator([0, PAUC_MAX_FPR, 0.5, 1]))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        return _finish(figure, "ROC. " + "; ".join(told))


def histogram(scored: Sequence[Scored], score: str) -> Markup:
    """Draw how the scores of normal clips and of anomalies lie, a row a domain, with the threshold."""
    with _style():
        domains = [cell for cell in _domains(scored) if cell[0] != "both"]
        figure = Figure(figsize=(3.3, 2.6))
        _, everything = _labelled(scored, score)
        thresholds = sorted({s.thresholds[score] for s in scored if np.isfinite(s.thresholds.get(score, np.nan))})
        edges, is_log = _edges(np.concatenate([everything, thresholds]))
        top, bottom, gap = 0.97, 0.17, 0.04
        height = (top - bottom - gap * (len(domains) - 1)) / len(domains)
        for row, (domain, own) in enumerate(domains):
            axes = figure.add_axes((0.13, top - height - row * (height + gap), 0.84, height))
            truth, values = _labelled(own, score)
            counts = [np.histogram(np.clip(values[truth == a], edges[0], edges[-1]), edges)[0] for a in (False, True)]
            axes.stairs(counts[0], edges, fill=True, color=NORMAL, alpha=0.55, linewidth=0)
            axes.stairs(counts[0], edges, color=NORMAL, linewidth=1)
            axes.stairs(counts[1], edges, color=ANOMALY, linewidth=1.5)
            for threshold in thresholds:
                axes.axvline(threshold, color=INK, linestyle="--", linewidth=1)
            if is_log:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlim(edges[0], edges[-1])
            axes.set_ylim(0, max(1, *(int(c.max()) for c in counts)) * 1.2)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=1))
            axes.text(0.985, 0.95, domain, transform=axes.transAxes, ha="right", va="top", color=INK)
            axes.grid(axis="x", visible=False)
            if row < len(domains) - 1:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel(f"score ({plain(score)}){', logarithmic' if is_log else ''}")
        figure.text(0.0, (top + bottom) / 2, "clips", rotation=90, ha="left", va="center")
        told = f"Histogram of {len(scored)} scores by domain"
        return _finish(figure, told + "".join(f"; threshold {t:.3g}" for t in thresholds))


def _edges(values: FloatArray) -> tuple[FloatArray, bool]:
    """Return the edges of the bins, and whether they are logarithmic: where positive scores span more than fourfold."""
    low, high = float(values.min()), float(values.max())
    n_bins = int(np.clip(2 * np.sqrt(values.size), 10, 36))
    if low > 0 and high > 4 * low:
        return np.geomspace(low * 0.97, high * 1.03, n_bins + 1), True
    margin = (high - low) * 0.03 or max(abs(high), 1.0) * 0.05
    return np.linspace(low - margin, high + margin, n_bins + 1), False


def _domains(scored: Sequence[Scored]) -> list[tuple[str, Sequence[Scored]]]:
    """Return both domains together, and each, where there are two; else the only one."""
    names = sorted({s.clip.domain for s in scored})
    each: list[tuple[str, Sequence[Scored]]] = [(name, [s for s in scored if s.clip.domain == name]) for name in names]
    return each if len(each) == 1 else [("both", scored), *each]


def _labelled(scored: Sequence[Scored], score: str) -> tuple[NDArray[np.bool_], FloatArray]:
    truth = np.array([s.clip.label == "anomaly" for s in scored], bool)
    return truth, np.array([s.scores[score] for s in scored], np.float64)


def false_alarms(rows: Sequence[tuple[str, float, float, float]], promised: float | None) -> Markup:
    """Draw the measured rate of false alarms of each section (name, rate, low, high; 0 to 1) against the promise."""
    with _style():
        height = 0.62 + 0.21 * len(rows)
        figure = Figure(figsize=(4.2, height))
        labels = [_shortened(name) for name, *_ in rows]
        left = min(0.4, 0.03 + 0.017 * max(map(len, labels)))
        axes = figure.add_axes((left, 0.46 / height, 0.97 - left, 1 - 0.56 / height))
        for i, (_, rate, low, high) in enumerate(rows):
            colour = ANOMALY if promised is not None and low > promised else NORMAL
            axes.plot([low * 100, high * 100], [i, i], color=colour, linewidth=1.4, alpha=0.7)
            axes.plot([rate * 100], [i], "o", color=colour, markersize=4.5, clip_on=False)
        if promised is not None:
            axes.axvline(promised * 100, color=INK, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, max([5.0, *(min(1.0, high) * 105 for *_, high in rows)]))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("normal test clips above the threshold, %")
        told = [f"{name}: {rate:.1%} ({low:.1%} to {high:.1%})" for name, rate, low, high in rows]
        return _finish(figure, "; ".join(told))


# --- Embedding ---


def embedding_map(points: Sequence[Point]) -> tuple[Markup, str, list[str]]:
    """Draw all sections on one map; return it, how it was made, and the classes in the order of their colours.

    Classes are the sections where there are at most eight, and else the machines.
    """
    sections = sorted({p.name for p in points})
    by_machine = len(sections) > len(SERIES)
    classes = sorted({_class(name, by_machine) for name in sections})
    x, how = _plane(points, np.array([sections.index(p.name) for p in points]), len(sections))
    with _style():
        figure = Figure(figsize=(4.4, 3.4))
        axes = figure.add_axes((0.09, 0.125, 0.9, 0.865))
        shown = _thinned(points, MAP_POINTS)
        for kind in ("train", "normal", "anomaly"):
            for i, name in enumerate(classes):
                rows = [j for j in shown if points[j].kind == kind and _class(points[j].name, by_machine) == name]
                _scatter(axes, x[rows], kind, _series(i))
        axes.set(xlabel=f"{how}, first axis (no unit)", ylabel="second axis (no unit)")
        _quiet_ticks(axes)
        return _finish(figure, f"Map of {len(points)} clips of {len(sections)} sections"), how, classes


def section_map(points: Sequence[Point]) -> Markup:
    """Draw the clips of one section: those it was trained on, its normal test clips and its anomalies."""
    x = _principal(np.stack([p.embedding for p in points]).astype(np.float64))
    train = np.array([p.kind == "train" for p in points])
    x = x - (x[train].mean(0) if train.any() else 0)
    x = x / (np.sqrt(np.square(x[train] if train.any() else x).sum(1).mean()) or 1.0)
    shown = _thinned(points, PANEL_POINTS)
    with _style():
        figure, axes = _panel()
        for kind, colour in (("train", MUTED), ("normal", NORMAL), ("anomaly", ANOMALY)):
            _scatter(axes, x[[j for j in shown if points[j].kind == kind]], kind, colour)
        axes.set(xlabel="first axis, radii of the training clips", ylabel="second axis, radii")
        _quiet_ticks(axes)
        return _finish(figure, f"Map of {len(points)} clips of {points[0].name}")


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


# --- Sound ---

_TICKS_HZ: Final = (8000, 4000, 2000, 1000, 3000, 6000, 500, 1500, 100)
"""In the order in which they are wanted."""


def spectrogram(frames: Features, frontend: Frontend, low_db: float, high_db: float) -> Markup:
    """Draw log-mel frames (M, F), dB; the picture is a PNG inside the SVG, and the axes are text."""
    s = frontend.settings
    seconds = frames.shape[1] * s.hop_samples / s.sample_rate_hz
    with _style(grid=False):
        figure = Figure(figsize=(4.6, 2.0))
        axes = figure.add_axes((0.125, 0.20, 0.745, 0.76))
        image = axes.imshow(
            frames,
            cmap="magma",
            vmin=low_db,
            vmax=high_db,
            aspect="auto",
            origin="lower",
            extent=(0, seconds, -0.5, s.n_mels - 0.5),
            interpolation="none",
        )
        ticks, at = _frequency_ticks(frontend)
        axes.set_yticks(at, [f"{hz / 1000:g}k" if hz >= 1000 else f"{hz}" for hz in ticks])
        axes.set(xlabel="time, s", ylabel="frequency, Hz (mel)", ylim=(-0.5, s.n_mels - 0.5))
        bar = figure.colorbar(image, cax=figure.add_axes((0.885, 0.20, 0.02, 0.76)))
        bar.outline.set_linewidth(0)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
        bar.set_label("dB", labelpad=1)
        return _finish(figure, f"Mel spectrogram of {seconds:.1f} s")


def _frequency_ticks(frontend: Frontend) -> tuple[list[int], list[float]]:
    """Return frequencies, Hz, with room for a label each, and the bands that they lie in."""
    s = frontend.settings
    ticks: dict[int, float] = {}
    for hz in _TICKS_HZ:
        band = float(np.interp(hz, frontend.band_edges_hz, np.arange(-1, s.n_mels + 1)))
        if s.f_min_hz <= hz <= s.f_max_hz and all(abs(band - other) > s.n_mels / 9 for other in ticks.values()):
            ticks[hz] = min(band, s.n_mels - 0.5)
    return list(ticks), list(ticks.values())


# --- What all share ---


def _panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.3, 2.6))
    return figure, figure.add_axes((0.15, 0.165, 0.82, 0.805))


def _series(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _dash(index: int) -> str:
    return DASHES[index // len(SERIES) % len(DASHES)]


def _shortened(name: str, most: int = 22) -> str:
    name = plain(name)
    return name if len(name) <= most else f"{name[: most // 2 - 1]}\N{HORIZONTAL ELLIPSIS}{name[-(most // 2) :]}"


def _finish(figure: Figure, label: str) -> Markup:
    """Return the figure as inline SVG: ids of its own, colours of the page, no size but its shape."""
    label, buffer = plain(label), io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    drawn = buffer.getvalue()
    own = hashlib.sha256((label + drawn).encode()).hexdigest()[:8]

    found = re.search(r'<svg [^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', drawn, re.DOTALL)
    assert found is not None
    view_box, body = found.groups()
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", body)
    body = body.replace('href="#', f'href="#{own}-').replace("url(#", f"url(#{own}-")
    body = re.sub(r" font-family: [^;\"]+;|font: [^;\"]+;", "", body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*"', "", body)
    body = re.sub(r' (?:d|x|y)="[^"]*"', _rounded, body)
    body = re.sub("#0a0[0-9a-f]{3}", lambda colour: f"var(--{_VARIABLES[colour[0]]})", body)
    body = re.sub(r"\n\s*", "\n", body)
    return Markup('<svg class="plot" viewBox="{}" role="img" aria-label="{}">').format(view_box, label) + Markup(
        body + "</svg>"
    )


def _rounded(attribute: re.Match[str]) -> str:
    """A hundredth of a point is finer than any screen, and a third of the page."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])
