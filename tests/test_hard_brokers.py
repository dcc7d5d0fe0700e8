"""Brokers that hang up, refuse, keep silent and send poison: what they may cost, and what they may not.

The brokers are fakes (tests/fakebroker.py): sockets and bytes, for what no real broker does on demand. What one
connection goes through has seconds in it, so the waits are shortened; nothing else of ours is replaced.
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.config.settings import MqttSettings
from edge.voice import blame, flight, link, second_try
from edge.voice.message import Message
from edge.voice.orders import OnCommand
from edge.voice.outbox import Outbox
from edge.voice.publisher import Publisher
from edge.voice.waiting import Cause
from tests import fakebroker
from tests.fakebroker import PUBLISH, SUBSCRIBE, FakeBroker, HangUp, Packet
from tests.real.mosquitto import wait_until
from tests.test_publisher import EVENT, HEALTH

PICTURE = b"\x89PNG" + b"x" * 14_000


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight, "SETTLE_SECONDS", 0.2)


@contextmanager
def publishing(
    broker: FakeBroker, *, state_path: Path | None = None, on_command: OnCommand | None = None, **more: object
) -> Iterator[Publisher]:
    commands = "on" if on_command else "off"
    settings = MqttSettings.model_validate(
        {"host": broker.host, "port": broker.port, "commands": commands, "discovery": "off", **more}
    )
    publisher = Publisher(
        settings,
        node="hall",
        sources=["pump"],
        state_path=state_path,
        on_command=on_command,
        retry_seconds=(0.02, 0.05),
    )
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.close(timeout_seconds=0.5)


def event(number: int, **more: object) -> dict[str, Any]:
    return {**EVENT, "id": f"e{number}", **more}


def heard(broker: FakeBroker) -> list[str]:
    """Return the events that were said, each once, in the order of their first saying."""
    return list(dict.fromkeys(json.loads(text)["id"] for text in broker.said("/event")))


def hangs_up(if_: Callable[[Packet], bool]) -> Callable[[Packet], None]:
    def answers(packet: Packet) -> None:
        if if_(packet):
            raise HangUp

    return answers


# --- A1: a message that is not worth an event ---


def test_events_are_said_before_everything_else() -> None:
    with FakeBroker() as broker:
        settings = MqttSettings(host=broker.host, port=broker.port, protocol="3.1.1")
        publisher = Publisher(settings, node="hall", sources=["pump"])
        publisher.image("pump", PICTURE)
        publisher.state("pump", {"score": 1})
        publisher.event("pump", event(1))
        publisher.start()
        wait_until(lambda: broker.said("spectrogram"), "all is said")
        publisher.close()

    topics = [packet.topic.rsplit("/", 1)[1] for packet in broker.packets if packet.kind == PUBLISH]
    assert topics == ["event", "status", "availability", "anomaly", "config", "state", "spectrogram", "status"]


@pytest.mark.parametrize("most_bytes", [12_000, 300])
def test_what_is_too_large_for_a_broker_is_left_out_and_all_else_goes(
    most_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        FakeBroker(hangs_up(lambda p: p.n_bytes > most_bytes and not p.topic.endswith("event"))) as broker,
        publishing(broker, protocol="3.1.1") as publisher,
    ):
        publisher.image("pump", PICTURE)
        publisher.state("pump", {"score": 1, "text": "x" * 500})
        wait_until(lambda: publisher.figures["left_out"], "it is left out")
        n_large = 1 if most_bytes == 12_000 else 2
        wait_until(lambda: len(publisher.figures["left_out"]) == n_large, "all that is too large is left out")
        links = broker.n_links
        publisher.event("pump", event(1))
        publisher.image("pump", PICTURE + b"more")
        wait_until(lambda: heard(broker) == ["e1"] and not publisher.queued, "the event goes")

        assert links <= 2 * n_large + 1
        assert broker.n_links == links
        (picture,) = [each for each in publisher.figures["left_out"] if each["topic"].endswith("spectrogram")]
        assert picture["bytes"] > 14_000
        assert "hung up" in picture["reason"]
    assert caplog.text.count("spectrogram: a message of 140") == 1
    assert "client_id" not in caplog.text


@pytest.mark.parametrize("known", ["by the broker", "by us"])
def test_what_a_broker_is_known_not_to_take_is_never_said(known: str) -> None:
    limit = 0x27.to_bytes(1, "big") + (12_000).to_bytes(4, "big")
    with FakeBroker(version=5, properties=limit if known == "by the broker" else b"") as broker:
        mine = None if known == "by the broker" else 12_000
        with publishing(broker, max_packet_bytes=mine) as publisher:
            publisher.image("pump", PICTURE)
            publisher.event("pump", event(1))
            publisher.event("pump", event(2, text="x" * 13_000))
            publisher.event("pump", event(3))
            wait_until(lambda: publisher.figures["left_out"] and not publisher.queued, "all is decided")

            assert publisher.figures["protocol"] == "5"
            (left_out,) = publisher.figures["left_out"]
            assert left_out["topic"] == "earshot/hall/pump/spectrogram"
            assert left_out["reason"].endswith("and the broker takes 12000")
            assert publisher.figures["dead_letters"] == 1
            assert (broker.n_links, heard(broker)) == (1, ["e1", "e3"])
            publisher.image("pump", PICTURE[:9000])


def test_a_broker_that_acknowledges_and_then_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    """As Mosquitto 2.0.11 does in 3.1.1 where its access list forbids."""
    hated: list[int] = []

    def answers(packet: Packet) -> bytes | None:
        if packet.link in hated:
            raise HangUp
        if packet.topic.endswith("/state"):
            hated.append(packet.link)
            threading.Timer(0.02, connections_end).start()
        return None

    def connections_end() -> None:
        broker.hang_up()

    with FakeBroker(answers) as broker, publishing(broker, protocol="3.1.1") as publisher:
        publisher.state("pump", {"score": 1})
        wait_until(lambda: publisher.figures["left_out"], "it is left out")
        assert broker.n_links <= 3
        publisher.event("pump", event(1))
        wait_until(lambda: not publisher.queued, "the event goes")
        assert publisher.figures["left_out"][0]["topic"].endswith("/state")


def test_what_was_left_out_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "LEFT_OUT_SECONDS", 0.3)
    until = time.monotonic() + 60
    hates = {"is": True}
    with (
        FakeBroker(hangs_up(lambda p: hates["is"] and p.topic.endswith("spectrogram"))) as broker,
        publishing(broker, protocol="3.1.1") as publisher,
    ):
        publisher.image("pump", PICTURE)
        wait_until(lambda: publisher.figures["left_out"], "it is left out")
        hates["is"] = False
        wait_until(lambda: not publisher.figures["left_out"], "it is let in again")
        links = broker.n_links
        wait_until(lambda: broker.said("spectrogram")[-1] == PICTURE, "it is said")
        assert broker.n_links == links
    assert time.monotonic() < until


@pytest.mark.parametrize("answer", [b"HTTP/1.1 101\r\nSec-WebSocket-Accept:x\r\n\r\n", b"HTTP/1.1 403 No\r\n\r\n", b""])
def test_a_proxy_that_knows_no_websockets_is_a_state(answer: bytes) -> None:
    with socket.create_server((fakebroker.HOST, 0)) as server:
        settings = MqttSettings(host=fakebroker.HOST, port=server.getsockname()[1], transport="websockets")
        publisher = Publisher(settings, node="hall", sources=["pump"], retry_seconds=(0.02, 0.05))
        publisher.start()
        for _ in range(3):  # it is tried again
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)
        assert publisher.reason not in (None, "connecting")
        publisher.close(0.5)


# --- A2: dead letters ---


def test_an_event_at_which_the_broker_hangs_up_is_set_aside_and_the_others_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        FakeBroker(hangs_up(lambda p: b"poison" in p.text)) as broker,
        publishing(broker, protocol="3.1.1", state_path=tmp_path) as publisher,
    ):
        for number in range(10):
            publisher.event("pump", event(number, **({"text": "poison"} if number == 4 else {})))
        wait_until(lambda: not publisher.queued, "the others go")
        assert publisher.figures["dead_letters"] == 1
        assert [name for name in heard(broker) if name != "e4"] == [f"e{n}" for n in range(10) if n != 4]
        assert broker.n_links == 3
        publisher.event("pump", event(10))
        wait_until(lambda: not publisher.queued, "what comes later goes, too")
        assert broker.n_links == 3
    assert caplog.text.count("is set aside") == 1

    box = Outbox(MqttSettings().outbox, tmp_path)
    box.open()
    assert (len(box), len(box.dead)) == (0, 1)
    box.put("earshot/hall/pump/event", event(11))
    assert (found := box.after(0)) is not None
    assert found.number > 5  # the number of what is set aside is not given again
    box.close()


def test_a_broker_that_takes_no_event_at_all_makes_no_dead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An access list that hangs up, as AWS's: then it is the topic, and not the events, of which none is lost."""
    with (
        FakeBroker(hangs_up(lambda p: p.topic.endswith("/event"))) as broker,
        publishing(broker, protocol="3.1.1", state_path=tmp_path) as publisher,
    ):
        for number in range(20):
            publisher.event("pump", event(number))
        wait_until(lambda: publisher.figures["left_out"], "the topic is left out")
        wait_until(lambda: broker.said("status"), "all else goes")
        links = broker.n_links
        publisher.event("pump", event(20))
        publisher.state("pump", {"score": 1})
        wait_until(lambda: broker.said("state"), "it goes on")

        assert publisher.figures["left_out"][0]["topic"] == "earshot/hall/pump/event"
        assert (publisher.queued, publisher.figures["dead_letters"]) == (21, 0)
        assert broker.n_links == links <= 2 * blame.ROW + 1


def test_a_broker_that_dies_itself_speaks_against_no_message() -> None:
    """It is away after each end; only after many of them, always with the same event on its way, it is the event's."""
    box = Outbox(MqttSettings().outbox, None)
    changed = threading.Condition()
    suspects = blame.Blame(box, second_try.SecondTry(box, changed), changed)
    box.put("t", event(1))
    message = Message("t", "{}", retain=False, number=1)
    with changed:
        for _ in range(5):
            suspects.charge([message], "hung up")
            suspects.weigh(was_there=False)
        assert (len(box), len(box.dead), suspects.careful) == (1, 0, True)
        suspects.acknowledged(message)
        assert not suspects.careful
        for _ in range(6):
            suspects.charge([message], "hung up")
            suspects.weigh(was_there=False)
        assert (len(box), len(box.dead)) == (0, 1)


def test_one_end_counts_once_however_often_a_topic_was_on_its_way() -> None:
    """A line that stalls holds three states of a source, and one outage is no reason to say none for an hour."""
    unanswered = list[Packet]()

    def answers(packet: Packet) -> bytes | None:
        if packet.link > 1 or not packet.topic.endswith("/state"):
            return None
        unanswered.append(packet)
        return b""

    with FakeBroker(answers, version=5) as broker, publishing(broker) as publisher:
        for score in range(3):
            publisher.state("pump", {"score": score})
            wait_until(lambda: len(unanswered) > score, "the state is on its way")  # noqa: B023  called at once
        broker.hang_up()
        wait_until(lambda: broker.n_links > 1 and len(broker.said("/state")) > 3, "it is said again")
        assert publisher.figures["left_out"] == []


# --- What was set aside is said once more ---


def late(broker: FakeBroker) -> list[str]:
    """Return the events that were said as `delayed`, each time that they were."""
    return [found["id"] for text in broker.said("/event") if (found := json.loads(text))["delayed"]]


@pytest.mark.parametrize("version", [4, 5])
def test_what_was_set_aside_is_said_once_more_last_of_all_and_arrives_once(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(second_try, "FIRST_PAUSE_SECONDS", 0.5)
    caplog.set_level(logging.INFO)
    mended = threading.Event()
    with (
        FakeBroker(hangs_up(lambda p: b"poison" in p.text and not mended.is_set()), version=version) as broker,
        publishing(broker, state_path=tmp_path) as publisher,
    ):
        for number in range(10):
            publisher.event("pump", event(number, **({"text": "poison"} if number == 4 else {})))
        wait_until(lambda: publisher.figures["dead_letters"] == 1 and not publisher.queued, "one is set aside")
        assert publisher.figures["dead_letter_causes"] == {"hung_up": 1}
        wait_until(lambda: "tried once more for the 2. time" in caplog.text, "it costs the link again, twice")
        assert publisher.figures["dead_letter_causes"] == {"hung_up": 1}
        n_said = len(broker.said("/event"))
        publisher.event("pump", event(10))
        wait_until(lambda: len(broker.said("/event")) > n_said and not publisher.queued, "what is new does not wait")
        mended.set()
        wait_until(lambda: publisher.figures["dead_letters_arrived"] == 1, "it arrives after all")
        assert (publisher.figures["dead_letters"], publisher.figures["dead_letter_causes"]) == (0, {})
        assert broker.n_links == 5 + (version == 4)  # one that asks for 5, twice until it was set aside, and once a try
        assert late(broker)[-1] == "e4"
        said_after = broker.packets[[p.text.count(b"poison") for p in broker.packets].index(1) :]
        assert sum(b"poison" in p.text for p in said_after) == 2 + 2 + 1

    box = Outbox(MqttSettings().outbox, tmp_path)
    box.open()
    assert (len(box), box.dead) == (0, ())
    box.close()


def test_a_hundred_that_are_hopeless_cost_one_link_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each start of ours is one, and nobody who comes later waits or is suspected."""
    box = Outbox(MqttSettings().outbox, tmp_path)
    box.open()
    for number in range(50):
        box.put("earshot/hall/pump/event", event(number, text="poison", kind="closed"))
        box.set_aside_event(number + 1, Cause.HUNG_UP, "it was hung up at")
    box.put("earshot/hall/pump/event", event(60, kind="closed"))
    box.put("earshot/hall/pump/event", event(61, text="no poi-son", kind="closed"))
    box.set_aside_event(52, Cause.UNANSWERED, "it was not answered")
    box.close()
    monkeypatch.setattr(second_try, "FIRST_PAUSE_SECONDS", 1.0)
    with (
        FakeBroker(hangs_up(lambda p: b"poison" in p.text)) as broker,
        publishing(broker, protocol="3.1.1", state_path=tmp_path) as publisher,
    ):
        wait_until(lambda: broker.n_links == 2 and publisher.connected, "one of them has cost the link")
        began = time.monotonic()
        for number in range(70, 90):
            publisher.event("pump", event(number))
        wait_until(lambda: not publisher.queued, "what is new goes")
        assert time.monotonic() - began < 0.9
        assert heard(broker)[:2] == ["e60", "e0"]
        assert broker.n_links == 2
        wait_until(lambda: broker.n_links == 3, "another one has, after a pause")
        assert 0.9 < time.monotonic() - began < 3
        time.sleep(1.2)  # the pause has doubled
        assert broker.n_links == 3
        assert sum(each.n_tries for each in publisher._outbox.dead) == 2
        assert (publisher.figures["dead_letters"], publisher.figures["left_out"]) == (51, [])


def test_what_a_broker_takes_now_by_its_own_word_is_said_at_once(tmp_path: Path) -> None:
    large = {"text": "x" * 13_000}
    with (
        FakeBroker(version=5, properties=b"\x27" + (12_000).to_bytes(4, "big")) as broker,
        publishing(broker, state_path=tmp_path) as publisher,
    ):
        for number in range(8):
            publisher.event("pump", event(number, **(large if number in (0, 1, 2, 5) else {})))
        wait_until(lambda: not publisher.queued, "it is decided")
        assert publisher.figures["left_out"] == []
        assert publisher.figures["dead_letter_causes"] == {"too_large": 4}
        broker.hang_up()
        wait_until(lambda: broker.n_links == 2 and publisher.connected, "it comes back, and has changed nothing")
        publisher.event("pump", event(9))
        wait_until(lambda: "e9" in heard(broker), "an event goes")
        assert publisher.figures["dead_letters"] == 4
        broker.properties = b"\x27" + (20_000).to_bytes(4, "big")
        broker.hang_up()
        wait_until(lambda: publisher.figures["dead_letters_arrived"] == 4, "they arrive")
        assert late(broker)[-4:] == ["e0", "e1", "e2", "e5"]
        assert (publisher.figures["dead_letters"], broker.n_links) == (0, 3)


def test_a_refusal_with_a_reason_costs_no_link_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_try, "FIRST_PAUSE_SECONDS", 0.4)
    refusals: list[float] = []

    def answers(packet: Packet) -> bytes | None:
        if b"poison" not in packet.text or len(refusals) == 3:
            return None
        refusals.append(time.monotonic())
        return bytes([fakebroker.PUBACK << 4, 3]) + packet.mid + b"\x99"  # payload format invalid

    with FakeBroker(answers, version=5) as broker, publishing(broker) as publisher:
        publisher.event("pump", event(1, text="poison"))
        publisher.event("pump", event(2))
        wait_until(lambda: publisher.figures["dead_letter_causes"] == {"refused": 1}, "it is set aside")
        wait_until(lambda: publisher.figures["dead_letters_arrived"] == 1, "it arrives")
        assert (broker.n_links, publisher.figures["dead_letters"], publisher.figures["left_out"]) == (1, 0, [])
        first, second, third = refusals
        assert 0.4 <= second - first < 0.8 <= third - second


def test_one_that_is_too_old_is_kept_and_not_said(tmp_path: Path) -> None:
    now = [0.0]
    box = Outbox(MqttSettings().outbox, tmp_path, clock=lambda: now[0])
    changed = threading.Condition()
    tries = second_try.SecondTry(box, changed, clock=lambda: now[0])
    box.put("t", event(1))
    with changed:
        tries.set_aside(1, Cause.HUNG_UP, "why")
        assert tries.next(lambda _topic: True, None) is None
        assert tries.due_seconds(lambda _topic: True, None) == second_try.FIRST_PAUSE_SECONDS
        now[0] += second_try.FIRST_PAUSE_SECONDS
        assert tries.next(lambda _topic: False, None) is None
        assert tries.next(lambda _topic: True, None) is not None
        assert tries.next(lambda _topic: True, None) is None
        assert tries.cost(Cause.HUNG_UP, "again")
        assert tries.due_seconds(lambda _topic: True, None) == 2 * second_try.FIRST_PAUSE_SECONDS
        for _ in range(20):
            now[0] += second_try.LONGEST_PAUSE_SECONDS
            assert tries.next(lambda _topic: True, None) is not None
            assert tries.cost(Cause.HUNG_UP, "again")
        now[0] += 30 * 86_400
        assert tries.next(lambda _topic: True, None) is None
        assert tries.due_seconds(lambda _topic: True, None) is None
    assert (len(box.dead), box.dead[0].n_tries) == (1, 21)
    box.close()


# --- Ends that have nothing to do with what is said ---


def connack(code: int, properties: bytes) -> bytes:
    body = bytes([0, code, len(properties)]) + properties
    return bytes([fakebroker.CONNACK << 4, len(body)]) + body


def test_a_subscription_is_heard_again_where_links_end_without_it(caplog: pytest.LogCaptureFixture) -> None:
    """As where two clients have one id: each end comes soon after the subscription, and proves nothing."""
    caplog.set_level(logging.INFO)
    with FakeBroker() as broker, publishing(broker, protocol="3.1.1", on_command=lambda *_: None) as publisher:
        for n_links in range(1, 3):
            wait_until(lambda n=n_links: sum(p.kind == SUBSCRIBE for p in broker.packets) >= n, "it subscribes")  # type: ignore[misc]
            time.sleep(0.05)
            broker.hang_up()
        wait_until(lambda: publisher.figures["left_out"], "the subscription is given up")
        for n_links in range(3, 5):
            wait_until(lambda n=n_links: broker.n_links == n and publisher.connected, "it is there again")  # type: ignore[misc]
            time.sleep(0.5)
            broker.hang_up()
        wait_until(lambda: sum(p.kind == SUBSCRIBE for p in broker.packets) >= 3, "it is tried again")
        time.sleep(0.5)
        assert publisher.figures["left_out"] == []
    assert "cmd/+: connections end without it too: it is tried again" in caplog.text


def test_ends_that_the_broker_explains_speak_for_nobody_who_is_left_out() -> None:
    """It is busy, or moves: that links end without the subscription, too, is no proof of its innocence."""
    bye = bytes([fakebroker.DISCONNECT << 4, 2, 0x97, 0])
    n_wishes = 0

    def answers(packet: Packet) -> bytes | None:
        nonlocal n_wishes
        if packet.kind == SUBSCRIBE:
            n_wishes += 1
            raise HangUp
        return bye if n_wishes == 2 and packet.topic.endswith("health") else None

    with FakeBroker(answers, version=5) as broker, publishing(broker, on_command=lambda *_: None) as publisher:
        publisher.health(HEALTH)
        wait_until(lambda: publisher.figures["left_out"], "the subscription is given up")
        n_links = broker.n_links
        wait_until(lambda: broker.n_links >= n_links + 5, "it comes back")
        assert [each["topic"] for each in publisher.figures["left_out"]] == ["earshot/hall/+/cmd/+"]
        assert n_wishes == 2


@pytest.mark.parametrize(
    ("code", "words", "fight"),
    [
        (0x9D, "connection lost: Server moved (gone \\x1b) (it names other:1883)", False),
        (0x97, "connection lost: Quota exceeded (gone \\x1b) (it names other:1883)", False),
        (0x8E, "connection lost: Session taken over (gone \\x1b) (it names other:1883)", True),
    ],
)
def test_a_broker_that_says_why_it_ends_a_link_is_quoted_and_not_guessed_about(
    code: int, words: str, fight: bool, caplog: pytest.LogCaptureFixture
) -> None:
    why = b"\x1f\0\x06gone \x1b" + b"\x1c\0\x0aother:1883"
    bye = bytes([fakebroker.DISCONNECT << 4, len(why) + 2, code, len(why)]) + why
    with (
        FakeBroker(lambda p: bye if p.topic.endswith("status") else None, version=5) as broker,
        publishing(broker) as publisher,
    ):
        wait_until(lambda: broker.n_links >= 5, "it comes back")
        assert publisher.figures["left_out"] == []
    assert words in caplog.text
    assert ("another client may use the same client_id" in caplog.text) == fight


def test_a_broker_that_says_why_it_refuses_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    answer = connack(0x9C, b"\x1c\0\x0aother:1883")
    with (
        FakeBroker(lambda p: answer if p.kind == fakebroker.CONNECT else None, version=5) as broker,
        publishing(broker) as publisher,
    ):
        wait_until(lambda: broker.n_links >= 3, "it tries again")
        assert publisher.reason == "refused by the broker: Use another server (it names other:1883)"


# --- A3: answers that never come ---


def test_acknowledgements_that_never_come_cost_a_link_and_no_event(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flight, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(flight, "SLOWEST_BYTES_PER_SECOND", 1e6)
    with (
        FakeBroker(lambda p: b"" if p.kind == PUBLISH and p.link == 1 else None) as broker,
        publishing(broker, protocol="3.1.1") as publisher,
    ):
        for number in range(30):
            publisher.event("pump", event(number))
        wait_until(lambda: not publisher.queued, "they go over the next link")
        assert publisher.figures["links_renewed"] == 1
        assert publisher.figures["dead_letters"] == 0
        assert heard(broker) == [f"e{number}" for number in range(30)]
    assert "no acknowledgement of earshot/hall/pump/event in time: the connection is made anew" in caplog.text


def test_one_event_that_is_never_acknowledged_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight, "ANSWER_SECONDS", 0.3)
    with (
        FakeBroker(lambda p: b"" if b"poison" in p.text else None) as broker,
        publishing(broker, protocol="3.1.1") as publisher,
    ):
        for number in range(3):
            publisher.event("pump", event(number, **({"text": "poison"} if number == 0 else {})))
        wait_until(lambda: not publisher.queued, "the others go")
        wait_until(lambda: publisher.figures["dead_letters"] == 1, "it is set aside")
        assert publisher.figures["links_renewed"] == 2


def test_a_greeting_that_is_never_answered_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "GREETING_SECONDS", 0.3)
    with (
        FakeBroker(lambda p: b"" if p.link == 1 else None) as broker,
        publishing(broker, protocol="3.1.1", keepalive_seconds=3600) as publisher,
    ):
        wait_until(lambda: publisher.reason == "no answer to our greeting in time", "it is given up")
        wait_until(lambda: publisher.connected, "the next one is answered")


# --- A4: poison from the broker ---


def poison(kind: str) -> Callable[[Packet], bytes | None]:
    def answers(packet: Packet) -> bytes | None:
        if packet.kind != SUBSCRIBE:
            return None
        match kind:
            case "hangs up":
                raise HangUp
            case "large":
                return fakebroker.suback(packet, 1) + fakebroker.publish("earshot/hall/pump/cmd/x", b"x" * 1_500_000)
            case "large, before the answer":
                return fakebroker.publish("earshot/hall/pump/cmd/x", b"x" * 1_500_000) + fakebroker.suback(packet, 1)
            case _:
                return fakebroker.suback(packet, 1) + b"\x30\xff\xff\xff\xff\xff"

    return answers


@pytest.mark.parametrize("kind", ["hangs up", "large", "large, before the answer", "malformed"])
def test_a_subscription_that_costs_the_link_twice_is_given_up(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        FakeBroker(poison(kind)) as broker,
        publishing(broker, protocol="3.1.1", on_command=lambda *_: None) as publisher,
    ):
        publisher.event("pump", event(1))
        wait_until(lambda: publisher.figures["left_out"], "the subscription is given up")
        wait_until(lambda: publisher.connected, "it is connected")
        publisher.event("pump", event(2))
        publisher.state("pump", {"score": 1})
        wait_until(lambda: not publisher.queued and broker.said("state"), "all else goes")
        time.sleep(0.3)

        assert broker.n_links == 3
        assert publisher.figures["left_out"][0]["topic"] == "earshot/hall/+/cmd/+"
    assert caplog.text.count("it cannot be heard") == 1


def test_who_hangs_up_at_home_assistant_gets_all_else_and_each_is_named() -> None:
    with (
        FakeBroker(hangs_up(lambda packet: packet.topic.startswith("homeassistant/"))) as broker,
        publishing(broker, protocol="3.1.1", discovery="on", on_command=lambda *_: None) as publisher,
    ):
        publisher.event("pump", event(1))
        wait_until(lambda: len(publisher.figures["left_out"]) == 2, "both are left out")
        topics = [each["topic"] for each in publisher.figures["left_out"]]
        assert topics == ["homeassistant/device/earshot_hall/config", "homeassistant/status"]
        links = broker.n_links
        publisher.event("pump", event(2))
        publisher.state("pump", {"score": 1})
        wait_until(lambda: heard(broker) == ["e1", "e2"] and broker.said("state"), "all else goes")
        wait_until(
            lambda: any(packet.topic == "earshot/hall/+/cmd/+" for packet in broker.packets), "commands are heard"
        )
        time.sleep(0.3)
        assert broker.n_links == links


def test_a_flood_of_retained_messages_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    flood = b"".join(fakebroker.publish(f"earshot/hall/pump/cmd/x{n}", b"{}", retain=True) for n in range(20_000))
    flood += fakebroker.publish("earshot/hall/pump/cmd/acknowledge", b"{}")
    obeyed: list[object] = []

    def answers(packet: Packet) -> bytes | None:
        return fakebroker.suback(packet, 1) + flood if packet.kind == SUBSCRIBE else None

    with (
        FakeBroker(answers) as broker,
        publishing(broker, protocol="3.1.1", on_command=lambda _source, command: obeyed.append(command)) as publisher,
    ):
        wait_until(lambda: obeyed, "the one that is a command is obeyed")
        assert publisher.figures["commands_ignored"] == 20_000
        assert broker.n_links == 1
    assert caplog.text.count("a retained one is not obeyed") == 1


# --- A5, A6: versions ---


@pytest.mark.parametrize("silent", [False, True])
def test_a_broker_of_old_is_spoken_to_in_its_own_words(silent: bool) -> None:
    kicked: list[int] = []

    def answers(packet: Packet) -> None:
        if packet.text == b"online" and len(kicked) < 4:
            kicked.append(packet.link)
            raise HangUp

    with FakeBroker(answers, silent=silent) as broker, publishing(broker) as publisher:
        publisher.event("pump", event(1))
        wait_until(lambda: not publisher.queued and publisher.connected, "it is spoken to")
        wait_until(lambda: broker.said("anomaly"), "all goes")
        assert publisher.figures["protocol"] == "3.1.1"
        fives = [packet.link for packet in broker.packets if packet.kind == 1 and packet.body[6] == 5]
        assert fives == ([1, 3] if silent else [1])  # a silence may be chance, and is asked about once more


def test_a_refusal_of_version_5_names_the_topic_and_keeps_the_event() -> None:
    """3.1.1 would have said that all is well."""

    def answers(packet: Packet) -> bytes | None:
        if packet.topic.endswith("/event"):
            return bytes([fakebroker.PUBACK << 4, 3]) + packet.mid + b"\x87"
        return None

    with FakeBroker(answers, version=5) as broker, publishing(broker) as publisher:
        publisher.event("pump", event(1))
        wait_until(lambda: publisher.figures["left_out"], "the refusal is heard")
        (left_out,) = publisher.figures["left_out"]
        assert (left_out["topic"], left_out["reason"]) == (
            "earshot/hall/pump/event",
            "refused by the broker: Not authorized",
        )
        assert (publisher.queued, broker.n_links) == (1, 1)


def test_a_broker_without_retain_or_acknowledgements_says_so_and_is_let_have_its_way() -> None:
    def answers(packet: Packet) -> bytes | None:
        if packet.kind != fakebroker.CONNECT:
            return None
        will_retain, will_qos = packet.body[7] & 0x20, packet.body[7] & 0x18
        code = 0x9A if will_retain else 0x9B if will_qos else 0
        return bytes([fakebroker.CONNACK << 4, 3, 0, code, 0]) if code else None

    limits = b"\x25\x00" + b"\x24\x00"  # retain available: no, maximum QoS: 0
    with FakeBroker(answers, version=5, properties=limits) as broker, publishing(broker) as publisher:
        publisher.event("pump", event(1))
        wait_until(lambda: broker.said("anomaly") and not publisher.queued, "all goes")
        assert broker.n_links == 3
        assert {packet.flags for packet in broker.packets if packet.kind == PUBLISH} == {0}
        for number in range(3):  # who comes later hears of us with each health message
            publisher.health({"number": number})
            wait_until(lambda number=number: len(broker.said("health")) == number + 1, "it is said")  # type: ignore[misc]
        assert broker.said("status") == [b"online"] * 4
        assert broker.said("anomaly") == [b"OFF"] * 4


def test_the_broker_says_how_many_may_be_on_their_way() -> None:
    waiting: list[Packet] = []

    def answers(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH:
            waiting.append(packet)
            return b"" if len(waiting) <= 3 else None
        return None

    receive_maximum = b"\x21\x00\x03"
    with FakeBroker(answers, version=5, properties=receive_maximum) as broker, publishing(broker) as publisher:
        for number in range(10):
            publisher.event("pump", event(number))
        wait_until(lambda: len(waiting) == 3, "three are on their way")
        time.sleep(0.2)
        assert (len(waiting), broker.n_links) == (3, 1)
