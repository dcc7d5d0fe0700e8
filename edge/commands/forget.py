"""`earshot forget`: what a broker remembers of this device is cleared, and Home Assistant's entities go with it."""

from collections.abc import Iterator
from pathlib import Path

import click

from edge.commands.check_call import Call, greeted
from edge.commands.steps import Trouble
from edge.config import Config, load
from edge.errors import EarshotError
from edge.voice import Broker, Dialect, Topics, announcement_topic

WORDS = ("availability", "anomaly", "state", "spectrogram")


@click.command("forget", short_help="Have the broker and Home Assistant forget this device.")
@click.option("--config", "path", type=click.Path(path_type=Path), default="config.yaml", show_default=True)
def command(path: Path) -> None:
    """Clear every topic of this device that the broker remembers, the one that Home Assistant finds it by included.

    For a device that is taken down, renamed or moved to another broker. Stop the daemon first: it would say all anew.
    """
    config = load(path)
    if config.mqtt.host is None:
        raise EarshotError(f"{path}: mqtt.host is null: expected a broker, the demo's own remembers nothing")
    broker = Broker(config.mqtt)
    try:
        call = greeted(broker, Dialect(config.mqtt))
        try:
            n_cleared = _clear(call, config)
        finally:
            call.close()
    except Trouble as error:
        raise EarshotError(str(error)) from error
    click.echo(f"{broker}: {n_cleared} topics of {config.node_name} are cleared")


def _clear(call: Call, config: Config) -> int:
    """Say nothing, to be remembered, on each topic; return how many they are. Raises Trouble where that is refused."""
    if not call.is_let_in:
        raise Trouble(f"not let in: {call.answer or 'no answer to our greeting'}")
    topics = list(_remembered(config))
    for topic in topics:
        code = call.say(topic, "", retain=True)
        if code is None or code.is_failure:
            raise Trouble(f"{topic}: {code or 'not acknowledged'}")
    return len(topics)


def _remembered(config: Config) -> Iterator[str]:
    names = [source.name for source in config.sources]
    topics = Topics(config.mqtt.topic_prefix, config.node_name, names)
    yield announcement_topic(config.mqtt, config.node_name)
    yield topics.status
    yield topics.health
    for source in names:
        yield from (topics.of(source, leaf) for leaf in WORDS)
