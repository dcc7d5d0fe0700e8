"""The unit as systemd reads it, the words that the daemon says to systemd and the journal, and the installation.

Needs systemd-analyze and systemctl, of the Debian package systemd; no service manager is asked. The unit under a real
one is in tests/real/test_service.py.
"""

import hashlib
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edge.cli import set_up_logging
from edge.config.settings import load
from edge.daemon import notify as words
from edge.daemon.notify import ALIVE, READY, STOPPING, Progress, Watchdog, notify, reloading, watchdog_seconds
from edge.errors import ConfigError
from edge.talk import Talk
from tests.conftest import environment
from tests.real.mosquitto import program

SYSTEMD: Final = Path(__file__).parents[1] / "systemd"
UNIT: Final = SYSTEMD / "earshot.service"
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


def test_what_the_daemon_reads_is_what_the_unit_shows() -> None:
    """The words of the unit that the code relies on."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    for line in ("Type=notify", "NotifyAccess=main", "ExecReload=/bin/kill -HUP $MAINPID", "Restart=always"):
        assert line in lines
    assert "StateDirectory=earshot" in lines
    assert "KillMode=mixed" in lines  # its children ignore SIGTERM, and die when it does


def test_every_limit_has_its_reason() -> None:
    """A comment stands before each line that takes something away."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    start = lines.index("# What it may not, each with its reason.") + 1
    limits = [i for i in range(start, len(lines)) if "=" in lines[i] and not lines[i].startswith(("#", "WantedBy"))]
    assert len(limits) > 20
    assert [lines[i] for i in limits if not lines[i - 1].startswith("#")] == []


# --- What the daemon says to the service manager ---


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(address))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        yield sock


@pytest.mark.parametrize("word", [READY, STOPPING, ALIVE])
def test_it_tells_the_service_manager(manager: socket.socket, word: str) -> None:
    assert notify(word)
    assert manager.recv(100) == word.encode()


def test_several_words_are_one_message(manager: socket.socket) -> None:
    notify(READY, "STATUS=2 sources")
    assert manager.recv(100) == b"READY=1\nSTATUS=2 sources"


def test_no_text_from_outside_can_say_more_than_its_status(manager: socket.socket) -> None:
    notify("STATUS=broker says\nWATCHDOG=1\r\nREADY=1")
    assert manager.recv(100) == b"STATUS=broker says WATCHDOG=1 READY=1"


def test_reloading_tells_when(manager: socket.socket) -> None:
    assert reloading()
    first, second = manager.recv(100).decode().splitlines()
    assert first == "RELOADING=1"
    key, microseconds = second.split("=")
    assert key == "MONOTONIC_USEC"
    assert int(microseconds) > 0


def test_it_tells_a_service_manager_in_the_abstract_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"earshot-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify(STOPPING)
        manager.settimeout(5)
        assert manager.recv(100) == b"STOPPING=1"


def test_where_there_is_no_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify(READY)


def test_a_service_manager_that_is_gone_is_no_trouble_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify(READY)


def test_a_service_manager_that_does_not_read_holds_nobody_up(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_SEND_SECONDS", 0.01)
    assert not all(notify(READY) for _ in range(10_000))


# --- When it may say that it is alive ---


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", "ours", 30.0),
        ("2500000", None, 2.5),
        ("30000000", "1", None),  # meant for our parent
        ("0", None, None),
        ("soon", None, None),
        ("-5", None, None),
        (None, None, None),
    ],
)
def test_the_watchdogs_limit(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, pid: str | None, seconds: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value == "ours":
            value = str(os.getpid())
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds


LIMIT: Final = 30.0
START: Final = 1000.0
HALF: Final = START + LIMIT / 2


def pinged(*histories: list[Progress]) -> list[bool]:
    """Return what is due each half of the limit: each history is one source's, a `Progress` each time."""
    watchdog = Watchdog(LIMIT, START)
    names = [f"source {i}" for i in range(len(histories))]
    return [
        watchdog.due(START + (i + 1) * LIMIT / 2, dict(zip(names, now, strict=True)))
        for i, now in enumerate(zip(*histories, strict=True))
    ]


WELL: Final = [Progress(frames=16_000 * i, hops=30 * i) for i in range(1, 5)]


def test_it_is_said_while_every_source_is_heard_and_judged() -> None:
    assert pinged(WELL, WELL) == [True] * 4


def test_it_is_said_at_once_and_then_after_half_of_the_limit() -> None:
    watchdog = Watchdog(LIMIT, START)
    assert watchdog.due(START, {"pump": WELL[0]})
    assert not watchdog.due(HALF - 0.1, {"pump": WELL[1]})
    assert watchdog.due(HALF, {"pump": WELL[1]})
    assert not watchdog.due(HALF + 0.1, {"pump": WELL[2]})


def test_one_source_that_is_not_heard_any_more_is_enough_for_silence() -> None:
    stuck = [WELL[0], *[WELL[1]] * 3]
    assert pinged(WELL, stuck) == [True, True, False, False]


def test_sound_without_judgement_is_no_life() -> None:
    deaf = [Progress(frames=16_000 * i, hops=30) for i in range(1, 5)]
    assert pinged(deaf) == [True, False, False, False]


def test_a_missing_microphone_is_no_reason_to_restart() -> None:
    missing = [Progress(0, 0, heard=False, judged=False)] * 4
    assert pinged(WELL, missing) == [True] * 4
    assert pinged(missing) == [True] * 4


def test_a_microphone_that_is_lost_and_comes_back() -> None:
    frames = 480_000
    history = [
        Progress(frames, 60),
        Progress(frames, 60, heard=False, judged=False),  # pulled out
        Progress(frames + 16_000, 60, judged=False),  # heard again, the window is filling
        Progress(frames + 160_000, 61),
    ]
    assert pinged(history) == [True] * 4


def test_a_filling_window_needs_sound() -> None:
    assert pinged([Progress(16_000, 0, judged=False)] * 2) == [True, False]


def test_a_source_that_counts_anew_has_moved() -> None:
    assert pinged([WELL[3], WELL[0]]) == [True, True]


def test_a_late_hop_is_said_as_soon_as_it_is_there() -> None:
    watchdog = Watchdog(LIMIT, START)
    assert watchdog.due(HALF, {"pump": WELL[0]})
    assert not watchdog.due(HALF + 20, {"pump": WELL[0]})
    assert watchdog.stuck({"pump": WELL[0], "fan": WELL[0]}) == ("pump",)
    assert watchdog.due(HALF + 21, {"pump": WELL[1]})


def test_without_sources_it_is_a_timer() -> None:
    assert Watchdog(LIMIT, START).due(HALF, {})


# --- What it writes for the journal ---


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, which is put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(root: logging.Logger, path: Path, monkeypatch: pytest.MonkeyPatch, journal: str | None) -> list[str]:
    """Return the lines that three records and a traceback become in the file `path`, which is stderr.

    journal: the value of JOURNAL_STREAM; "right" for the one of that file.
    """
    with path.open("w") as stderr:
        found = os.fstat(stderr.fileno())
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        if journal is not None:
            monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}" if journal == "right" else journal)
        set_up_logging("debug", times=True)
        root.debug("quiet")
        root.info("%s: listening", "pump")
        root.warning("lost")
        try:
            int("two\nlines")
        except ValueError:
            root.exception("a defect")
        for handler in root.handlers:
            if isinstance(handler, logging.StreamHandler) and isinstance(handler.stream, Talk):
                handler.stream.wait()
    return path.read_text().splitlines()


def test_journald_gets_a_priority_on_every_line(
    root_logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = logged(root_logger, tmp_path / "stderr", monkeypatch, "right")
    assert lines[:4] == ["<7>quiet", "<6>pump: listening", "<4>lost", "<3>a defect"]
    assert lines[4] == "<3>Traceback (most recent call last):"
    assert all(line.startswith("<3>") for line in lines[4:])


@pytest.mark.parametrize("journal", [None, "1:2", "", "right:wrong"])
def test_everybody_else_gets_the_time(
    root_logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str | None
) -> None:
    """JOURNAL_STREAM is inherited: what redirects stderr to a file is not talking to journald."""
    lines = logged(root_logger, tmp_path / "stderr", monkeypatch, journal)
    time, text = lines[1].split(" ", 1)
    assert text == "pump: listening"
    assert time.endswith("Z")
    assert len(time) == len("2026-11-23T21:45:00.123Z")


# --- Installing it, into a folder, with a program that only looks like ours ---


def stand_in(folder: Path, version: str, *, demo: bool = True, name: str = "earshot", needs: str | None = None) -> Path:
    """Make a wheel that is installed in no time: a command that prints its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            "edge/__init__.py" if name == "earshot" else f"{name}.py", f"def main():\n    print({version!r})\n"
        )
        if demo and name == "earshot":
            wheel.writestr("edge/demo/detector/detector.json", "{}")
            wheel.writestr("edge/demo/recordings/pump.flac", "")
        meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", meta + (f"Requires-Dist: {needs}\n" if needs else ""))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        if name == "earshot":
            wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nearshot = edge:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def released(folder: Path, requirements: str) -> Path:
    """Return the `systemd` of a release that asks for other packages than ours, which no test should have to fetch."""
    shutil.copytree(SYSTEMD, folder / "systemd")
    shutil.copy(SYSTEMD.parent / "config.yaml", folder)
    (folder / "systemd" / "requirements.txt").write_text(requirements, encoding="utf-8")
    return folder / "systemd"


def script(
    name: str, *arguments: str | Path, code: int = 0, systemd: Path = SYSTEMD, wheels: Path | None = None
) -> str:
    """Run systemd/NAME; return what it said. wheels: a folder that stands for all registries."""
    program("systemctl")
    registry = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels or "")}
    done = subprocess.run(
        [systemd / name, *arguments],
        env={**environment(), "PY": sys.executable, **registry},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_installed_upgraded_and_removed(tmp_path: Path) -> None:
    root = tmp_path / "image"
    root.mkdir()
    ours = released(tmp_path / "release", "# nothing\n")
    script("install", "--root", root, stand_in(tmp_path, "1.0"), systemd=ours)

    opt, etc = root / "opt/earshot", root / "etc/earshot"
    command = (opt / "bin/earshot").read_text().splitlines()[0]
    assert command == "#!/opt/earshot/bin/python" or command.startswith("#!/opt/earshot/bin/python3")
    assert str(root) not in (opt / "pyvenv.cfg").read_text()
    assert (root / "usr/local/bin/earshot").readlink() == Path("/opt/earshot/bin/earshot")
    assert (root / "etc/systemd/system/multi-user.target.wants/earshot.service").is_symlink()
    assert (root / "etc/systemd/system/earshot.service").read_bytes() == UNIT.read_bytes()
    assert stat.S_IMODE((etc / "mqtt-password").stat().st_mode) == 0o600
    assert (etc / "mqtt-password").read_bytes() == b""
    config = load(etc / "config.yaml")
    (source,) = config.sources
    assert source.detector == Path("/opt/earshot/demo/detector")
    assert getattr(source, "path", None) == Path("/opt/earshot/demo/recordings")
    assert config.mqtt.host == "localhost"
    assert (opt / "demo/detector/detector.json").is_file()

    # What a site has written is not touched; a program that is none leaves the old one in its place.
    (etc / "config.yaml").write_text("mine\n")
    (etc / "mqtt-password").write_text("secret\n")
    before = files(root)
    assert "no Earshot" in script(
        "install", "--root", root, stand_in(tmp_path, "3.0", demo=False), code=1, systemd=ours
    )
    assert files(root) == before
    script("install", "--root", root, stand_in(tmp_path, "2.0"), systemd=ours)
    assert (etc / "config.yaml").read_text() == "mine\n"
    assert (etc / "mqtt-password").read_text() == "secret\n"
    assert list(opt.glob("lib/python3*/site-packages/earshot-*")) == [
        next(opt.glob("lib/python3*/site-packages")) / "earshot-2.0.dist-info"
    ]

    # Nobody is there to ask: what is the site's stays. The script may be the installed one.
    told = script("uninstall", "--root", root)
    assert files(root) == {"etc/earshot/config.yaml", "etc/earshot/mqtt-password"}
    assert f"kept: {etc}" in told
    (root / "var/lib/private/earshot").mkdir(parents=True)
    script("uninstall", "--purge", "--root", root)
    assert files(root) == set()
    assert not any((root / name).exists() for name in ("opt/earshot", "etc/earshot", "var/lib/private/earshot"))
    script("uninstall", "--purge", "--root", root)  # a second time is nothing


def test_a_package_that_is_not_to_the_byte_what_was_released_is_not_installed(tmp_path: Path) -> None:
    root, wheels = tmp_path / "image", tmp_path / "wheels"
    for folder in (root, wheels):
        folder.mkdir()
    wheel = stand_in(wheels, "1.0", name="needed")
    pinned = f"needed==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    ours, earshot = released(tmp_path / "release", pinned), stand_in(tmp_path, "1.0", needs="needed==1.0")
    script("install", "--root", root, earshot, systemd=ours, wheels=wheels)
    (site,) = (root / "opt/earshot").glob("lib/python3*/site-packages")
    assert (site / "needed-1.0.dist-info").is_dir()

    before = files(root)
    newer = stand_in(tmp_path, "2.0", needs="needed==2.0")
    told = script("install", "--root", root, newer, code=1, systemd=ours, wheels=wheels)
    assert "expected requirements.txt of its own version" in told
    with zipfile.ZipFile(wheel, "a") as altered:  # the same name and version
        altered.writestr("needed_too.py", "")
    assert "DO NOT MATCH THE HASHES" in script("install", "--root", root, earshot, code=1, systemd=ours, wheels=wheels)
    assert files(root) == before


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("install", ["--frobnicate"], "--frobnicate: expected --now, --root FOLDER, or what to install"),
        ("install", ["--root", "/nowhere"], "--root /nowhere: expected a folder that is there"),
        ("install", ["--root", ".", "nothing.whl"], "nothing.whl: no such file or folder"),
        ("install", ["--root", ".", "--now"], "nothing can be started in an image"),
        ("uninstall", ["everything"], "everything: expected --purge, --keep or --root FOLDER"),
    ],
)
def test_a_script_that_is_asked_for_something_else_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in script(name, *arguments, code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["install", "uninstall"])
def test_the_scripts_say_what_they_are(name: str) -> None:
    assert f"sudo systemd/{name}" in script(name, "--help")
    assert "set -euo" not in script(name, "--help")
