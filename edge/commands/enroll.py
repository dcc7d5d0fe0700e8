"""`earshot enroll`: learn a machine from its normal sound alone."""

import re
from pathlib import Path

import click

from edge import detector as detectors
from edge.commands.options import detector_option, event_config_option, event_settings, false_alarms_per_week_option
from edge.detector import Promise, enroll, verify, weekly_text
from edge.errors import EarshotError
from edge.source import find_audio


@click.command("enroll", short_help="Learn a machine from its normal sound.")
@click.argument("name")
@click.option("--from", "folder", required=True, type=click.Path(path_type=Path), help="Recordings of normal sound.")
@detector_option
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Detector folder to write.")
@false_alarms_per_week_option
@event_config_option
def command(
    name: str,
    folder: Path,
    detector_path: Path,
    output: Path,
    false_alarms_per_week: float | None,
    config_path: Path | None,
) -> None:
    """Learn machine NAME: its statistics and its threshold on an existing detector's embedding. Needs no torch."""
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise EarshotError(
            f"{name!r}: expected 1 to 64 letters, digits, _ or -, as sources.section of a config takes it"
        )
    base = detectors.read(detector_path)
    verify(base)
    promise = Promise(base.card.false_alarm_rate, false_alarms_per_week, event_settings(config_path))
    enrolled = enroll(name, find_audio(folder), base, output, promise)
    card, score = enrolled.card.sections[0], enrolled.card.score
    click.echo(
        f"{output}: {card.name} from {card.windows} windows of normal sound; ordinary sound scores 1, "
        f"the threshold is {card.thresholds[score]:.3f}; "
        f"{weekly_text(enrolled.section(None), score, false_alarms_per_week)}"
    )
