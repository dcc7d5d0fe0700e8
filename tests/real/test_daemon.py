"""The daemon as a process of its own, and a real Mosquitto: what it says, how it ends, and what it does without one.

Needs mosquitto.
"""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
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


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


class Earshot:
    """`earshot run` in a process of its own, as long as the `with` block lasts."""

    def __init__(
        self, folder: Path, source: str, broker: Mosquitto, *, event: str = "", json_out: bool = False
    ) -> None:
        """Write the configuration of one source, `source` being all but its name and detector."""
        self._config = folder / "config.yaml"
        self._stderr = folder / "earshot.log"
        self._options = ["--json"] if json_out else []
        self._config.write_text(
            f"node: hall\nsources: [{{name: pump, {source}, detector: {DETECTOR.path}}}]\n{event}"
            f"mqtt: {{host: {broker.host}, port: {broker.port}, state_seconds: 0.5}}\n"
        )

    def __enter__(self) -> "Earshot":
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--config", self._config, *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(),
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

    def reading(self) -> dict[str, Any]:
        """Wait for the next reading on its standard output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            record: dict[str, Any] = json.loads(line)
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
def listening(folder: Path, broker: Mosquitto, *, json_out: bool = False) -> Iterator[Earshot]:
    """Hear one window and three hops through a pipe that stays open; every window is an episode."""
    with Earshot(folder, "type: stdin", broker, event=EVERY_WINDOW_IS_ABNORMAL, json_out=json_out) as earshot:
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
        leaf = message.topic.rsplit("/", 1)[-1]
        if leaf in SCHEMAS:
            jsonschema.validate(json.loads(message.payload), SCHEMAS[leaf])
        else:
            assert message.payload in words[leaf], message


# --- What it says ---


def test_the_shipped_machine_goes_wrong(broker: Mosquitto, tmp_path: Path) -> None:
    source = f"type: folder, path: {DEMO / 'recordings'}, realtime: false"
    with Listener(broker) as listener:
        with Earshot(tmp_path, source, broker) as earshot:
            assert earshot.process.wait(60) == 0  # by itself, at the end of the recordings
        listener.wait_for("earshot/hall/status", "offline")

    assert listener.payloads("earshot/hall/status") == ["online", "offline"]
    availability = listener.payloads(f"{PUMP}/availability")
    assert (availability.count("online"), availability[-1]) == (1, "offline")
    assert [word for word in listener.payloads(f"{PUMP}/anomaly") if word == "ON"]
    assert listener.last(f"{PUMP}/anomaly") == "OFF"
    assert json.loads(str(listener.last("earshot/hall/health")))["sources"] == {"pump": "lost"}
    assert states_of(listener)[-1]["status"] == "lost"

    events = events_of(listener)
    opened, *_, closed = events
    assert (opened["kind"], closed["kind"]) == ("opened", "closed")
    assert {event["id"] for event in events} == {opened["id"]}
    assert opened["bands"] or closed["bands"]
    assert opened["score"] > opened["threshold"]
    assert closed["peak"] >= max(event["score"] for event in events)
    assert closed["duration_s"] > 5
    assert opened["detector"]["sha256"] == DETECTOR.sha256
    assert (opened["machine"], opened["section"]) == tuple(next(iter(DETECTOR.sections)).split("/"))
    check_schemas(listener)
    assert "Traceback" not in earshot.log()


def test_a_state_while_listening_has_a_score(broker: Mosquitto, tmp_path: Path) -> None:
    """Most of a second lies between two scores, and the state of a machine that is judged does not flicker."""
    with Listener(broker) as listener, listening(tmp_path, broker) as earshot:
        wait_for_event(listener, "opened")
        n_states = len(states_of(listener))
        for _ in range(6):  # a tenth of a second each: more than one hop in all
            earshot.hear(SOUND[:1600])
            time.sleep(0.2)  # state_seconds pass before that hop is whole; only a clock can say so
        wait_until(lambda: len(states_of(listener)) > n_states, "another state is said")
        judged = [state for state in states_of(listener) if state["status"] == "listening"]
        assert len(judged) >= 2
        assert all(state["score"] is not None and state["level_dbfs"] is not None for state in judged)


# --- How it ends ---


def test_sigterm_closes_the_episode_and_says_goodbye(broker: Mosquitto, tmp_path: Path) -> None:
    with Listener(broker) as listener:
        with listening(tmp_path, broker) as earshot:
            opened = wait_for_event(listener, "opened")
            listener.wait_for(f"{PUMP}/anomaly", "ON")
            took_seconds = earshot.end()
            assert earshot.process.returncode == 0
            assert took_seconds < END_SECONDS
        listener.wait_for("earshot/hall/status", "offline")

        closed = wait_for_event(listener, "closed")
        assert (closed["id"], closed["reason"]) == (opened["id"], "shutdown")
        assert listener.last(f"{PUMP}/anomaly") == "OFF"
        assert listener.last(f"{PUMP}/availability") == "offline"
        assert listener.payloads("earshot/hall/status") == ["online", "offline"]
        check_schemas(listener)


def test_an_ended_pipe_is_a_lost_source(broker: Mosquitto, tmp_path: Path) -> None:
    with Listener(broker) as listener:
        with listening(tmp_path, broker) as earshot:
            wait_for_event(listener, "opened")
            assert earshot.process.stdin is not None
            earshot.process.stdin.close()
            assert earshot.process.wait(60) == 0
            earshot.process.stdin = None
        listener.wait_for("earshot/hall/status", "offline")

    (closed,) = [event for event in events_of(listener) if event["kind"] == "closed"]
    assert closed["reason"] == "source_lost"
    assert states_of(listener)[-1]["status"] == "lost"


# --- Without a broker, and with a late one ---


def test_without_a_broker_it_listens_all_the_same(broker: Mosquitto, tmp_path: Path) -> None:
    broker.kill()
    with listening(tmp_path, broker, json_out=True) as earshot:
        readings = [earshot.reading() for _ in range(4)]
        plan = DETECTOR.plan
        assert [reading["end_sample"] for reading in readings] == [
            plan.window_samples + i * plan.hop_samples for i in range(4)
        ]
        assert all(reading["score"] > 0 for reading in readings)

        assert earshot.end() < END_SECONDS
        assert earshot.process.returncode == 0
    assert "Connection refused" in earshot.log()


def test_a_late_broker_hears_how_things_are(broker: Mosquitto, tmp_path: Path) -> None:
    with Listener(broker) as listener:
        broker.kill()
        with listening(tmp_path, broker, json_out=True) as earshot:
            earshot.reading()
            broker.start()
            listener.wait_for("earshot/hall/status", "online")
            listener.wait_for(f"{PUMP}/availability", "online")
            listener.wait_for(f"{PUMP}/anomaly", "ON")
            assert wait_for_event(listener, "opened")["delayed"] is True

            with Listener(broker, name="late") as late:
                late.wait_for(f"{PUMP}/anomaly", "ON")
                late.wait_for("earshot/hall/status", "online")
                wait_until(lambda: late.last(f"{PUMP}/state"), "the state is retained")
                assert states_of(late)[0]["status"] == "listening"
                assert states_of(late)[0]["episode"] == events_of(listener)[0]["id"]
                assert not events_of(late)
    check_schemas(listener)
