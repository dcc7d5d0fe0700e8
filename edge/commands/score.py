"""`earshot score`: one number a file."""

import csv
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from edge import detector as detectors
from edge.commands.options import cell, detector_option, open_output, pickup_options, section_option
from edge.detector import Line, Section, judge_file, section_of, verify
from edge.errors import EarshotError, shown
from edge.judge import SCORE_NAMES, ScoreName
from edge.source import Pickup, find_audio

log = logging.getLogger(__name__)

HEADER = ("path", "section", "score", "threshold", "decision", "note")


@click.command("score", short_help="Score recordings, a row a file.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@detector_option
@section_option
@pickup_options
@click.option("--score", "score_name", type=click.Choice(SCORE_NAMES), help="Which score; else the detector's own.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="CSV file to write, - for stdout.")
def command(
    paths: Sequence[Path],
    detector_path: Path,
    section: str | None,
    pickup: Pickup,
    score_name: ScoreName | None,
    output: Path,
) -> None:
    """Score recordings: a header and a row a file, path,section,score,threshold,decision,note.

    The score of a file is the mean over its windows; the decision is `anomaly` above the threshold, else `normal`. The
    note says what is odd about it: sound that was left out because it cannot be trusted, a header that is wrong. A file
    without sound that could be trusted has a row without a score, and one that cannot be read is named on stderr and
    has no row; either makes the exit code 1.
    """
    detector = detectors.read(detector_path)
    verify(detector)
    if words := detector.mismatch(pickup):
        log.warning("%s", words)
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
                row = _row(file, own, line, score_name or detector.card.score, pickup)
            except EarshotError as error:
                log.warning("skipped: %s", error)
                n_skipped += 1
                continue
            rows.writerow(row)
            if not row[2]:
                log.warning("no score: %s: %s", shown(file), row[-1])
                n_skipped += 1
    if n_skipped:
        raise EarshotError(f"{n_skipped} of {len(files)} files have no score, for the reasons above")


def _progress(files: Sequence[Path]) -> AbstractContextManager[Iterable[Path]]:
    """A bar on stderr where a person watches."""
    bar: AbstractContextManager[Iterable[Path]] = click.progressbar(
        files, label="score", file=sys.stderr, hidden=not sys.stderr.isatty()
    )
    return bar


def _row(file: Path, section: Section, line: Line, name: ScoreName, pickup: Pickup) -> tuple[str, ...]:
    threshold = section.card.thresholds.get(name)
    if threshold is None:
        known = ", ".join(section.card.thresholds)
        raise EarshotError(f"{shown(file)}: no {name} for {section.card.name}: expected one of {known}")
    judged = judge_file(line, file, pickup)
    score = judged.scores.get(name)
    decision = "" if score is None else "anomaly" if score > threshold else "normal"
    told = "" if score is None else f"{score:.7g}"
    return cell(file), cell(section.card.name), told, f"{threshold:.7g}", decision, cell("; ".join(judged.notes))
