"""The service under a real systemd: installed by its script, listening, frozen and brought back, and gone again.

It takes a box (tests/real/box.py), which is slow to make, so nobody is made to wait for it unasked:

    sudo python -m tests.real.box DIR [trixie]                     once
    sudo EARSHOT_BOX_DIR=DIR python -m pytest tests/real/test_service.py
    sudo EARSHOT_BOX=1 python -m pytest tests/real/test_service.py     makes one, and throws it away
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.real.box import Box, build, missing, python_of
from tests.real.wheels import fill

ROOT: Final = Path(__file__).parents[2]
BOX_DIR: Final = os.environ.get("EARSHOT_BOX_DIR")

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        BOX_DIR is None and os.environ.get("EARSHOT_BOX") != "1",
        reason="a box with a real systemd: set EARSHOT_BOX=1 to make one (two minutes, root), or EARSHOT_BOX_DIR",
    ),
]

CONFIG: Final = "/etc/earshot/config.yaml"
UNIT: Final = "earshot.service"
DROP_IN: Final = f"/run/systemd/system/{UNIT}.d/test.conf"
PATIENCE_SECONDS: Final = 180.0

STAND_IN: Final = '''
"""What the daemon does about systemd and nothing else. SIGUSR1: it goes on, but hears nothing any more."""
import json, os, pathlib, signal, socket, subprocess, sys, time
from edge.daemon.notify import ALIVE, READY, Progress, Watchdog, notify, watchdog_seconds

def outcome(what):
    try:
        return what()
    except OSError as error:
        return error.strerror

# As edge/source/capture.py, it does not listen to SIGTERM.
wait = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1e6)"
child = subprocess.Popen([sys.executable, "-c", wait])
password = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "mqtt-password")
state = pathlib.Path(os.environ["STATE_DIRECTORY"])
tried = {
    "uid": os.getuid(),
    "write /usr": outcome(lambda: pathlib.Path("/usr/x").write_text("")),
    "write /etc/earshot": outcome(lambda: pathlib.Path("/etc/earshot/x").write_text("")),
    "look at /home": outcome(lambda: os.listdir("/home")),
    "set the clock": outcome(lambda: time.clock_settime(time.CLOCK_REALTIME, 0)),
    "send raw packets": outcome(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "see PID 1": outcome(lambda: os.listdir("/proc/1/fd")),
    "read the password": password.read_text(),
    "write the state": outcome(lambda: (state / "x").write_text("kept")),
    "starts": len(list(state.glob("start-*"))),
}
(state / f"start-{os.getpid()}").touch()
(state / "tried.json").write_text(json.dumps(tried))

deaf = []
signal.signal(signal.SIGUSR1, lambda *_: deaf.append(True))
watchdog = Watchdog(watchdog_seconds(), time.monotonic())
n = 0
notify(READY, f"STATUS=child {child.pid}")
while True:
    n += not deaf
    if watchdog.due(time.monotonic(), {"fan": Progress(n, n)}):
        notify(ALIVE)
    time.sleep(0.05)
'''


class Service:
    """The installed unit in a box."""

    def __init__(self, box: Box) -> None:
        self.box = box

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.box.run("systemctl", *arguments, check=check)

    def property(self, name: str) -> str:
        return self.systemctl("show", "--value", f"--property={name}", UNIT).strip()

    def journal(self, *arguments: str) -> str:
        """Return what the unit has said since its last start."""
        invocation = self.property("InvocationID")
        return self.box.run("journalctl", "--no-pager", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={invocation}", *arguments)

    def log(self) -> str:
        """Return all that the unit has said, and systemd about it."""
        return self.box.run("journalctl", "--no-pager", "-o", "cat", f"--unit={UNIT}")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"not within {PATIENCE_SECONDS:g} s: {what}\n{self.log()[-4000:]}")
            time.sleep(0.1)

    def restart(self, drop_in: str) -> None:
        """Start anew, with lines for the unit that end with this boot."""
        self.box.write(DROP_IN, drop_in)
        self.systemctl("daemon-reload")
        self.systemctl("restart", UNIT)

    def retained(self, topic: str) -> str:
        """Return what the broker in the box remembers of the first topic that fits."""
        return self.box.run("mosquitto_sub", "-t", topic, "-C", "1", "-W", str(round(PATIENCE_SECONDS))).strip()

    def processes(self) -> list[str]:
        """Return the numbers of the unit's processes, inside the box."""
        group = self.property("ControlGroup")
        told = self.box.run("cat", f"/sys/fs/cgroup/systemd{group}/cgroup.procs", check=False)
        if "No such file" in told:
            told = self.box.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=False)
        return told.split() if "No such file" not in told else []


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    if why := missing():
        pytest.fail(why)
    folder = Path(BOX_DIR) if BOX_DIR else tmp_path_factory.mktemp("box") / "debian"
    if not folder.is_dir():
        build(folder)
    wheels = tmp_path_factory.mktemp("wheels")
    fill(wheels, python_of(folder))
    shown = {ROOT / "systemd": "/source/systemd", ROOT / "config.yaml": "/source/config.yaml", wheels: "/wheels"}
    with Box(folder, tmp_path_factory.mktemp("scratch"), shown=shown) as running:
        yield running


@pytest.fixture(scope="module")
def files_before(box: Box) -> set[str]:
    return box.files()


@pytest.fixture(scope="module")
def service(box: Box, files_before: set[str]) -> Service:
    """The service, installed and started by the script."""
    service = Service(box)
    try:
        install(box)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{service.log()}") from error
    return service


def install(box: Box) -> None:
    (wheel,) = box.run("sh", "-c", "ls /wheels/earshot-*.whl").split()
    offline = ["env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels"]
    box.run(*offline, "/source/systemd/install", "--now", wheel)


@pytest.fixture
def daemon(service: Service) -> Service:
    """The real daemon, listening to what it is installed with."""
    service.restart("")
    return service


@pytest.fixture
def stand_in(service: Service) -> Service:
    """A program of ours in the daemon's place, in the daemon's sandbox, watched closely."""
    service.box.write("/opt/stand_in.py", STAND_IN)
    service.restart(
        "[Service]\nExecStart=\nExecStart=/opt/earshot/bin/python /opt/stand_in.py\nWatchdogSec=3\nRestartSec=100ms\n"
    )
    return service


@contextmanager
def configured(service: Service) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes another configuration; the one that was there comes back."""
    config = service.box.run("cat", CONFIG)
    try:
        yield lambda text: service.box.write(CONFIG, text)
    finally:
        service.box.write(CONFIG, config)


def restarts(service: Service) -> int:
    return int(service.property("NRestarts"))


def test_installed_it_is_ready_and_listens_and_is_online(daemon: Service) -> None:
    assert daemon.property("ActiveState") == "active"
    assert daemon.systemctl("is-enabled", UNIT).strip() == "enabled"
    assert daemon.retained("earshot/+/status") == "online"
    daemon.wait(lambda: "pump: listening" in daemon.journal(), "it says that it listens")
    assert daemon.retained("earshot/+/pump/availability") == "online"
    daemon.wait(lambda: "pump" in daemon.property("StatusText"), "systemctl status says what the source does")
    assert restarts(daemon) == 0


def test_its_log_has_priorities_and_no_times_of_its_own(daemon: Service) -> None:
    daemon.wait(lambda: "mqtt: connected" in daemon.journal(), "it is connected")
    daemon.box.run("systemctl", "stop", "mosquitto")
    daemon.wait(lambda: "mqtt: localhost:1883" in daemon.journal("PRIORITY=4"), "it misses the broker")
    daemon.box.run("systemctl", "start", "mosquitto")
    told = daemon.box.run("journalctl", "--no-pager", "-o", "json", f"--unit={UNIT}")
    entries: list[dict[str, Any]] = [json.loads(line) for line in told.splitlines()]
    said = {entry["MESSAGE"]: entry["PRIORITY"] for entry in entries if entry.get("SYSLOG_IDENTIFIER") == "earshot"}
    assert any(priority == "4" and text.startswith("mqtt: localhost:1883") for text, priority in said.items())
    assert any(priority == "6" and text.startswith("pump: ") for text, priority in said.items())


def test_it_is_in_its_sandbox(stand_in: Service) -> None:
    tried = json.loads(stand_in.box.run("cat", "/var/lib/earshot/tried.json"))
    assert 61_184 <= tried.pop("uid") <= 65_519  # systemd's range for DynamicUser=
    starts = tried.pop("starts")
    assert tried == {
        "write /usr": "Read-only file system",
        "write /etc/earshot": "Read-only file system",
        "look at /home": "Permission denied",
        "set the clock": "Operation not permitted",
        "send raw packets": "Address family not supported by protocol",
        "see PID 1": "No such file or directory",
        "read the password": "",
        "write the state": 4,
    }
    stand_in.systemctl("restart", UNIT)
    again = json.loads(stand_in.box.run("cat", "/var/lib/earshot/tried.json"))
    assert again["starts"] == starts + 1  # what is written there stays


@pytest.mark.parametrize("how", ["frozen", "deaf"])
def test_the_watchdog_brings_back_what_has_stopped(stand_in: Service, how: str) -> None:
    before, n_before = stand_in.processes(), restarts(stand_in)
    assert len(before) == 2  # a child too
    time.sleep(2 * 3)  # WatchdogSec; it pings, and so nothing happens
    assert restarts(stand_in) == n_before

    stand_in.systemctl("kill", "--kill-whom=main", f"--signal={'STOP' if how == 'frozen' else 'USR1'}", UNIT)
    stand_in.wait(lambda: restarts(stand_in) == n_before + 1, "it is started again")
    stand_in.wait(lambda: stand_in.property("StatusText").startswith("child"), "it is ready again")
    assert "Watchdog timeout (limit 3s)!" in stand_in.log()
    assert not set(before) & set(stand_in.processes())
    assert "Current thread" in stand_in.log()  # where it was when it was shot


def test_the_daemon_pings_and_is_brought_back_when_it_is_frozen(service: Service) -> None:
    service.restart("[Service]\nWatchdogSec=8\nRestartSec=100ms\n")
    service.wait(lambda: "pump: listening" in service.journal(), "it listens")
    n_before = restarts(service)
    time.sleep(2 * 8)
    assert restarts(service) == n_before, service.log()[-2000:]

    service.systemctl("kill", "--kill-whom=main", "--signal=STOP", UNIT)
    service.wait(lambda: restarts(service) == n_before + 1, "it is started again")
    service.wait(lambda: "pump: listening" in service.journal(), "it listens again")


def test_reload_keeps_the_process_and_a_wrong_configuration_keeps_the_old_one(daemon: Service) -> None:
    daemon.wait(lambda: "pump: listening" in daemon.journal(), "it listens")
    before = daemon.property("MainPID")
    with configured(daemon) as write:
        write(daemon.box.run("cat", CONFIG).replace("name: pump ", "name: fan  "))
        daemon.systemctl("reload", UNIT)
        daemon.wait(lambda: "fan: listening" in daemon.journal(), "it listens to what is new")

        write("sources: 5\n")
        daemon.systemctl("reload", UNIT, check=False)
        daemon.wait(lambda: "config.yaml:1:10: sources" in daemon.journal(), "it says what is wrong")
        assert daemon.property("MainPID") == before
        assert daemon.property("ActiveState") == "active"


def hears(service: Service, name: str) -> bool:
    return f"{name}:" in service.property("StatusText")


def test_a_reload_is_no_stop(service: Service) -> None:
    """A service that says STOPPING=1 is killed by systemd 257 once TimeoutStopSec is over; 252 let it live."""
    service.restart("[Service]\nTimeoutStopSec=3\n")
    service.wait(lambda: "pump: listening" in service.journal(), "it listens")
    before, n_before = service.property("MainPID"), restarts(service)
    shipped = service.box.run("cat", CONFIG)
    with configured(service) as write:
        for name in ("fan", "fan2"):
            write(shipped.replace("name: pump ", f"name: {name} "))
            service.systemctl("reload", UNIT)
            service.wait(partial(hears, service, name), f"it hears {name}")
            assert service.property("ActiveState") == "active"
            time.sleep(2 * 3)
            assert (service.property("MainPID"), restarts(service)) == (before, n_before), service.log()[-2000:]


def test_a_wrong_configuration_is_not_tried_again(daemon: Service) -> None:
    with configured(daemon) as write:
        write("sources: []\n")
        daemon.systemctl("restart", UNIT, check=False)
        assert daemon.property("ActiveState") == "failed"
        assert daemon.property("ExecMainStatus") == "78"


def test_stopped_it_says_goodbye_and_leaves_no_process(daemon: Service) -> None:
    daemon.wait(lambda: daemon.retained("earshot/+/status") == "online", "it is there")
    daemon.systemctl("stop", UNIT)
    assert daemon.retained("earshot/+/status") == "offline"
    assert (daemon.property("Result"), daemon.property("ExecMainStatus")) == ("success", "0")
    assert daemon.processes() == []


def test_installed_again_it_keeps_the_configuration(daemon: Service) -> None:
    daemon.box.run("sh", "-c", "echo '# mine' >> /etc/earshot/config.yaml; echo secret > /etc/earshot/mqtt-password")
    install(daemon.box)
    assert daemon.box.run("tail", "-n1", "/etc/earshot/config.yaml") == "# mine\n"
    assert daemon.box.run("cat", "/etc/earshot/mqtt-password") == "secret\n"
    assert daemon.box.run("stat", "-c", "%a %U", "/etc/earshot/mqtt-password") == "600 root\n"
    assert daemon.property("ActiveState") == "active"


def test_uninstalled_nothing_is_left(box: Box, files_before: set[str], service: Service) -> None:
    """Last in this file: the script that removes it is the installed one."""
    box.run("rm", "-f", "/opt/stand_in.py", DROP_IN)
    box.run("/opt/earshot/uninstall", "--keep")
    left = box.files() - files_before
    assert {"/etc/earshot/config.yaml", "/etc/earshot/mqtt-password"} <= left
    assert not any(path.startswith("/opt/earshot") for path in left)

    install(box)
    box.run("/opt/earshot/uninstall", "--purge")
    # The broker's memory and the journal are systemd's and mosquitto's.
    theirs = ("/var/lib/mosquitto/", "/var/log/", "/var/lib/systemd/", "/run/")
    assert {path for path in box.files() - files_before if not path.startswith(theirs)} == set()
    assert "earshot" not in box.run("systemctl", "list-units", "--all", "--no-legend", "earshot*")
    assert "not-found" in box.run("systemctl", "show", "--property=LoadState", UNIT)
