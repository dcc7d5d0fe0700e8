"""`earshot report`: one HTML file about a detector, for people."""

import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edge import detector as detectors
from edge.commands import pickup_options
from edge.detector import verify
from edge.errors import EarshotError
from edge.source import Pickup
from trainer.audit import audit
from trainer.dataset import read_layout
from trainer.report import compared_table, honest_tables, report_of, write_report

log = logging.getLogger(__name__)


@click.command("report", short_help="Show a detector in one HTML page.")
@click.argument("detector_path", metavar="DETECTOR", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="Run folder, for its curves; repeatable."
)
@click.option(
    "--evaluation",
    type=click.Path(path_type=Path),
    help="Folder of `earshot evaluate`, for the systems that were compared there.",
)
@click.option(
    "--ground-truth", type=click.Path(path_type=Path), help="Folder with the labels that names keep secret, DCASE 2021."
)
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The HTML file.")
@pickup_options
def command(
    detector_path: Path,
    data: Sequence[Path],
    runs: Sequence[Path],
    evaluation: Path | None,
    ground_truth: Path | None,
    output: Path,
    pickup: Pickup,
) -> None:
    """Show how a detector does on the clips in DATA...: curves, scores, a map, and its worst clips to listen to.

    One file that needs nothing else: figures and sound are inside it. What is wrong with the data stands in it too.
    """
    detector = detectors.read(detector_path)
    verify(detector)
    pickup = _as_learnt(pickup, detector.pickup)
    if words := detector.mismatch(pickup):
        log.warning("%s", words)
    clips = [clip for clip in read_layout(data, ground_truth, pickup) if clip.name in detector.sections]
    if not clips:
        raise EarshotError(f"no clips of {', '.join(detector.sections)} in the data: expected some to show")
    window_seconds = detector.plan.window_samples / detector.frontend.sample_rate_hz
    findings = audit(clips, for_evaluation=True, for_training=False, window_seconds=window_seconds)
    compared = _compared(evaluation, detector.sha256) if evaluation else {}
    content = report_of(
        [detector],
        clips,
        runs=runs,
        honest=honest_tables(compared) if compared else (),
        compared=[compared_table(compared)] if compared else (),
        warnings=[finding.text for finding in findings],
        command=shlex.join(["earshot", *sys.argv[1:]]),
    )
    for warning in content.warnings:
        log.warning("%s", warning)
    try:
        write_report(output, content)
    except OSError as error:
        raise EarshotError(f"{output}: {error.strerror}: expected a file that can be written") from error
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def _as_learnt(asked: Pickup, own: Pickup | None) -> Pickup:
    """Return what was asked for; where nobody named a channel or a gain, those that the detector was made with."""
    source = click.get_current_context().get_parameter_source
    is_named = any(source(name) is ParameterSource.COMMANDLINE for name in ("channel", "gain_db"))
    return asked if is_named or own is None else replace(own, salvage=asked.salvage)


def _compared(evaluation: Path, sha256: str) -> Mapping[str, Any]:
    """Return the honest table of `earshot evaluate`, empty where nothing had labels."""
    path = evaluation / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        graded, honest = metrics.get("sha256"), metrics["honest"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise EarshotError(f"{path}: {error!r}: expected what `earshot evaluate` wrote") from error
    if graded != sha256:
        raise EarshotError(
            f"{path}: of the detector with SHA-256 {str(graded)[:12]}: expected {sha256[:12]}, the one that is shown"
        )
    return honest or {}
