"""What others ask by signals: whenever it comes, however often, with and without a terminal."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import DEMO, environment

PATIENCE_SECONDS: Final = 60.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A source that waits for ever, and a broker that is not there."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"sources: [{{name: pump, type: stdin, detector: {DEMO / 'detector'}}}]\nmqtt: {{host: 127.0.0.1, port: 1}}\n"
    )
    return path


class Manager:
    """Where systemd would listen."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self._socket.setblocking(False)

    def words(self) -> list[str]:
        """Everything that was said so far, a word each."""
        while True:
            try:
                self.told += self._socket.recv(65_536).decode().splitlines()
            except BlockingIOError:
                return self.told

    def count(self, word: str) -> int:
        return sum(each.startswith(word) for each in self.words())


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path)


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@contextmanager
def running(
    config: Path, manager: Manager, *, before: str = "", stdin: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon in a session of its own, so without our terminal. before: Python that its process does first."""
    code = f"{before}\nfrom edge.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "--config", str(config)],
        stdin=stdin,
        stderr=(config.parent / "log").open("wb"),
        env={**environment(), "NOTIFY_SOCKET": str(manager.address)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log(config: Path) -> str:
    return (config.parent / "log").read_text()


def outlives(process: "subprocess.Popen[bytes]", number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, or lets it wait, as proc(5) says."""
    lines = dict(line.split(":\t") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return any(int(lines[key], 16) >> (number - 1) & 1 for key in ("SigBlk", "SigCgt"))


def test_a_hangup_before_it_is_ready_reloads_and_kills_nobody(config: Path, manager: Manager) -> None:
    with running(config, manager) as process:
        wait_until(lambda: outlives(process, signal.SIGHUP), "it knows of SIGHUP")
        assert not manager.count("READY=1")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.count("READY=1") == 2, "it is ready, and has reloaded")
        assert manager.count("RELOADING=1") == 1
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_fifty_hangups_a_second_are_few_reloads(config: Path, manager: Manager) -> None:
    with running(config, manager) as process:
        wait_until(lambda: manager.count("READY=1"), "it is ready")
        for _ in range(150):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        wait_until(lambda: manager.count("READY=1") > manager.count("RELOADING=1") >= 1, "the last is done")
        assert process.poll() is None
        assert 1 <= manager.count("RELOADING=1") <= 15
        assert "Traceback" not in log(config)
        assert not manager.count("STOPPING=1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert manager.count("STOPPING=1") == 1


def test_what_was_ignored_stays_ignored(config: Path, manager: Manager) -> None:
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with running(config, manager, before=before) as process:
        wait_until(lambda: manager.count("READY=1"), "it is ready")
        assert not outlives(process, signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        time.sleep(1.5)  # three ticks
        assert (process.poll(), manager.count("RELOADING=1")) == (None, 0)


def test_a_terminal_that_closes_ends_it(config: Path, manager: Manager) -> None:
    """The daemon would else go on unseen, holding microphone and client id."""
    ours, theirs = pty.openpty()
    before = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # of the session's leader
    with running(config, manager, before=before, stdin=theirs) as process:
        os.close(theirs)
        wait_until(lambda: manager.count("READY=1"), "it is ready")
        os.close(ours)  # the kernel says SIGHUP
        assert process.wait(PATIENCE_SECONDS) == 0
        assert (manager.count("RELOADING=1"), manager.count("STOPPING=1")) == (0, 1)


def test_a_stop_while_it_is_made_ready_ends_it_at_once(config: Path, manager: Manager) -> None:
    with running(config, manager) as process:
        wait_until(lambda: manager.count("EXTEND_TIMEOUT_USEC"), "it tries its detectors")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not manager.count("READY=1")
