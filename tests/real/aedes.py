"""Aedes on a free port of this computer: a broker that is not Mosquitto, speaks 3.1.1 alone, and forgets at its end.

Needs node 20 and what scripts/install-test-parts puts beside it.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.real.mosquitto import HOST, free_port, wait_until

PARTS: Final = Path(os.environ.get("EARSHOT_TEST_PARTS") or Path.home() / ".cache" / "earshot-test-parts")


def node() -> str:
    """Return the path of node. Skips where Aedes cannot be; where it could and is not, in CI that is a failure."""
    path = shutil.which("node")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout if path else ""
    found = re.match(r"v(\d+)", version)
    if path is None or found is None or int(found[1]) < 20:
        pytest.skip("node 20 is not installed")
    if not (PARTS / "node_modules" / "aedes").is_dir():
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain("aedes is not installed: run scripts/install-test-parts")
    return path


class Aedes:
    """The broker, from `start` to the end of the `with` block; it keeps its port over a `kill`, and nothing else."""

    def __init__(
        self,
        *,
        largest: int | None = None,
        forbidden: str | None = None,
        password: tuple[str, str] | None = None,
        websockets: bool = False,
    ) -> None:
        """largest: bytes of a payload, forbidden: end of a topic, at which it hangs up without a word."""
        self.host = HOST
        self.port = free_port()
        self.websocket_port = free_port() if websockets else None
        wanted = {
            "port": self.port,
            "websockets": self.websocket_port,
            "modules": str(PARTS),
            "largest": largest,
            "forbidden": forbidden,
            "password": password,
        }
        self._command = [node(), str(Path(__file__).with_name("aedes.mjs")), json.dumps(wanted)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, or start it again; return when it takes connections."""
        self._process = process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

        def listens() -> bool:
            if process.poll() is not None:
                pytest.fail(f"aedes ended with {process.returncode}")
            with socket.socket() as probe:
                return probe.connect_ex((HOST, self.port)) == 0

        wait_until(listens, "aedes listens")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
