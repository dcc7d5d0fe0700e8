"""`earshot evaluate`: how well a detector tells anomalies from normal sound."""

import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from edge import detector as detectors
from edge.errors import EarshotError
from edge.golden import verify
from edge.scorer import SCORE_NAMES
from trainer.dataset import read_layout
from trainer.evaluation.metrics import grade
from trainer.evaluation.plain import grades_table
from trainer.evaluation.scoring import score_clips

log = logging.getLogger(__name__)


@click.command("evaluate")
@click.argument("detector_path", metavar="DETECTOR", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder for scores.csv and metrics.json."
)
def command(detector_path: Path, data: Sequence[Path], output: Path) -> None:
    """Grade a detector on the labelled test clips in DATA...: AUC, pAUC (p = 0.1) and their harmonic mean."""
    detector = detectors.read(detector_path)
    verify(detector)
    scored, skipped = score_clips(detector, read_layout(data))
    for reason in skipped:
        log.warning("left out: %s", reason)
    grades = grade(scored)
    if not grades:
        raise EarshotError(f"no normal and anomalous test clips of {', '.join(detector.sections)} in the data")

    output.mkdir(parents=True, exist_ok=True)
    metrics = {
        "detector": detector.card.name,
        "sha256": detector.sha256,
        "grades": [{**asdict(g), "hmean": g.hmean} for g in grades],
        "skipped": skipped,
    }
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with (output / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "machine", "section", "domain", "label", *SCORE_NAMES])
        for s in scored:
            clip = s.clip
            values = [s.scores.get(name, "") for name in SCORE_NAMES]
            rows.writerow([clip.path, clip.machine, clip.section, clip.domain, clip.label, *values])
    click.echo(grades_table(grades))
