"""A device that is taken down leaves nothing behind, at a real Mosquitto. Needs mosquitto."""

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Ran
from tests.real.daemon import listening, wait_for_event
from tests.real.mosquitto import Listener, Mosquitto
from tests.test_discovery import TOPIC


def test_the_broker_remembers_nothing_of_it(tmp_path: Path, earshot: Callable[..., Ran]) -> None:
    with Mosquitto(tmp_path) as broker, Listener(broker) as listener:
        with listening(tmp_path, broker, more={"STATE_DIRECTORY": str(tmp_path / "state")}) as daemon:
            wait_for_event(listener, "opened")
            daemon.end()
        with Listener(broker, name="before") as before:
            before.wait_for("earshot/hall/status", "offline")
            assert before.last(TOPIC)
        ran = earshot("forget", "--config", daemon.config)
        assert (ran.code, ran.stdout) == (0, f"{broker.host}:{broker.port}: 7 topics of hall are cleared\n")
        with Listener(broker, name="after") as after:
            after.say("end", "x")
            after.wait_for("end", "x")
            assert [message.topic for message in after.messages] == ["end"]


def test_a_broker_that_is_away_is_said_so(tmp_path: Path, earshot: Callable[..., Ran]) -> None:
    broker = Mosquitto(tmp_path)
    with listening(tmp_path, broker) as daemon:
        daemon.end()
    ran = earshot("forget", "--config", daemon.config)
    assert ran.code == 1
    assert "Connection refused" in ran.stderr
