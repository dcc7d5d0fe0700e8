"""What others ask by signals: whenever it comes, however often, with and without a terminal."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import DEMO
from tests.managed import PATIENCE_SECONDS, Manager, log, running, wait_until


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A source that plays for ever, and a broker that is not there."""
    path = tmp_path / "config.yaml"
    source = f"name: pump, type: folder, path: {DEMO / 'recordings'}, loop: true, detector: {DEMO / 'detector'}"
    path.write_text(f"sources: [{{{source}}}]\nmqtt: {{host: 127.0.0.1, port: 1}}\n")
    return path


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path)


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
    slow = "import time; from edge.detector import Trials as T; T.open = lambda *_: time.sleep(60)"
    with running(config, manager, before=slow) as process:  # by itself it is ready before anybody can say stop
        wait_until(lambda: manager.count("EXTEND_TIMEOUT_USEC"), "it tries its detectors")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not manager.count("READY=1")
