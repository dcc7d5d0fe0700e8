"""What `trainer.evaluation` has compared, as tables of a page."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trainer.evaluation.honest import USES_TEST_LABELS
from trainer.evaluation.metrics import NOISE
from trainer.evaluation.tables import Cell as PaperCell
from trainer.evaluation.tables import Table as PaperTable
from trainer.report.content import Cell, Column, Table

_CELLS: Final = {"section": "Both domains of a section together", "domain": "Each domain of a section by itself"}


def honest_tables(honest: Mapping[str, Any]) -> list[Table]:
    """Return the three columns of the honest table, and what may be claimed where there are several systems.

    honest: `HonestTable.as_json`.
    """
    rows: Sequence[Mapping[str, Any]] = honest["rows"]
    n_seeds = max(len(row["seeds"]) for row in rows)
    chance = f"and {n_seeds} seeds" if n_seeds > 1 else "alone: the chance of the one seed is not in them"
    caption = (
        "Look at the column label-free: that is what somebody without test labels gets, and what the column to its "
        "right adds is hindsight. Mean over machines of the harmonic mean of AUC and pAUC; in brackets 95 % intervals, "
        f"a bootstrap over {honest['clips']} clips {chance}."
    )
    columns = [
        *(Column("system"), Column("seeds", "count")),
        Column("fixed", "figure", "one recipe, one score"),
        Column("label-free", "figure", "as it would be used"),
        Column("oracle-picked", "figure", USES_TEST_LABELS),
    ]
    body = [
        (
            _name(honest, row),
            len(row["seeds"]),
            *(_with_interval(row[kind]) for kind in ("fixed", "label_free", "oracle_picked")),
        )
        for row in rows
    ]
    best = frozenset(i for i, row in enumerate(rows) if row["system"] == honest["best_label_free"] and len(rows) > 1)
    tables = [Table(_CELLS[honest["cells"]], caption, columns, body, best)]
    return [*tables, _verdicts(honest)] if honest["verdicts"] else tables


def compared_table(honest: Mapping[str, Any]) -> Table:
    """Return AUC and pAUC of each machine, label-free, a row a system; from `HonestTable.as_json`."""
    machines = list(dict.fromkeys(machine for row in honest["rows"] for machine in row["label_free"]["machines"]))
    columns = [Column("system"), Column("score"), *(Column(machine, "figure") for machine in machines)]
    rows = [
        (
            _name(honest, row),
            ", ".join(dict.fromkeys(row["label_free"]["scores"].values())),
            *(_both(row["label_free"]["machines"].get(machine)) for machine in machines),
            _both(row["label_free"]["mean"]),
            row["about"],
        )
        for row in honest["rows"]
    ]
    caption = (
        "Look along a column: all systems were graded on the same clips of that machine, label-free. AUC / pAUC. "
        f"{_CELLS[honest['cells']]}."
    )
    return Table("Label-free", caption, [*columns, Column("mean", "figure"), Column("what it is")], rows)


def paper_tables(tables: Sequence[PaperTable]) -> list[Table]:
    """Return Tables 2 to 7 of the paper, its figures in brackets beside ours where they are known."""
    return [_paper_table(table) for table in tables]


def _paper_table(table: PaperTable) -> Table:
    notes = [f"{table.title}."]
    if table.has_paper:
        notes.append("The paper's own figures are in brackets.")
    if any(table.picks.values()):
        notes.append("Scores were picked for each machine with test labels, as the paper does.")
    return Table(
        f"Table {table.number} of the paper" if table.number else "What picking is worth",
        " ".join(notes),
        [Column(""), *(Column(name.replace("/", " "), "figure") for name in table.columns)],
        [(label, *(_beside(cell) for cell in cells)) for label, cells in table.rows.items()],
        frozenset(i for i, label in enumerate(table.rows) if label in ("harmonic mean", "h-mean")),
    )


def _verdicts(honest: Mapping[str, Any]) -> Table:
    best = honest["best_label_free"]
    rows: list[Sequence[Cell]] = []
    for verdict in honest["verdicts"]:
        points = {key: 100 * value for key, value in verdict["difference"].items()}
        if not verdict["is_outside_noise"]:
            told = "inside the noise: not to be told apart"
        else:
            told = f"{best if points['value'] > 0 else verdict['system']} is better"
        rows.append((verdict["system"], _interval(points, digits=1), told))
    caption = (
        f"Look for intervals without zero: only there, and from {100 * NOISE:g} point on, anything may be claimed. "
        f"{best} minus the other, label-free, in points of the harmonic mean, on the clips that both scored."
    )
    return Table(
        "What may be claimed",
        caption,
        [Column(f"{best} against"), Column("difference, points", "figure"), Column("so")],
        rows,
    )


def _name(honest: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The system, and how much of the data it could score where that is not all."""
    n_all = len({name for own in honest["rows"] for name in own["sections"]})
    lacks = f" ({len(row['sections'])} of {n_all} sections)" if len(row["sections"]) < n_all else ""
    return f"{row['system']}{lacks}"


def _with_interval(summary: Mapping[str, Any] | None) -> str | None:
    return None if summary is None else _interval(summary["mean"]["hmean"], digits=3)


def _interval(figure: Mapping[str, float], *, digits: int) -> str:
    text = f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"
    return text.replace("-", "\N{MINUS SIGN}")


def _both(triple: Mapping[str, Any] | None) -> str | None:
    return None if triple is None else f"{triple['auc']['value']:.3f} / {triple['pauc']['value']:.3f}"


def _beside(cell: PaperCell) -> str:
    ours = "\N{EN DASH}" if cell.ours is None else _shown(cell.ours)
    return ours if cell.paper is None else f"{ours} ({_shown(cell.paper)})"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"
