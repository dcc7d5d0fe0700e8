"""The daemon in a process of its own, and where it thinks that systemd listens."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import environment

PATIENCE_SECONDS: Final = 200.0


class Manager:
    """Where systemd would listen: at once, as it does, since the kernel keeps ten messages and no more.

    told  everything that was said so far, a word each
    """

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        threading.Thread(target=self._listen, daemon=True).start()

    def count(self, word: str) -> int:
        return sum(each.startswith(word) for each in list(self.told))

    def _listen(self) -> None:
        while True:
            self.told += self._socket.recv(65_536).decode().splitlines()


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@contextmanager
def running(
    config: Path,
    manager: Manager,
    *options: str,
    before: str = "",
    stdin: int = subprocess.PIPE,
    watchdog_seconds: float = 0.0,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon in a session of its own, so without our terminal. before: Python that its process does first."""
    code = f"{before}\nfrom edge.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "--config", str(config), *options],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=(config.parent / "log").open("wb"),
        env={
            **environment(),
            "NOTIFY_SOCKET": str(manager.address),
            "WATCHDOG_USEC": str(round(1e6 * watchdog_seconds)),
        },
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log(config: Path) -> str:
    return (config.parent / "log").read_text()
