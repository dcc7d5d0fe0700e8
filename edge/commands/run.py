"""`earshot run`: the daemon, or, with no broker named, the demo with one inside."""

import json
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from edge.cli import set_up_logging
from edge.commands.signals import Signals
from edge.config import Config, PageSettings, load
from edge.detector import Trials
from edge.errors import ConfigError


@click.command("run", short_help="Listen to every source and publish over MQTT.")
@click.option("--config", "path", type=click.Path(path_type=Path), default="config.yaml", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End by itself after this time.")
@click.option("--json", "as_json", is_flag=True, help="Print every reading and event on stdout, a JSON object a line.")
def command(path: Path, seconds: float | None, as_json: bool) -> None:
    """Listen to every source of a configuration and publish over MQTT."""
    trials = Trials(early=True)  # while there is one thread
    with Signals() as signals:
        config = load(path)
        trials.begin(source.detector for source in config.sources)
        set_up_logging(config.log.level, times=True)
        if config.mqtt.host is None:
            _run_demo(config, trials, signals, seconds, as_json)
        else:
            _run(partial(_read, path), trials, signals, seconds, as_json)


def _read(path: Path) -> Config:
    config = load(path)
    if config.mqtt.host is None:
        raise ConfigError(f"{path}: mqtt.host is null: expected a broker; the demo's own is for a start by hand")
    return config


def _run(read: Callable[[], Config], trials: Trials, signals: Signals, seconds: float | None, as_json: bool) -> None:
    from edge.daemon import Service, keep_one_small_heap  # not before: it is loaded while the detectors are tried

    def print_record(record: dict[str, Any]) -> None:
        try:
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has left, as `head` does
            service.stop()
        except OSError as error:  # a full disk behind `>`: said once, by whom our exception reaches
            failures.append(error)
            service.stop()

    failures: list[OSError] = []

    keep_one_small_heap()
    service = Service(
        read,
        trials,
        print_record if as_json else None,
        in_force=lambda config: set_up_logging(config.log.level, times=True),
    )
    signals.tell(service.stop, service.reload)
    service.run(seconds)
    if failures:
        raise failures[0]


def _run_demo(config: Config, trials: Trials, signals: Signals, seconds: float | None, as_json: bool) -> None:
    """Run with a broker inside this process, and show what a subscriber sees, and a page. Nothing of it is kept."""
    set_up_logging("error")
    from edge.demo import DemoBroker, Subscriber, free_port  # amqtt is no dependency of a device

    with (
        DemoBroker(config.mqtt.port) as broker,
        TemporaryDirectory(prefix="earshot-", ignore_cleanup_errors=True) as folder,
    ):
        # A visitor has less than a minute; ten seconds between two states would show three of them.
        known = {"host": broker.host, "port": broker.port, "protocol": "3.1.1"}  # amqtt speaks no other
        mqtt = config.mqtt.model_copy(update={**known, "state_seconds": 2.0})
        page = config.page.model_copy(update={"port": config.page.port or free_port()})
        evidence = config.evidence.model_copy(update={"privacy": "audio"})  # nobody speaks there
        log = config.log.model_copy(update={"level": "error"})  # the subscriber tells the same story
        shown = {"page": page, "evidence": evidence, "state_directory": config.state_directory or Path(folder)}
        demo = config.model_copy(update={"mqtt": mqtt, "log": log, **shown})
        click.echo(_where(page), err=True)
        with Subscriber(broker.port, f"{mqtt.topic_prefix}/#", quiet=as_json):
            _run(lambda: demo, trials, signals, seconds, as_json)


def _where(page: PageSettings) -> str:
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        return "there is no page to look at: it needs the web extra, pip install 'earshot[web]'"
    return f"look at it: http://{page.host}:{page.port}/\n"
