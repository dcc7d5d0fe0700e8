"""The unit as systemd reads it, and the words that the daemon says to systemd.

Needs systemd-analyze, of the Debian package systemd.
"""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from edge.errors import ConfigError
from edge.notify import notify
from tests.real.mosquitto import program

UNIT: Final = Path(__file__).parents[1] / "systemd" / "earshot.service"
COMMAND: Final = "/opt/earshot/bin/earshot"

MOST_EXPOSURE: Final = 20
"""Tenths of systemd's points, 0 to 100; a unit that only names a user has 95."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy whose program is there: systemd-analyze looks for it."""
    text = UNIT.read_text(encoding="utf-8")
    assert f"ExecStart={COMMAND} " in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(COMMAND, sys.executable), encoding="utf-8")
    return copy


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    # Without --recursive-errors=no a mistake is printed, and the exit code is 0 all the same.
    return analyze("verify", "--recursive-errors=no", "--man=no", unit)


def test_systemd_understands_every_line(unit: Path) -> None:
    came = verify(unit)
    assert (came.returncode, came.stdout, came.stderr) == (0, "", "")


def test_a_misspelt_line_would_not_pass(unit: Path) -> None:
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8")
    assert "ProtectHouse" in verify(unit).stderr


def test_little_is_left_that_it_may_do() -> None:
    came = analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}", UNIT)
    assert came.returncode == 0, came.stdout[-2000:]


def test_a_wrong_configuration_is_not_tried_again() -> None:
    assert f"RestartPreventExitStatus={ConfigError.exit_code}" in UNIT.read_text(encoding="utf-8").splitlines()


def test_it_tells_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        notify("READY=1")
        manager.settimeout(5)
        assert manager.recv(100) == b"READY=1"


def test_it_tells_a_service_manager_in_the_abstract_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"earshot-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        manager.settimeout(5)
        assert manager.recv(100) == b"STOPPING=1"


def test_where_there_is_no_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
