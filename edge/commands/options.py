"""Options that several commands share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO

import click

from edge.config import EventSettings, load
from edge.errors import EarshotError

detector_option = click.option(
    "--detector", "detector_path", required=True, type=click.Path(path_type=Path), help="Detector folder."
)
section_option = click.option(
    "--section", help="machine/NN, or NN; without it the one in the file's DCASE name, or the only one there is."
)
channel_option = click.option(
    "--channel", type=click.IntRange(min=0), default=0, show_default=True, help="Channel to listen to, counted from 0."
)
false_alarms_per_week_option = click.option(
    "--false-alarms-per-week",
    type=click.FloatRange(0, 10_000, min_open=True),
    help="Set thresholds so that normal sound causes this many episodes a week, instead of by a rate of windows. "
    "Refused, with the hours that it takes, where there is too little unbroken normal sound.",
)
event_config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="A config.yaml whose `event` says how episodes are counted; else as the defaults have it.",
)


def event_settings(config_path: Path | None) -> EventSettings:
    """Return the `event` of a configuration, or the defaults."""
    return EventSettings() if config_path is None else load(config_path).event


@contextmanager
def open_output(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when it is complete; `-` is stdout.

    Names of files go out as the bytes that they are, UTF-8 or not.
    Raises EarshotError if it cannot be written.
    """
    if str(path) == "-":
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")
        yield sys.stdout
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", errors="surrogateescape") as stream:
            yield stream
        part.replace(path)
    except OSError as error:
        raise EarshotError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
