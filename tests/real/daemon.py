"""The daemon as a process of its own, for the tests that look at it from outside."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jsonschema
import numpy as np
import pytest

from edge import detector as detectors
from edge.source import read_samples
from tests.conftest import COMMAND, DEMO, environment
from tests.real.mosquitto import Listener, Mosquitto, wait_until
from tests.test_publisher import SCHEMAS

DETECTOR = detectors.read(DEMO / "detector")
PUMP: Final = "earshot/hall/pump"
END_SECONDS: Final = 5.0

EVERY_WINDOW_IS_ABNORMAL: Final = "event: {threshold: 0.0, on_delay: {windows: 1, of: 1}}\n"


class Earshot:
    """`earshot run` in a process of its own, as long as the `with` block lasts."""

    def __init__(
        self,
        folder: Path,
        source: str,
        broker: Mosquitto,
        *,
        event: str = "",
        json_out: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Write the configuration of one source, `source` being all but its name and detector.

        more: further variables of its environment.
        """
        self._environment = {**environment(), **(more or {})}
        self.config = folder / "config.yaml"
        self._stderr = folder / "earshot.log"
        self._options = ["--json"] if json_out else []
        self.config.write_text(
            f"node: hall\nsources: [{{name: pump, {source}, detector: {DETECTOR.path}}}]\n{event}"
            f"mqtt: {{host: {broker.host}, port: {broker.port}, state_seconds: 0.5, commands: on}}\n"
        )

    def __enter__(self) -> "Earshot":
        with self._stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--config", self.config, *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment,
                start_new_session=True,  # without our terminal: with one, SIGHUP means that it was closed
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def hear(self, samples: np.ndarray) -> None:
        """Hand samples to its standard input, which stays open."""
        assert self.process.stdin is not None
        self.process.stdin.write(np.round(samples * 32_767).astype("<i2").tobytes())
        self.process.stdin.flush()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield what it prints on its standard output, until it ends; half a line, after a kill, is none."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                yield json.loads(line)

    def reading(self) -> dict[str, Any]:
        """Wait for the next reading on its standard output."""
        for record in self.records():
            if record["type"] == "reading":
                return record
        pytest.fail(f"ended without a reading: {self.log()}")

    def end(self) -> float:
        """Ask it to end as systemd does; return how many seconds that took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(4 * END_SECONDS)
        return time.monotonic() - start

    def log(self) -> str:
        return self._stderr.read_text()


@contextmanager
def listening(
    folder: Path, broker: Mosquitto, *, json_out: bool = False, more: Mapping[str, str] | None = None
) -> Iterator[Earshot]:
    """Hear one window and three hops through a pipe that stays open; every window is an episode."""
    event = EVERY_WINDOW_IS_ABNORMAL
    with Earshot(folder, "type: stdin", broker, event=event, json_out=json_out, more=more) as earshot:
        earshot.hear(SOUND)
        yield earshot


SOUND = read_samples(next((DEMO / "recordings").glob("*.flac")))[
    : DETECTOR.plan.window_samples + 3 * DETECTOR.plan.hop_samples
]


def events_of(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in listener.payloads(f"{PUMP}/event")]


def states_of(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in listener.payloads(f"{PUMP}/state")]


def wait_for_event(listener: Listener, kind: str) -> dict[str, Any]:
    wait_until(lambda: kind in [event["kind"] for event in events_of(listener)], f"an episode is {kind}")
    return next(event for event in events_of(listener) if event["kind"] == kind)


def check_schemas(listener: Listener) -> None:
    """Every JSON payload keeps its schema, and every other topic one of its two words."""
    words = {"status": {"online", "offline"}, "availability": {"online", "offline"}, "anomaly": {"ON", "OFF"}}
    assert listener.messages
    for message in listener.messages:
        if not message.topic.startswith("earshot/"):
            continue  # Home Assistant's, whose own code judges it (test_home_assistant.py)
        leaf = message.topic.rsplit("/", 1)[-1]
        if "/cmd/" in message.topic:
            assert leaf != "result" or json.loads(message.payload)["ok"]
        elif leaf in SCHEMAS:
            jsonschema.validate(json.loads(message.payload), SCHEMAS[leaf])
        else:
            assert message.payload in words[leaf], message
