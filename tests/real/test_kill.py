"""The daemon killed at any moment, and started again: nothing that was opened is lost, and nothing is invented.

EARSHOT_SOAK=200 is the long version; needs mosquitto.
"""

import json
import os
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEMO
from tests.real.daemon import Earshot, events_of
from tests.real.mosquitto import Listener, Mosquitto, wait_until

N_KILLS = int(os.environ.get("EARSHOT_SOAK", "3"))

MANY_EPISODES = "event: {threshold: 0.0, on_delay: {windows: 1, of: 1}, max_episode_minutes: 0.02, update_seconds: 1}\n"
"""Two events or three for every second of sound, which comes much faster than it was recorded."""

MOST_SECONDS = 2.0


@pytest.mark.timeout(200 + 20 * N_KILLS)
def test_killed_at_random_moments_while_events_flow(tmp_path: Path) -> None:
    chance = random.Random(0)
    told: list[dict[str, Any]] = []
    source = f"type: folder, path: {DEMO / 'recordings'}, realtime: false, loop: true"
    state = {"STATE_DIRECTORY": str(tmp_path / "state")}
    with Mosquitto(tmp_path) as broker, Listener(broker) as listener:
        for number in range(N_KILLS):
            if number % 3 == 1:
                broker.kill()  # some of the lives are spent without one
            with Earshot(tmp_path, source, broker, event=MANY_EPISODES, json_out=True, more=state) as earshot:
                killer = threading.Timer(chance.uniform(0, MOST_SECONDS), earshot.process.kill)
                for record in earshot.records():
                    if killer.ident is None:  # its first words: a slow machine takes its time to get there
                        killer.start()
                    # An event is printed after it was written down; what was printed must arrive.
                    told += [record] if record["type"] == "event" else []
                killer.join()
            if number % 3 == 1:
                broker.start()
                listener.wait_until_subscribed()

        quiet = "event: {threshold: 1.0e+9}\n"
        with Earshot(tmp_path, source, broker, event=quiet, more=state) as earshot:
            lives = earshot.log().count("mqtt: connected")  # of all of them: one log
            wait_until(lambda: earshot.log().count("mqtt: connected") > lives, "it is up, and hears SIGTERM")
            wait_until(lambda: _missing(told, listener) == [], "what was told arrives")
            wait_until(lambda: not _open(listener), "every episode is closed")
            earshot.end()
            assert earshot.process.returncode == 0

    assert told
    heard = {_key(event): event for event in events_of(listener)}
    opened = {event["id"] for event in heard.values() if event["kind"] == "opened"}
    assert {event["id"] for event in heard.values()} == opened  # nobody is closed who never was opened
    assert max(Counter(id for id, kind, _ in heard if kind == "opened").values()) == 1
    closed = Counter(id for id, kind, _ in heard if kind == "closed")
    assert set(closed) == opened
    assert max(closed.values()) == 1
    interrupted = [event for event in heard.values() if event.get("reason") == "interrupted"]
    assert len(interrupted) <= N_KILLS
    assert "Traceback" not in earshot.log()


def _key(event: dict[str, Any]) -> tuple[str, str, str]:
    return event["id"], event["kind"], event["time"]


def _missing(told: list[dict[str, Any]], listener: Listener) -> list[dict[str, Any]]:
    heard = {_key(event) for event in events_of(listener)}
    return [event for event in told if _key(event) not in heard]


def _open(listener: Listener) -> set[str]:
    events = events_of(listener)
    closed = {event["id"] for event in events if event["kind"] == "closed"}
    return {event["id"] for event in events} - closed


def test_a_corrupt_outbox_is_set_aside_and_said(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "outbox.db").write_bytes(random.Random(0).randbytes(20_000))
    source = f"type: folder, path: {DEMO / 'recordings'}, realtime: false"
    more = {"STATE_DIRECTORY": str(state)}
    with Mosquitto(tmp_path) as broker, Listener(broker) as listener:
        with Earshot(tmp_path, source, broker, more=more) as earshot:
            assert earshot.process.wait(60) == 0
        health = json.loads(str(listener.last("earshot/hall/health")))
        assert health["mqtt"]["set_aside"] == 1
        assert [event["kind"] for event in events_of(listener)][:1] == ["opened"]
    assert list(state.glob("outbox.db.corrupt-*"))
