"""Fills in a report from detectors, the clips they were tried on, and the runs they came from."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.detector import Detector
from edge.errors import EarshotError
from trainer.dataset import Clip
from trainer.evaluation.honest import honest_table
from trainer.evaluation.scores import Scored, System
from trainer.evaluation.scoring import score_clips
from trainer.report.content import ReportContent, Run, Table
from trainer.report.examples import examples_of
from trainer.report.facts import facts_of, thresholds_table
from trainer.report.points import points_of
from trainer.report.tables import compared_table, honest_tables

log = logging.getLogger(__name__)


def report_of(
    detectors: Sequence[Detector],
    clips: Sequence[Clip],
    *,
    systems: Sequence[System] = (),
    runs: Sequence[Path] = (),
    honest: Sequence[Table] = (),
    compared: Sequence[Table] = (),
    warnings: Sequence[str] = (),
    command: str = "",
    title: str = "",
) -> ReportContent:
    """Return the report of detectors, no section of which two have, on clips (training and test).

    systems: what was scored already, the one to draw figures of first; without any, the test clips are scored here.
    honest, compared: tables instead of those that are made here of the systems.
    runs: run folders, whose learning curves are shown.
    Clips that cannot be read are among the warnings. Raises EarshotError where a run has no metrics.
    """
    owners = {name: detector for detector in detectors for name in detector.sections}
    notes = list(warnings)
    if not systems:
        systems = [_scored_here(detectors, clips, notes)]
    table = {} if honest and compared else _honest(systems)
    return ReportContent(
        title=title or ", ".join(detector.card.name for detector in detectors) or systems[0].name,
        systems=systems,
        runs=_runs(runs),
        points=list(points_of(owners, clips, notes)),
        examples=examples_of(systems[0], clips, owners),
        honest=honest or (honest_tables(table) if table else ()),
        compared=compared or ([compared_table(table)] if len(table.get("rows", ())) > 1 else ()),
        details=[thresholds_table(detectors)] if owners else [],
        facts=[facts_of(detector) for detector in detectors],
        warnings=notes,
        promised=_promised(detectors),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
    )


def _scored_here(detectors: Sequence[Detector], clips: Sequence[Clip], notes: list[str]) -> System:
    scored: list[Scored] = []
    for detector in detectors:
        own, skipped = score_clips(detector, [clip for clip in clips if clip.label])
        scored += own
        notes += [f"left out: {reason}" for reason in skipped]
    names = [detector.card.name for detector in detectors]
    return System(", ".join(names), 0, "this detector", scored, default_score=detectors[0].card.score)


def _honest(systems: Sequence[System]) -> dict[str, Any]:
    """Return the data of the honest table, empty where nothing can be graded: clips of one label only."""
    try:
        return honest_table(systems).as_json()
    except EarshotError as error:
        log.info("no honest table: %s", error)
        return {}


def _runs(paths: Sequence[Path]) -> list[Run]:
    return [_run(path, name) for path, name in zip(paths, _told_apart(paths), strict=True)]


def _told_apart(runs: Sequence[Path]) -> list[str]:
    """Return what to call run folders: the last name of each, without the end that all of them share."""
    parts = [path.absolute().parts for path in runs]
    while len(parts) > 1 and len({own[-1] for own in parts}) == 1 and all(len(own) > 2 for own in parts):
        parts = [own[:-1] for own in parts]
    return [own[-1] for own in parts]


def _run(path: Path, name: str) -> Run:
    from trainer.runs import load_metrics  # loads torch, which a report without runs does not need

    try:
        rows = load_metrics(path)
    except (OSError, ValueError) as error:
        raise EarshotError(
            f"{path / 'metrics.jsonl'}: {error}: expected the metrics of a run, a JSON object a line"
        ) from error
    # A run that was killed and went on has written some epochs twice: the later ones are those that count.
    by_epoch = {row.get("epoch", i): row for i, row in enumerate(rows)}
    return Run(name, [by_epoch[epoch] for epoch in sorted(by_epoch)])


def _promised(detectors: Sequence[Detector]) -> float | None:
    """The share of normal clips that may be above the threshold; None where it differs or is of alarms a week."""
    cards = [detector.card for detector in detectors]
    rates = {None if card.false_alarms_per_week is not None else card.false_alarm_rate for card in cards}
    return rates.pop() if len(rates) == 1 else None
