"""What Home Assistant is told: stable ids, topics that are really said, and what is taken back. Its own code judges the
same payloads in tests/real/test_home_assistant.py."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge.config import MqttSettings
from edge.memory import Notes
from edge.voice import herald
from edge.voice.discovery import PLATFORMS, Discovery
from edge.voice.herald import Herald
from edge.voice.publisher import Publisher
from edge.voice.retained import Retained, Worth
from edge.voice.topics import Topics
from tests.fakebroker import PUBLISH, SUBSCRIBE, FakeBroker, Packet, publish
from tests.real.mosquitto import wait_until
from tests.test_publisher import EVENT

TOPIC = "homeassistant/device/earshot_hall/config"


def settings(**more: object) -> MqttSettings:
    return MqttSettings.model_validate({"host": "broker.invalid", **more})


def discovery(*sources: str, pictures: object = True, **more: object) -> Discovery:
    mqtt = settings(**more)
    return Discovery(mqtt, Topics(mqtt.topic_prefix, "hall", sources or ["pump"]), "hall", pictures=bool(pictures))


def entities(payload: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those that are there, by their ids."""
    return {name: each for name, each in payload["components"].items() if each.keys() != {"platform"}}


# --- The announcement ---


def test_ids_are_made_of_prefix_node_and_source_and_each_once() -> None:
    found = discovery("pump", "pump_2", commands="on", topic_prefix="site/a").payload()
    assert found["device"]["identifiers"] == ["site_a_hall"]
    ids = [each["unique_id"] for each in entities(found).values()]
    assert len(set(ids)) == len(ids)
    assert "site_a_hall.pump.score" in ids
    assert "site_a_hall.pump_2.score" in ids
    assert "site_a_hall.uptime" in ids


def test_every_topic_is_one_that_is_said_or_heard() -> None:
    topics = Topics("earshot", "hall", ["pump"])
    said = {topics.of("pump", leaf) for leaf in ("anomaly", "availability", "state", "event", "spectrogram")}
    said |= {topics.status, topics.health}
    heard = {topics.of("pump", f"cmd/{name}") for name in ("acknowledge", "shelve", "threshold")}
    payload = discovery(commands="on").payload()
    for name, entity in entities(payload).items():
        for key, value in entity.items():
            if key.endswith("_topic"):
                assert value in (heard if key == "command_topic" else said), (name, key)
        assert {each["topic"] for each in entity.get("availability", [])} <= said
    assert payload["availability"] == [{"topic": "earshot/hall/status"}]


def test_commands_are_offered_only_where_they_are_obeyed() -> None:
    ordered = {"pump.acknowledge", "pump.shelve", "pump.unshelve", "pump.threshold", "pump.own_threshold"}
    off, on = discovery().payload(), discovery(commands="on", largest_shelve_minutes=15).payload()
    assert not ordered & entities(off).keys()
    assert ordered <= entities(on).keys()
    assert entities(on)["pump.shelve"]["payload_press"] == '{"minutes": 15}'
    # What is not there is told of by its platform alone: that removes what an earlier start had offered.
    assert {name: off["components"][name] for name in ordered} == {
        name: {"platform": PLATFORMS[name.split(".")[1]]} for name in ordered
    }


def test_no_picture_is_promised_where_none_is_made() -> None:
    assert "pump.picture" not in entities(discovery(pictures=False).payload())
    assert "pump.picture" in entities(discovery().payload())


def test_what_is_not_said_for_long_is_not_known() -> None:
    found = entities(discovery(state_seconds=10, health_seconds=60).payload())
    assert {found[f"pump.{leaf}"]["expire_after"] for leaf in ("score", "level", "evidence")} == {60}
    assert found["uptime"]["expire_after"] == 210


@pytest.mark.parametrize(
    ("value", "prefix"), [("on", "homeassistant"), ("off", None), ("home/assistant", "home/assistant")]
)
def test_the_prefix_is_a_choice(value: str, prefix: str | None) -> None:
    assert settings(discovery=value).discovery_prefix == prefix


def test_a_source_takes_what_config_yaml_says() -> None:
    for commands, n_bytes in (("off", 3_500), ("on", 5_500)):
        sizes = [len(json.dumps(discovery(*names, commands=commands).payload())) for names in (["a"], ["a", "b"])]
        assert sizes[1] - sizes[0] < n_bytes


# --- What was announced before ---


def said_of(sources: list[str], notes: Notes, **more: object) -> dict[str, Any]:
    """What a new start says, by its topics, when it finds these notes."""
    mqtt = settings(**more)
    retained = Retained(threading.Condition())
    announced = discovery(*sources, **more) if mqtt.discovery_prefix else None
    Herald(announced, frozenset(sources), retained, notes).open()
    notes.close(5)
    said = {}
    while (message := retained.next(lambda _: True, most=Worth.PICTURE)) is not None:
        assert message.retain
        said[message.topic] = json.loads(message.text) if message.text else ""
    return said


def test_a_source_that_is_gone_is_taken_back_and_comes_again(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    said_of(["pump", "fan"], notes)
    payload = said_of(["pump"], notes)[TOPIC]
    assert {payload["components"][f"fan.{leaf}"]["platform"] for leaf in PLATFORMS} == set(PLATFORMS.values())
    assert not [name for name in entities(payload) if name.startswith("fan.")]
    assert "fan.score" in said_of(["pump"], notes)[TOPIC]["components"]  # for whoever was away meanwhile
    assert "fan.score" in entities(said_of(["pump", "fan"], notes)[TOPIC])


def test_discovery_that_is_switched_off_takes_back_what_it_said(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    said_of(["pump"], notes)
    assert said_of(["pump"], notes, discovery="off") == {TOPIC: ""}


def test_another_prefix_takes_back_the_first(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    said_of(["pump"], notes)
    said = said_of(["pump"], notes, discovery="home")
    assert said.pop(TOPIC) == ""
    assert list(said) == ["home/device/earshot_hall/config"]


def test_off_from_the_start_says_nothing(tmp_path: Path) -> None:
    assert said_of(["pump"], Notes(tmp_path), discovery="off") == {}
    assert said_of(["pump"], Notes(None), discovery="off") == {}


@pytest.mark.parametrize(
    "note",
    [
        "[]",
        '{"announced": []}',
        '{"announced": {"earshot/other/status": ["pump"]}}',
        '{"announced": {"homeassistant/device/#/config": ["pump"]}}',
        '{"announced": {"homeassistant/device/earshot_hall/config": "pump"}}',
        '{"announced": {"homeassistant/device/earshot_hall/config": [1, "a/b"]}}',
        "{",
    ],
)
def test_a_note_that_cannot_be_believed_clears_no_topic(tmp_path: Path, note: str) -> None:
    (tmp_path / "home-assistant.json").write_text(note)
    said = said_of(["pump"], Notes(tmp_path))
    assert list(said) == [TOPIC]
    assert {name.split(".")[0] for name in said[TOPIC]["components"] if "." in name} == {"pump"}


# --- Home Assistant comes back ---


def test_it_is_announced_again_when_home_assistant_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald, "AGAIN_SECONDS", (0.01, 0.05))
    birth: list[bytes] = []

    def answers(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH and packet.topic.endswith("/event") and birth:
            mid = bytes([4 << 4, 2]) + packet.mid
            return mid + publish("homeassistant/status", birth.pop())
        return None

    with FakeBroker(answers) as broker:
        publisher = Publisher(
            settings(host=broker.host, port=broker.port, protocol="3.1.1"), node="hall", sources=["pump"]
        )
        publisher.start()
        wait_until(lambda: any(p.kind == SUBSCRIBE for p in broker.packets), "it listens for Home Assistant")
        wait_until(lambda: len(broker.said("/config")) == 1, "it is announced")
        for number, (word, times) in enumerate([(b"offline", 1), (b"online", 2), (b"online", 3)]):
            birth.append(word)
            publisher.event("pump", {**EVENT, "id": f"e{number}"})
            wait_until(lambda: not birth and not publisher.queued, "the word is there")
            wait_until(lambda n=times: len(broker.said("/config")) == n, f"it is announced {times} times")  # type: ignore[misc]
        publisher.close()
    assert len(set(broker.said("/config"))) == 1
    assert {p.topic for p in broker.packets if p.kind == SUBSCRIBE} == {"homeassistant/status"}


def test_a_birth_that_is_only_remembered_is_none() -> None:
    own = discovery()
    listening = Herald(own, frozenset(["pump"]), Retained(threading.Condition()), None)
    message = paho.MQTTMessage(topic=b"homeassistant/status")
    message.payload, message.retain = b"online", True
    before = threading.active_count()
    assert listening.hear(message)
    assert threading.active_count() == before
    assert not listening.hear(paho.MQTTMessage(topic=b"earshot/hall/pump/cmd/shelve"))
