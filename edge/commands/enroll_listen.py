"""The ears of `earshot enroll`: a microphone, or a source of a configuration, until enough of a machine was heard."""

import json
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from edge.config import load
from edge.daemon import Enrolment, openers, pickup_of, record_of
from edge.detector import Detector, Progress
from edge.errors import ConfigError, EarshotError, SourceError
from edge.source import SAMPLE_RATE_HZ, Block, Microphone, Pickup, Source, louder_channel

MOST_CHECKS: Final = 3
"""Half a minute in which a person may turn the knob and watch."""

SAY_SECONDS: Final = 1.0
SAY_SELDOM_SECONDS: Final = 60.0
"""To who reads a log, and is no terminal."""


@dataclass(frozen=True)
class Heard:
    """What is listened to: what opens it, how it is picked up, and the microphone's name if it is one."""

    source: Source
    pickup: Pickup
    device: str | None = None
    is_microphone: bool = True


def microphone(device: str | None, channel: int) -> Heard:
    """Return a microphone by its name on the command line; None: the default one."""
    return Heard(Microphone(device, channel=channel), Pickup(channel), device)


def configured(config_path: Path, name: str | None) -> Heard:
    """Return a source of a configuration. Raises ConfigError that lists what there is."""
    config = load(config_path)
    found = [source for source in config.sources if name in (None, source.name)]
    if len(found) != 1:
        names = ", ".join(source.name for source in config.sources)
        raise ConfigError(f"{config_path}: --source {name}: expected one of {names}")
    settings = found[0]
    opened = openers(config.sources)[settings.name]()
    device = settings.device if settings.type == "microphone" else None
    return Heard(opened, pickup_of(settings), device, settings.type == "microphone")


def listen(heard: Heard, enrolment: Enrolment, output: Path, *, limits: bool, as_json: bool) -> Detector:
    """Listen until enough was heard, and write the detector; who is stopped before goes on at the next call.

    Raises EarshotError where the sound is not to be learnt from, or too little of it came.
    """
    saying = _Saying(as_json)
    progress = enrolment.recall()
    if progress.running_minutes:
        click.echo(f"goes on after {progress.running_minutes:.1f} minutes that were heard before", err=True)
    try:
        with closing(_blocks(heard)) as blocks:
            for block in blocks:
                progress = enrolment.hear(block)
                saying.say(progress, block.samples.size)
                if progress.stage == "checking" and enrolment.n_checks >= MOST_CHECKS:
                    raise EarshotError(_refusal(heard, progress))
                if progress.stage == "ready":
                    break
    finally:
        saying.end()
        enrolment.keep()
    if not as_json:
        click.echo("learning: some seconds", err=True)
    made = enrolment.finish(output, limits=limits)
    enrolment.forget()
    return made


def _blocks(heard: Heard) -> Generator[Block, None, None]:
    try:
        yield from heard.source.blocks()
    finally:
        heard.source.close()


def _refusal(heard: Heard, progress: Progress) -> str:
    """Say why it makes no sense to go on, and where there is sound instead."""
    reasons = [each.text for each in progress.advice if each.fault] or [progress.fault or "no sound"]
    words = f"nothing is learnt from this sound: {'; '.join(reasons)}"
    is_silent = progress.fault or any(each.kind in ("silent", "level") for each in progress.advice if each.fault)
    if heard.is_microphone and is_silent:
        try:
            other = louder_channel(heard.device, heard.pickup.channel)
        except SourceError:
            return words
        if other is not None:
            return f"{words}. Channel {other[0]} of it has sound, {other[1]:.0f} dBFS: --channel {other[0]}"
    return words


class _Saying:
    """Progress: for a person a line that is written over, for a log a line a minute, JSON lines if asked."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = sys.stderr.isatty()
        self._every = SAY_SECONDS if as_json or self._is_terminal else SAY_SELDOM_SECONDS
        self._due = 0.0
        self._advice: tuple[object, ...] = ()

    def say(self, progress: Progress, n_samples: int) -> None:
        self._due -= n_samples / SAMPLE_RATE_HZ
        if self._due > 0:
            return
        self._due = self._every
        if self._as_json:
            click.echo(json.dumps({"type": "progress", **record_of(progress)}))
            return
        if progress.advice != self._advice:
            self._advice = progress.advice
            self.end()
            for each in progress.advice:
                click.echo(f"{'wrong' if each.fault else 'worth a look'}: {each.text}", err=True)
        line = progress_text(progress)
        click.echo(f"\r{line:<79.79}" if self._is_terminal else line, nl=not self._is_terminal, err=True)

    def end(self) -> None:
        if self._is_terminal and not self._as_json:
            click.echo("", err=True)


def progress_text(progress: Progress) -> str:
    """Return how far it has come, in less than 80 letters."""
    if progress.stage == "checking":
        return f"checking the sound: {progress.level_dbfs:4.0f} dBFS"
    if progress.fault:
        return f"not taken: {progress.fault}"
    idle = f", {progress.idle_minutes:.1f} idle" if progress.idle_minutes else ""
    return (
        f"{progress.level_dbfs:4.0f} dBFS, {progress.state or 'filling'}: {progress.running_minutes:.1f} min heard"
        f"{idle}, {progress.missing_minutes:.1f} to go"
    )
