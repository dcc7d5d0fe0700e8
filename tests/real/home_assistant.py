"""A real Home Assistant, joined to a broker, in a folder of its own; it is asked over its REST interface.

Needs `EARSHOT_HOME_ASSISTANT=1 scripts/install-test-parts`: 820 MB, and Python 3.13.
"""

import json
import os
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from tests.real.aedes import PARTS
from tests.real.mosquitto import HOST, Mosquitto, free_port

START_SECONDS: Final = 180.0
PERSON: Final = "tester"
CLIENT: Final = "http://127.0.0.1/"
STAMP: Final = "2026-01-01T00:00:00+00:00"


def python_of_home_assistant() -> str:
    """Return the Python that has Home Assistant. Skips where there is none: it is too large to be asked for."""
    path = PARTS / "home-assistant" / "bin" / "python"
    if not (path.parent / "hass").exists():
        pytest.skip("Home Assistant is not installed: EARSHOT_HOME_ASSISTANT=1 scripts/install-test-parts (820 MB)")
    return str(path)


class HomeAssistant:
    """It runs from `start` to the end of the `with` block, and remembers what it knew over a `stop`."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        """Write its configuration: one broker, one person, nothing to be asked at the first start."""
        self._python = python_of_home_assistant()
        self._folder = folder / "home-assistant"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        storage = self._folder / ".storage"
        storage.mkdir(parents=True)
        (self._folder / "configuration.yaml").write_text(
            f"http: {{server_host: {HOST}, server_port: {self._port}}}\napi:\nevent:\n"
        )
        _store(storage, "core.config_entries", {"entries": [_entry(broker)]}, minor_version=4)
        done = {"done": ["user", "core_config", "analytics", "integration"]}
        _store(storage, "onboarding", done, version=4)

    def __enter__(self) -> Self:
        add = ["--script", "auth", "-c", str(self._folder), "add", PERSON, PERSON]
        subprocess.run([*self._command, *add], check=True, stdout=subprocess.DEVNULL)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, or start it again; return when it answers."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--skip-pip"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._token = self._log_in()
            except (OSError, KeyError):
                if self._process.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"Home Assistant did not start: {self.log()[-2000:]}")
                time.sleep(0.5)
            else:
                return

    def stop(self) -> None:
        """End it politely."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def states(self) -> dict[str, dict[str, Any]]:
        """Return all that it knows, by the ids of its entities."""
        return {each["entity_id"]: each for each in self._ask("/api/states")}

    def state(self, entity: str) -> str | None:
        """Return how an entity is; None where there is none of that id."""
        found = self.states().get(entity)
        return None if found is None else found["state"]

    def attribute(self, entity: str, name: str) -> Any:  # noqa: ANN401  JSON
        """Return an attribute of an entity; None where it is not there."""
        return self.states().get(entity, {}).get("attributes", {}).get(name)

    def call(self, domain: str, service: str, **data: object) -> None:
        """Do what a person would, by a click."""
        self._ask(f"/api/services/{domain}/{service}", data)

    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    @property
    def _command(self) -> list[str]:
        return [self._python, "-m", "homeassistant", "-c", str(self._folder)]

    @property
    def _log_file(self) -> Path:
        return self._folder / "out.log"

    def _log_in(self) -> str:
        start = {"client_id": CLIENT, "handler": ["homeassistant", None], "redirect_uri": CLIENT}
        flow = self._ask("/auth/login_flow", start)["flow_id"]
        person = {"client_id": CLIENT, "username": PERSON, "password": PERSON}
        code = self._ask(f"/auth/login_flow/{flow}", person)["result"]
        form = {"client_id": CLIENT, "grant_type": "authorization_code", "code": code}
        return str(self._send("/auth/token", urllib.parse.urlencode(form).encode())["access_token"])

    def _ask(self, path: str, data: object = None) -> Any:  # noqa: ANN401  JSON
        return self._send(path, None if data is None else json.dumps(data).encode())

    def _send(self, path: str, data: bytes | None) -> Any:  # noqa: ANN401  JSON
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        request = urllib.request.Request(f"http://{HOST}:{self._port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def asked_for() -> bool:
    """Whether tests may take the minute and the memory that a whole Home Assistant takes."""
    return os.environ.get("EARSHOT_HOME_ASSISTANT") == "1"


def _store(folder: Path, key: str, data: object, *, version: int = 1, minor_version: int = 1) -> None:
    content = {"version": version, "minor_version": minor_version, "key": key, "data": data}
    (folder / key).write_text(json.dumps(content))


def _entry(broker: Mosquitto) -> dict[str, Any]:
    return {
        "entry_id": "earshot0000000000000000000000000",
        "version": 1,
        "minor_version": 2,
        "domain": "mqtt",
        "title": "broker",
        "data": {"broker": broker.host, "port": broker.port, "discovery": True},
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
        "discovery_keys": {},
        "subentries": [],
        "created_at": STAMP,
        "modified_at": STAMP,
    }
