"""`earshot score`: one number a file."""

import csv
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from edge import detector as detectors
from edge.commands.options import channel_option, detector_option, open_output, section_option
from edge.detector import Line, Section, score_file, section_of, verify
from edge.errors import EarshotError
from edge.judge import SCORE_NAMES, ScoreName
from edge.source import find_audio

log = logging.getLogger(__name__)

HEADER = ("path", "section", "score", "threshold", "decision")


@click.command("score", short_help="Score recordings, a row a file.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@detector_option
@section_option
@channel_option
@click.option("--score", "score_name", type=click.Choice(SCORE_NAMES), help="Which score; else the detector's own.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="CSV file to write, - for stdout.")
def command(
    paths: Sequence[Path],
    detector_path: Path,
    section: str | None,
    channel: int,
    score_name: ScoreName | None,
    output: Path,
) -> None:
    """Score recordings: a header and a row a file, path,section,score,threshold,decision.

    The score of a file is the mean over its windows; the decision is `anomaly` above the threshold, else `normal`. A
    file that cannot be scored is named on stderr, has no row, and makes the exit code 1.
    """
    detector = detectors.read(detector_path)
    verify(detector)
    if section is not None:
        detector.section(section)  # once, before a table is begun
    files = [file for path in paths for file in find_audio(path)]
    lines: dict[str, Line] = {}
    n_skipped = 0
    with open_output(output) as stream, _progress(files) as progress:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(HEADER)
        for file in progress:
            try:
                own = section_of(file, detector, section)
                line = lines.setdefault(own.card.name, Line(detector, own))
                rows.writerow(_row(file, own, line, score_name or detector.card.score, channel))
            except EarshotError as error:
                log.warning("skipped: %s", error)
                n_skipped += 1
    if n_skipped:
        raise EarshotError(f"{n_skipped} of {len(files)} files have no score, for the reasons above")


def _progress(files: Sequence[Path]) -> AbstractContextManager[Iterable[Path]]:
    """A bar on stderr where a person watches."""
    bar: AbstractContextManager[Iterable[Path]] = click.progressbar(
        files, label="score", file=sys.stderr, hidden=not sys.stderr.isatty()
    )
    return bar


def _row(file: Path, section: Section, line: Line, name: ScoreName, channel: int) -> tuple[str, str, str, str, str]:
    scores = score_file(line, file, channel=channel)
    if name not in scores:
        raise EarshotError(f"{file}: no {name} for {section.card.name}: expected one of {', '.join(scores)}")
    threshold = section.card.thresholds[name]
    decision = "anomaly" if scores[name] > threshold else "normal"
    return str(file), section.card.name, f"{scores[name]:.7g}", f"{threshold:.7g}", decision
