"""A person at a real browser, who sees what is there to be seen and clicks what is there to be clicked."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.real.browser import BrowserError, Tab

PATIENCE_SECONDS: Final = 180.0
"""Far longer than anything takes, since the computer may be busy."""


class Newcomer:
    """Somebody at a browser who reads, points and clicks; with a watch and a camera."""

    def __init__(self, tab: Tab, pictures: Path) -> None:
        """pictures: a folder that is not there yet."""
        self._tab = tab
        self._pictures = pictures
        pictures.mkdir()
        tab.size(1280, 900)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Note how long what is done in it takes."""
        start = time.monotonic()
        yield
        self.note(what, time.monotonic() - start)

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Note how long what is done in it takes, and photograph what came of it."""
        with self.timing(what):
            yield
        self.photograph(what)

    @staticmethod
    def note(what: str, seconds: float) -> None:
        print(f"{seconds:7.1f} s  {what}", flush=True)

    def photograph(self, what: str) -> None:
        name = f"{len(list(self._pictures.iterdir())):02d}-{re.sub(r'[^a-z]+', '-', what.lower())}.png"
        with suppress(BrowserError):  # it may be too busy for that, and nothing depends on it
            (self._pictures / name).write_bytes(self._tab.picture())

    def opens(self, url: str) -> None:
        self._tab.go(url)

    def sees(self, script: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until an expression is true in the page."""
        self._tab.wait_for(script, seconds)

    def reads(self, selector: str) -> str:
        """Return the words at a place; none if it is not there."""
        return str(self._tab.run(f"document.querySelector('{selector}')?.innerText ?? ''"))

    def clicks(self, words: str) -> None:
        """Wait until there is a button or a link of these words that may be clicked, and click it."""
        self._clicks_on(
            "[...document.querySelectorAll('button, a')]"
            f".find((each) => each.textContent.trim() === '{words}' && !each.disabled)"
        )

    def types(self, selector: str, words: str) -> None:
        """Replace what stands in a field."""
        self._clicks_on(f"document.querySelector('{selector}')")
        self._tab.run("document.activeElement.select()")
        self._tab.call("Input.insertText", text=words)

    def _clicks_on(self, element: str) -> None:
        """Press and release a mouse over it, as a hand does: what lies above it is hit instead."""
        self.sees(element)
        x, y = self._tab.run(
            f"(() => {{ const it = {element}; it.scrollIntoView({{ block: 'center' }}); "
            "const { x, y, width, height } = it.getBoundingClientRect(); return [x + width / 2, y + height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
