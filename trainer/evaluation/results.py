"""What `earshot evaluate` leaves: metrics.json, scores.csv, tables.txt, and the challenge's files of every system."""

import csv
import io
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.commands import cell
from edge.detector import Detector
from edge.errors import EarshotError
from edge.judge import SCORE_NAMES
from trainer.dataset import Clip
from trainer.evaluation.challenge import write_challenge
from trainer.evaluation.honest import HonestTable, comparison, honest_table
from trainer.evaluation.metrics import Cells, Grade, grade
from trainer.evaluation.plain import grades_table
from trainer.evaluation.scores import System, write_whole
from trainer.evaluation.scoring import DomainRule

log = logging.getLogger(__name__)


def write_results(
    output: Path,
    systems: Sequence[System],
    *,
    detectors: Sequence[Detector],
    clips: Sequence[Clip],
    skipped: Sequence[str],
    domain: DomainRule,
) -> str:
    """Grade the systems, write all files, and return what the terminal shows.

    detectors: those among the systems, which come first. skipped: why clips have no score.
    Raises EarshotError if clips have labels, and no section has both.
    """
    grades = [grade(system.scored) for system in systems]
    has_labels = any(s.clip.label for system in systems for s in system.scored)
    if has_labels and not any(grades):
        names = sorted({s.clip.name for system in systems for s in system.scored})
        raise EarshotError(f"no normal and anomalous test clips of {', '.join(names)} in the data")

    cells: Cells = "domain" if domain == "oracle" else "section"
    table = honest_table([s for s, own in zip(systems, grades, strict=True) if own], cells) if has_labels else None
    metrics = {
        **({"detector": detectors[0].card.name, "sha256": detectors[0].sha256} if detectors else {}),
        "grades": _as_json(grades[0]),
        "skipped": list(skipped),
        "domain": domain,
        "systems": [_system_as_json(system, own) for system, own in zip(systems, grades, strict=True)],
        "honest": table.as_json() if table else None,
    }
    write_whole(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_whole(output / "scores.csv", _scores_csv(systems))
    _write_challenge(output / "challenge", systems, clips)
    text = _shown(systems, grades[0], table)
    write_whole(output / "tables.txt", text + "\n")
    return text


def _as_json(grades: Sequence[Grade]) -> list[dict[str, Any]]:
    return [{**asdict(g), "hmean": g.hmean} for g in grades]


def _system_as_json(system: System, grades: Sequence[Grade]) -> dict[str, Any]:
    about = {key: getattr(system, key) for key in ("name", "seed", "about", "default_score", "one_recipe")}
    return {**about, "grades": _as_json(grades)}


def _scores_csv(systems: Sequence[System]) -> str:
    given = {name for system in systems for s in system.scored for name in s.scores}
    names = [*SCORE_NAMES, *sorted(given - set(SCORE_NAMES))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "machine", "section", "domain", "label", *names, "system", "seed"])
    for system in systems:
        for s in system.scored:
            clip = s.clip
            values = [s.scores.get(name, "") for name in names]
            about = [cell(clip.path), clip.machine, clip.section, clip.domain, clip.label or ""]
            rows.writerow([*about, *values, system.name, system.seed])
    return text.getvalue()


def _write_challenge(folder: Path, systems: Sequence[System], clips: Sequence[Clip]) -> None:
    """A team a system and seed; a system that left out a clip has none, because the evaluator goes by place."""
    for system in systems:
        names = {s.clip.name for s in system.scored}
        expected = [clip for clip in clips if clip.split == "test" and clip.name in names]
        if not any(s.clip.label is None for s in system.scored):
            expected = [clip for clip in expected if clip.label]
        team = re.sub(r"[^\w.-]+", "-", f"{system.name}-seed{system.seed}").strip("-")
        try:
            write_challenge(system.scored, folder / "teams" / team, system.default_score, expected)
        except EarshotError as error:
            log.warning("%s: no files for the challenge's evaluator: %s", system.name, error)


def _shown(systems: Sequence[System], grades: Sequence[Grade], table: HonestTable | None) -> str:
    if table is None:
        n_clips = sum(len(system.scored) for system in systems)
        return f"{n_clips} clips scored; none has a label, so there is nothing to grade"
    parts = [grades_table(grades)] if len(systems) == 1 else [comparison(table)]
    return "\n\n".join([*parts, table.as_text()])
