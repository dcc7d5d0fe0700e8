"""`earshot report`: one HTML file about a detector, for people."""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from edge import detector as detectors
from edge.errors import EarshotError
from edge.golden import verify
from trainer.audit import audit
from trainer.dataset import read_layout
from trainer.report import report_of, write_report

log = logging.getLogger(__name__)


@click.command("report")
@click.argument("detector_path", metavar="DETECTOR", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="Run folder, for its curves; repeatable."
)
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The HTML file.")
def command(detector_path: Path, data: Sequence[Path], runs: Sequence[Path], output: Path) -> None:
    """Show how a detector does on the clips in DATA...: curves, scores, a map, and its worst clips to listen to.

    One file that needs nothing else: figures and sound are inside it. What is wrong with the data stands in it too.
    """
    detector = detectors.read(detector_path)
    verify(detector)
    clips = [clip for clip in read_layout(data) if clip.name in detector.sections]
    if not clips:
        raise EarshotError(f"no clips of {', '.join(detector.sections)} in the data: expected some to show")
    found = [finding.text for finding in audit(clips, for_evaluation=True)]
    command = shlex.join(["earshot", *sys.argv[1:]])
    content = report_of([detector], clips, runs=runs, warnings=found, command=command)
    for warning in content.warnings:
        log.warning("%s", warning)
    try:
        write_report(output, content)
    except OSError as error:
        raise EarshotError(f"{output}: {error.strerror}: expected a file that can be written") from error
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
