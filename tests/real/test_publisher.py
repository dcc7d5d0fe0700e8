"""The publisher against a real Mosquitto: killed, frozen, restarted, locked, encrypted. Needs mosquitto and openssl.

What is counted takes the factor EARSHOT_SOAK (tests/real/mosquitto.py).
"""

import json
import logging
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest

from edge.config.settings import MqttSettings, TlsSettings
from edge.voice.control import Acknowledge, Command, CommandError, Shelve, Threshold
from edge.voice.credentials import tls_context
from edge.voice.orders import COMMAND_SECONDS, MOST_COMMANDS, OnCommand
from edge.voice.publisher import Publisher
from tests.real.aedes import Aedes
from tests.real.mosquitto import PATIENCE_SECONDS, SOAK, Listener, Mosquitto, wait_until
from tests.test_publisher import EVENT, SCHEMAS, STATE

STATUS = "earshot/hall/status"
PUMP = "earshot/hall/pump"
CLOSE_SECONDS = 3.0
"""`close` asks for 1.5; the rest is for a busy machine. The mistakes this would find cost 5 and more."""

QUICK_RETRY_SECONDS = (0.05, 0.2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@contextmanager
def publishing(
    broker: Mosquitto | Aedes,
    *,
    client_id: str = "publisher",
    state_path: Path | None = None,
    on_command: OnCommand | None = None,
    **more: object,
) -> Iterator[Publisher]:
    """A publisher that is started, and closed at the end of the block unless the test has done so."""
    commands = "off" if on_command is None else "on"
    known = {"host": broker.host, "port": broker.port, "client_id": client_id, "commands": commands}
    settings = MqttSettings.model_validate({**known, "discovery": "off", **more})
    publisher = Publisher(
        settings,
        node="hall",
        sources=["pump", "fan"],
        state_path=state_path,
        on_command=on_command,
        retry_seconds=QUICK_RETRY_SECONDS,
    )
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.close(timeout_seconds=0.5)


def wait_connected(publisher: Publisher) -> None:
    wait_until(lambda: publisher.connected, f"connected, and not: {publisher.reason}")


def wait_delivered(publisher: Publisher) -> None:
    wait_until(lambda: publisher.queued == 0, "every event is acknowledged")


def event(number: int) -> dict[str, Any]:
    return {**EVENT, "id": f"episode-{number}"}


def ids(listener: Listener, source: str = "pump") -> list[int]:
    """Return the numbers of the events that have arrived, in the order of their first arrival."""
    payloads = listener.payloads(f"earshot/hall/{source}/event")
    return list(dict.fromkeys(int(json.loads(payload)["id"].removeprefix("episode-")) for payload in payloads))


def timed_close(publisher: Publisher) -> float:
    start = time.monotonic()
    publisher.close()
    return time.monotonic() - start


def wait_for_count(listener: Listener, count: int) -> None:
    wait_until(lambda: len(ids(listener)) >= count, f"{count} events are heard")


# --- Who is there ---


def test_online_while_connected_and_offline_after_a_clean_close(broker: Mosquitto) -> None:
    with Listener(broker) as listener:
        with publishing(broker) as publisher:
            listener.wait_for(STATUS, "online")
            assert publisher.connected
            assert publisher.reason is None
            publisher.close()
            assert not publisher.connected
        listener.wait_for(STATUS, "offline")

        assert listener.payloads(STATUS) == ["online", "offline"]  # and no will after it


CHILD = """
import signal, sys
from edge.config import MqttSettings
from edge.voice.publisher import Publisher

publisher = Publisher(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), node="hall", sources=["pump"])
publisher.start()
signal.pause()
"""


def test_will_says_offline_when_the_process_is_killed(broker: Mosquitto) -> None:
    with Listener(broker) as listener:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port)])
        try:
            listener.wait_for(STATUS, "online")
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        listener.wait_for(STATUS, "offline")

    with Listener(broker, name="late") as late:
        late.wait_for(STATUS, "offline")
        assert all(message.retained for message in late.messages)


def test_a_late_subscriber_sees_how_things_are_and_no_old_event(broker: Mosquitto) -> None:
    with publishing(broker) as publisher:
        publisher.availability("pump", True)
        publisher.anomaly("pump", True)
        publisher.state("pump", {**STATE, "score": 1.5})
        publisher.state("pump", {**STATE, "score": 2.5})
        publisher.health({"schema": 1})
        publisher.event("pump", EVENT)
        with Listener(broker, name="early") as early:
            early.wait_for("earshot/hall/health", '{"schema":1}')

        with Listener(broker, name="late") as late:
            late.wait_for(f"{PUMP}/availability", "online")
            late.wait_for(f"{PUMP}/anomaly", "ON")
            late.wait_for(f"{PUMP}/state", json.dumps({**STATE, "score": 2.5}, separators=(",", ":")))
            late.wait_for("earshot/hall/health", '{"schema":1}')
            late.wait_for(STATUS, "online")
            # The other source has said nothing. A stale ON of an earlier run would hang for ever.
            late.wait_for("earshot/hall/fan/availability", "offline")
            late.wait_for("earshot/hall/fan/anomaly", "OFF")

            assert all(message.retained for message in late.messages)
            assert late.payloads(f"{PUMP}/event") == []


def test_a_broker_that_forgot_everything_is_told_again(broker: Mosquitto) -> None:
    with publishing(broker) as publisher:
        publisher.availability("pump", True)
        publisher.anomaly("pump", True)
        publisher.state("pump", {"score": 1})
        wait_connected(publisher)
        broker.kill()
        wait_until(lambda: not publisher.connected, "the loss is noticed")
        publisher.state("pump", {"score": 2})
        publisher.state("pump", {"score": 3})
        broker.forget()
        broker.start()

        with Listener(broker) as listener:
            listener.wait_for(STATUS, "online")
            listener.wait_for(f"{PUMP}/availability", "online")
            listener.wait_for(f"{PUMP}/anomaly", "ON")
            listener.wait_for(f"{PUMP}/state", '{"score":3}')
            assert '{"score":2}' not in listener.payloads(f"{PUMP}/state")  # states are not queued


# --- Events ---


def test_an_event_is_heard_once_valid_and_not_delayed(broker: Mosquitto) -> None:
    with Listener(broker) as listener, publishing(broker) as publisher:
        wait_connected(publisher)
        publisher.event("pump", EVENT)
        wait_delivered(publisher)
        wait_until(lambda: listener.payloads(f"{PUMP}/event"), "the event is heard")

        (payload,) = listener.payloads(f"{PUMP}/event")
        jsonschema.validate(json.loads(payload), SCHEMAS["event"])
        assert json.loads(payload) == {**EVENT, "delayed": False}


def test_an_event_while_the_broker_is_down_is_heard_once_and_marked(broker: Mosquitto) -> None:
    with Listener(broker) as listener, publishing(broker) as publisher:
        wait_connected(publisher)
        broker.kill()
        wait_until(lambda: not publisher.connected, "the loss is noticed")
        publisher.event("pump", EVENT)
        assert publisher.queued == 1
        broker.start()
        wait_delivered(publisher)
        publisher.event("fan", EVENT)
        wait_until(lambda: listener.payloads("earshot/hall/fan/event"), "the second event is heard")

        (payload,) = listener.payloads(f"{PUMP}/event")
        jsonschema.validate(json.loads(payload), SCHEMAS["event"])
        assert json.loads(payload) == {**EVENT, "delayed": True}
        (payload,) = listener.payloads("earshot/hall/fan/event")
        assert json.loads(payload)["delayed"] is False


def test_events_from_before_the_first_connection_keep_their_order(broker: Mosquitto) -> None:
    with Listener(broker):
        pass  # from now on the broker keeps for it what comes
    broker.stop()

    with publishing(broker) as publisher:
        for number in range(100):
            publisher.event("pump", event(number))
        wait_until(lambda: publisher.reason == "Connection refused", "the refusal is noticed")
        assert publisher.queued == 100
        broker.start()
        wait_delivered(publisher)

    with Listener(broker) as listener:
        wait_for_count(listener, 100)
    assert ids(listener) == list(range(100))
    assert len(listener.payloads(f"{PUMP}/event")) == 100


@pytest.mark.parametrize("on_disk", [True, False])
def test_events_across_kills_of_the_broker(broker: Mosquitto, tmp_path: Path, on_disk: bool) -> None:
    """50 events and 5 kills a factor: none lost, none invented, none twice but marked, in their order."""
    chance = random.Random(on_disk)
    n_events, n_kills, is_down = 50 * SOAK, 0, False
    with Listener(broker) as listener, publishing(broker, state_path=tmp_path if on_disk else None) as publisher:
        wait_connected(publisher)
        for number in range(n_events):
            if number % 10 == 5:
                wait_for_count(listener, number - chance.randint(0, 4))
                broker.kill()
                n_kills, is_down = n_kills + 1, True
            if is_down and (number % 10 == 9 or chance.random() < 0.3):
                broker.start()
                listener.wait_until_subscribed()
                is_down = False
            publisher.event("pump", event(number))
        wait_delivered(publisher)
        wait_for_count(listener, n_events)

    assert n_kills == 5 * SOAK
    assert publisher.dropped == 0
    assert ids(listener) == list(range(n_events))
    heard = [json.loads(payload) for payload in listener.payloads(f"{PUMP}/event")]
    assert all(each == {**EVENT, "id": each["id"], "delayed": each["delayed"]} for each in heard)
    seen: set[str] = set()
    for each in heard:
        assert each["id"] not in seen or each["delayed"]
        seen.add(each["id"])


def test_events_outlive_the_process_and_are_delayed(broker: Mosquitto, tmp_path: Path) -> None:
    broker.kill()
    with publishing(broker, state_path=tmp_path) as publisher:
        for number in range(30):
            publisher.event("pump", {**event(number), "kind": "closed", "reason": "recovered"})
        assert publisher.figures["on_disk"]
    broker.start()

    with Listener(broker) as listener, publishing(broker, state_path=tmp_path) as publisher:
        publisher.event("fan", {**event(99), "kind": "closed", "reason": "recovered"})
        wait_delivered(publisher)
        wait_until(lambda: listener.payloads("earshot/hall/fan/event"), "the newest is heard")
        assert ids(listener) == list(range(30))
        assert all(json.loads(payload)["delayed"] for payload in listener.payloads(f"{PUMP}/event"))


def test_an_episode_that_a_kill_left_open_is_closed_at_the_next_start(broker: Mosquitto, tmp_path: Path) -> None:
    left = tmp_path / "left"
    with Listener(broker) as listener:
        with publishing(broker, state_path=tmp_path / "state") as publisher:
            publisher.event("pump", EVENT)
            publisher.event("pump", {**EVENT, "kind": "updated", "time": "2026-11-23T21:53:10.512Z", "peak": 9.5})
            wait_delivered(publisher)
            shutil.copytree(tmp_path / "state", left)  # what a killed process leaves behind
        heard = len(listener.payloads(f"{PUMP}/event"))

        # The source is gone from the configuration, the episode is closed all the same.
        settings = MqttSettings(host=broker.host, port=broker.port, client_id="next")
        publisher = Publisher(settings, node="hall", sources=["fan"], state_path=left)
        publisher.start()
        wait_until(lambda: "interrupted" in str(listener.last(f"{PUMP}/event")), "it is closed")
        wait_delivered(publisher)
        publisher.close()

        closed = json.loads(str(listener.last(f"{PUMP}/event")))
        jsonschema.validate(closed, SCHEMAS["event"])
        assert (closed["id"], closed["kind"], closed["time"]) == (EVENT["id"], "closed", "2026-11-23T21:53:10.512Z")
        assert (closed["peak"], closed["delayed"]) == (9.5, True)
        said = [json.loads(payload) for payload in listener.payloads(f"{PUMP}/event")[heard:]]
        assert sum(each["kind"] == "closed" for each in said) == 1


def test_the_newest_image_is_retained(broker: Mosquitto) -> None:
    with publishing(broker) as publisher:
        publisher.image("pump", b"\x89PNG old")
        publisher.image("pump", b"\x89PNG \xff\x00 new")
        with Listener(broker, name="early") as early:
            wait_until(lambda: "new" in str(early.last(f"{PUMP}/spectrogram")), "it is said")
        with Listener(broker) as late:
            image = b"\x89PNG \xff\x00 new".decode(errors="surrogateescape")
            late.wait_for(f"{PUMP}/spectrogram", image)
            assert all(message.retained for message in late.messages)


def test_a_frozen_broker_blocks_nobody_and_loses_nothing(broker: Mosquitto) -> None:
    with Listener(broker) as listener, publishing(broker, keepalive_seconds=1) as publisher:
        wait_connected(publisher)
        broker.freeze()
        start = time.monotonic()
        for number in range(500):
            publisher.event("pump", event(number))
            publisher.state("pump", {"score": number})
        assert time.monotonic() - start < 1.0
        wait_until(lambda: not publisher.connected, "the silence is noticed")
        broker.thaw()
        wait_delivered(publisher)
        listener.wait_until_subscribed()
        wait_for_count(listener, 500)

    assert ids(listener) == list(range(500))


def test_too_many_events_push_out_the_oldest(broker: Mosquitto) -> None:
    with Listener(broker) as listener, publishing(broker, outbox={"max_events": 10}) as publisher:
        wait_connected(publisher)
        broker.kill()
        wait_until(lambda: not publisher.connected, "the loss is noticed")
        for number in range(25):
            publisher.event("pump", event(number))
        assert (publisher.queued, publisher.dropped) == (10, 15)
        broker.start()
        wait_delivered(publisher)
        wait_until(lambda: 24 in ids(listener), "the newest is heard")

    assert ids(listener) == list(range(15, 25))


def test_an_acknowledgement_may_overtake_us(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = paho.Client.publish

    def slow_publish(client: paho.Client, *arguments: Any, **more: Any) -> paho.MQTTMessageInfo:  # noqa: ANN401
        info = publish(client, *arguments, **more)
        info.wait_for_publish()
        return info

    monkeypatch.setattr(paho.Client, "publish", slow_publish)
    with Listener(broker) as listener, publishing(broker) as publisher:
        for number in range(50):
            publisher.event("pump", event(number))
        wait_delivered(publisher)
        wait_for_count(listener, 50)


def test_many_threads_may_publish(broker: Mosquitto) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 50):
            publisher.event("pump", event(number))

    with Listener(broker) as listener, publishing(broker) as publisher:
        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 400, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_delivered(publisher)
        wait_for_count(listener, 400)

    assert len(listener.payloads(f"{PUMP}/event")) == 400


# --- Who is let in ---


def test_a_wrong_password_is_a_state_and_a_right_one_mends_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    password_file = tmp_path / "password"
    password_file.write_text("not-hunter2\n")
    with (
        Mosquitto(tmp_path, password=("earshot", "hunter2")) as broker,
        publishing(broker, username="earshot", password_file=password_file) as publisher,
    ):
        publisher.event("pump", EVENT)
        wait_until(lambda: broker.log().count("not authorised") >= 3, "the broker has refused three times")
        assert "Not authorized" in str(publisher.reason)
        assert not publisher.connected
        logged = caplog.text.count("Not authorized")

        password_file.write_text("hunter2\n")
        wait_connected(publisher)
        wait_delivered(publisher)

    assert logged == 1  # however often it was tried
    assert "hunter2" not in caplog.text


def test_a_missing_password_file_is_a_state(tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    with (
        Mosquitto(tmp_path, password=("earshot", "hunter2")) as broker,
        publishing(broker, username="earshot", password_file=password_file) as publisher,
    ):
        expected = f"mqtt.password_file {password_file}: No such file or directory"
        wait_until(lambda: publisher.reason == expected, "the missing file is named")
        password_file.write_text("hunter2")
        wait_connected(publisher)


@pytest.mark.parametrize(("content", "reason"), [(b"", "Not authorized"), (b"\xffhunter2", "expected UTF-8")])
def test_an_empty_password_is_none_and_a_strange_one_is_not_shown(content: bytes, reason: str, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_bytes(content)
    with (
        Mosquitto(tmp_path, password=("earshot", "hunter2")) as broker,
        publishing(broker, username="earshot", password_file=password_file) as publisher,
    ):
        wait_until(lambda: reason in str(publisher.reason), f"{reason} is said, not {publisher.reason}")
        assert "hunter2" not in str(publisher.reason)


def test_a_password_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "mqtt-password").write_text("hunter2\n")
    with (
        Mosquitto(tmp_path, password=("earshot", "hunter2")) as broker,
        publishing(broker, username="earshot", password_file="credential:mqtt-password") as publisher,
    ):
        wait_until(lambda: "$CREDENTIALS_DIRECTORY is not set" in str(publisher.reason), "the lack is named")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        wait_connected(publisher)


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, tls=True) as running:
        yield running


def test_tls_with_an_authority_of_our_own(tls_broker: Mosquitto) -> None:
    with publishing(tls_broker, tls=TlsSettings(enabled=True, ca_file=tls_broker.ca_file)) as publisher:
        publisher.event("pump", EVENT)
        wait_delivered(publisher)
        assert timed_close(publisher) < CLOSE_SECONDS


def test_tls_with_an_authority_as_most_people_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `openssl req -x509` alone. Python 3.13 is strict unless it is told; before, we make it so."""
    lenient = ssl.create_default_context

    def strict(cafile: Path | None = None) -> ssl.SSLContext:
        context = lenient(cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    with Mosquitto(tmp_path, tls=True, plain_authority=True) as broker:
        with publishing(broker, tls={"enabled": True, "ca_file": broker.ca_file}) as publisher:
            publisher.event("pump", EVENT)
            wait_delivered(publisher)
        assert not tls_context(TlsSettings(ca_file=broker.ca_file)).verify_flags & ssl.VERIFY_X509_STRICT
    assert tls_context(TlsSettings()).verify_flags & ssl.VERIFY_X509_STRICT  # others have to keep to it


def test_certificates_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with Mosquitto(tmp_path, tls=True, asks_for_certificates=True) as broker:
        tls = {
            "enabled": True,
            "ca_file": broker.ca_file,
            "certificate_file": "credential:client.crt",
            "key_file": "credential:client.key",
        }
        with publishing(broker, tls=tls) as publisher:
            wait_until(lambda: "$CREDENTIALS_DIRECTORY is not set" in str(publisher.reason), "the lack is named")
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
            wait_connected(publisher)


def test_tls_with_a_certificate_of_ours(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True, asks_for_certificates=True) as broker:
        tls = {"enabled": True, "ca_file": broker.ca_file}
        with publishing(broker, tls=tls) as publisher:
            wait_until(lambda: publisher.reason != "connecting", "the first attempt has failed")
            assert not publisher.connected
        ours = {"certificate_file": tmp_path / "client.crt", "key_file": tmp_path / "client.key"}
        with publishing(broker, tls={**tls, **ours}) as publisher:
            publisher.event("pump", EVENT)
            wait_delivered(publisher)


def test_a_certificate_that_is_not_valid_yet_is_a_state_that_names_the_clock(tmp_path: Path) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with (
        Mosquitto(tmp_path, tls=True, valid_from=tomorrow) as broker,
        publishing(broker, tls={"enabled": True, "ca_file": broker.ca_file}) as publisher,
    ):
        publisher.event("pump", EVENT)
        wait_until(lambda: publisher.reason != "connecting", "the first attempt has failed")
        assert publisher.reason == (
            "TLS: the broker's certificate was refused: certificate is not yet valid; "
            "is the clock of this device set yet?"
        )
        assert publisher.queued == 1


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        ({"enabled": True}, "TLS: the broker's certificate was refused: unable to get local issuer certificate"),
        ({"enabled": True, "ca_file": "none.crt"}, r"mqtt.tls.ca_file \S+none.crt: No such file or directory"),
        ({"enabled": True, "ca_file": "server.key"}, r"mqtt.tls.ca_file \S+server.key: TLS: \w+"),
        ({"enabled": False}, "no answer to our greeting; does only one side expect TLS?"),
    ],
)
def test_tls_that_fails_is_a_state_with_a_reason(
    tls_broker: Mosquitto, tls: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    if "ca_file" in tls:
        tls = {**tls, "ca_file": tls_broker.ca_file.parent / tls["ca_file"]}
    with publishing(tls_broker, tls=TlsSettings(**tls)) as publisher:
        wait_until(lambda: publisher.reason != "connecting", "the first attempt has failed")
        assert re.match(reason, str(publisher.reason))
        assert not publisher.connected

    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_a_name_that_is_not_on_the_certificate(tls_broker: Mosquitto) -> None:
    tls_broker.host = "127.1"  # the address 127.0.0.1, in a spelling that is not on the certificate
    with publishing(tls_broker, tls=TlsSettings(enabled=True, ca_file=tls_broker.ca_file)) as publisher:
        wait_until(lambda: "mismatch" in str(publisher.reason), f"the name is refused, not {publisher.reason}")


# --- What it is told ---

RESULT = f"{PUMP}/cmd/result"


def results(listener: Listener) -> list[dict[str, Any]]:
    found = [json.loads(payload) for payload in listener.payloads(RESULT)]
    for each in found:
        jsonschema.validate(each, SCHEMAS["command_result"])
    return found


def test_commands_are_obeyed_and_answered(broker: Mosquitto) -> None:
    obeyed: list[tuple[str, Command, str]] = []

    def obey(source: str, command: Command) -> str | None:
        obeyed.append((source, command, threading.current_thread().name))
        match command:
            case Shelve(minutes):
                return f"shelved for {minutes:g} min"
            case Acknowledge(str()):
                raise CommandError("acknowledge: got 'x', expected the id of an open episode")
            case Threshold(None):
                raise RuntimeError("a defect")
        return None

    with Listener(broker) as listener, publishing(broker, on_command=obey) as publisher:
        wait_until_heard(listener, "shelve", '{"minutes": 30}')
        obeyed.clear()
        before = len(results(listener))
        for name, payload in [
            ("acknowledge", "{}"),
            ("acknowledge", '"x"'),
            ("threshold", '{"value": null}'),
            ("threshold", '{"value": 4.5}'),
            ("relearn", "{}"),
            ("n\u00f6", "{}"),
        ]:
            listener.say(f"{PUMP}/cmd/{name}", payload)
        listener.say("earshot/hall/boiler/cmd/shelve", '{"minutes": 1}')
        wait_until(lambda: len(results(listener)) == before + 6, "all are answered")
        publisher.event("pump", EVENT)
        wait_delivered(publisher)

    assert obeyed == [
        ("pump", Acknowledge(), "publisher"),
        ("pump", Acknowledge("x"), "publisher"),
        ("pump", Threshold(None), "publisher"),
        ("pump", Threshold(4.5), "publisher"),
    ]
    assert results(listener)[0] == {"schema": 1, "command": "shelve", "ok": True, "message": "shelved for 30 min"}
    said = [(each["command"], each["ok"], each["message"]) for each in results(listener)[before:]]
    assert [each[:2] for each in said] == [
        ("acknowledge", True),
        ("acknowledge", False),
        ("threshold", False),
        ("threshold", True),
        ("relearn", False),
        ("n\u00f6", False),
    ]
    assert said[1][2] == "acknowledge: got 'x', expected the id of an open episode"
    assert "a defect of ours" in said[2][2]
    assert all(not message.retained for message in listener.messages if message.topic == RESULT)


def wait_until_heard(listener: Listener, name: str, payload: str) -> None:
    """Repeat a command until it is answered: only then has the publisher surely subscribed."""

    def answered() -> bool:
        listener.say(f"{PUMP}/cmd/{name}", payload)
        time.sleep(0.2)
        return bool(listener.payloads(RESULT))

    wait_until(answered, "the command is answered")


def test_retained_commands_are_not_even_sent_by_a_broker_of_version_5(broker: Mosquitto) -> None:
    obeyed: list[Command] = []
    with Listener(broker) as listener:
        listener.say(f"{PUMP}/cmd/shelve", '{"minutes": 30}', retain=True)
        listener.wait_for(f"{PUMP}/cmd/shelve", '{"minutes": 30}')
        with publishing(broker, on_command=lambda _source, command: obeyed.append(command)) as publisher:
            wait_until_heard(listener, "acknowledge", "{}")
            assert publisher.figures["commands_ignored"] == 0

    assert set(obeyed) == {Acknowledge()}


def test_a_broker_that_lets_us_speak_and_not_hear(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, may="topic write #") as broker,
        publishing(broker, on_command=lambda *_: None) as publisher,
    ):
        publisher.event("pump", EVENT)
        wait_delivered(publisher)
        assert publisher.connected


def test_commands_that_are_off_are_not_heard(broker: Mosquitto) -> None:
    obeyed: list[Command] = []
    on_command = lambda _source, command: obeyed.append(command)  # noqa: E731
    with Listener(broker) as listener, publishing(broker, on_command=on_command, commands="off") as publisher:
        listener.wait_for(STATUS, "online")
        listener.say(f"{PUMP}/cmd/shelve", '{"minutes": 30}')
        listener.wait_for(f"{PUMP}/cmd/shelve", '{"minutes": 30}')
        publisher.event("pump", EVENT)
        wait_delivered(publisher)
        assert (obeyed, publisher.figures["commands"]) == ([], "off")
    assert "SUBSCRIBE" not in broker.log()


def test_a_flood_of_commands_delays_no_event(broker: Mosquitto) -> None:
    """1000 commands a factor, and an event after each hundred."""
    obeyed: list[Command] = []
    with (
        Listener(broker) as listener,
        Listener(broker, name="flood") as flood,
        publishing(broker, on_command=lambda _source, command: obeyed.append(command)) as publisher,
    ):
        wait_until_heard(listener, "acknowledge", "{}")
        start = time.monotonic()
        for number in range(10 * SOAK):
            for _ in range(100):
                flood.say(f"{PUMP}/cmd/shelve", '{"minutes": 1}')
            publisher.event("pump", event(number))
        wait_delivered(publisher)
        wait_for_count(listener, 10 * SOAK)
        most = MOST_COMMANDS + (time.monotonic() - start) / COMMAND_SECONDS + 2

        assert ids(listener) == list(range(10 * SOAK))
        assert sum(isinstance(command, Shelve) for command in obeyed) <= most
        wait_until(lambda: publisher.figures["commands_dropped"] > 0, "some were thrown away")


def test_a_packet_that_nobody_should_send_costs_one_link_and_then_none(broker: Mosquitto) -> None:
    """From the second greeting on a broker of version 5 is told how much we take, and keeps it back."""
    with Listener(broker) as listener, publishing(broker, on_command=lambda *_: None) as publisher:
        wait_until_heard(listener, "acknowledge", "{}")
        listener.say(f"{PUMP}/cmd/shelve", b"x" * 2_000_000)
        wait_until(lambda: listener.payloads(STATUS).count("online") == 2, "it has come back")
        for _ in range(3):
            listener.say(f"{PUMP}/cmd/shelve", b"x" * 2_000_000)
        before = len(listener.payloads(RESULT))

        def answered() -> bool:
            listener.say(f"{PUMP}/cmd/acknowledge", "{}")
            time.sleep(0.2)
            return len(listener.payloads(RESULT)) > before

        wait_until(answered, "it hears again")
        publisher.event("pump", EVENT)
        wait_delivered(publisher)
        assert listener.payloads(STATUS).count("online") == 2
        assert publisher.figures["left_out"] == []


# --- The end, and trouble ---


def test_close_with_the_broker_dead(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with publishing(broker) as publisher:
        wait_connected(publisher)
        broker.kill()
        publisher.event("pump", EVENT)
        assert timed_close(publisher) < CLOSE_SECONDS

    assert "1 events were not delivered before the end: they are lost" in caplog.text


def test_close_with_the_broker_frozen_leaves_the_will(broker: Mosquitto) -> None:
    with Listener(broker) as listener:
        with publishing(broker) as publisher:
            listener.wait_for(STATUS, "online")
            broker.freeze()
            for number in range(100):  # more than are handed over at once: our own goodbye stays behind them
                publisher.event("pump", event(number))
            assert timed_close(publisher) < CLOSE_SECONDS
        broker.thaw()
        listener.wait_for(STATUS, "offline")


def test_close_while_a_frozen_broker_is_greeted(tls_broker: Mosquitto) -> None:
    tls_broker.freeze()
    with publishing(tls_broker, tls=TlsSettings(enabled=True, ca_file=tls_broker.ca_file)) as publisher:
        assert timed_close(publisher) < CLOSE_SECONDS


def test_close_at_once_still_delivers(broker: Mosquitto) -> None:
    with Listener(broker) as listener:
        with publishing(broker) as publisher:
            for number in range(50):
                publisher.event("pump", event(number))
            publisher.close(timeout_seconds=PATIENCE_SECONDS)
        assert publisher.queued == 0
        wait_for_count(listener, 50)
        listener.wait_for(STATUS, "offline")


def test_two_with_one_client_id_are_noticed(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with publishing(broker, client_id="same"), publishing(broker, client_id="same"):
        wait_until(lambda: "another client may use the same client_id, same" in caplog.text, "the fight is noticed")


def test_reconnecting_leaks_neither_files_nor_threads(broker: Mosquitto) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with publishing(broker) as publisher:
        wait_connected(publisher)
        before = held()
        for _ in range(5):
            broker.kill()
            wait_until(lambda: not publisher.connected, "the loss is noticed")
            broker.start()
            wait_connected(publisher)
        wait_until(lambda: held() == before, f"as many files and threads as before: {before}, {held()}")
