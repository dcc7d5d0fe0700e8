"""The publisher where no broker is needed, or only the demo's: names, payloads, schemas, bounds."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.config.settings import MqttSettings, OutboxSettings, load, secret_path
from edge.demo.broker import DemoBroker
from edge.errors import ConfigError, EarshotError
from edge.voice.publisher import Publisher
from tests.real.mosquitto import wait_until

SCHEMAS: dict[str, Any] = {
    file.stem: json.loads(file.read_text())
    for file in (Path(__file__).parent.parent / "edge" / "schemas").glob("*.json")
}

EVENT: dict[str, Any] = {
    "schema": 1,
    "id": "01JD2Q0V7X",
    "kind": "opened",
    "time": "2026-11-23T21:53:00.512Z",
    "node": "hall",
    "source": "pump",
    "machine": "pump",
    "section": "pump/00",
    "score": 7.5,
    "peak": 7.5,
    "threshold": 4.25,
    "duration_s": 0,
    "bands": [{"hz_lo": 1000, "hz_hi": 1250.5, "delta_db": -6.5}],
    "detector": {"name": "pumps", "version": "1.0", "sha256": "0" * 64},
    "clip": None,
    "delayed": False,
    "clock_synced": True,
}
STATE: dict[str, Any] = {
    "schema": 1,
    "time": "2026-11-23T21:53:00.512Z",
    "node": "hall",
    "source": "pump",
    "status": "listening",
    "reason": None,
    "score": 0.5,
    "threshold": 4.25,
    "level_dbfs": -32.5,
    "lag_s": 0.02,
    "episode": None,
    "shelved_until": None,
    "recording": "section_00_normal_0001.wav",
}
HEALTH: dict[str, Any] = {
    "schema": 1,
    "time": "2026-11-23T21:53:00.512Z",
    "node": "hall",
    "version": "0.1.0",
    "uptime_s": 12.5,
    "clock_synced": True,
    "sources": {"pump": "listening", "fan": "lost"},
    "commanded": {"pump": {"shelved_until": "2026-11-23T22:53:00.512Z", "threshold": None}},
    "clips": {"state": "ready", "bytes": 123_456, "lost": 0},
    "mqtt": {
        "queued": 0,
        "dropped": 0,
        "on_disk": True,
        "problem": None,
        "bytes_written": 12_360,
        "set_aside": 0,
        "commands_dropped": 0,
        "commands_ignored": 0,
        "commands": "off",
        "largest_shelve_minutes": 480.0,
        "protocol": None,
        "links_renewed": 0,
        "dead_letters": 0,
        "dead_letter_causes": {},
        "dead_letters_arrived": 0,
        "left_out": [],
    },
}
RESULT: dict[str, Any] = {"schema": 1, "command": "shelve", "ok": True, "message": "shelved for 30 min"}
CLOSED = {**EVENT, "kind": "closed", "reason": "recovered", "duration_s": 61.44, "clip": "episodes/1.flac"}
NOTHING_HEARD = {**STATE, "status": "waiting", "reason": "no device", "score": None, "threshold": None}


def silent(*, max_events: int = 10, state_path: Path | None = None) -> Publisher:
    """A publisher that is never started."""
    settings = MqttSettings(host="broker.invalid", outbox=OutboxSettings(max_events=max_events))
    return Publisher(settings, node="hall", sources=["pump"], state_path=state_path)


# --- Schemas ---


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one_and_explains_every_key(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])

    where = "What a webhook is told" if name == "notification" else "earshot/<node>/"
    assert SCHEMAS[name]["description"].startswith(where)
    assert [key for key, value in SCHEMAS[name]["properties"].items() if "description" not in value] == []


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("event", EVENT),
        ("event", CLOSED),
        ("event", {**CLOSED, "reason": "interrupted"}),
        ("state", STATE),
        ("state", NOTHING_HEARD),
        ("health", HEALTH),
        ("command_result", RESULT),
        ("command", {"acknowledge": {}}),
        ("command", {"shelve": {"minutes": 30}}),
        ("command", {"threshold": {"value": None}}),
    ],
)
def test_payload_is_valid(name: str, payload: dict[str, Any]) -> None:
    jsonschema.validate(payload, SCHEMAS[name])


@pytest.mark.parametrize(
    ("name", "payload"), [("event", CLOSED), ("state", STATE), ("health", HEALTH), ("command_result", RESULT)]
)
def test_every_key_is_asked_for_and_no_other_is_let_in(name: str, payload: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])

    for key in payload:
        assert not validator.is_valid({other: value for other, value in payload.items() if other != key}), key
        assert not validator.is_valid({**payload, key: [payload[key]]}), key
    assert not validator.is_valid({**payload, "extra": 1})


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("event", {**EVENT, "reason": "recovered"}),
        ("event", {**CLOSED, "reason": "tired"}),
        ("event", {**EVENT, "time": "2026-11-23T21:53:00Z"}),
        ("event", {**EVENT, "time": "2026-11-23T22:53:00.512+01:00"}),
        ("event", {**EVENT, "schema": 2}),
        ("event", {**EVENT, "score": "7.5"}),
        ("event", {**EVENT, "bands": [{"hz_lo": -1, "hz_hi": 2, "delta_db": 0}]}),
        ("state", {**STATE, "status": "abnormal"}),
        ("state", {**STATE, "source": "pump/1"}),
        ("health", {**HEALTH, "sources": {"pump": "fine"}}),
        ("health", {**HEALTH, "mqtt": {**HEALTH["mqtt"], "on_disk": None}}),
        ("command", {"relearn": {}}),
        ("command", {}),
    ],
)
def test_payload_is_refused(name: str, payload: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(payload)


# --- Before anything is opened ---


def test_constructor_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    threads = threading.active_count()
    publisher = silent()
    publisher.event("pump", EVENT)

    assert threading.active_count() == threads
    assert (publisher.connected, publisher.reason, publisher.queued) == (False, "not started", 1)


@pytest.mark.parametrize("name", ["+", "#", "a/b", "", "pump\n", "pump hall", "$SYS"])
def test_names_that_are_no_topic_level_are_refused(name: str) -> None:
    settings = MqttSettings(host="broker.invalid")
    with pytest.raises(ValueError, match="expected letters, digits, _ and -"):
        Publisher(settings, node=name, sources=["pump"])
    with pytest.raises(ValueError, match="expected letters, digits, _ and -"):
        Publisher(settings, node="hall", sources=["pump", name])


def test_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="source 'fan': expected one of pump"):
        silent().availability("fan", True)


def test_host_has_to_be_known() -> None:
    with pytest.raises(ValueError, match=r"mqtt\.host is null"):
        Publisher(MqttSettings(), node="hall", sources=["pump"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_payload_that_is_not_json_is_refused_where_it_comes_from(value: object) -> None:
    publisher = silent()
    with pytest.raises((ValueError, TypeError)):
        publisher.event("pump", {"score": value})
    with pytest.raises((ValueError, TypeError)):
        publisher.state("pump", {"score": value})

    assert publisher.queued == 0


def test_oldest_events_go_first_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    publisher = silent(max_events=3)
    for _ in range(5):
        publisher.event("pump", EVENT)

    assert (publisher.queued, publisher.dropped) == (3, 2)
    assert caplog.text.count("more than 3 events") == 1


def test_figures_are_what_the_schema_of_health_knows(tmp_path: Path) -> None:
    publisher = silent(state_path=tmp_path)
    publisher.event("pump", EVENT)
    figures = publisher.figures
    jsonschema.validate({**HEALTH, "mqtt": figures}, SCHEMAS["health"])

    assert figures.keys() == SCHEMAS["health"]["properties"]["mqtt"]["properties"].keys()
    assert figures["bytes_written"] > 0
    assert {**figures, "bytes_written": 0} == {**HEALTH["mqtt"], "queued": 1, "bytes_written": 0}
    publisher.close()


def test_an_image_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="image of 1000001 bytes, expected at most 1000000"):
        silent().image("pump", b"x" * 1_000_001)


# --- What is configured ---


def config_with(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(f"sources: [{{name: a, type: stdin, detector: d}}]\n{text}\n")
    return file


def test_a_password_may_be_what_systemd_lays_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config_with(tmp_path, "mqtt: {username: u, password_file: 'credential:mqtt-password'}")
    password_file = load(file).mqtt.password_file
    assert password_file is not None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/earshot.service")
    assert secret_path(password_file) == Path("/run/credentials/earshot.service/mqtt-password")
    assert secret_path(tmp_path / "secret") == tmp_path / "secret"

    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match=r"^credential:mqtt-password: \$CREDENTIALS_DIRECTORY is not set, expected"):
        secret_path(password_file)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a b"])
def test_a_credential_has_a_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.password_file: .*expected credential: and the name"):
        load(config_with(tmp_path, f"mqtt: {{username: u, password_file: 'credential:{name}'}}"))


@pytest.mark.parametrize(
    ("text", "environment", "path"),
    [
        ("", None, None),
        ("", "", None),
        ("", "/var/lib/earshot", "/var/lib/earshot"),
        ("", "/var/lib/earshot:/var/lib/other", "/var/lib/earshot"),
        ("state_directory: /data", "/var/lib/earshot", "/data"),
    ],
)
def test_state_lies_where_configured_or_where_systemd_says(
    text: str, environment: str | None, path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    if environment is not None:
        monkeypatch.setenv("STATE_DIRECTORY", environment)
    assert load(config_with(tmp_path, text)).state_path == (path and Path(path))


def test_close_without_start() -> None:
    silent().close()


# --- The demo's broker ---


def test_demo_broker_carries_an_event_and_stops_within_a_second() -> None:
    heard: list[paho.MQTTMessage] = []
    subscribed = threading.Event()
    subscriber = paho.Client(CallbackAPIVersion.VERSION2)
    subscriber.on_connect = lambda client, *_: client.subscribe("earshot/hall/pump/event", qos=1)
    subscriber.on_subscribe = lambda *_: subscribed.set()
    subscriber.on_message = lambda _client, _data, message: heard.append(message)

    with DemoBroker() as broker:
        subscriber.connect(broker.host, broker.port)
        subscriber.loop_start()
        assert subscribed.wait(20)
        settings = MqttSettings(host=broker.host, port=broker.port, protocol="3.1.1")
        publisher = Publisher(settings, node="hall", sources=["pump"])
        publisher.event("pump", EVENT)  # before there can be a connection: it is delayed
        publisher.start()
        wait_until(lambda: heard and not publisher.queued, "the event is heard")
        start = time.monotonic()
    assert time.monotonic() - start < 1.0

    assert json.loads(heard[0].payload) == {**EVENT, "delayed": True}
    publisher.close()
    subscriber.disconnect()
    subscriber.loop_stop()
    assert "demo-broker" not in {thread.name for thread in threading.enumerate()}


def test_demo_broker_on_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EarshotError, match=rf"cannot listen on 127\.0\.0\.1:{port}"), DemoBroker(port):
            pass


def test_demo_broker_without_amqtt_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    with pytest.raises(EarshotError, match="pip install amqtt"), DemoBroker():
        pass


def test_importing_the_broker_room_does_not_import_amqtt() -> None:
    script = "import sys, edge.demo.broker, edge.voice.publisher; sys.exit('amqtt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
