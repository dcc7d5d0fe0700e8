"""A new user: from a fresh clone to the first alarm with one command, and then by clicks alone. Prints what took how long.

    EARSHOT_NEWCOMER=1 pytest -n 0 -s tests/real/test_newcomer.py       ten minutes; EARSHOT_HOME_ASSISTANT=1: that, too

The machine is a simulated pump that no network has heard, at a virtual microphone; broker, browser and sockets are real.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
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
from tests.test_notify import Phone, told
from trainer.simulator.recording import episode

pytestmark = [
    pytest.mark.skipif(os.environ.get("EARSHOT_NEWCOMER") != "1", reason="EARSHOT_NEWCOMER=1 plays a new user: 10 min"),
    pytest.mark.skipif(BROWSER is None, reason="a new user has a browser: no chromium is installed"),
    pytest.mark.timeout(2400),
]

ROOT: Final = Path(__file__).parents[2]
PUMP: Final = "earshot/cellar/pump"
MINUTES: Final = 5
"""The fewest that the page takes."""

HEALTHY_SECONDS: Final = 180
FAULTY_SECONDS: Final = 60
PATIENCE_SECONDS: Final = 180.0
RATE_HZ: Final = 16_000


class Newcomer:
    """Somebody at a browser who reads, points and clicks; and a watch."""

    def __init__(self, tab: Tab, pictures: Path) -> None:
        self._tab = tab
        self._pictures = pictures
        self.took: dict[str, float] = {}
        pictures.mkdir()
        tab.size(1280, 900)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done in it, and photograph what came of it."""
        start = time.monotonic()
        yield
        self.note(name, time.monotonic() - start)
        self.photograph(name)

    def note(self, name: str, seconds: float) -> None:
        self.took[name] = seconds
        print(f"{seconds:7.1f} s  {name}", flush=True)

    def photograph(self, name: str) -> None:
        picture = f"{len(list(self._pictures.iterdir())):02d}-{name.replace(' ', '-').replace('/', '-')}.png"
        (self._pictures / picture).write_bytes(self._tab.picture())

    def goes_to(self, url: str) -> None:
        self._tab.go(url)

    def click(self, words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something to click says these words, and click there, as a hand does."""
        find = f"[...document.querySelectorAll('button, a')].find((each) => each.textContent.trim() === '{words}')"
        self.sees(f"({find})?.disabled !== true && {find}", seconds)
        self._click_on(find)

    def types(self, field: str, words: str) -> None:
        """Replace what stands in a field."""
        self._click_on(f"document.querySelector('{field}')")
        self._tab.run(f"document.querySelector('{field}').select()")
        self._tab.call("Input.insertText", text=words)

    def reads(self, selector: str) -> str:
        """Return the words at a place; none if it is not there."""
        return str(self._tab.run(f"document.querySelector('{selector}')?.innerText ?? ''"))

    def sees(self, script: str, seconds: float = PATIENCE_SECONDS) -> None:
        self._tab.wait_for(script, seconds)

    def _click_on(self, element: str) -> None:
        self.sees(element)
        x, y = self._tab.run(
            f"(() => {{ const it = {element}; it.scrollIntoView({{ block: 'center' }}); "
            "const { x, y, width, height } = it.getBoundingClientRect(); return [x + width / 2, y + height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_a_new_user_has_an_alarm_everywhere_by_clicks_alone(tmp_path: Path) -> None:
    healthy, faulty = a_pump()
    with ExitStack() as stack:
        microphone = stack.enter_context(VirtualMicrophone(rate_hz=RATE_HZ))
        broker = stack.enter_context(Mosquitto(tmp_path))
        listener = stack.enter_context(Listener(broker))
        phone = stack.enter_context(Phone())
        home = stack.enter_context(HomeAssistant(tmp_path, broker)) if asked_for() else None
        person = Newcomer(stack.enter_context(Tab(tmp_path)), tmp_path / "pictures")
        microphone.play(healthy)
        url = stack.enter_context(started(tmp_path, person, microphone, broker, phone))

        first_look(person, url)
        has_it_learn(person)
        n_told = len(phone.asked)
        microphone.play(faulty)
        is_alarmed(
            person,
            {
                "alarm: on the page": lambda: person.reads(".hero[data-mood=wrong] .sentence"),
                "alarm: on MQTT": lambda: listener.last(f"{PUMP}/anomaly") == "ON",
                "alarm: at the webhook": lambda: "pump sounds wrong" in told(phone)[n_told:],
                "alarm: in Home Assistant": lambda: is_on_at_home(home, listener),
            },
        )
        acknowledges(person, listener)
        print(*told(phone), sep="\n")
    print(f"pictures: {tmp_path / 'pictures'}")


def a_pump() -> tuple[Frames, Frames]:
    """Return the sound of a healthy pump, and of the same whose bearing begins to knock: longer than is needed."""
    seconds = HEALTHY_SECONDS + FAULTY_SECONDS
    times = {"start_seconds": HEALTHY_SECONDS, "end_seconds": seconds + 3, "seconds": seconds + 3}
    samples = episode("pump", 3, fault="bearing", seed=2026, **times)[: seconds * RATE_HZ]
    frames = np.round(samples * 32_767).astype(np.int16)[:, np.newaxis]
    onset, full = HEALTHY_SECONDS * RATE_HZ, (HEALTHY_SECONDS + 4) * RATE_HZ
    return np.tile(frames[:onset], (8, 1)), np.concatenate([frames[onset:], np.tile(frames[full:], (10, 1))])


@contextmanager
def started(
    folder: Path, person: Newcomer, microphone: VirtualMicrophone, broker: Mosquitto, phone: Phone
) -> Iterator[str]:
    """Clone and start, the last that is done in a shell; yield the address of the page that is printed."""
    clone, log = folder / "earshot", folder / "earshot.log"
    with person.step("git clone"):
        subprocess.run([program("git"), "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True)
    (clone / "mine.yaml").write_text(
        f"node: cellar\nstate_directory: {folder / 'state'}\n"
        "sources: [{name: pump, type: microphone, detector: edge/demo/detector}]\n"
        f"mqtt: {{host: {broker.host}, port: {broker.port}}}\n"
        f"notify: {{url: '{phone.url}', minimum_gap_minutes: 0}}\n"
        f"page: {{port: {free_port()}}}\n"
    )
    start = time.monotonic()
    with log.open("wb") as stderr:
        daemon = subprocess.Popen(
            [*COMMAND, "run", "--config", "mine.yaml"],
            cwd=clone,
            env={**environment(), **microphone.environment, "PYTHONPATH": str(clone)},
            stderr=stderr,
        )
    try:
        wait_until(lambda: address(log), "the page's address is printed", PATIENCE_SECONDS)
        person.note("earshot run, until it prints the page's address", time.monotonic() - start)
        yield address(log)
    except BaseException:
        print(log.read_text())
        raise
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def address(log: Path) -> str:
    found = re.search(r"the page: (http://\S+)", log.read_text())
    return found[1] if found else ""


def first_look(person: Newcomer, url: str) -> None:
    with person.step("the page, until it judges"):
        person.goes_to(url)
        person.sees("['well', 'watch', 'wrong'].includes(document.querySelector('.hero')?.dataset.mood)")
    print(person.reads(".hero"))


def has_it_learn(person: Newcomer) -> None:
    """The whole of the view `Learning`, until the machine is judged by what was learnt."""
    person.click("Learning")
    with person.step("the sound is found well"):
        person.types("#minutes", str(MINUTES))
        person.photograph("asked for")
        person.click("Begin")
        person.sees("document.querySelector('.steps [aria-current]')?.innerText.includes('Listen')")
        print(person.reads("#view"))
    with person.step("it has heard enough, and learnt"):
        person.sees("document.querySelector('.steps [aria-current]')?.innerText.includes('Look')", 1200)
    print(person.reads("#view"))
    with person.step("judged by what was learnt"):
        person.click("Accept")
        person.photograph("accepted")
        person.click("Now")
        person.sees("document.querySelector('.hero').dataset.mood === 'well'")
    print(person.reads(".hero"))


def is_alarmed(person: Newcomer, channels: dict[str, Callable[[], object]]) -> None:
    """Return when the fault is told everywhere."""
    start = time.monotonic()
    while silent := channels.keys() - person.took.keys():
        for name in silent:
            if channels[name]():
                person.note(name, time.monotonic() - start)
                person.photograph(name)
        assert time.monotonic() - start < PATIENCE_SECONDS, silent
        time.sleep(0.1)


def is_on_at_home(home: HomeAssistant | None, listener: Listener) -> bool:
    """Whether Home Assistant's entity is on; without one, whether the topic it was told to look at says so."""
    if home is not None:
        return home.state("binary_sensor.cellar_pump_abnormal_sound") == "on"
    said = json.loads(str(listener.last("homeassistant/device/earshot_cellar/config")))
    return listener.last(said["components"]["pump.abnormal"]["state_topic"]) == "ON"


def acknowledges(person: Newcomer, listener: Listener) -> None:
    print(person.reads(".hero .why"))
    with person.step("acknowledged"):
        person.click("Acknowledge")
        person.click("Episodes")
        person.sees("document.querySelector('.episode .chip.acknowledged')")
    wait_until(lambda: '"acknowledged": true' in (listener.last(f"{PUMP}/event") or "").replace('":true', '": true'), "acknowledged on MQTT", PATIENCE_SECONDS)
