"""What the daemon itself costs: a day of sound in minutes, and a minute of sound in a minute.

    python -m benchmarks.live soak [--hours 24]      memory, processor and disk, hour by hour, as fast as it goes
    python -m benchmarks.live pace [--seconds 60]    processor, memory, latency and start, at a microphone's pace
    python -m benchmarks.live page [--seconds 60]    what the page costs: off, on with nobody, on with one who watches
    python -m benchmarks.live microphone [--seconds 60]    the same with its child process, from PulseAudio's pipe
    python -m benchmarks.live detectors [--number 100] [--sound waited-for]    start and reload with so many detectors
    python -m benchmarks.live sources [--number 40]    memory of each further source of one daemon

The real `earshot run` in a process of its own, fed through a pipe, with a real Mosquitto beside it (which must be
installed) and its state in a folder. Sound is the shipped pump's, over and over; `soak` lets it go wrong once in three
quarters of a minute, as it does there.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import paho.mqtt.client as paho
import soxr
from paho.mqtt.enums import CallbackAPIVersion
from tqdm import tqdm

from benchmarks.measure import Table
from edge import detector as detectors
from edge.source import read_samples
from tests.real.microphone import VirtualMicrophone, heard_here

DEMO: Final = Path(__file__).parents[1] / "edge" / "demo"
RATE_HZ: Final = 16_000
BLOCK_SAMPLES: Final = 1600
FEW_SOURCES: Final = 10
"""What all sources share is paid for by the first of them."""

FILL_SECONDS: Final = 100.0
"""A minute of evidence, and the portraits that make up the past (edge/detector/explaining.py)."""

QUIET_EVENTS: Final = "event: {threshold: 1.0e+9}\n"
CARD_RATE_HZ: Final = 48_000
PULSE_CLIENT: Final = "threaded-ml"
"""The thread in which PulseAudio's library talks to its server."""

WATCHDOG_SECONDS: Final = 8.0
"""Said each half of it: the unit's 30 s would hide a silence of ten."""

PLAYED: Final = "loop: true"
WAITED_FOR: Final = "watch: new"
SETTLE_SECONDS: Final = 15.0
"""The windows fill, and the watchdog is told a few times."""

OFTEN: Final = "state_seconds: 0.5, health_seconds: 1"
USUAL: Final = "state_seconds: 10, health_seconds: 60"


def soak(hours: int) -> Table:
    """Feed hours of sound as fast as they are taken, and look at the process after each."""
    recording = _pcm()
    per_hour = round(3600 * RATE_HZ / (len(recording) // 2))
    rows: list[list[str]] = []
    with _running("max_episode_minutes: 1") as daemon:
        before = daemon.figures()
        for hour in tqdm(range(hours), "soak", unit="h"):
            for _ in range(per_hour):
                daemon.feed(recording)
            now = daemon.figures()
            rows.append(
                [
                    str(hour + 1),
                    f"{now['rss_mb']:.1f}",
                    f"{now['pss_mb']:.1f}",
                    f"{now['cpu_s'] - before['cpu_s']:.2f}",
                    f"{now['threads']:.0f}, {now['files']:.0f}",
                    f"{(now['written_mb'] - before['written_mb']):.2f}",
                    str(daemon.queued()),
                ]
            )
            before = now
        end_seconds = daemon.end()
    settled = [float(row[1]) for row in rows]
    return Table(
        title=f"{hours} hours of sound through `earshot run`, faster than real time",
        columns=["hour", "RSS, MB", "PSS, MB", "CPU, s", "threads, open files", "written, MB", "events waiting"],
        rows=rows,
        note=f"From the end of the first hour on RSS is within {max(settled) - min(settled):.1f} MB. (PSS moves with "
        "other processes too, which share libraries with it.) The pump goes wrong once in 45 s: about 80 episodes an "
        f"hour, with their pictures, are what is written. SIGTERM to exit: {end_seconds:.2f} s.",
    )


def pace(seconds: int) -> Table:
    """Feed sound at the pace of a microphone, and look at what each hop costs and how soon the broker has its state."""
    recording = np.frombuffer(_pcm(), "<i2")
    hop = detectors.read(DEMO / "detector").plan.hop_samples
    started = time.monotonic()
    with _running("max_episode_minutes: 60", QUIET_EVENTS, notify=True) as daemon:
        ready_seconds = daemon.wait_until_ready() - started
        sent: list[float] = []
        with daemon.states() as came:
            _feed_at_pace(daemon, recording, 12, hop, [])  # the window fills
            cpu, since = daemon.figures()["cpu_s"], time.monotonic()
            came.clear()
            _feed_at_pace(daemon, recording, seconds, hop, sent)
            time.sleep(0.3)
            cpu_share = (daemon.figures()["cpu_s"] - cpu) / (time.monotonic() - since)
            # A state is told for the newest hop: the last one sent before it came.
            late = [at - max(s for s in sent if s <= at) for at, _ in came if sent and at >= sent[0]]
        figures = daemon.figures()
    p50, p99 = np.percentile(late, [50, 99])
    rows = [
        ["processor, of one core", f"{cpu_share:.2%}", "1 %"],
        ["PSS, MB", f"{figures['pss_mb']:.1f}", "120 (BirdNET-Go: about 400)"],
        [f"end of a hop to its state at a subscriber, p50 of {len(late)}, ms", f"{1e3 * p50:.1f}", ""],
        ["the same, p99, ms", f"{1e3 * p99:.1f}", "50"],
        ["start to READY=1, detector verified, s", f"{ready_seconds:.2f}", "2"],
    ]
    return Table(
        title=f"One source at the pace of a microphone, {seconds} s",
        columns=["what", "measured", "asked for"],
        rows=rows,
        note="Through a pipe: the child process of a microphone comes on top (benchmarks/capture.py).",
    )


def page(seconds: int) -> Table:
    """Look at the process without a page, with one that nobody watches, and with somebody who does, at one pace."""
    recording = np.frombuffer(_pcm(), "<i2")
    hop = detectors.read(DEMO / "detector").plan.hop_samples
    rows = []
    for name, port, watches in (("off", None, False), ("on, nobody", _free_port(), False), ("one", _free_port(), True)):
        more = f"{QUIET_EVENTS}evidence: {{privacy: audio}}\n" + (f"page: {{port: {port}}}\n" if port else "")
        with _running("", more, mqtt=USUAL) as daemon:
            _feed_at_pace(daemon, recording, 15, hop, [])
            viewer = _Viewer(port) if watches and port else None
            _feed_at_pace(daemon, recording, 10, hop, [])
            before, since = daemon.threads(), time.monotonic()
            heard = viewer.n_bytes if viewer else 0
            _feed_at_pace(daemon, recording, seconds, hop, [])
            now, elapsed = daemon.threads(), time.monotonic() - since
            spent = sum(now[key] - before.get(key, 0.0) for key in now)
            said = (viewer.n_bytes - heard) / elapsed / 1000 if viewer else 0.0
            memory_mb = daemon.memory()["daemon"]
            rows.append([name, f"{spent / elapsed:.2%}", f"{memory_mb:.1f}", f"{said:.1f}"])
    return Table(
        title=f"The page, one source at the pace of a microphone, {seconds} s each",
        columns=["page", "processor, of one core", "PSS, MB", "to the viewer, kB/s"],
        rows=rows,
        note="Asked for with one viewer: at most 15 MB and 1 % more; off: nothing. `privacy: audio`, so fine columns. "
        "Processor time by the scheduler's nanoseconds (/proc/PID/schedstat).",
    )


class _Viewer:
    """Somebody who watches, and counts what comes."""

    def __init__(self, port: int) -> None:
        self.n_bytes = 0
        self._answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/sources/pump/stream")
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/now").read()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            while data := self._answer.read1(65_536):
                self.n_bytes += len(data)


def microphone(seconds: int) -> Table:
    """Let it hear a virtual microphone, a USB card's 48 kHz and two channels, and look at both processes."""
    played = soxr.resample(np.frombuffer(_pcm(), "<i2"), RATE_HZ, CARD_RATE_HZ)
    frames = np.repeat(np.tile(played, 2 + seconds * CARD_RATE_HZ // played.size)[:, np.newaxis], 2, axis=1)
    source = "type: microphone"
    with VirtualMicrophone(rate_hz=CARD_RATE_HZ, channels=2) as virtual, heard_here(virtual.environment):
        virtual.play(frames)
        with _running("", QUIET_EVENTS, source=source, mqtt=USUAL) as daemon:
            time.sleep(15)  # the window fills
            before, since = daemon.threads(), time.monotonic()
            with daemon.states() as states:
                time.sleep(seconds)
            now, elapsed = daemon.threads(), time.monotonic() - since
            memory = daemon.memory()
    lag_seconds = np.median([state["lag_s"] for _, state in states])
    spent = {key: now[key] - before.get(key, 0.0) for key in now}
    client = sum(cpu for (_, name), cpu in spent.items() if name == PULSE_CLIENT)
    child = sum(cpu for (whose, _), cpu in spent.items() if whose == "child") - client
    own = sum(cpu for (whose, _), cpu in spent.items() if whose == "daemon")
    rows = [
        ["processor, of one core: the daemon", f"{own / elapsed:.2%}", ""],
        ["the card's child process", f"{child / elapsed:.2%}", ""],
        ["both", f"{(own + child) / elapsed:.2%}", "1 %"],
        [
            "PulseAudio's client in the child, which a card without a sound server has not",
            f"{client / elapsed:.2%}",
            "",
        ],
        ["capture of a hop's end to its score (lag_s), ms", f"{1e3 * lag_seconds:.0f}", ""],
        ["PSS, MB: the daemon", f"{memory['daemon']:.1f}", ""],
        ["the card's child process, with PulseAudio's libraries", f"{memory['child']:.1f}", ""],
        ["both", f"{sum(memory.values()):.1f}", "120 (BirdNET-Go: about 400)"],
    ]
    return Table(
        title=f"One microphone, 48 kHz and two channels, {seconds} s",
        columns=["what", "measured", "asked for"],
        rows=rows,
        note="A state every 10 s, as by default. Processor time by the scheduler's nanoseconds (/proc/PID/schedstat).",
    )


def many(number: int, sound: str) -> Table:
    """Start with so many detectors, and reload them, and look at how long that takes and how long nobody is told."""
    with tempfile.TemporaryDirectory() as name:
        for i in range(number):
            shutil.copytree(DEMO / "detector", Path(name, f"d{i}"))
        how = f"type: folder, path: {DEMO / 'recordings'}, {PLAYED if sound == 'played' else WAITED_FOR}"
        sources = ", ".join(f"{{name: s{i}, {how}, detector: {Path(name, f'd{i}')}}}" for i in range(number))
        started = time.monotonic()
        with (
            _running("", QUIET_EVENTS, sources=sources, notify=True, mqtt=USUAL) as daemon,
            daemon.manager() as manager,
        ):
            ready = manager.wait_for("READY=1", started)
            time.sleep(SETTLE_SECONDS)
            asked = time.monotonic()
            daemon.reload()
            ready_again = manager.wait_for("READY=1", asked)
            time.sleep(SETTLE_SECONDS)
            pss_mb, told = daemon.figures()["pss_mb"], list(manager.told)
            daemon.end()
    alive = [ready, *(at for at, text in told if "WATCHDOG=1" in text)]
    silent_seconds = max(after - before for before, after in pairwise(alive))
    stopping = sum("STOPPING=1" in text for _, text in told)
    rows = [
        [f"start to READY=1, {number} detectors, s", f"{ready - started:.1f}", "10"],
        ["SIGHUP to READY=1, s", f"{ready_again - asked:.1f}", "5"],
        [f"longest time without WATCHDOG=1, of {WATCHDOG_SECONDS:g} s, s", f"{silent_seconds:.1f}", ""],
        ["STOPPING=1 said by a reload", str(stopping), "0"],
        ["PSS, MB", f"{pss_mb:.0f}", ""],
    ]
    return Table(
        title=f"{number} sources, each with a folder of its own for its detector",
        columns=["what", "measured", "asked for"],
        rows=rows,
        note="Copies of the shipped detector. "
        + (
            "Each source plays the shipped recording at its pace."
            if sound == "played"
            else "Each source waits for sound."
        ),
    )


def each_source(number: int) -> Table:
    """Look at the memory of a daemon with few sources and with so many, which play the shipped recording."""
    how = f"type: folder, path: {DEMO / 'recordings'}, {PLAYED}, detector: {DEMO / 'detector'}"
    rows, pss_mb = [], dict[int, float]()
    for n in (FEW_SOURCES, number):
        with _running(
            "", QUIET_EVENTS, sources=", ".join(f"{{name: s{i}, {how}}}" for i in range(n)), mqtt=USUAL
        ) as it:
            time.sleep(FILL_SECONDS)
            pss_mb[n] = it.figures()["pss_mb"]
            rows.append([f"{n} sources, PSS, MB", f"{pss_mb[n]:.1f}", ""])
    slope = (pss_mb[number] - pss_mb[FEW_SOURCES]) / (number - FEW_SOURCES)
    rows.append(["each further source, MB", f"{slope:.2f}", "2"])
    return Table("Sources of one daemon, of one detector", ["what", "measured", "asked for"], rows)


def _feed_at_pace(daemon: "_Daemon", sound: np.ndarray, seconds: int, hop: int, sent: list[float]) -> None:
    """Feed hop after hop when a microphone would have it; note when each was complete."""
    due = time.monotonic()
    for i in range(round(seconds * RATE_HZ / hop)):
        due += hop / RATE_HZ
        time.sleep(max(0.0, due - time.monotonic()))
        start = i * hop % (sound.size - hop)
        sent.append(time.monotonic())  # before: the state may be there before the write has returned
        daemon.feed(sound[start : start + hop].tobytes())


def _pcm() -> bytes:
    samples = read_samples(next((DEMO / "recordings").glob("*.flac")))
    return np.round(samples * 32_767).astype("<i2").tobytes()


def _memory_mb(process: Path, kind: str = "Pss") -> float:
    rollup = (process / "smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{kind}:")) / 1024


class _Daemon:
    """`earshot run`, its broker, and what /proc tells of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, ready: socket.socket | None) -> None:
        self._process = process
        self._port = port
        self._ready = ready
        self._proc = Path(f"/proc/{process.pid}")

    def feed(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def wait_until_ready(self) -> float:
        """Return when it said READY=1, by `time.monotonic()`."""
        assert self._ready is not None
        while b"READY=1" not in self._ready.recv(4096):
            pass
        return time.monotonic()

    @contextmanager
    def manager(self) -> Iterator["_Manager"]:
        """Yield the service manager: what it is told, and when."""
        assert self._ready is not None
        manager = _Manager(self._ready)
        try:
            yield manager
        finally:
            manager.close()

    def reload(self) -> None:
        """Ask it to read its configuration anew."""
        self._process.send_signal(signal.SIGHUP)

    def figures(self) -> dict[str, float]:
        fields = (self._proc / "stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        io = dict(line.split(": ") for line in (self._proc / "io").read_text().splitlines())
        return {
            "rss_mb": _memory_mb(self._proc, "Rss"),
            "pss_mb": _memory_mb(self._proc),
            "cpu_s": ticks / os.sysconf("SC_CLK_TCK"),
            "threads": len(list((self._proc / "task").iterdir())),
            "files": len(list((self._proc / "fd").iterdir())),
            "written_mb": int(io["write_bytes"]) / 1e6,
        }

    def threads(self) -> dict[tuple[str, str], float]:
        """Return the processor seconds of every thread, by its process (daemon or child) and its name."""
        spent: dict[tuple[str, str], float] = {}
        for whose, pid in self._processes():
            for task in Path(f"/proc/{pid}/task").iterdir():
                name = (task / "comm").read_text().strip()
                seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
                spent[whose, name] = spent.get((whose, name), 0.0) + seconds
        return spent

    def memory(self) -> dict[str, float]:
        """Return the PSS of the daemon and of its child, MB."""
        return {whose: _memory_mb(Path(f"/proc/{pid}")) for whose, pid in self._processes()}

    def _processes(self) -> list[tuple[str, int]]:
        children = [
            int(pid) for task in (self._proc / "task").iterdir() for pid in (task / "children").read_text().split()
        ]
        return [("daemon", self._process.pid), *(("child", pid) for pid in children)]

    def queued(self) -> int:
        """Return how many events wait, as the newest health message says."""
        with self._subscribed("earshot/bench/health", retained=True) as messages:
            give_up = time.monotonic() + 5
            while not messages and time.monotonic() < give_up:
                time.sleep(0.01)
            return int(messages[-1][1]["mqtt"]["queued"]) if messages else -1

    @contextmanager
    def states(self) -> Iterator[list[tuple[float, dict[str, Any]]]]:
        """Yield a list that fills with state messages and the times at which they come."""
        with self._subscribed("earshot/bench/pump/state", retained=False) as messages:
            yield messages

    @contextmanager
    def _subscribed(self, topic: str, *, retained: bool) -> Iterator[list[tuple[float, dict[str, Any]]]]:
        messages: list[tuple[float, dict[str, Any]]] = []

        def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
            if retained or not message.retain:
                messages.append((time.monotonic(), json.loads(message.payload)))

        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = on_message
        client.connect("127.0.0.1", self._port)
        client.subscribe(topic)
        client.loop_start()
        try:
            yield messages
        finally:
            client.disconnect()
            client.loop_stop()

    def end(self) -> float:
        """Ask it to end; return how many seconds that took. Raises SystemExit if it did not end well."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        if self._process.wait(30):
            raise SystemExit(f"earshot run ended with {self._process.returncode}")
        return time.monotonic() - started


class _Manager:
    """The service manager: reads in a thread of its own, as systemd is always there to do."""

    def __init__(self, told: socket.socket) -> None:
        self.told: list[tuple[float, str]] = []
        self._socket = told
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def wait_for(self, word: str, since: float) -> float:
        """Return when it was told this first after `since`, by `time.monotonic()`."""
        while True:
            for at, text in list(self.told):
                if at > since and word in text.splitlines():
                    return at
            time.sleep(0.02)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                self.told.append((time.monotonic(), self._socket.recv(65_536).decode()))


@contextmanager
def _running(
    event: str,
    more: str = "",
    *,
    notify: bool = False,
    source: str = "type: stdin",
    sources: str | None = None,
    mqtt: str = OFTEN,
) -> Iterator[_Daemon]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = _free_port()
        (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        broker = subprocess.Popen(
            ["mosquitto", "-c", folder / "mosquitto.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        one = f"{{name: pump, {source}, detector: {DEMO / 'detector'}}}"
        (folder / "config.yaml").write_text(
            f"node: bench\nstate_directory: {folder / 'state'}\n"
            f"sources: [{sources or one}]\n"
            f"{more or f'event: {{{event}}}'}\n"
            f"mqtt: {{host: 127.0.0.1, port: {port}, {mqtt}}}\nlog: {{level: error}}\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(DEMO.parents[1])}
        ready = None
        if notify:
            ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ready.bind(str(folder / "notify"))
            environment["NOTIFY_SOCKET"] = str(folder / "notify")
            environment["WATCHDOG_USEC"] = str(round(1e6 * WATCHDOG_SECONDS) if sources else 0)
        command = [sys.executable, "-c", "from edge.cli import main; main()", "run", "--config"]
        process = subprocess.Popen([*command, folder / "config.yaml"], stdin=subprocess.PIPE, env=environment)
        try:
            yield _Daemon(process, port, ready)
        finally:
            process.kill()
            process.wait()
            broker.kill()
            broker.wait()
            if ready is not None:
                ready.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("soak", help="a day in minutes").add_argument("--hours", type=int, default=24)
    commands.add_parser("pace", help="a minute in a minute").add_argument("--seconds", type=int, default=60)
    commands.add_parser("page", help="and who watches").add_argument("--seconds", type=int, default=60)
    commands.add_parser("microphone", help="with its process").add_argument("--seconds", type=int, default=60)
    detectors_of = commands.add_parser("detectors", help="a hundred of them")
    detectors_of.add_argument("--number", type=int, default=100)
    detectors_of.add_argument("--sound", choices=("played", "waited-for"), default="played")
    commands.add_parser("sources", help="memory of each").add_argument("--number", type=int, default=40)
    wanted = parser.parse_args()
    match wanted.command:
        case "soak":
            table = soak(wanted.hours)
        case "pace":
            table = pace(wanted.seconds)
        case "page":
            table = page(wanted.seconds)
        case "detectors":
            table = many(wanted.number, wanted.sound)
        case "sources":
            table = each_source(wanted.number)
        case _:
            table = microphone(wanted.seconds)
    print(table.as_markdown())


if __name__ == "__main__":
    main()
