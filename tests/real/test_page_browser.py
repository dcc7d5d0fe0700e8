"""The page in a real browser: nothing is complained of, everything has a name for who cannot see it, and keys suffice.

axe-core (Deque, MPL-2.0) is a part of its own: scripts/install-test-parts puts it where the parts are.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paged import EVERY_WINDOW_IS_ABNORMAL, PASSWORD, Paged, wait_until
from tests.real.aedes import PARTS
from tests.real.browser import BROWSER, Tab

AXE = PARTS / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("now", "episodes", "history", "threshold", "enrolment", "settings")
SCREENS = {"wide": (1280, 900, False), "phone": (375, 812, False), "dark": (1280, 900, True)}

pytestmark = pytest.mark.skipif(BROWSER is None, reason="the page in a browser: no chromium is installed")


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paged]:
    """A daemon with an open episode."""
    folder = tmp_path_factory.mktemp("paged")
    with Paged(folder, more=f"{EVERY_WINDOW_IS_ABNORMAL}evidence: {{privacy: audio}}\n") as paged:
        paged.hear()
        wait_until(lambda: paged.visitor().get("/api/episodes"))
        yield paged


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with Tab(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


def look_at(tab: Tab, paged: Paged, view: str, screen: str = "wide") -> None:
    width, height, dark = SCREENS[screen]
    tab.size(width, height, dark=dark)
    tab.said.clear()
    tab.go(f"http://127.0.0.1:{paged.port}/#{view}")
    tab.wait_for(f"document.getElementById('view').dataset.view === '{view}'")
    tab.wait_for("document.getElementById('verdict').textContent")
    tab.wait_for("document.getElementById('view').children.length > 1")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(paged: Paged, tab: Tab, view: str, screen: str) -> None:
    if not AXE.exists():
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain("axe-core is not installed: run scripts/install-test-parts")
    look_at(tab, paged, view, screen)
    if view != "settings":
        tab.wait_for("document.querySelector('#view h2')")

    tab.run(AXE.read_text())
    found = tab.run("axe.run().then(({ violations }) => JSON.stringify(violations.map(({ id, help, nodes }) => "
                    "({ id, help, where: nodes.map(({ html }) => html) }))))")  # fmt: skip

    assert json.loads(found) == []


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_sticks_out_and_the_console_is_silent(paged: Paged, tab: Tab, view: str, screen: str) -> None:
    look_at(tab, paged, view, screen)

    assert tab.run("document.documentElement.scrollWidth") <= SCREENS[screen][0]
    assert tab.said == []


def find(words: str) -> str:
    """Return JavaScript for the button that says so."""
    return f"[...document.querySelectorAll('button')].find((each) => each.textContent === {words!r})"


def test_one_glance_says_that_it_is_wrong_and_why_and_it_is_said_aloud_once(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "now")
    tab.wait_for("document.querySelector('.hero').dataset.mood === 'wrong'")

    assert "sounds wrong" in tab.run("document.querySelector('.sentence').textContent")
    assert tab.run("document.getElementById('announcer').textContent") == "Sounds wrong"
    assert tab.run("document.querySelectorAll('.tile').length") == 3
    assert tab.run("document.querySelectorAll('.scale').length") == 5


def test_the_spectrogram_is_drawn_while_somebody_looks(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "now")
    drawn = (
        "(() => { const canvas = document.querySelector('.spectrogram');"
        "const pixels = canvas.getContext('2d').getImageData(canvas.width - 4, 0, 4, canvas.height).data;"
        "return pixels.some((value, i) => i % 4 === 3 && value === 255) })()"
    )

    tab.wait_for(drawn)


def test_an_alarm_is_acknowledged_by_keys_alone(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "now")
    tab.wait_for("document.querySelector('.hero button.primary')")
    for _ in range(20):
        tab.press("Tab")
        if tab.run("document.activeElement.textContent") == "Acknowledge":
            break
    focus = tab.run("getComputedStyle(document.activeElement).outlineStyle")

    tab.press("Enter")

    assert focus == "solid"
    tab.wait_for("document.getElementById('toast')?.textContent.includes('somebody knows')")
    paged.hear()
    wait_until(lambda: paged.visitor().get("/api/episodes")[0]["acknowledged"])


def test_the_dialog_of_shelving_takes_the_focus_and_gives_it_back(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "now")
    tab.wait_for(
        "[...document.querySelectorAll('.hero button')].find((each) => each.textContent === 'Let alarms rest')"
    )
    tab.run(
        "[...document.querySelectorAll('.hero button')].find((each) => each.textContent === 'Let alarms rest').focus()"
    )
    tab.press("Enter")
    tab.wait_for("document.querySelector('dialog[open]')?.contains(document.activeElement)")

    tab.press("Escape")

    tab.wait_for("!document.querySelector('dialog')")


def test_a_stretch_is_asked_for_and_what_cannot_be_learnt_of_it_is_said(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "history")
    tab.wait_for(find("This was normal …"))
    tab.run(f"{find('This was normal …')}.focus()")
    tab.press("Enter")
    tab.wait_for("document.querySelector('dialog[open] #stretch-0')?.value.length === 16")
    if AXE.exists():
        tab.run(AXE.read_text())
        found = tab.run("axe.run('dialog').then(({ violations }) => JSON.stringify(violations.map(({ id }) => id)))")
        assert json.loads(found) == []

    tab.run(f"{find('Learn it')}.click()")

    tab.wait_for("document.getElementById('toast')?.textContent.includes('nothing to learn from is remembered')")
    tab.wait_for("!document.querySelector('dialog')")


def test_what_was_changed_and_not_saved_is_there_again_and_can_be_discarded(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "settings")
    tab.wait_for("document.getElementById('shelve')")
    assert tab.run(f"{find('Discard changes')}.disabled")
    typed = "(() => { const own = document.getElementById('shelve'); own.value = 15; "
    tab.run(f"{typed} own.dispatchEvent(new Event('input', {{ bubbles: true }})) }})()")
    tab.run("location.hash = 'episodes'")
    tab.wait_for("document.querySelector('#view').dataset.view === 'episodes'")
    tab.run("location.hash = 'settings'")
    tab.wait_for("document.getElementById('shelve')?.value === '15'")

    tab.run(f"{find('Discard changes')}.click()")

    assert tab.run("document.getElementById('shelve').value") == "60"


def test_history_is_zoomed_by_keys(paged: Paged, tab: Tab) -> None:
    look_at(tab, paged, "history")
    tab.wait_for("document.querySelector('canvas.tall')")
    tab.run("document.querySelector('canvas.tall').focus()")

    asked = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('history?')).length"
    before = tab.run(asked)
    tab.press("+")

    tab.wait_for(f"{asked} > {before}")


def test_a_name_is_text_whatever_it_holds(paged: Paged, tab: Tab) -> None:
    """And no script: what a person types is shown to others."""
    title = "<img src=x onerror=alert(1)>"
    answer = paged.visitor().post("/api/settings", {"sources": {"pump": {"title": title}}})
    assert answer.status == 200

    look_at(tab, paged, "now")

    tab.wait_for("document.querySelector('.sentence').textContent.includes('<img')")
    assert tab.run("document.querySelectorAll('main img').length") == 0
    paged.visitor().post("/api/settings", {"sources": {}})


def test_a_password_lets_in(tmp_path: Path, tab: Tab) -> None:
    with Paged(tmp_path, page=f", password_file: {tmp_path / 'password'}") as paged:
        paged.hear()
        tab.go(f"http://127.0.0.1:{paged.port}/")
        tab.wait_for("document.activeElement.id === 'password'")
        tab.call("Input.insertText", text="a wrong one")
        tab.press("Enter")
        tab.wait_for("document.querySelector('.trouble').textContent === 'that is not the password'")
        tab.call("Input.insertText", text=PASSWORD)
        tab.press("Enter")
        tab.wait_for("document.getElementById('view').dataset.view === 'now'")

    tab.wait_for("document.getElementById('verdict').dataset.mood === 'deaf'")  # it is gone, and the page says so
