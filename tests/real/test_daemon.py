"""The daemon as a process of its own, and a real Mosquitto: what it says, how it ends, and what it does without one.

Needs mosquitto.
"""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DEMO
from tests.real.daemon import (
    DETECTOR,
    END_SECONDS,
    PUMP,
    SOUND,
    Earshot,
    check_schemas,
    events_of,
    listening,
    states_of,
    wait_for_event,
)
from tests.real.mosquitto import Listener, Mosquitto, wait_until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


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


FAILS = """
from edge.daemon.hearing import Hearing
def hear(self, block):
    raise ZeroDivisionError("no pump turns")
Hearing.hear = hear
"""


def test_a_source_that_fails_says_why_and_the_last_one_ends_the_process(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILS)
    more = {"PYTHONPATH": f"{tmp_path}:{DEMO.parents[1]}"}
    source = f"type: folder, path: {DEMO / 'recordings'}"
    with Listener(broker) as listener:
        with Earshot(tmp_path, source, broker, more=more) as earshot:
            assert earshot.process.wait(120) == 1
        listener.wait_for("earshot/hall/status", "offline")

    why = "a defect of ours: ZeroDivisionError: no pump turns"
    health = json.loads(str(listener.last("earshot/hall/health")))
    assert (health["sources"], health["defects"]) == ({"pump": "lost"}, {"pump": why})
    state = states_of(listener)[-1]
    assert (state["status"], state["reason"].startswith(why)) == ("lost", True)
    assert listener.last(f"{PUMP}/availability") == "offline"
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


def test_a_card_that_is_not_there_is_logged_once_however_often_it_is_tried(broker: Mosquitto, tmp_path: Path) -> None:
    """Its state is told at each attempt; a journal of the same line, for a month, would wear out a card."""
    with Listener(broker) as listener, Earshot(tmp_path, "type: microphone, device: 'card:Cellar'", broker) as earshot:
        wait_until(lambda: [state["status"] for state in states_of(listener)].count("lost") >= 3, "three attempts")
        assert listener.last(f"{PUMP}/availability") == "offline"
        earshot.end()
    assert earshot.log().count("there is no such card") == 1


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


# --- A new configuration while it runs ---


def test_sighup_takes_a_new_configuration_or_keeps_the_old_one_with_the_reason(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Listener(broker) as listener, listening(tmp_path, broker, json_out=True) as earshot:
        opened = wait_for_event(listener, "opened")
        good = earshot.config.read_text()

        earshot.config.write_text(good.replace("threshold: 0.0", "threshold: loud"))
        earshot.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the configuration stays as it was" in earshot.log(), "the wrong one is refused")
        assert "event.threshold" in earshot.log()
        earshot.hear(SOUND[: 2 * DETECTOR.plan.hop_samples])
        earshot.reading()
        assert not [event for event in events_of(listener) if event["kind"] == "closed"]

        earshot.config.write_text(good.replace("threshold: 0.0", "threshold: 99.0"))
        earshot.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the new configuration is in force" in earshot.log(), "the right one is taken")
        closed = wait_for_event(listener, "closed")
        assert (closed["id"], closed["reason"]) == (opened["id"], "shutdown")
        earshot.hear(SOUND)  # the window has to fill anew
        while (reading := earshot.reading())["threshold"] != 99.0:
            pass
        assert reading["end_sample"] == DETECTOR.plan.window_samples
        listener.wait_for("earshot/hall/status", "online")
        assert listener.last(f"{PUMP}/anomaly") == "OFF"
        assert earshot.end() < END_SECONDS
        assert earshot.process.returncode == 0


# --- What a person may say ---


def test_an_episode_is_acknowledged_and_shelved_over_mqtt(broker: Mosquitto, tmp_path: Path) -> None:
    with Listener(broker) as listener, listening(tmp_path, broker) as earshot:
        opened = wait_for_event(listener, "opened")
        listener.say(f"{PUMP}/cmd/acknowledge", json.dumps(opened["id"]))
        wait_until(lambda: listener.payloads(f"{PUMP}/cmd/result"), "the command is answered")
        listener.say(f"{PUMP}/cmd/shelve", '{"minutes": 10}')
        wait_until(lambda: len(listener.payloads(f"{PUMP}/cmd/result")) == 2, "the second is answered")
        earshot.hear(SOUND[: 2 * DETECTOR.plan.hop_samples])
        closed = wait_for_event(listener, "closed")
        assert (closed["id"], closed["reason"], closed["acknowledged"]) == (opened["id"], "shelved", True)
        wait_until(lambda: states_of(listener)[-1]["shelved_until"], "the state says so")
        listener.say(f"{PUMP}/cmd/threshold", '{"value": 1e6}')
        listener.say(f"{PUMP}/cmd/shelve", '{"minutes": 0}')
        wait_until(lambda: len(listener.payloads(f"{PUMP}/cmd/result")) == 4, "both are answered")
        earshot.hear(SOUND[: 2 * DETECTOR.plan.hop_samples])
        wait_until(lambda: states_of(listener)[-1]["threshold"] == 1e6, "the threshold is another")
        assert states_of(listener)[-1]["shelved_until"] is None
        assert [event["kind"] for event in events_of(listener)].count("opened") == 1
    check_schemas(listener)
