"""Does Home Assistant take what it is told? Judged by its own code, and once by a whole one that runs.

Needs Home Assistant, and for the second mosquitto and EARSHOT_HOME_ASSISTANT=1 (tests/real/home_assistant.py).
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEMO
from tests.real.daemon import EVERY_WINDOW_IS_ABNORMAL, PUMP, Earshot, events_of
from tests.real.home_assistant import HomeAssistant, asked_for, python_of_home_assistant
from tests.real.mosquitto import Listener, Mosquitto, wait_until
from tests.test_discovery import TOPIC, discovery, entities

ACCEPTS = Path(__file__).with_name("accepts.py")
BUSY_SECONDS = 180.0
"""For what takes Home Assistant a second on a machine that has nothing else to do."""


def refusals(payload: dict[str, Any]) -> list[str]:
    """What its own code has against a payload, its version left out."""
    command = [python_of_home_assistant(), str(ACCEPTS)]
    done = subprocess.run(command, input=json.dumps(payload), capture_output=True, text=True, check=False)
    version, *lines = done.stdout.splitlines() or [done.stderr]
    assert version.startswith("Home Assistant 20"), done.stderr
    assert done.returncode == bool(lines)
    return lines


@pytest.mark.parametrize("more", [{}, {"commands": "on"}, {"discovery": "home", "topic_prefix": "site/a"}])
def test_its_own_code_takes_every_entity(more: dict[str, Any]) -> None:
    payload = discovery("pump", "fan", **more).payload(["gone"])
    assert len(entities(payload)) == 7 + 2 * (13 if "commands" in more else 8)
    assert refusals(payload) == []


@pytest.mark.parametrize(
    ("entity", "key", "value", "words"),
    [
        ("pump.abnormal", "device_class", "noise", "device_class"),
        ("pump.score", "state_topic", None, "state_topic"),
        ("pump.episode", "value_template", "{{ value_json", "template"),
    ],
)
def test_the_judge_would_see_a_mistake(entity: str, key: str, value: str | None, words: str) -> None:
    payload = discovery().payload()
    payload["components"][entity].pop(key)
    if value is not None:
        payload["components"][entity][key] = value
    assert words in " ".join(refusals(payload))


@pytest.mark.skipif(not asked_for(), reason="EARSHOT_HOME_ASSISTANT=1 runs a whole Home Assistant: a minute, 160 MB")
@pytest.mark.timeout(900)
def test_a_whole_one_shows_an_episode_and_its_button_is_obeyed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Listener(broker) as listener, HomeAssistant(tmp_path, broker) as home:
        state = {"STATE_DIRECTORY": str(tmp_path / "state")}
        source = f"type: folder, path: {DEMO / 'recordings'}, loop: true"
        earshot = Earshot(tmp_path, source, broker, event=EVERY_WINDOW_IS_ABNORMAL, more=state)
        with earshot:
            _an_episode(home, listener, earshot)

        # Switched off, it takes back what it has said.
        earshot.config.write_text(earshot.config.read_text().replace("commands: on", "discovery: off"))
        with earshot:
            wait_until(lambda: not home.state("sensor.hall_pump_score"), "the device is gone", BUSY_SECONDS)
        assert listener.last(TOPIC) == ""
        lines = [line for line in home.log().splitlines() if "mqtt" in line]
        assert [line for line in lines if "ERROR" in line or "WARNING" in line] == []


def _an_episode(home: HomeAssistant, listener: Listener, earshot: Earshot) -> None:
    def becomes(entity: str, right: Callable[[str], bool]) -> str:
        wait_until(lambda: right(home.state(entity) or ""), f"{entity} is right", BUSY_SECONDS)
        return home.state(entity) or ""

    wait_until(lambda: events_of(listener), f"an episode: {earshot.log()}", BUSY_SECONDS)
    opened = events_of(listener)[0]
    becomes("binary_sensor.hall_pump_abnormal_sound", lambda state: state == "on")
    becomes("binary_sensor.hall_pump_microphone", lambda state: state == "on")
    score = becomes("sensor.hall_pump_score", lambda state: state not in ("", "unknown", "unavailable"))
    becomes("sensor.hall_pump_status", lambda state: state in ("listening", "filling"))
    becomes("sensor.hall_version", lambda state: state[:1].isdigit())
    print({name: each["state"] for name, each in home.states().items() if "hall" in name})
    assert float(score) > 0

    home.call("button", "press", entity_id="button.hall_pump_acknowledge")
    wait_until(lambda: any(each["acknowledged"] for each in events_of(listener)), "it is acknowledged")
    assert json.loads(str(listener.last(f"{PUMP}/cmd/result"))) == {
        "schema": 1,
        "command": "acknowledge",
        "ok": True,
        "message": f"{opened['id']} is known of",
    }
    home.call("number", "set_value", entity_id="number.hall_pump_threshold", value=2.5)
    becomes("number.hall_pump_threshold", lambda state: float(state or 0) == 2.5)

    # Nothing is above the new threshold: the episode ends.
    episode = "event.hall_pump_episode"
    wait_until(lambda: home.attribute(episode, "event_type") == "closed", "it is closed there, too", BUSY_SECONDS)
    assert home.attribute(episode, "id") == opened["id"]

    assert earshot.end() < 10
    becomes("sensor.hall_pump_score", lambda state: state == "unavailable")
