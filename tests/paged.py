"""`earshot run` with a page, in a process of its own, and somebody who asks it: with any header, as attackers do."""

import contextlib
import hashlib
import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge import detector as detectors
from edge.source import read_samples
from tests.conftest import COMMAND, DEMO, environment
from tests.real.mosquitto import free_port

ASSETS: Final = Path(detectors.__file__).parents[1] / "page" / "assets"
DETECTOR: Final = detectors.read(DEMO / "detector")
HOP_SAMPLES: Final = DETECTOR.plan.hop_samples
PASSWORD: Final = "correct horse"
OWN: Final = {"X-Earshot": "page", "Content-Type": "application/json"}
"""What the page's own scripts send with what changes something."""

SOUND: Final = read_samples(next((DEMO / "recordings").glob("*.flac")))[
    : DETECTOR.plan.window_samples + 3 * HOP_SAMPLES
]
AWAKE_SECONDS: Final = 2.0

EVERY_WINDOW_IS_ABNORMAL: Final = "event: {threshold: 0.0, on_delay: {windows: 1, of: 1}}\n"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  whatever was sent
        return json.loads(self.body)


@dataclass
class Visitor:
    """Somebody with a browser, or with less. `headers` go with everything they ask."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:  # noqa: ANN401  whatever was sent
        answer = self.ask(path)
        assert answer.status == 200, answer
        return answer.json()

    def post(self, path: str, content: object) -> Answer:
        return self.ask(path, "POST", json.dumps(content).encode(), OWN)

    def enter(self, password: str = PASSWORD) -> Answer:
        """Log in, and keep the cookie."""
        answer = self.post("/api/login", {"password": password})
        if answer.status == 200:
            self.headers["Cookie"] = answer.headers["set-cookie"].split(";")[0]
        return answer

    @contextlib.contextmanager
    def watching(self, source: str = "pump") -> Iterator[Iterator[tuple[str, Any]]]:
        """Yield the messages of a stream as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"/api/sources/{source}/stream", headers=self.headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield _messages(answer)
        finally:
            if connection.sock:
                connection.sock.close()
            connection.close()


def _messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    while line := answer.readline().decode().rstrip("\n"):
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:])
            answer.readline()
        elif line.startswith("retry"):
            answer.readline()


class Paged:
    """A daemon that hears what it is given through a pipe, with a page at `port`."""

    def __init__(
        self, folder: Path, *, page: str = "", more: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._ended, self._writing = threading.Event(), threading.Lock()
        self._environment = environment or {}
        self.state = folder / "state"
        self._stderr = folder / "earshot.log"
        (folder / "password").write_text(PASSWORD + "\n")
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"node: hall\nstate_directory: {self.state}\n"
            f"sources: [{{name: pump, type: stdin, detector: {DETECTOR.path}}}]\n"
            f"mqtt: {{host: 127.0.0.1, port: {free_port()}, username: wellknown}}\n"
            f"page: {{port: {self.port}{page}}}\n{more}"
        )

    def __enter__(self) -> "Paged":
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--config", self.config],
                stdin=subprocess.PIPE,
                stderr=stderr,
                env={**environment(), **self._environment},
            )
        threading.Thread(target=self._keep_it_awake, daemon=True).start()
        self._wait_for("page: |no page")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)

    def visitor(self) -> Visitor:
        return Visitor(self.port)

    def hear(self, samples: NDArray[np.float32] = SOUND) -> None:
        assert self.process.stdin is not None
        with self._writing:
            self.process.stdin.write(np.round(samples * 32_767).astype("<i2").tobytes())
            self.process.stdin.flush()

    def _keep_it_awake(self) -> None:
        """A pipe from which nothing comes for ten seconds is lost, and the daemon ends with its last source."""
        while not self._ended.wait(AWAKE_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                self.hear(SOUND[:HOP_SAMPLES])

    def log(self) -> str:
        return self._stderr.read_text()

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _wait_for(self, words: str) -> None:
        wait_until(lambda: re.search(words, self.log()) is not None or self.process.poll() is not None)


def wait_until(true: Any, seconds: float = 90) -> None:  # noqa: ANN401  a callable
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, "it did not become so"
        time.sleep(0.05)


def look_of_the_page() -> str:
    """Return a digest of the files that a browser gets: another one, and a picture of the page is an old one."""
    files = sorted(path for path in ASSETS.rglob("*") if path.is_file())
    parts = [path.relative_to(ASSETS).as_posix().encode() + b"\0" + path.read_bytes() for path in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
