"""Grades and rows as text, columns aligned: what a terminal shows."""

from collections.abc import Sequence

import numpy as np

from trainer.evaluation.metrics import Grade, harmonic_mean


def grades_table(grades: Sequence[Grade]) -> str:
    """Return AUC / pAUC, a row a section and domain, a column a score, and means per machine."""
    names = list(dict.fromkeys(g.score for g in grades))
    rows = [["AUC / pAUC", *names]]
    for machine in dict.fromkeys(g.machine for g in grades):
        own = [g for g in grades if g.machine == machine]
        for section, domain in dict.fromkeys((g.section, g.domain) for g in own):
            label = f"{machine} {section}" + ("" if domain == "all" else f"  {domain}")
            rows.append(_row(label, names, [g for g in own if (g.section, g.domain) == (section, domain)]))
        whole = [g for g in own if g.domain == "all"]
        rows.append(_row(f"{machine} mean", names, whole))
        harmonic = [[g.hmean for g in whole if g.score == name] for name in names]
        rows.append([f"{machine} harmonic mean", *(f"{harmonic_mean(h):.3f}" if h else "-" for h in harmonic)])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]], gap: int = 3) -> str:
    """Return rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i] + gap) for i, cell in enumerate(row)]
        lines.append("".join(cells).rstrip())
    return "\n".join(lines)


def _row(label: str, names: Sequence[str], grades: Sequence[Grade]) -> list[str]:
    cells = []
    for name in names:
        own = [g for g in grades if g.score == name]
        cells.append(f"{np.mean([g.auc for g in own]):.3f} / {np.mean([g.pauc for g in own]):.3f}" if own else "-")
    return [label, *cells]
