"""The honest table: what a system is worth to somebody who has no test labels, beside what it seems to be with them.

    fixed          one recipe and one score for all machines: the paper's Eq. 5 of a network, a peer's own score
    label-free     the score that the system would be used with: `fused`, where it has that
    oracle-picked  the best score of each machine, picked with the very labels that it is graded on

The paper's 75.53 is of the third kind. A figure is the mean over machines of the harmonic mean of AUC and pAUC, with
its interval (metrics.py). Nothing here says that a system is better unless the difference is outside the noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from edge.errors import EarshotError
from trainer.evaluation.metrics import (
    NOISE,
    Cells,
    Difference,
    Figure,
    Picks,
    Summary,
    Triple,
    by_name,
    common,
    difference,
    pick_scores,
    summarise,
)
from trainer.evaluation.plain import aligned
from trainer.evaluation.scores import System

USES_TEST_LABELS: Final = "uses test labels"
FUSED: Final = "fused"
MAHALANOBIS: Final = "mahalanobis"


@dataclass(frozen=True)
class Row:
    """One system over its seeds.

    fixed        None where the recipe differs from machine to machine
    sections     `machine/section` that it has scored; a mean over fewer than the others' cannot be compared with theirs
    fixed_range  the mean harmonic mean with each single score for all machines, without `fused`: which of them is
                 good on a data set, nobody knows beforehand
    """

    system: str
    about: str
    seeds: tuple[int, ...]
    sections: tuple[str, ...]
    fixed: Summary | None
    label_free: Summary
    oracle_picked: Summary
    fixed_range: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """How much better the best system is, label-free; worse is only what is outside the noise."""

    system: str
    best: str
    difference: Difference


@dataclass(frozen=True)
class HonestTable:
    """The rows, and how the systems stand to the best one of the label-free column."""

    cells: Cells
    n_clips: int
    sections: tuple[str, ...]
    rows: Sequence[Row]
    verdicts: Sequence[Verdict]

    @property
    def best(self) -> str:
        """The system with the highest label-free figure, which need not be the best one."""
        return _best(self.rows, self.sections)

    def label(self, row: Row) -> str:
        """Return the name of a row, with a star before the best, and how much it is of where that is not all."""
        lacks = (
            f" ({len(row.sections)} of {len(self.sections)} sections)" if len(row.sections) < len(self.sections) else ""
        )
        return f"{'* ' if row.system == self.best else '  '}{row.system}{lacks}"

    def as_json(self) -> dict[str, Any]:
        """Return plain values: for each column AUC, pAUC and harmonic mean with intervals and seeds."""
        return {
            "cells": self.cells,
            "clips": self.n_clips,
            "noise": NOISE,
            "uses_test_labels": ["oracle_picked"],
            "best_label_free": self.best,
            "rows": [asdict(row) for row in self.rows],
            "verdicts": [
                {**asdict(verdict), "is_outside_noise": verdict.difference.is_outside_noise}
                for verdict in self.verdicts
            ],
        }

    def as_text(self) -> str:
        """Return the three columns, and below them what may be claimed."""
        head = [
            "mean h-mean of AUC and pAUC",
            "seeds",
            "fixed",
            "",
            "label-free",
            "",
            f"oracle-picked ({USES_TEST_LABELS})",
            "",
        ]
        body = [
            [
                self.label(row),
                str(len(row.seeds)),
                *_shown(row.fixed),
                *_shown(row.label_free),
                *_shown(row.oracle_picked),
            ]
            for row in self.rows
        ]
        return "\n".join([aligned([head, *body]), *self._notes()])

    def _notes(self) -> list[str]:
        n_seeds = max(len(row.seeds) for row in self.rows)
        notes = [
            f"Intervals: 95 %, bootstrap over {self.n_clips} clips"
            + (f" and {n_seeds} seeds." if n_seeds > 1 else "; one seed, whose own chance is not in them.")
        ]
        told = [v for v in self.verdicts if v.difference.is_outside_noise]
        behind = [f"{v.system} ({100 * v.difference.value:.1f})" for v in told if v.difference.value > 0]
        ahead = [f"{v.system} ({-100 * v.difference.value:.1f})" for v in told if v.difference.value < 0]
        level = [v.system for v in self.verdicts if not v.difference.is_outside_noise]
        if behind:
            notes.append(f"Label-free, {self.best} is better, in points, than {', '.join(behind)}.")
        if ahead:
            notes.append(f"Better, in points, on the sections that they can score: {', '.join(ahead)}.")
        if level:
            notes.append(f"Inside the noise, not to be told from {self.best}: {', '.join(level)}.")
        if any(row.label_free.mean.hmean.low == row.label_free.mean.hmean.high for row in self.rows):
            notes.append(
                "An interval without width: no clip of these was on the wrong side, which more clips may change."
            )
        varied = [row.system for row in self.rows if row.fixed is None]
        if varied:
            notes.append(f"No fixed figure, because the recipe differs from machine to machine: {', '.join(varied)}.")
        return notes


def honest_table(systems: Sequence[System], cells: Cells = "section") -> HonestTable:
    """Return the table of systems, those of one name being seeds of one row, on the clips that all have scored.

    Raises EarshotError if there is nothing to grade.
    """
    systems = common(systems)
    if not any(system.scored for system in systems):
        raise EarshotError("no clip has a score: expected some to grade")
    runs = by_name(systems)
    rows = [_row(own, cells) for own in runs.values()]
    sections = tuple(sorted({name for row in rows for name in row.sections}))
    best = _best(rows, sections)
    picks = {name: own[0].default_score for name, own in runs.items()}
    verdicts = [
        Verdict(name, best, difference(runs[best], own, picks[best], picks[name], cells))
        for name, own in runs.items()
        if name != best
    ]
    n_clips = len({scored.clip.path for system in systems for scored in system.scored if scored.clip.label})
    return HonestTable(cells, n_clips, sections, rows, verdicts)


def comparison(table: HonestTable) -> str:
    """Return a row a system, label-free: AUC / pAUC of each machine, the mean, its interval and the seeds."""
    machines = list(dict.fromkeys(machine for row in table.rows for machine in row.label_free.machines))
    head = ["AUC / pAUC, label-free", "score", *machines, "mean", "h-mean", "", "seeds"]
    best = {
        machine: max(
            row.label_free.machines[machine].hmean.value for row in table.rows if machine in row.label_free.machines
        )
        for machine in machines
    }
    body = []
    for row in table.rows:
        own = row.label_free
        cells = [
            ("*" if own.machines[machine].hmean.value == best[machine] else "") + _both(own.machines[machine])
            if machine in own.machines
            else "-"
            for machine in machines
        ]
        body.append([table.label(row), _score(own), *cells, _both(own.mean), *_shown(own), _seeds(own.mean.hmean)])
    return aligned([head, *body])


def fixed_score(system: System) -> str:
    """Return the one score of the `fixed` column: Eq. 5 where the system has it, else its own."""
    return MAHALANOBIS if MAHALANOBIS in system.score_names else system.default_score


def _row(runs: Sequence[System], cells: Cells) -> Row:
    first = runs[0]
    single = [name for name in first.score_names if name != FUSED] or first.score_names
    picks: Picks = pick_scores(runs, first.score_names, cells)
    return Row(
        first.name,
        first.about,
        tuple(run.seed for run in runs),
        _sections(runs),
        summarise(runs, fixed_score(first), cells) if first.one_recipe else None,
        summarise(runs, first.default_score, cells),
        summarise(runs, picks, cells),
        {name: summarise(runs, name, cells, replicates=1).mean.hmean.value for name in single},
    )


def _sections(runs: Sequence[System]) -> tuple[str, ...]:
    return tuple(sorted({s.clip.name for run in runs for s in run.scored if s.clip.label}))


def _best(rows: Sequence[Row], sections: Sequence[str]) -> str:
    whole = [row for row in rows if len(row.sections) == len(sections)]
    return max(whole or rows, key=lambda row: row.label_free.mean.hmean.value).system


def _shown(summary: Summary | None) -> tuple[str, str]:
    """A figure and its interval, of 1."""
    if summary is None:
        return "-", ""
    figure = summary.mean.hmean
    return f"{figure.value:.3f}", f"[{figure.low:.3f}, {figure.high:.3f}]"


def _both(triple: Triple) -> str:
    return f"{triple.auc.value:.3f} / {triple.pauc.value:.3f}"


def _score(summary: Summary) -> str:
    return ", ".join(dict.fromkeys(summary.scores.values()))


def _seeds(figure: Figure) -> str:
    return " ".join(f"{value:.3f}" for value in figure.seeds)
