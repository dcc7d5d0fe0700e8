"""The publisher's promises, kept with two brokers that have nothing in common: Mosquitto, and Aedes (node).

Each promise is tried with Mosquitto in version 5, with Mosquitto in 3.1.1, and with Aedes. Needs mosquitto; Aedes is
skipped where node 20 is missing.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.voice import blame, link
from edge.voice.orders import OnCommand
from edge.voice.publisher import Publisher
from tests.real.aedes import Aedes
from tests.real.mosquitto import Listener, Mosquitto, free_port, wait_until
from tests.real.test_publisher import (
    PUMP,
    RESULT,
    STATUS,
    event,
    ids,
    publishing,
    wait_connected,
    wait_delivered,
    wait_until_heard,
)
from tests.test_publisher import EVENT

Broker = Mosquitto | Aedes
KINDS = ["mosquitto 5", "mosquitto 3.1.1", "aedes"]
PICTURE = b"\x89PNG" + b"x" * 14_000


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def running(
    kind: str, folder: Path, *, largest: int | None = None, forbidden: str | None = None
) -> Iterator[Mosquitto | Aedes]:
    """A broker that takes no larger payload than that, and nothing on topics that end so."""
    if kind == "aedes":
        with Aedes(largest=largest, forbidden=forbidden) as aedes:
            yield aedes
        return
    may = None
    if forbidden:
        leaves = ("status", "health", "+/availability", "+/anomaly", "+/state", "+/spectrogram", "+/event")
        may = "\n".join(
            ["topic read #", *(f"topic write +/+/{leaf}" for leaf in leaves if not leaf.endswith(forbidden))]
        )
    more = [f"max_packet_size {largest}"] if largest else []
    with Mosquitto(folder, may=may, more=more) as mosquitto:
        yield mosquitto


@contextmanager
def speaking(
    kind: str, broker: Broker, *, on_command: OnCommand | None = None, state_path: Path | None = None
) -> Iterator[Publisher]:
    """A publisher whose version of MQTT is as it has to be."""
    version = "3.1.1" if kind == "mosquitto 3.1.1" else "auto"
    with publishing(broker, on_command=on_command, state_path=state_path, protocol=version) as publisher:
        wait_connected(publisher)
        assert publisher.figures["protocol"] == ("5" if kind == "mosquitto 5" else "3.1.1")
        yield publisher


def test_an_event_is_heard_once_and_what_is_remembered_is_true(kind: str, tmp_path: Path) -> None:
    with running(kind, tmp_path) as broker, Listener(broker) as listener:
        with speaking(kind, broker) as publisher:
            publisher.event("pump", EVENT)
            publisher.anomaly("pump", True)
            wait_delivered(publisher)
            wait_until(lambda: listener.payloads(f"{PUMP}/event"), "the event is heard")
            listener.wait_for(f"{PUMP}/anomaly", "ON")
            with Listener(broker, name="late") as late:
                late.wait_for(f"{PUMP}/anomaly", "ON")
                late.wait_for(STATUS, "online")
                assert late.payloads(f"{PUMP}/event") == []
            publisher.close()
        listener.wait_for(STATUS, "offline")
        assert [json.loads(each) for each in listener.payloads(f"{PUMP}/event")] == [{**EVENT, "delayed": False}]


def test_events_outlive_the_death_of_the_broker(kind: str, tmp_path: Path) -> None:
    with running(kind, tmp_path) as broker, speaking(kind, broker) as publisher:
        broker.kill()
        wait_until(lambda: not publisher.connected, "the loss is noticed")
        for number in range(50):
            publisher.event("pump", event(number))
        broker.start()
        with Listener(broker) as listener:
            wait_delivered(publisher)
            if kind != "aedes":  # it forgets who listened
                wait_until(lambda: len(ids(listener)) > 0 or not publisher.queued, "they are delivered")
            listener.wait_for(STATUS, "online")
        assert publisher.figures["dead_letters"] == 0
        assert publisher.figures["left_out"] == []


@pytest.mark.parametrize("largest", [12_000, 4_000])
def test_a_picture_that_is_too_large_stands_in_nobodys_way(
    largest: int, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(kind, tmp_path, largest=largest) as broker,
        Listener(broker) as listener,
        speaking(kind, broker) as publisher,
    ):
        publisher.image("pump", PICTURE)
        wait_until(lambda: publisher.figures["left_out"], "it is left out")
        wait_connected(publisher)
        ends = listener.payloads(STATUS).count("offline")
        for number in range(20):
            publisher.event("pump", event(number))
        wait_delivered(publisher)
        wait_until(lambda: len(ids(listener)) == 20, "every event is heard")
        assert listener.payloads(STATUS).count("offline") == ends <= 2
        assert publisher.figures["left_out"][0]["topic"] == f"{PUMP}/spectrogram"
    assert caplog.text.count(f"{PUMP}/spectrogram: a message of 140") == 1


def test_a_poisonous_event_is_set_aside_and_the_others_go(kind: str, tmp_path: Path) -> None:
    with (
        running(kind, tmp_path, largest=4_000) as broker,
        Listener(broker) as listener,
        speaking(kind, broker, state_path=tmp_path / "state") as publisher,
    ):
        for number in range(9):
            publisher.event("pump", {**event(number), **({"text": "x" * 5_000} if number == 3 else {})})
        wait_delivered(publisher)
        wait_until(lambda: len(ids(listener)) == 8, "the others are heard")
        assert publisher.figures["dead_letters"] == 1
        assert sorted(ids(listener)) == [0, 1, 2, 4, 5, 6, 7, 8]


def test_a_topic_that_is_forbidden_is_left_out_and_the_others_are_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(kind, tmp_path, forbidden="state") as broker,
        Listener(broker) as listener,
        speaking(kind, broker) as publisher,
    ):
        publisher.state("pump", {"score": 1})
        wait_until(lambda: publisher.figures["left_out"], "it is left out")
        publisher.event("pump", EVENT)
        publisher.anomaly("pump", True)
        wait_delivered(publisher)
        listener.wait_for(f"{PUMP}/anomaly", "ON")
        assert [each["topic"] for each in publisher.figures["left_out"]] == [f"{PUMP}/state"]
    assert len([each for each in caplog.records if "left out for" in each.getMessage()]) == 1


@pytest.mark.parametrize("which", ["mosquitto 5", "aedes"])
def test_events_that_are_forbidden_are_kept(which: str, tmp_path: Path) -> None:
    """Mosquitto 2.0.11 acknowledges them in 3.1.1: there nobody can tell, and `earshot check` says so."""
    with running(which, tmp_path, forbidden="event") as broker, speaking(which, broker) as publisher:
        for number in range(5):
            publisher.event("pump", event(number))
        wait_until(lambda: publisher.figures["left_out"], "the topic is left out")
        assert (publisher.queued, publisher.figures["dead_letters"]) == (5, 0)
        wait_connected(publisher)


def test_commands_are_heard_and_remembered_ones_are_not_obeyed(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    obeyed: list[object] = []
    with running(kind, tmp_path) as broker, Listener(broker) as listener:
        for number in range(300):
            listener.say(f"{PUMP}/cmd/shelve{number}", '{"minutes": 30}', retain=True)
        listener.wait_for(f"{PUMP}/cmd/shelve299", '{"minutes": 30}')
        with speaking(kind, broker, on_command=lambda _source, command: obeyed.append(command)) as publisher:
            wait_until_heard(listener, "acknowledge", "{}")
            # Aedes says what it remembers beside what is said now, and not before it.
            n_ignored = 0 if kind == "mosquitto 5" else 300
            wait_until(lambda: publisher.figures["commands_ignored"] == n_ignored, "all are heard, and none is obeyed")
            assert all('"ok":true' in each for each in listener.payloads(RESULT))
    assert len(set(map(str, obeyed))) == 1
    assert caplog.text.count("is not obeyed") == (0 if kind == "mosquitto 5" else 1)


@pytest.mark.parametrize("which", ["mosquitto", "aedes"])
def test_over_websockets(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "FIRST_GREETING_SECONDS", 2.0)
    if which == "aedes":
        broker: Broker = Aedes(websockets=True)
        port = broker.websocket_port  # type: ignore[union-attr]
    else:
        port = free_port()
        broker = Mosquitto(tmp_path, more=[f"listener {port} 127.0.0.1", "protocol websockets"])
    with broker, Listener(broker) as listener:
        with publishing(broker, port=port, transport="websockets") as publisher:
            wait_connected(publisher)
            for number in range(50):
                publisher.event("pump", event(number))
            publisher.image("pump", PICTURE)
            wait_delivered(publisher)
            wait_until(lambda: len(ids(listener)) == 50, "they are heard")
            wait_until(lambda: listener.payloads(f"{PUMP}/spectrogram"), "a large one, too")
            publisher.close()
        listener.wait_for(STATUS, "offline")


# --- What was set aside arrives where the broker was mended ---


@pytest.mark.parametrize("which", ["mosquitto 5", "mosquitto 3.1.1"])
def test_an_event_that_was_too_large_arrives_once_where_the_broker_takes_larger_ones(
    which: str, tmp_path: Path
) -> None:
    """In version 5 Mosquitto says what it takes; in 3.1.1 it hangs up, and a new start of ours tries once more."""
    numbers = list(range(9))
    with running(which, tmp_path, largest=4_000) as broker, Listener(broker) as listener:
        assert isinstance(broker, Mosquitto)
        with speaking(which, broker, state_path=tmp_path / "state") as publisher:
            for number in numbers:
                publisher.event("pump", {**event(number), **({"text": "x" * 5_000} if number == 3 else {})})
            wait_delivered(publisher)
            cause = "too_large" if which == "mosquitto 5" else "hung_up"
            assert publisher.figures["dead_letter_causes"] == {cause: 1}
            wait_until(lambda: len(ids(listener)) == 8, "the others are heard")

            broker.stop()
            broker.say_otherwise("max_packet_size 4000", "max_packet_size 20000")
            if which == "mosquitto 3.1.1":
                publisher.close()
            broker.start()
            if which == "mosquitto 5":
                wait_until(lambda: publisher.figures["dead_letters_arrived"] == 1, "it arrives")
        with speaking(which, broker, state_path=tmp_path / "state") as another:
            wait_until(lambda: not another.figures["dead_letters"], "it has arrived")
            assert another.figures["dead_letters_arrived"] == (0 if which == "mosquitto 5" else 1)
        wait_until(lambda: len(ids(listener)) == 9, "every event is heard")
        said = [json.loads(each) for each in listener.payloads(f"{PUMP}/event")]
        said = [each["id"] for each in said if each["kind"] == "opened"]  # and not the `closed` of the second start
        assert said.count("episode-3") == 1
        if which == "mosquitto 5":  # else what was on its way with it is said twice
            assert sorted(said) == [f"episode-{number}" for number in numbers]


def test_events_arrive_when_the_access_list_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the topic that is refused there, with a reason (MQTT 5): none of its events is set aside."""
    monkeypatch.setattr(blame, "REFUSED_SECONDS", 0.5)
    with (
        running("mosquitto 5", tmp_path, forbidden="event") as broker,
        Listener(broker) as listener,
        speaking("mosquitto 5", broker, state_path=tmp_path / "state") as publisher,
    ):
        for number in range(5):
            publisher.event("pump", event(number))
        wait_until(lambda: publisher.figures["left_out"], "the topic is left out")
        assert isinstance(broker, Mosquitto)
        (tmp_path / "acl").write_text("topic readwrite #\n")
        broker.reload()
        wait_delivered(publisher)
        wait_until(lambda: len(ids(listener)) == 5, "every event is heard")
        assert (ids(listener), publisher.figures["dead_letters"]) == (list(range(5)), 0)
