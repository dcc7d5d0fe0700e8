"""The broker, step by step as a connection is made: name, address, encryption, greeting; then all that the daemon does.

The first that fails is the last, and says what a person can do about it.
"""

import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from edge.commands import check_reach
from edge.commands.check_daemon import AsTheDaemon
from edge.commands.check_greeting import Greeting
from edge.commands.steps import Doubt, Step, look
from edge.config import CREDENTIAL, MqttSettings


def broker_steps(mqtt: MqttSettings, host: str, node: str, sources: Sequence[str]) -> Iterator[Step]:
    """Yield the steps to the broker at `host`, until one is bad."""
    greeting = Greeting(mqtt, host)
    daemon = AsTheDaemon(mqtt, node, sources, greeting)
    port = mqtt.broker_port
    steps: list[tuple[str, Callable[[], str]]] = []
    if _secrets(mqtt):
        steps.append(("secrets", partial(_private, _secrets(mqtt))))
    steps += [("DNS", partial(check_reach.resolve, host, port)), ("TCP", partial(check_reach.connect, host, port))]
    if mqtt.tls.enabled:
        steps.append(("TLS", partial(check_reach.encrypt, mqtt, host)))
    steps += [("CONNECT", greeting.greet), ("as the daemon", daemon.speak)]
    try:
        for name, what in steps:
            step = look(f"broker {name}", what)
            yield step
            if step.verdict == "bad":
                return
    finally:
        greeting.close()


def _secrets(mqtt: MqttSettings) -> list[Path]:
    """Return the files that hold a secret and are ours to look at: credentials are systemd's."""
    files = (mqtt.password_file, mqtt.tls.key_file)
    return [file for file in files if file is not None and not str(file).startswith(CREDENTIAL) and file.is_file()]


def _private(files: Sequence[Path]) -> str:
    for file in files:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & stat.S_IRWXO:
            raise Doubt(f"{file} has mode {mode:04o}: everybody here may read it", f"chmod 600 {file}")
    return f"{', '.join(map(str, files))}: not for strangers"
