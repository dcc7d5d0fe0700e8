"""`earshot enroll`: learn a machine from its normal sound alone, of recordings or of a microphone."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from edge import detector as detectors
from edge.commands.enroll_listen import configured, listen, microphone
from edge.commands.options import (
    detector_option,
    event_settings,
    false_alarms_per_week_option,
    pickup_options,
)
from edge.config import load
from edge.daemon import Enrolment, conditions_of, in_stretch, learn, normal_episodes, pickup_of
from edge.detector import (
    Detector,
    Promise,
    Recording,
    Recordings,
    enroll,
    machines_in,
    measure_normal,
    only_normal,
    shortest,
    teach,
    verify,
    weekly_text,
    would_hear_text,
)
from edge.errors import EarshotError, shown
from edge.memory import read_books
from edge.source import Pickup, find_audio

TIMES: Final = ("%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@click.command("enroll", short_help="Learn a machine from its normal sound.")
@click.argument("name")
@click.option("--from", "folder", type=click.Path(path_type=Path), help="Recordings of normal sound.")
@click.option("--device", help="A microphone, as `device` of a config names it, instead of recordings.")
@click.option("--source", "source", help="A source of --config, instead of recordings.")
@click.option(
    "--relearn",
    is_flag=True,
    help="Learn what --source remembers as normal: from --since to --until, or the episodes that a person called so.",
)
@click.option("--since", type=click.DateTime(TIMES), help="Of --relearn: from when on, in local time.")
@click.option("--until", type=click.DateTime(TIMES), help="Of --relearn: until when.  [default: now]")
@click.option("--minutes", type=float, help="Of the running machine to listen to.  [default: 30; 5 for a domain]")
@click.option(
    "--domain",
    type=click.Choice(["target"]),
    help="Add another load, season or place to the machine that --detector knows, from some minutes of it.",
)
@click.option("--condition", help="What to call it.  [default: target, target-2 ...]")
@detector_option
@click.option(
    "--output", type=click.Path(path_type=Path), help="Detector folder to write.  [default for a domain: its own]"
)
@click.option("--all", "take_all", is_flag=True, help="Take recordings whose names call them a fault or a test, too.")
@pickup_options
@false_alarms_per_week_option
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="A config.yaml whose `event` says how episodes are counted, and whose sources --source names.",
)
@click.option("--limits/--no-limits", default=True, help="Find out what it would hear: some seconds.  [default: do]")
@click.option(
    "--json", "as_json", is_flag=True, help="JSON on stdout instead of words; while listening, a line a second."
)
def command(
    name: str,
    folder: Path | None,
    device: str | None,
    source: str | None,
    relearn: bool,
    since: datetime | None,
    until: datetime | None,
    minutes: float | None,
    domain: str | None,
    condition: str | None,
    detector_path: Path,
    output: Path | None,
    false_alarms_per_week: float | None,
    config_path: Path | None,
    take_all: bool,
    pickup: Pickup,
    limits: bool,
    as_json: bool,
) -> None:
    """Learn machine NAME: its statistics and its threshold on an existing detector's network. Needs no torch.

    Of recordings (--from), of a source of a configuration (--config --source), or else of a microphone, the default
    one or --device: it is checked first, and what was heard is kept as numbers beside OUTPUT, so that the next call
    goes on where this one was stopped. With --domain target NAME is the machine of the detector, which learns another
    condition. What a person called normal on the page is learnt with --relearn, and by each enrolment in the daemon;
    with --since, a night that was normal is learnt from what the daemon remembers of it.

    Recordings whose names or folders call them a fault or a test are left out, and several machines are not learned as
    one, unless --all is given. The detector remembers channel and gain.
    """
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise EarshotError(
            f"{name!r}: expected 1 to 64 letters, digits, _ or -, as sources.section of a config takes it"
        )
    base = detectors.read(detector_path)
    verify(base)
    added = _condition(base, name, domain, condition)
    if output is None and added is None and (base.is_example or not relearn):
        raise click.UsageError("--output is missing: expected the folder to write")
    output = output or detector_path
    detectors.expect_place(output)
    promise = Promise(base.card.false_alarm_rate, false_alarms_per_week, event_settings(config_path))
    if relearn:
        made = _relearnt(base, name, config_path, source, _stretch(since, until), output, promise)
    elif folder is not None:
        recordings = find_audio(folder) if take_all else _normal(folder)
        if added is None:
            made = enroll(name, recordings, base, output, promise, pickup, limits=limits)
        else:
            made = _taught(base, added, recordings, output, promise, pickup, limits=limits)
    else:
        heard = configured(config_path, source) if config_path and source else microphone(device, pickup.channel)
        enrolment = Enrolment(
            base,
            name,
            minutes=minutes or (5.0 if added else 30.0),
            kept=output.with_name(f"{output.name}.heard"),
            pickup=heard.pickup,
            condition=added,
            promise=promise,
        )
        made = listen(heard, enrolment, output, limits=limits, as_json=as_json)
    _tell(made, output, false_alarms_per_week, as_json)


def _condition(base: Detector, name: str, domain: str | None, condition: str | None) -> str | None:
    """Return the name of the condition that is to be added; None where a machine is learnt."""
    if domain is None:
        if condition is not None:
            raise click.UsageError("--condition: expected --domain target with it")
        return None
    added = conditions_of(base, condition or domain)
    if (own := base.section(None).card.machine) != name:
        raise EarshotError(f"{shown(base.path)}: is of {own}, not of {name}: expected the machine's own detector")
    return added


def _taught(
    base: Detector,
    condition: str,
    recordings: Sequence[Path],
    output: Path,
    promise: Promise,
    pickup: Pickup,
    *,
    limits: bool,
) -> Detector:
    windows = measure_normal(base.ear(), [Recording(path, str(path), pickup=pickup) for path in recordings])
    if windows is None or (missing := shortest(windows)) is not None:
        raise EarshotError(f"{condition}: {missing if windows else 'no windows'} of normal sound")
    sound = Recordings(recordings, pickup) if limits else None
    return teach(base, [(condition, windows)], output, promise, sound)


def _stretch(since: datetime | None, until: datetime | None) -> tuple[float, float] | None:
    """Return from when to when, UNIX seconds."""
    if since is None:
        if until is not None:
            raise click.UsageError("--until: expected --since with it")
        return None
    end = datetime.now(UTC) if until is None else until.astimezone()
    return since.astimezone().timestamp(), end.timestamp()


def _relearnt(
    base: Detector,
    name: str,
    config_path: Path | None,
    source: str | None,
    stretch: tuple[float, float] | None,
    output: Path,
    promise: Promise,
) -> Detector:
    if config_path is None or source is None:
        raise click.UsageError("--relearn: expected --config and --source, whose memory is meant")
    config = load(config_path)
    settings = next((each for each in config.sources if each.name == source), None)
    if config.state_path is None or settings is None:
        names = ", ".join(each.name for each in config.sources)
        raise EarshotError(f"{config_path}: {source}: expected a state_directory, and one of {names}")
    if stretch is None:
        normal = normal_episodes(config.state_path, source, base)
    else:
        normal = in_stretch(read_books(config.state_path / "history", source), *stretch, base)
    return learn(base, name, normal, output, promise, pickup_of(settings))


def _tell(made: Detector, output: Path, false_alarms_per_week: float | None, as_json: bool) -> None:
    card, score = made.card.sections[0], made.card.score
    if as_json:
        click.echo(json.dumps({"detector": str(output), "score": score, **card.model_dump(mode="json")}))
        return
    known = (
        f" under {len(card.conditions)} conditions ({', '.join(card.conditions)})" if len(card.conditions) > 1 else ""
    )
    click.echo(
        f"{output}: {card.name} from {card.windows} windows of normal sound{known}; ordinary sound scores 1, "
        f"the threshold is {card.thresholds[score]:.3f}; "
        f"{weekly_text(made.section(None), score, false_alarms_per_week)}"
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
