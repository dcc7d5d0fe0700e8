"""Options that several commands share, and where they write."""

import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO

import click

from edge.config import EventSettings, load
from edge.errors import EarshotError, shown
from edge.outlet import OutletError, open_outlet
from edge.source import Pickup

detector_option = click.option(
    "--detector", "detector_path", required=True, type=click.Path(path_type=Path), help="Detector folder."
)
section_option = click.option(
    "--section", help="machine/NN, or NN; without it the one in the file's DCASE name, or the only one there is."
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


def pickup_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --channel, --gain-db and --salvage to a command, which is handed them as one `pickup`."""

    @click.option(
        "--channel",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Channel to listen to, counted from 0.",
    )
    @click.option(
        "--gain-db",
        type=click.FloatRange(-200, 100),
        default=0.0,
        show_default=True,
        help="Make recordings so much louder, in dB: for floats of another full scale than 1.",
    )
    @click.option("--salvage", is_flag=True, help="Take what there is of recordings that are cut off or damaged.")
    @functools.wraps(command)
    def with_pickup(*args: object, channel: int, gain_db: float, salvage: bool, **more: object) -> None:
        command(*args, pickup=Pickup(channel, gain_db, salvage), **more)

    return with_pickup


def event_settings(config_path: Path | None) -> EventSettings:
    """Return the `event` of a configuration, or the defaults."""
    return EventSettings() if config_path is None else load(config_path).event


def cell(text: object) -> str:
    """Return text as a cell of a table: what steers a terminal is spelled, and nothing is a formula to a spreadsheet.

    > a cell that begins with = + - @ is quoted by a single quote (OWASP, CSV injection)
    """
    told = shown(text)
    return f"'{told}" if told.startswith(("=", "+", "-", "@")) else told


@contextmanager
def open_output(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when it is complete; `-` is stdout.

    A link stays a link, and a file that was there hands its owner and mode on. What is no regular file, such as a
    device or a pipe, is written to as it is. Names of files go out as the bytes that they are, UTF-8 or not.
    Raises EarshotError if it cannot be written.
    """
    if str(path) == "-":
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")
        yield sys.stdout
        return
    with _naming(path, OSError):
        real = Path(os.path.realpath(path))
        stream, part = _opened(real)
    try:
        with _naming(path, OutletError), stream:  # what else fails inside is not the output's
            yield stream
        if part is not None:
            with _naming(path, OSError):
                part.replace(real)
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def expect_output(path: Path) -> None:
    """Raise EarshotError where `open_output` could not write; for who will have something to write only after hours."""
    real = Path(os.path.realpath(path))
    if str(path) == "-" or (real.exists() and not real.is_file() and not real.is_dir()):
        return  # a pipe would be told that it is over
    with _naming(path, OSError):
        stream, part = _opened(real)
        stream.close()
        if part is not None:
            part.unlink()


@contextmanager
def _naming(path: Path, kind: type[OSError]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise EarshotError(f"{shown(path)}: cannot be written: {error.strerror}") from error


def _opened(path: Path) -> tuple[IO[str], Path | None]:
    """Return what to write to, and the file beside it that is to be renamed; None for what is written to as it is."""
    before = path.stat() if path.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        return open_outlet(path), None
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    stream = open_outlet(part)
    if before is not None:
        with suppress(OSError):  # another's file, in a folder of ours, or a disk that knows no owners
            os.fchmod(stream.fileno(), stat.S_IMODE(before.st_mode))
            os.fchown(stream.fileno(), before.st_uid, before.st_gid)
    return stream, part
