"""Tables 2 to 7 of the paper, in its own shape, from the scores of the systems that they compare.

A machine's figure is the harmonic mean over its sections and domains, as in the paper: its Table 3 is the harmonic mean
of the two halves of its Table 4, machine by machine. Per cent; the best of a row is marked with a star. From Table 3 on
the score, `m` or `p`, is picked for each machine and column with test labels, as the paper does: the honest table
(honest.py) says what that is worth.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from edge.errors import EarshotError
from trainer.evaluation import paper
from trainer.evaluation.metrics import figures, harmonic_mean, pick_scores
from trainer.evaluation.paper import Figures
from trainer.evaluation.plain import aligned
from trainer.evaluation.scores import System, write_whole

Role = Literal["baseline", "top1", "general", "general/high-pass", "general/Table 7", "plain", "centre", "specific"]
"""What is compared: the autoencoder; an ensemble like the 2021 winner's; the general network, without a high-pass, with
one for the machines that Table 5 has it for, and at the cut-offs of Table 7; each machine's own network without and
with centre loss, and as Table 7 has it."""

_TABLE_4_ROLES: Final[Mapping[str, Role]] = {"top1": "top1", "ours": "specific"}

M: Final = "mahalanobis"
P: Final = "confidence"
FUSED: Final = "fused"


@dataclass(frozen=True)
class Cell:
    """A figure of ours and of the paper; None where there is none."""

    ours: float | str | None
    paper: float | str | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    number   0 for one that the paper has not
    columns  names, with what they belong to before a slash
    picks    which score stands behind each column's machines, where it was picked
    """

    number: int
    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    picks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def has_paper(self) -> bool:
        """Whether the paper's figures are beside ours."""
        return any(cell.paper is not None for cells in self.rows.values() for cell in cells)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Table":
        """Read what `as_json` gave."""
        rows = {label: [Cell(**cell) for cell in cells] for label, cells in content["rows"].items()}
        return cls(**{**content, "rows": rows})

    def as_text(self) -> str:
        """Return title and columns; where the paper's figures are known, each column of ours has one beside it."""
        with_paper = self.has_paper
        heads: list[list[str]] = [[""], [""]]
        for column in self.columns:
            group, _, part = column.rpartition("/")
            heads[0] += ["" if part == "pAUC" else group, *([""] if with_paper else [])]
            heads[1] += [part, *(["paper"] if with_paper else [])]
        body = [
            [
                label,
                *(
                    text
                    for cell in cells
                    for text in ([_ours(cell), _shown(cell.paper)] if with_paper else [_ours(cell)])
                ),
            ]
            for label, cells in self.rows.items()
        ]
        note = "; ".join(f"{column}: {_machines_of(picks)}" for column, picks in self.picks.items() if picks)
        lines = [
            f"Table {self.number}. {self.title}" if self.number else self.title,
            aligned([*(head for head in heads if any(head)), *body]),
        ]
        if note:
            lines.append(f"Scores picked with test labels, as the paper does. {note}.")
        return "\n".join(lines)


@dataclass(frozen=True)
class Configuration:
    """What Table 7 says of a machine's recipe."""

    centre_loss: bool
    f_min_hz: float


def paper_tables(
    systems: Mapping[Role, Sequence[System]], configurations: Mapping[str, Configuration], *, with_paper: bool
) -> list[Table]:
    """Return Tables 2 to 7, and one more, of no number: what the picking is worth.

    systems: the runs (seeds) of each role; a role that is missing has empty columns.
    with_paper: show the paper's figures, which are of DCASE 2021 and of nothing else.
    """
    by = _Columns(systems, with_paper)
    machines = _machines(systems)
    return [
        _pairs(
            2,
            "The effect of anomaly scores on results: m is the Mahalanobis distance, p the classifier's confidence; "
            "general network, no high-pass",
            machines,
            {"m": by.column("general", M, paper.TABLE_2["m"]), "p": by.column("general", P, paper.TABLE_2["p"])},
        ),
        _table_3(by, machines),
        _table_4(by, machines),
        _pairs(
            5,
            "The impact of high-pass filtering on the general network",
            machines,
            {
                "no hpss": by.column("general", None, paper.TABLE_5["without"]),
                "hpss": by.column("general/high-pass", None, paper.TABLE_5["with"]),
            },
        ),
        _pairs(
            6,
            "The impact of centre loss on the specific networks",
            machines,
            {
                "no centerloss": by.column("plain", None, paper.TABLE_6["without"]),
                "centerloss": by.column("centre", None, paper.TABLE_6["with"]),
            },
        ),
        _table_7(configurations, with_paper),
        _picking(by),
    ]


@dataclass(frozen=True)
class _Column:
    """Ours and the paper's figures, per cent, and the score of each machine where it was picked."""

    ours: Figures
    paper: Figures
    picks: Mapping[str, str]


@dataclass(frozen=True)
class _Columns:
    systems: Mapping[Role, Sequence[System]]
    with_paper: bool

    def scores(self, role: Role) -> Sequence[str]:
        """The scores that a role has."""
        return self.systems[role][0].score_names if self.systems.get(role) else []

    def column(self, role: Role, score: str | None, printed: Figures, domain: str | None = None) -> _Column:
        """The figures of a role with one score, or with the better one of `m` and `p` for each machine.

        A system that has neither, as an autoencoder, has the one score that it has. The score is picked on both
        domains, also where the figures are of one.
        """
        runs = self.systems.get(role, [])
        if not runs or not runs[0].scored:
            return _Column({}, printed if self.with_paper else {}, {})
        candidates = [name for name in (M, P) if name in runs[0].score_names]
        if score is not None:
            picks: Mapping[str, str] | str = score
        elif len(candidates) > 1:
            picks = pick_scores(runs, candidates, "domain")
        else:
            picks = candidates[0] if candidates else runs[0].default_score
        if domain is not None:
            runs = [replace(run, scored=[s for s in run.scored if s.clip.domain == domain]) for run in runs]
        ours = {machine: (100 * auc, 100 * pauc) for machine, (auc, pauc) in figures(runs, picks, "domain").items()}
        return _Column(ours, printed if self.with_paper else {}, {} if isinstance(picks, str) else picks)


def _pairs(number: int, title: str, machines: Sequence[str], columns: Mapping[str, _Column]) -> Table:
    """A row a machine, AUC and pAUC of each column."""
    rows = {
        machine: [_cell(column, machine, part) for column in columns.values() for part in (0, 1)]
        for machine in machines
    }
    names = [f"{name}/{part}" for name in columns for part in ("AUC", "pAUC")]
    picks = {name: column.picks for name, column in columns.items()}
    return Table(number, title, names, _starred(rows, 2), picks)


def _table_3(by: _Columns, machines: Sequence[str]) -> Table:
    columns = {
        "Baseline": by.column("baseline", None, paper.TABLE_3["baseline"]),
        "Top1-like": by.column("top1", None, paper.TABLE_3["top1"]),
        "general": _better(
            by.column("general", None, {}), by.column("general/high-pass", None, {}), paper.TABLE_3["general"], by
        ),
        "specific": by.column("specific", None, paper.TABLE_3["specific"]),
    }
    rows = {
        f"{name} {machine}": [_cell(column, machine, part) for column in columns.values()]
        for part, name in enumerate(("AUC", "pAUC"))
        for machine in machines
    }
    printed = paper.TABLE_3_HARMONIC_MEAN.values()
    rows["harmonic mean"] = [
        Cell(_mean_of(column.ours.values()), value if by.with_paper else None)
        for column, value in zip(columns.values(), printed, strict=True)
    ]
    title = "Anomaly detection results for different machine types"
    picks = {name: column.picks for name, column in columns.items()}
    return Table(3, title, list(columns), _starred(rows, 1), picks)


def _table_4(by: _Columns, machines: Sequence[str]) -> Table:
    columns: dict[str, _Column] = {}
    for domain in ("source", "target"):
        for key, role in _TABLE_4_ROLES.items():
            columns[f"{domain}/{key}"] = by.column(role, None, paper.TABLE_4[f"{domain}/{key}"], domain)
    rows = {
        machine: [_cell(column, machine, part) for column in columns.values() for part in (0, 1)]
        for machine in machines
    }
    rows["h-mean"] = [
        Cell(
            harmonic_mean([both[part] for both in column.ours.values()]) if column.ours else None,
            paper.TABLE_4_HARMONIC_MEAN[key][part] if by.with_paper else None,
        )
        for key, column in columns.items()
        for part in (0, 1)
    ]
    # Each half of the table has a winner of its own.
    starred = {label: [*_stars(cells[:4], 2), *_stars(cells[4:], 2)] for label, cells in rows.items()}
    shown = {key: key.replace("/top1", " Top1-like").replace("/ours", " specific") for key in columns}
    names = [f"{shown[key]}/{part}" for key in columns for part in ("AUC", "pAUC")]
    picks = {shown[key]: column.picks for key, column in columns.items() if key.startswith("source")}
    return Table(4, "Results in source domain and target domain", names, starred, picks)


def _table_7(configurations: Mapping[str, Configuration], with_paper: bool) -> Table:
    printed = {machine: Configuration(*both) for machine, both in paper.TABLE_7.items()}
    say: Mapping[str, Callable[[Configuration], str]] = {
        "Centerloss": lambda c: str(c.centre_loss),
        "Highpass filter": lambda c: str(c.f_min_hz > 0),
        "f_min": lambda c: f"{c.f_min_hz:g}",
    }
    rows = {
        label: [
            Cell(text(ours), text(printed[machine]) if with_paper and machine in printed else None)
            for machine, ours in configurations.items()
        ]
        for label, text in say.items()
    }
    return Table(7, "Experiment configurations; f_min is the cut-off of the high-pass, Hz", list(configurations), rows)


def _picking(by: _Columns) -> Table:
    """The harmonic mean of all AUCs and pAUCs as more and more is picked with test labels, the last row as Table 3."""
    m, p = (by.column("general", score, paper.TABLE_2[name]) for score, name in ((M, "m"), (P, "p")))
    picked = by.column("general", None, paper.TABLE_5["without"])
    general = _better(picked, by.column("general/high-pass", None, {}), paper.TABLE_3["general"], by)
    plain = by.column("plain", None, paper.TABLE_6["without"])
    best = _better(plain, by.column("centre", None, {}), paper.TABLE_3["specific"], by)
    fused = by.column("specific", FUSED, {}) if FUSED in by.scores("specific") else None
    rows = {
        "general, m for all machines": m,
        "general, p for all machines": p,
        "m or p picked for each machine": picked,
        "and the high-pass": general,
        "fine-tuned, without centre loss": plain,
        "and the centre loss picked": best,
        **({"fused: no score picked, recipes of Table 7": fused} if fused else {}),
    }
    cells = {label: [Cell(_mean_of(c.ours.values()), _mean_of(c.paper.values()))] for label, c in rows.items()}
    return Table(0, "What picking with test labels is worth: harmonic mean of all AUC and pAUC", ["all"], cells)


def _better(first: _Column, second: _Column, printed: Figures, by: _Columns) -> _Column:
    """Without or with a high-pass, whichever is better on a machine: the paper's general column picks so."""
    ours, picks = dict(first.ours), dict(first.picks)
    for machine, figures_ in second.ours.items():
        if machine not in ours or harmonic_mean(figures_) > harmonic_mean(ours[machine]):
            ours[machine] = figures_
            picks[machine] = f"{second.picks.get(machine, '')} with high-pass".strip()
    return _Column(ours, printed if by.with_paper else {}, picks)


def _machines(systems: Mapping[Role, Sequence[System]]) -> list[str]:
    """Those of the paper in its order, then others by name."""
    found = {s.clip.machine for runs in systems.values() for run in runs for s in run.scored if s.clip.label}
    return [*(name for name in paper.MACHINES if name in found), *sorted(found - set(paper.MACHINES))]


def _cell(column: _Column, machine: str, part: int) -> Cell:
    ours, printed = column.ours.get(machine), column.paper.get(machine)
    return Cell(None if ours is None else ours[part], None if printed is None else printed[part])


def _mean_of(pairs: Iterable[tuple[float, float]]) -> float | None:
    values = [value for pair in pairs for value in pair]
    return harmonic_mean(values) if values else None


def _starred(rows: Mapping[str, Sequence[Cell]], step: int) -> dict[str, Sequence[Cell]]:
    return {label: _stars(cells, step) for label, cells in rows.items()}


def _stars(cells: Sequence[Cell], step: int) -> list[Cell]:
    """Mark the best figure of ours among every `step`-th cell, if there is more than one."""
    marked = list(cells)
    for first in range(step):
        own = [cell.ours for cell in cells[first::step] if isinstance(cell.ours, float)]
        for i in range(first, len(cells), step):
            marked[i] = replace(cells[i], best=len(own) > 1 and cells[i].ours == max(own))
    return marked


def _ours(cell: Cell) -> str:
    return ("*" if cell.best else "") + _shown(cell.ours)


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.2f}%"


def _machines_of(picks: Mapping[str, str]) -> str:
    short = {M: "m", P: "p"}
    by_pick: dict[str, list[str]] = {}
    for machine, score in picks.items():
        by_pick.setdefault(" ".join(short.get(word, word) for word in score.split()), []).append(machine)
    return ", ".join(f"{score} for {' '.join(machines)}" for score, machines in by_pick.items())


# --- A folder of tables: what `earshot reproduce` leaves and `earshot evaluate --tables` prints ---

TABLES_FILE: Final = "tables.json"


@dataclass(frozen=True)
class Tables:
    """All tables of a reproduction.

    about   a line that says on what
    tables  Tables 2 to 7
    honest  the honest table as text, by domain rule, and as data
    """

    about: str
    tables: Sequence[Table]
    honest: Mapping[str, str]
    honest_data: Mapping[str, Any] = field(default_factory=dict)

    def as_text(self) -> str:
        """Return them one after the other."""
        return "\n\n".join([self.about, *(table.as_text() for table in self.tables), *self.honest.values()])


def write_tables(folder: Path, tables: Tables) -> None:
    """Write tables.json, whole, and the same as text."""
    content = {**asdict(tables), "tables": [table.as_json() for table in tables.tables]}
    write_whole(folder / TABLES_FILE, json.dumps(content, indent=1) + "\n")
    write_whole(folder / "tables.txt", tables.as_text() + "\n")


def read_tables(folder: Path) -> Tables:
    """Read them back. Raises EarshotError if they are not there."""
    path = folder / TABLES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Tables(**{**content, "tables": [Table.from_json(table) for table in content["tables"]]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EarshotError(f"{path}: {error}: expected the tables of `earshot reproduce --output {folder}`") from error
