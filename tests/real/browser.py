"""A real browser without a window, told what to do over two pipes in its own language, the DevTools protocol.

    apt-get install -y --no-install-recommends chromium

Nothing else is needed: no driver, no port, no library. https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER: Final = next((path for name in NAMES if (path := shutil.which(name))), None)

WAIT_SECONDS: Final = 30.0

OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
    *("--hide-scrollbars", "--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe"),
)


class BrowserError(Exception):
    """What the browser, or a script in its page, says went wrong."""


class Tab:
    """A browser with one page, for as long as the `with` block lasts.

    said  what the console said, and which requests failed
    """

    def __init__(self, folder: Path) -> None:
        """folder: for its profile."""
        self.said: list[str] = []
        self._folder = folder
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._next_id = 0
        self._session: str | None = None

    def __enter__(self) -> Self:
        assert BROWSER is not None, "no chromium is installed"
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        command = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", BROWSER, *OPTIONS]
        profile = f"--user-data-dir={self._folder / 'profile'}"
        environment = {**os.environ, "HOME": str(self._folder)}
        log = (self._folder / "browser.log").open("wb")
        self._process = subprocess.Popen(
            [*command, profile, "about:blank"], pass_fds=(to_read, to_write), stderr=log, stdout=log, env=environment
        )
        os.close(to_read)
        os.close(to_write)
        log.close()
        threading.Thread(target=self._read, daemon=True).start()
        found = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in found if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(BrowserError):
            self._session = None
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  of the protocol
        """Do one thing; return what came of it. Raises BrowserError."""
        with self._changed:
            self._next_id += 1
            number = self._next_id
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers, WAIT_SECONDS):
                raise BrowserError(f"{method}: no answer in {WAIT_SECONDS:g} s")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def size(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """Look through a screen of so many pixels of CSS."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def go(self, url: str) -> None:
        """Load a page, from its beginning."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:  # noqa: ANN401  whatever it gives
        """Return what an expression is in the page, promises fulfilled. Raises BrowserError where it throws."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def wait_for(self, script: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until an expression is true in the page. Raises BrowserError if it does not become so."""
        give_up = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > give_up:
                raise BrowserError(f"not so after {seconds:g} s: {script}; the console said {self.said}")
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key, such as Tab."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "+": 187, "-": 189}
        text = {"Enter": "\r", "+": "+", "-": "-"}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                text=text if kind == "keyDown" else "",
            )

    def picture(self, quality: int | None = None) -> bytes:
        """Return what is seen as a PNG; as a WebP of that quality, 0 to 100, if one is given."""
        kind = {"format": "png"} if quality is None else {"format": "webp", "quality": quality}
        shot = self.call("Page.captureScreenshot", **kind)
        return base64.b64decode(shot["data"])

    def _read(self) -> None:
        buffer = bytearray()
        with os.fdopen(self._from, "rb", buffering=0) as pipe:
            while data := pipe.read(1 << 16):
                buffer += data
                *messages, rest = buffer.split(b"\0")
                buffer = bytearray(rest)
                for message in messages:
                    self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        with self._changed:
            if "id" in message:
                self._answers[message["id"]] = message
            elif (kind := message["method"]) in _TALK:
                self.said.append(_TALK[kind](message["params"]))
            self._changed.notify_all()


_TALK: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "Runtime.exceptionThrown": lambda said: str(said["exceptionDetails"].get("exception", {}).get("description")),
    "Runtime.consoleAPICalled": lambda said: str([each.get("value") for each in said["args"]]),
    "Log.entryAdded": lambda said: f"{said['entry']['text']} {said['entry'].get('url', '')}",
}
