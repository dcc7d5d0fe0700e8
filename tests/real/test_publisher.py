"""The publisher against a real Mosquitto: killed, frozen, restarted, locked, encrypted. Needs mosquitto and openssl."""

import json
import logging
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest

from edge.config import MqttSettings, TlsSettings
from edge.publisher import Publisher
from tests.real.mosquitto import PATIENCE_SECONDS, Listener, Mosquitto, wait_until
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
def publishing(broker: Mosquitto, *, client_id: str = "publisher", **more: object) -> Iterator[Publisher]:
    """A publisher that is started, and closed at the end of the block unless the test has done so."""
    settings = MqttSettings.model_validate({"host": broker.host, "port": broker.port, "client_id": client_id, **more})
    publisher = Publisher(settings, node="hall", sources=["pump", "fan"], retry_seconds=QUICK_RETRY_SECONDS)
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
from edge.publisher import Publisher

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
        wait_delivered(publisher)

        with Listener(broker) as late:
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


@pytest.mark.parametrize("seed", [1, 2])
def test_200_events_across_5_kills_none_lost_none_invented_in_order(broker: Mosquitto, seed: int) -> None:
    chance = random.Random(seed)
    with Listener(broker) as listener, publishing(broker) as publisher:
        wait_connected(publisher)
        for number in range(200):
            publisher.event("pump", event(number))
            if number % 40 == 20:
                wait_for_count(listener, number - chance.randint(1, 15))
                broker.kill()
            if number % 40 == 30:
                broker.start()
                listener.wait_until_subscribed()
        wait_delivered(publisher)
        wait_for_count(listener, 200)

    assert ids(listener) == list(range(200))
    assert publisher.dropped == 0
    for payload in set(listener.payloads(f"{PUMP}/event")):
        heard = json.loads(payload)
        assert heard == {**EVENT, "id": heard["id"], "delayed": heard["delayed"]}


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
    with Listener(broker) as listener, publishing(broker, max_queued_events=10) as publisher:
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


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, tls=True) as running:
        yield running


def test_tls_with_an_authority_of_our_own(tls_broker: Mosquitto) -> None:
    with publishing(tls_broker, tls=TlsSettings(enabled=True, ca_file=tls_broker.ca_file)) as publisher:
        publisher.event("pump", EVENT)
        wait_delivered(publisher)
        assert timed_close(publisher) < CLOSE_SECONDS


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


# --- The end, and trouble ---


def test_close_with_the_broker_dead(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with publishing(broker) as publisher:
        wait_connected(publisher)
        broker.kill()
        publisher.event("pump", EVENT)
        assert timed_close(publisher) < CLOSE_SECONDS

    assert "1 events were not delivered" in caplog.text


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
