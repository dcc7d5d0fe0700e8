"""`earshot enroll`: learn a machine from its normal sound alone."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from edge import detector as detectors
from edge.commands.options import (
    detector_option,
    event_config_option,
    event_settings,
    false_alarms_per_week_option,
    pickup_options,
)
from edge.detector import Promise, enroll, machines_in, only_normal, verify, weekly_text, would_hear_text
from edge.errors import EarshotError, shown
from edge.source import Pickup, find_audio


@click.command("enroll", short_help="Learn a machine from its normal sound.")
@click.argument("name")
@click.option("--from", "folder", required=True, type=click.Path(path_type=Path), help="Recordings of normal sound.")
@detector_option
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Detector folder to write.")
@click.option("--all", "take_all", is_flag=True, help="Take recordings whose names call them a fault or a test, too.")
@pickup_options
@false_alarms_per_week_option
@event_config_option
@click.option("--limits/--no-limits", default=True, help="Find out what it would hear: some seconds.  [default: do]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of words.")
def command(
    name: str,
    folder: Path,
    detector_path: Path,
    output: Path,
    false_alarms_per_week: float | None,
    config_path: Path | None,
    take_all: bool,
    pickup: Pickup,
    limits: bool,
    as_json: bool,
) -> None:
    """Learn machine NAME: its statistics and its threshold on an existing detector's embedding. Needs no torch.

    Recordings whose names or folders call them a fault or a test are left out, and several machines are not learned as
    one, unless --all is given. The detector remembers channel and gain.
    """
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise EarshotError(
            f"{name!r}: expected 1 to 64 letters, digits, _ or -, as sources.section of a config takes it"
        )
    base = detectors.read(detector_path)
    verify(base)
    promise = Promise(base.card.false_alarm_rate, false_alarms_per_week, event_settings(config_path))
    recordings = find_audio(folder) if take_all else _normal(folder)
    enrolled = enroll(name, recordings, base, output, promise, pickup, limits=limits)
    card, score = enrolled.card.sections[0], enrolled.card.score
    if as_json:
        click.echo(json.dumps({"detector": str(output), "score": score, **card.model_dump(mode="json")}))
        return
    click.echo(
        f"{output}: {card.name} from {card.windows} windows of normal sound; ordinary sound scores 1, "
        f"the threshold is {card.thresholds[score]:.3f}; "
        f"{weekly_text(enrolled.section(None), score, false_alarms_per_week)}"
    )
    if card.would_hear:
        click.echo("nine of ten times it would report, over the machine's own level there:")
        for line in would_hear_text(card):
            click.echo(f"  {line}")


def _normal(folder: Path) -> Sequence[Path]:
    """Return the recordings that nothing calls a fault or a test. Raises EarshotError if none are left, or several
    machines are."""
    found = find_audio(folder)
    normal = only_normal(found, folder)
    if not normal:
        raise EarshotError(
            f"{shown(folder)}: all {len(found)} recordings are called a fault or a test: expected normal sound; --all "
            "learns them all the same"
        )
    if len(machines := machines_in(normal)) > 1:
        raise EarshotError(
            f"{shown(folder)}: {', '.join(machines)}: expected the recordings of one; --all learns them as one machine"
        )
    return normal
