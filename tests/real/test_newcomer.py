"""A new user: one command after a fresh clone, and then clicks alone, until an alarm is told everywhere.

    EARSHOT_NEWCOMER=1 pytest -n 0 -s tests/real/test_newcomer.py

It prints what took how long, and where its pictures of the page lie: ten minutes, for five of which the machine is
listened to. With EARSHOT_HOME_ASSISTANT=1 a whole Home Assistant is asked, too. The machine is a simulated pump that no
network has heard; microphone, broker, browser and sockets are real.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests.conftest import COMMAND, environment
from tests.real.browser import BROWSER, Tab
from tests.real.home_assistant import HomeAssistant, asked_for
from tests.real.microphone import Frames, VirtualMicrophone
from tests.real.mosquitto import Listener, Mosquitto, free_port, program, wait_until
from tests.real.newcomer import PATIENCE_SECONDS, Newcomer
from tests.test_notify import Phone, told
from trainer.simulator.recording import FADE_SECONDS, episode

pytestmark = [
    pytest.mark.skipif(os.environ.get("EARSHOT_NEWCOMER") != "1", reason="EARSHOT_NEWCOMER=1 plays a new user: 10 min"),
    pytest.mark.skipif(BROWSER is None, reason="a new user has a browser: no chromium is installed"),
    pytest.mark.timeout(2400),
]

ROOT: Final = Path(__file__).parents[2]
PUMP: Final = "earshot/cellar/pump"
ABNORMAL: Final = "binary_sensor.cellar_pump_abnormal_sound"
RATE_HZ: Final = 16_000

LEAST_MINUTES: Final = 5
"""That the page lets a person ask for."""

HEALTHY_SECONDS: Final = 180
FAULTY_SECONDS: Final = 60


def test_a_new_user_has_an_alarm_everywhere_by_clicks_alone(tmp_path: Path) -> None:
    healthy, faulty = a_pump()
    with ExitStack() as parts:
        microphone = parts.enter_context(VirtualMicrophone(rate_hz=RATE_HZ))
        broker = parts.enter_context(Mosquitto(tmp_path))
        listener = parts.enter_context(Listener(broker))
        phone = parts.enter_context(Phone())
        home = parts.enter_context(HomeAssistant(tmp_path, broker)) if asked_for() else None
        person = Newcomer(parts.enter_context(Tab(tmp_path)), tmp_path / "pictures")

        microphone.play(healthy)
        person.opens(parts.enter_context(running(tmp_path, person, microphone, broker, phone)))
        is_told_that_it_is_not_taught(person)
        if home is not None:
            wait_until(lambda: home.state(ABNORMAL) == "unavailable", "nothing is said to be well", PATIENCE_SECONDS)
        assert phone.asked == []
        assert "ON" not in listener.payloads(f"{PUMP}/anomaly")
        has_it_learnt(person)
        wait_until(lambda: listener.last(f"{PUMP}/anomaly") == "OFF", "nothing is wrong any more", PATIENCE_SECONDS)
        n_told = len(phone.asked)

        microphone.play(faulty)
        is_alarmed(
            person,
            {
                "on the page": lambda: person.reads(".hero[data-mood=wrong] .sentence"),
                "on MQTT": lambda: listener.last(f"{PUMP}/anomaly") == "ON",
                "on the phone": lambda: "pump sounds wrong" in told(phone)[n_told:],
                "in Home Assistant" if home else "where Home Assistant looks": lambda: is_on(home, listener),
            },
        )
        assert "knocking" in person.reads(".hero .why").lower()
        acknowledges(person, listener)
    print(f"pictures: {tmp_path / 'pictures'}")


def a_pump() -> tuple[Frames, Frames]:
    """Return the sound of a healthy pump, and of the same once its bearing begins to knock: more than is needed."""
    seconds = HEALTHY_SECONDS + FAULTY_SECONDS + FADE_SECONDS
    samples = episode(
        "pump", 3, fault="bearing", start_seconds=HEALTHY_SECONDS, end_seconds=seconds, seconds=seconds, seed=2026
    )
    frames = np.round(samples * 32_767).astype(np.int16)[:, np.newaxis]
    healthy, coming, there, _ = np.split(
        frames, [round(RATE_HZ * (HEALTHY_SECONDS + each)) for each in (0, FADE_SECONDS, FAULTY_SECONDS)]
    )
    return np.tile(healthy, (8, 1)), np.concatenate([coming, np.tile(there, (8, 1))])


@contextmanager
def running(
    folder: Path, person: Newcomer, microphone: VirtualMicrophone, broker: Mosquitto, phone: Phone
) -> Iterator[str]:
    """Clone, configure and start: the last that is done in a shell. Yield the address that it prints."""
    clone, log = folder / "earshot", folder / "earshot.log"
    with person.timing("git clone"):
        subprocess.run([program("git"), "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True)
    (clone / "mine.yaml").write_text(
        f"node: cellar\nstate_directory: {folder / 'state'}\n"
        "sources: [{name: pump, type: microphone, detector: edge/demo/detector}]\n"
        f"mqtt: {{host: {broker.host}, port: {broker.port}}}\n"
        f"notify: {{url: '{phone.url}', minimum_gap_minutes: 0}}\n"
        f"page: {{port: {free_port()}}}\n"
    )
    hears = {**environment(), **microphone.environment, "PYTHONPATH": str(clone)}
    with person.timing("earshot run, until it prints where the page is"):
        with log.open("wb") as stderr:
            command = [*COMMAND, "run", "--config", "mine.yaml"]
            daemon = subprocess.Popen(command, cwd=clone, env=hears, stderr=stderr)
        wait_until(lambda: "the page: " in log.read_text(), "it has a page", PATIENCE_SECONDS)
    try:
        yield re.findall(r"the page: (\S+)", log.read_text())[0]
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        print(log.read_text())


def is_told_that_it_is_not_taught(person: Newcomer) -> None:
    """Look at the page until it says so; nothing has alarmed."""
    with person.watching("the page, until it says that it is not taught"):
        person.sees("document.getElementById('verdict')?.innerText.includes('Not taught yet')")


def has_it_learnt(person: Newcomer) -> None:
    """Go through the view `Learning`, until the machine is judged by what was learnt, and sounds as usual."""
    step = "document.querySelector('.steps [aria-current]')?.innerText"
    person.clicks("Teach it")
    with person.watching("the sound is checked"):
        person.types("#minutes", str(LEAST_MINUTES))
        person.clicks("Begin")
        person.sees(f"{step}?.includes('Listen')")
    with person.watching("it has listened"):
        person.sees(f"['Learn', 'Look, and accept'].some((each) => {step}?.endsWith(each))", 600 + 60 * LEAST_MINUTES)
    with person.watching("it has learnt"):
        person.sees(f"{step}?.includes('Look')")
    with person.watching("judged by what was learnt"):
        person.clicks("Accept")
        person.sees("document.querySelector('.note')?.innerText.includes('in force')")
        person.photograph("accepted")
        person.clicks("Now")
        person.sees("document.querySelector('.hero').dataset.mood === 'well'")


def is_alarmed(person: Newcomer, places: Mapping[str, Callable[[], object]]) -> None:
    """Wait until the fault is told at all these places, and note of each when that was."""
    start = time.monotonic()
    silent = set(places)
    while silent:
        for place in [each for each in silent if places[each]()]:
            silent.remove(place)
            person.note(f"the alarm is {place}", time.monotonic() - start)
        assert time.monotonic() - start < PATIENCE_SECONDS, silent
        time.sleep(0.05)
    person.photograph("the alarm")


def is_on(home: HomeAssistant | None, listener: Listener) -> bool:
    """Whether Home Assistant's entity is on; without one, whether the topic that it is told to look at says so."""
    if home is not None:
        return home.state(ABNORMAL) == "on"
    announced = json.loads(listener.last("homeassistant/device/earshot_cellar/config") or "{}")
    return listener.last(announced["components"]["pump.abnormal"]["state_topic"]) == "ON"


def acknowledges(person: Newcomer, listener: Listener) -> None:
    """Say that somebody knows, and see that it is known: on the page and over MQTT."""
    with person.watching("acknowledged"):
        person.clicks("Acknowledge")
        person.clicks("Episodes")
        person.sees("document.querySelector('.episode .chip.acknowledged')")
    wait_until(
        lambda: any(json.loads(each)["acknowledged"] for each in listener.payloads(f"{PUMP}/event")),
        "subscribers know that somebody knows",
        PATIENCE_SECONDS,
    )
