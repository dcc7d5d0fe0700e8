"""Writes one HTML file that holds all of a report: figures, sound, tables. It asks no network for anything."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from scipy.stats import binomtest

from edge.commands import open_output
from trainer.evaluation.metrics import PAUC_MAX_FPR, Grade, grade, harmonic_mean
from trainer.evaluation.scores import Scored
from trainer.report import figures
from trainer.report.content import Cell, Column, ReportContent, Table, Unit
from trainer.report.figures import plain
from trainer.report.sound import show

_MISSING: Final = "\N{EN DASH}"
_FORMATS: Final[Mapping[Unit, str]] = {
    **{"text": "{}", "figure": "{}", "count": "{:,.0f}", "number": "{:.3g}", "score": "{:.3f}", "share": "{:.1%}"}
}


@dataclass(frozen=True)
class Panel:
    """A small figure and the heading above it."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class Tile:
    """A figure that is read first."""

    name: str
    value: str
    note: str


def write_report(output: Path, content: ReportContent) -> None:
    """Write a report as one HTML file, whole or not at all. Raises OSError or EarshotError if it cannot be written."""
    page = render(content)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_output(output) as stream:
        stream.write(page)


def render(content: ReportContent) -> str:
    """Return the page of a report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain_lines(value) if type(value) is str else value,
    )
    environment.filters["cell"] = written
    return environment.get_template("template.html.j2").render(
        content=content,
        tiles=_tiles(content),
        learning=_learning(content),
        series=[(i, name) for i, name in enumerate(run.name for run in content.runs)],
        grades=_grades(content),
        rocs=[Panel(name, figures.roc(_of(content, name), content.score)) for name in content.sections],
        histograms=[Panel(name, figures.histogram(_of(content, name), content.score)) for name in content.sections],
        false_alarms=_false_alarms(content),
        overview=_overview(content),
        maps=_maps(content),
        examples=_examples(content),
        pauc_max_fpr=PAUC_MAX_FPR,
    )


def plain_lines(text: str) -> str:
    """Return text that can be written, lines and tabs kept."""
    return "\n".join(plain(line.replace("\t", "    ")) for line in text.splitlines())


def written(value: Cell, column: Column) -> str:
    """Return a cell of a table as text, in the unit of its column."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _MISSING
    if isinstance(value, str):
        return value
    return _FORMATS[column.unit].format(value).replace("%", "\N{NARROW NO-BREAK SPACE}%")


def _of(content: ReportContent, name: str) -> list[Scored]:
    return [s for s in content.scored if s.clip.name == name]


# --- What is read first ---


def _tiles(content: ReportContent) -> list[Tile]:
    whole = [g for g in grade(content.scored, [content.score]) if g.domain == "all"]
    tiles = []
    if whole:
        over = f"mean over {len(whole)} sections" if len(whole) > 1 else whole[0].machine + "/" + whole[0].section
        tiles += [
            Tile("AUC", f"{_mean([g.auc for g in whole]):.3f}", over),
            Tile("pAUC", f"{_mean([g.pauc for g in whole]):.3f}", f"false-alarm rate up to {PAUC_MAX_FPR:g}"),
            Tile("harmonic mean", f"{_harmonic(whole):.3f}", "of all of these"),
        ]
    alarms, normal = _count_alarms(content.scored, content.score)
    if normal:
        promised = "" if content.promised is None else f"; promised: {_percent(content.promised)}"
        tiles.append(Tile("false alarms", _percent(alarms / normal), f"{alarms} of {normal} normal clips{promised}"))
    if content.scored:
        n_anomaly = sum(s.clip.label == "anomaly" for s in content.scored)
        note = f"{len(content.scored) - n_anomaly} normal, {n_anomaly} anomalous"
        tiles.append(Tile("test clips", str(len(content.scored)), note))
    return tiles


def _harmonic(grades: Sequence[Grade]) -> float:
    return harmonic_mean([value for g in grades for value in (g.auc, g.pauc)])


def _percent(share: float) -> str:
    return f"{share * 100:.3g}\N{NARROW NO-BREAK SPACE}%"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- Figures ---


def _learning(content: ReportContent) -> list[Panel]:
    names = figures.curves_in(content.runs)
    return [Panel(figures.CURVES[name][0], figures.learning_curve(content.runs, name)) for name in names]


def _false_alarms(content: ReportContent) -> Markup | None:
    rows = []
    for name in content.sections:
        alarms, normal = _count_alarms(_of(content, name), content.score)
        if normal:
            # Wilson's interval: it is right for few clips and for none above the threshold.
            low, high = binomtest(alarms, normal).proportion_ci(0.95, method="wilson")
            rows.append((name, alarms / normal, float(low), float(high)))
    return figures.false_alarms(rows, content.promised) if rows else None


def _count_alarms(scored: Sequence[Scored], score: str) -> tuple[int, int]:
    """Return how many normal clips lie above their threshold, and how many have one."""
    own = [s for s in scored if s.clip.label == "normal" and math.isfinite(s.thresholds.get(score, math.nan))]
    return sum(s.scores[score] > s.thresholds[score] for s in own), len(own)


def _overview(content: ReportContent) -> dict[str, Any] | None:
    points = content.points
    if len({p.space for p in points}) != 1 or len({p.name for p in points}) < 2:
        return None
    svg, how, classes = figures.embedding_map(points)
    return {"svg": svg, "how": how, "classes": list(enumerate(classes))}


def _maps(content: ReportContent) -> list[Panel]:
    names = sorted({p.name for p in content.points})
    return [Panel(name, figures.section_map([p for p in content.points if p.name == name])) for name in names]


def _examples(content: ReportContent) -> dict[str, Any]:
    shown = show(content.examples)
    return {kind: [s for s in shown if s.example.kind == kind] for kind in ("false alarm", "miss", "ordinary")}


# --- Tables ---


def _grades(content: ReportContent) -> Table | None:
    """A row a section and domain, and a mean a machine, of the score that figures are drawn of."""
    grades = grade(content.scored, [content.score])
    columns = [
        *(Column("machine"), Column("section"), Column("domain")),
        *(Column("AUC", "score"), Column("pAUC", "score"), Column("harmonic mean", "score")),
        *(Column("false alarms", "share"), Column("hits", "share")),
        *(Column("normal clips", "count"), Column("anomalies", "count"), Column("threshold", "score")),
    ]
    rows: list[Sequence[Cell]] = []
    emphasis = set()
    for machine in sorted({g.machine for g in grades}):
        own = [g for g in grades if g.machine == machine]
        for g in sorted(own, key=lambda g: (g.section, g.domain)):
            domain = "both" if g.domain == "all" else g.domain
            cells = (g.auc, g.pauc, g.hmean, g.false_alarms, g.hits, g.n_normal, g.n_anomaly)
            rows.append((machine, g.section, domain, *cells, _threshold(content, g)))
        whole = [g for g in own if g.domain == "all"]
        if len(whole) > 1:
            emphasis.add(len(rows))
            rows.append((machine, "mean", "both", *_means(whole), None))
    if not rows:
        return None
    caption = (
        f"By the score {content.score}, which needs no labels. AUC and pAUC (false-alarm rate up to {PAUC_MAX_FPR:g}) "
        "are 0.5 by chance; a false alarm is a normal clip above the threshold, a hit an anomaly above it."
    )
    return Table("Sections", caption, columns, rows, frozenset(emphasis))


def _means(grades: Sequence[Grade]) -> list[Cell]:
    auc, pauc = _mean([g.auc for g in grades]), _mean([g.pauc for g in grades])
    counts = [sum(g.n_normal for g in grades), sum(g.n_anomaly for g in grades)]
    shares: list[Cell] = []
    for name in ("false_alarms", "hits"):
        values = [value for g in grades if (value := getattr(g, name)) is not None]
        shares.append(_mean(values) if values else None)
    return [auc, pauc, _harmonic(grades), *shares, *counts]


def _threshold(content: ReportContent, own: Grade) -> float | None:
    found = {
        s.thresholds.get(content.score)
        for s in content.scored
        if (s.clip.machine, s.clip.section) == (own.machine, own.section)
    }
    return found.pop() if len(found) == 1 else None
