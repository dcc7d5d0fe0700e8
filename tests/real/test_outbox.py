"""The outbox in processes that are really killed, and on disks that are really full or read-only.

What is counted takes the factor EARSHOT_SOAK (tests/real/mosquitto.py): with 20, 200 kills. Needs mosquitto; the disks
that are mounted for a test need root, a file size limit does not.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config.settings import MqttSettings, OutboxSettings
from edge.voice.outbox import FILE_NAME, Outbox
from edge.voice.publisher import Publisher
from tests.conftest import environment
from tests.real.mosquitto import SOAK, Listener, Mosquitto, wait_until
from tests.test_publisher import EVENT

TOPIC = "earshot/hall/pump/event"

# A process that makes events for ever and prints each only when `event` has returned. It is forked from one that has
# imported everything already, which is quicker than a new interpreter, and no difference to SIGKILL.
NURSERY = """
import os, random, sys, time
from pathlib import Path
from edge.config import MqttSettings, OutboxSettings
from edge.voice.publisher import Publisher
from tests.test_publisher import EVENT

def make_events(seed, port, folder, protocol, large):
    chance = random.Random(seed)
    box = OutboxSettings(max_events=100_000)
    settings = MqttSettings(host="127.0.0.1", port=port, client_id="daemon", protocol=protocol, outbox=box)
    publisher = Publisher(settings, node="hall", sources=["pump"], state_path=folder, retry_seconds=(0.05, 0.2))
    publisher.start()
    for number in range(1_000_000):
        for kind in ["opened", *["updated"] * chance.randint(0, 3), "closed"]:
            time_ = f"2026-11-23T{time.time_ns()}"
            id_ = f"{seed}-{number}"
            reason = {"reason": "recovered"} if kind == "closed" else {}
            if number % 4 == 1:
                reason["text"] = "x" * large
            os.write(1, f"try {id_} {kind} {time_}\\n".encode())
            publisher.event("pump", {**EVENT, "id": id_, "kind": kind, "time": time_, **reason})
            os.write(1, f"put {id_} {kind} {time_}\\n".encode())
            time.sleep(chance.choice([0, 0.001, 0.005]))

for line in sys.stdin:
    seed, port, folder, protocol, large = line.split()
    pid = os.fork()
    if pid == 0:
        try:
            make_events(int(seed), int(port), Path(folder), protocol, int(large))
        finally:
            os._exit(1)
    os.write(1, f"pid {pid}\\n".encode())
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


class Nursery:
    """Starts processes that put events, and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=Path(__file__).parents[2],
        )
        self._unread = b""

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def run_and_kill(
        self, seed: int, port: int, folder: Path, seconds: float, *, protocol: str = "auto", large: int = 0
    ) -> list[str]:
        """Let one live for so many seconds from its first event on; return what it has said.

        large: bytes that some events have besides.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed} {port} {folder} {protocol} {large}\n".encode())
        self._process.stdin.flush()
        said: list[str] = []
        pid, kill_at = 0, None
        while "dead" not in said:
            said += self._read(0.001 if kill_at else 20)
            pid = pid or next((int(line[4:]) for line in said if line.startswith("pid ")), 0)
            if kill_at is None and any(line.startswith("try ") for line in said) and pid:
                kill_at = time.monotonic() + seconds
            if kill_at and time.monotonic() >= kill_at:
                os.kill(pid, signal.SIGKILL)
                kill_at = float("inf")
        return [line for line in said if line.startswith(("try ", "put "))]

    def _read(self, seconds: float) -> list[str]:
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], seconds)[0]:
            self._unread += os.read(self._process.stdout.fileno(), 65_536)
        *lines, self._unread = self._unread.split(b"\n")
        return [line.decode() for line in lines]


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    running = Nursery()
    yield running
    running.close()


def test_no_event_that_was_put_is_lost_to_a_kill(nursery: Nursery, tmp_path: Path) -> None:
    """10 kills a factor at random moments, with the broker there or not: all arrive, in order, none is invented."""
    chance = random.Random(0)
    folder = tmp_path / "state"
    tried: list[str] = []
    put: list[str] = []
    with Mosquitto(tmp_path) as broker, Listener(broker) as listener:
        dead_port = Mosquitto(tmp_path).port
        for seed in range(10 * SOAK):
            port = chance.choice([broker.port, dead_port])
            said = nursery.run_and_kill(seed, port, folder, chance.uniform(0, 0.12))
            tried += [line[4:] for line in said if line.startswith("try ")]
            put += [line[4:] for line in said if line.startswith("put ")]
        last = Publisher(
            MqttSettings(
                host=broker.host, port=broker.port, client_id="daemon", outbox=OutboxSettings(max_events=100_000)
            ),
            node="hall",
            sources=["pump"],
            state_path=folder,
        )
        last.start()
        last.event("pump", {**EVENT, "id": "last", "kind": "closed", "reason": "recovered"})
        wait_until(lambda: last.queued == 0, "all are acknowledged")
        wait_until(lambda: '"last"' in str(listener.last(TOPIC)), "the last one is heard")
        assert (last.dropped, last.figures["set_aside"], last.figures["on_disk"]) == (0, 0, True)
        last.close()

    payloads = {key(p): p for p in map(json.loads, listener.payloads(TOPIC)[:-1])}  # each once, by its first arrival
    heard = [each for each, p in payloads.items() if p.get("reason") != "interrupted"]
    interrupted = [each for each, p in payloads.items() if p.get("reason") == "interrupted"]
    print(f"{10 * SOAK} kills: {len(put)} put, {len(heard)} heard, {len(interrupted)} closed as interrupted")
    assert len(put) > 10 * SOAK
    assert set(put) <= set(heard)
    assert heard == [each for each in tried if each in payloads]  # one in `put` when the kill came may be among them

    opened = {p["id"] for p in payloads.values() if p["kind"] == "opened"}
    closed = Counter(p["id"] for p in payloads.values() if p["kind"] == "closed")
    assert closed == dict.fromkeys(opened, 1)
    # An interrupted episode is closed as of when it was last heard of.
    last_time = {each.split()[0]: each.split()[2] for each in heard}
    names = [each.split()[0] for each in interrupted]
    assert interrupted == [f"{name} closed {last_time[name]}" for name in names]


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_no_event_that_was_set_aside_is_lost_to_a_kill(protocol: str, nursery: Nursery, tmp_path: Path) -> None:
    """The same, between a broker that does not take all and one that does: set aside, said once more, killed."""
    chance = random.Random(1)
    folder = tmp_path / "state"
    put: list[str] = []
    n_arrived = 0
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with (
        Mosquitto(tmp_path / "one", more=["max_packet_size 3000"]) as strict,
        Mosquitto(tmp_path / "other") as lenient,
        Listener(strict) as listener,
        Listener(lenient) as other,
    ):
        for seed in range(10 * SOAK):
            port = chance.choice([strict, strict, lenient]).port
            seconds = chance.uniform(0, 0.4)
            said = nursery.run_and_kill(seed, port, folder, seconds, protocol=protocol, large=4000)
            put += [line[4:] for line in said if line.startswith("put ")]
            if seed % 10 == 9:  # before a thousand are set aside, of which the oldest would go
                n_arrived += all_arrive(lenient, other, folder, f"last-{seed}")
        heard = {key(json.loads(text)) for each in (listener, other) for text in each.payloads(TOPIC)}
    print(f"{10 * SOAK} kills: {len(put)} put, {len(heard)} heard, {n_arrived} of them after they had been set aside")
    assert len(put) > 10 * SOAK
    assert set(put) <= heard


def all_arrive(broker: Mosquitto, listener: Listener, folder: Path, name: str) -> int:
    """Have all that waits or is set aside there said to a broker that takes it; return how much had been set aside."""
    settings = MqttSettings(host=broker.host, port=broker.port, client_id="daemon")
    publisher = Publisher(settings, node="hall", sources=["pump"], state_path=folder)
    publisher.start()
    wait_until(lambda: publisher.connected and publisher.queued == publisher.figures["dead_letters"] == 0, "all arrive")
    publisher.event("pump", {**EVENT, "id": name, "kind": "closed", "reason": "recovered"})
    wait_until(lambda: f'"{name}"' in str(listener.last(TOPIC)), "the last one is heard")
    assert (publisher.dropped, publisher.figures["set_aside"]) == (0, 0)
    n_arrived = publisher.figures["dead_letters_arrived"]
    publisher.close()
    assert isinstance(n_arrived, int)
    return n_arrived


def key(payload: dict[str, str]) -> str:
    return f"{payload['id']} {payload['kind']} {payload['time']}"


# --- Disks ---


def event(number: int) -> dict[str, object]:
    return {"id": f"e{number}", "kind": "closed", "text": "x" * 900}


FULL = """
import os, resource, signal, sys
from pathlib import Path
from edge.config import OutboxSettings
from edge.voice import outbox, shadow
from tests.real.test_outbox import TOPIC, event

shadow.RETRY_SECONDS = 0.0
box = outbox.Outbox(OutboxSettings(), Path(sys.argv[1]))
box.open()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
for number in range(200):
    box.put(TOPIC, event(number))
    if not box.on_disk:
        print(number, box.problem)
assert len(box) == 200 and not box.on_disk
for number in range(1, 6):
    box.remove(number)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
box.put(TOPIC, event(200))
assert box.on_disk and box.problem is None and box.set_aside == 0
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_files_that_may_not_grow_are_a_state_that_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    failed = done.stdout.splitlines()
    assert 100 < len(failed) < 200
    assert all(line.endswith(("disk I/O error", "database or disk is full")) for line in failed)

    box = Outbox(OutboxSettings(), tmp_path)
    box.open()
    assert held(box) == [f"e{number}" for number in range(5, 201)]
    box.close()


def held(box: Outbox) -> list[str]:
    names, number = [], 0
    while (each := box.after(number)) is not None:
        number = each.number
        names.append(str(json.loads(each.text)["id"]))
    return names


def state(box: Outbox) -> tuple[bool, str | None, int]:
    return box.on_disk, box.problem, box.set_aside


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    if os.getuid() != 0:
        pytest.skip("mounting a disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this computer lets nobody mount")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_a_state_that_passes(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.voice.shadow.RETRY_SECONDS", 0.0)
    box = Outbox(OutboxSettings(), small_disk / "state")
    box.open()
    box.put(TOPIC, event(0))
    other = small_disk / "other"
    with pytest.raises(OSError, match="No space left"):
        other.write_bytes(b"x" * 2_000_000)  # writes what there is room for
    for number in range(1, 300):
        box.put(TOPIC, event(number))
    assert not box.on_disk
    assert box.problem in ("database or disk is full", "disk I/O error", "No space left on device")
    assert len(box) == 300
    assert box.dropped == 0
    other.unlink()
    box.put(TOPIC, event(300))
    assert state(box) == (True, None, 0)
    box.close()
    assert caplog.text.count("events are kept in memory") <= 3  # once for each way of saying it, not once an event

    box = Outbox(OutboxSettings(), small_disk / "state")
    box.open()
    assert held(box) == [f"e{number}" for number in range(301)]
    box.close()


def test_a_read_only_disk_is_a_state_that_passes(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.voice.shadow.RETRY_SECONDS", 0.0)

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    box = Outbox(OutboxSettings(), small_disk)
    box.put(TOPIC, event(0))
    box.close()

    remount("ro")  # as the kernel does with a card whose errors it has seen; here it is so at the start already
    box = Outbox(OutboxSettings(), small_disk)
    box.open()
    box.put(TOPIC, event(1))
    assert (box.on_disk, box.set_aside, len(box)) == (False, 0, 1)
    assert box.problem is not None
    assert box.orphans() == []
    remount("rw")
    box.put(TOPIC, event(2))
    assert state(box) == (True, None, 0)
    came = held(box)
    assert came in (["e1", "e2", "e0"], ["e1", "e0", "e2"])  # what was on disk, behind what there was when it came back
    box.close()
    assert (small_disk / FILE_NAME).stat().st_size > 0
    box = Outbox(OutboxSettings(), small_disk)
    box.open()
    assert held(box) == came
    box.close()
