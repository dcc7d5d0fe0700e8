"""What the scores tell apart: ROC, histograms, and false alarms against the promise."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from trainer.evaluation.metrics import PAUC_MAX_FPR, auc_and_pauc
from trainer.evaluation.scores import Scored
from trainer.report.figures.drawing import (
    ANOMALY,
    INK,
    MUTED,
    NORMAL,
    SERIES,
    SHADE,
    FloatArray,
    finish,
    panel,
    plain,
    shortened,
    style,
)


def roc(scored: Sequence[Scored], score: str) -> Markup:
    """Draw the ROC of each domain and of both together, with the area of the pAUC marked."""
    with style():
        figure, axes = panel()
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
        return finish(figure, "ROC. " + "; ".join(told))


def histogram(scored: Sequence[Scored], score: str) -> Markup:
    """Draw how the scores of normal clips and of anomalies lie, a row a domain, with the threshold."""
    with style():
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
        return finish(figure, told + "".join(f"; threshold {t:.3g}" for t in thresholds))


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
    with style():
        height = 0.62 + 0.21 * len(rows)
        figure = Figure(figsize=(4.2, height))
        labels = [shortened(name) for name, *_ in rows]
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
        return finish(figure, "; ".join(told))
