"""What `trainer.evaluation` has compared, as tables of a page."""

from collections.abc import Sequence
from typing import Final

from trainer.evaluation.honest import USES_TEST_LABELS, HonestTable
from trainer.evaluation.metrics import NOISE, Figure, Summary, Triple
from trainer.evaluation.tables import Cell as PaperCell
from trainer.evaluation.tables import Table as PaperTable
from trainer.report.content import Cell, Column, Table

_MISSING: Final = "\N{EN DASH}"


def honest_tables(honest: HonestTable) -> list[Table]:
    """Return the three columns, and what may be claimed where there are several systems."""
    n_seeds = max(len(row.seeds) for row in honest.rows)
    chance = f"and {n_seeds} seeds" if n_seeds > 1 else "alone: the chance of the one seed is not in them"
    caption = (
        "Look at the column label-free: that is what somebody without test labels gets, and what the column to its "
        "right adds is hindsight. Mean over machines of the harmonic mean of AUC and pAUC; in brackets 95 % intervals, "
        f"a bootstrap over {honest.n_clips} clips {chance}."
    )
    columns = [
        *(Column("system"), Column("seeds", "count")),
        Column("fixed", "figure", "one recipe, one score"),
        Column("label-free", "figure", "as it would be used"),
        Column("oracle-picked", "figure", USES_TEST_LABELS),
    ]
    rows = [
        (
            honest.label(row).removeprefix("*").strip(),
            len(row.seeds),
            *(_with_interval(own) for own in (row.fixed, row.label_free, row.oracle_picked)),
        )
        for row in honest.rows
    ]
    best = frozenset(i for i, row in enumerate(honest.rows) if row.system == honest.best and len(honest.rows) > 1)
    tables = [Table("", caption, columns, rows, best)]
    return [*tables, _verdicts(honest)] if honest.verdicts else tables


def compared_table(honest: HonestTable) -> Table:
    """Return AUC and pAUC of each machine, label-free, a row a system."""
    machines = list(dict.fromkeys(machine for row in honest.rows for machine in row.label_free.machines))
    columns = [Column("system"), Column("score"), *(Column(machine, "figure") for machine in machines)]
    rows = [
        (
            honest.label(row).removeprefix("*").strip(),
            ", ".join(dict.fromkeys(row.label_free.scores.values())),
            *(_both(row.label_free.machines.get(machine)) for machine in machines),
            _both(row.label_free.mean),
            row.about,
        )
        for row in honest.rows
    ]
    caption = "Look along a column: all systems were graded on the same clips of that machine, label-free. AUC / pAUC."
    return Table("", caption, [*columns, Column("mean", "figure"), Column("what it is")], rows)


def paper_tables(tables: Sequence[PaperTable]) -> list[Table]:
    """Return Tables 2 to 7 of the paper, its figures in brackets beside ours where they are known."""
    return [
        Table(
            f"Table {table.number}",
            f"{table.title}{'; the figures of the paper are in brackets' if table.has_paper else ''}.",
            [Column(""), *(Column(name.replace("/", " "), "figure") for name in table.columns)],
            [(label, *(_beside(cell) for cell in cells)) for label, cells in table.rows.items()],
        )
        for table in tables
    ]


def _verdicts(honest: HonestTable) -> Table:
    rows: list[Sequence[Cell]] = []
    for verdict in honest.verdicts:
        points = verdict.difference
        figure = _interval(Figure(100 * points.value, 100 * points.low, 100 * points.high), digits=1)
        if not points.is_outside_noise:
            told = "inside the noise: not to be told apart"
        else:
            told = f"{honest.best} is better" if points.value > 0 else f"{verdict.system} is better"
        rows.append((verdict.system, figure, told))
    caption = (
        f"Look for intervals without zero: only there, and from {100 * NOISE:g} point on, anything may be claimed. "
        f"{honest.best} minus the other, label-free, in points of the harmonic mean, on the clips that both scored."
    )
    columns = [Column(f"{honest.best} against"), Column("difference, points", "figure"), Column("so")]
    return Table("What may be claimed", caption, columns, rows)


def _with_interval(summary: Summary | None) -> str | None:
    return None if summary is None else _interval(summary.mean.hmean, digits=3)


def _interval(figure: Figure, *, digits: int) -> str:
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]".replace(
        "-", "\N{MINUS SIGN}"
    )


def _both(triple: Triple | None) -> str | None:
    return None if triple is None else f"{triple.auc.value:.3f} / {triple.pauc.value:.3f}"


def _beside(cell: PaperCell) -> str:
    ours = _MISSING if cell.ours is None else _shown(cell.ours)
    return ours if cell.paper is None else f"{ours} ({_shown(cell.paper)})"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"
