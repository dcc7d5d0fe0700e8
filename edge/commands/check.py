"""`earshot check`: would it run, and if not, why not? One line a step."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from edge import detector as detectors
from edge.config import Config, FolderSettings, MicrophoneSettings, MqttSettings, SourceSettings, load
from edge.errors import EarshotError
from edge.golden import verify
from edge.source import describe_input, find_audio

BROKER_SECONDS = 5.0


@dataclass(frozen=True)
class Step:
    """What was looked at, whether it is well, and what was found."""

    step: str
    ok: bool
    found: str


@click.command("check", short_help="Check configuration, detectors and broker.")
@click.option("--config", "path", type=click.Path(path_type=Path), default="config.yaml", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The steps as one JSON array.")
def command(path: Path, as_json: bool) -> None:
    """Check the configuration, every detector and source in it, and the broker. Exit code 78 for a wrong config."""
    config = load(path)
    steps = [Step("config", True, str(path)), *_steps(config)]
    if as_json:
        click.echo(json.dumps([asdict(step) for step in steps], indent=2))
    else:
        for step in steps:
            click.echo(f"{'ok ' if step.ok else 'BAD'}  {step.step}: {step.found}")
    n_bad = sum(not step.ok for step in steps)
    if n_bad:
        raise EarshotError(f"{n_bad} of {len(steps)} steps failed")


def _steps(config: Config) -> Iterator[Step]:
    for source in config.sources:
        yield _step(f"{source.name}: detector", partial(_detector, source))
        yield _step(f"{source.name}: {source.type}", partial(_source, source))
    yield _step("broker", partial(_broker, config.mqtt))


def _step(name: str, look: Callable[[], str]) -> Step:
    try:
        return Step(name, True, look())
    except (EarshotError, OSError) as error:
        return Step(name, False, str(error))


def _detector(source: SourceSettings) -> str:
    detector = detectors.read(source.detector)
    verify(detector)
    section = detector.section(source.section)
    return f"{detector.card.name} {detector.card.version}, {section.card.name}, golden recording scores as it should"


def _source(source: SourceSettings) -> str:
    if isinstance(source, FolderSettings):
        return f"{len(find_audio(source.path))} recordings in {source.path}"
    if isinstance(source, MicrophoneSettings):
        return describe_input(source.device, channel=source.channel, rate_hz=source.rate_hz)
    return f"{source.rate_hz} Hz, {source.channels} channels, {source.format} on standard input"


def _broker(mqtt: MqttSettings) -> str:
    if mqtt.host is None:
        return "inside the process, for the demo"
    address = f"{mqtt.host}:{mqtt.broker_port}"
    try:
        socket.create_connection((mqtt.host, mqtt.broker_port), BROKER_SECONDS).close()
    except OSError as error:
        raise EarshotError(f"{address}: {error.strerror or error}") from error
    return f"{address} answers"
