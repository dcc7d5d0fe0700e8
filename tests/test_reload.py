"""A new configuration while an old one runs, and a source that fails while others listen: what runs is not harmed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edge.config import EvidenceSettings
from edge.memory.shelf import Shelf, write_whole
from edge.source import read_samples
from tests.conftest import DEMO
from tests.managed import PATIENCE_SECONDS, Manager, log, running, wait_until

STDIN: Final = "name: pump, type: stdin"
SOURCE: Final = f"name: pump, type: folder, path: {DEMO / 'recordings'}, loop: true"
BROKER: Final = "mqtt: {host: 127.0.0.1, port: 1}\n"


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path)


def config_of(folder: Path, *, source: str = SOURCE, detector: Path = DEMO / "detector", more: str = "") -> str:
    return f"sources: [{{{source}, detector: {detector}}}]\n{BROKER}{more}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(config_of(tmp_path))
    return path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else holds."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


# --- Reload ---


def strange_detector(folder: Path, change: Callable[[Path], object]) -> Path:
    copied = Path(shutil.copytree(DEMO / "detector", folder / f"strange{len(list(folder.iterdir()))}"))
    change(copied)
    return copied


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_threshold(folder: Path, text: str) -> None:
    card = json.loads((folder / "detector.json").read_text())
    card["sections"][0]["thresholds"]["fused"] = "HERE"
    (folder / "detector.json").write_text(json.dumps(card).replace('"HERE"', text))


def test_no_configuration_harms_what_runs(config: Path, manager: Manager, tmp_path: Path, taken: int) -> None:
    """Whatever can be known of the new one is asked before the old one goes."""
    good = config.read_text()
    pipe, odd = (strange_detector(tmp_path, lambda d: as_pipe(d / "scorer.npz")), tmp_path / "odd")
    silent = strange_detector(tmp_path, lambda d: with_threshold(d, "NaN"))
    deaf = strange_detector(tmp_path, lambda d: with_threshold(d, "1e999"))
    odd.mkdir()
    wrong = {
        "sources: 5\n": "config.yaml:1:10: sources",
        config_of(tmp_path, detector=tmp_path / "nowhere"): "nowhere: not a detector folder",
        config_of(tmp_path, detector=pipe): "scorer.npz: is a named pipe: expected a regular file",
        config_of(tmp_path, detector=silent): "detector.json: not JSON: NaN is no number",
        config_of(tmp_path, detector=deaf): "detector.json: not JSON: 1e999 is larger than a number can be",
        config_of(tmp_path, source=f"{SOURCE}, section: fan/07"): "section fan/07 is not there",
        config_of(tmp_path, more="event: {score: mahalanobis}\n"): "event.score: mahalanobis: expected one of",
        config_of(tmp_path, more=f"metrics: {{port: {taken}}}\n"): f"metrics.port {taken}: Address already in use",
        config_of(tmp_path, more=f"page: {{port: {taken}}}\n"): f"page.port {taken}: Address already in use",
        good.replace("port: 1", f"port: 1, username: x, password_file: {odd}"): "odd: is a folder: expected a regular",
        good.replace("port: 1", "port: 1, tls: {enabled: true, ca_file: /dev/zero}"): "/dev/zero: is a device",
    }
    with running(config, manager) as process:
        wait_until(lambda: manager.count("READY=1") == 1, "it is ready")
        for n, (text, told) in enumerate(wrong.items(), start=1):
            config.write_text(text)
            process.send_signal(signal.SIGHUP)
            wait_until(lambda n=n: manager.count("READY=1") == n + 1, f"it stays: {told}")  # type: ignore[misc]
            wait_until(lambda told=told: told in log(config), told)  # type: ignore[misc]
            assert process.poll() is None
        config.unlink()
        os.mkfifo(config)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config.yaml:1:1: cannot be read: is a named pipe" in log(config), "no pipe is read")
        assert (manager.count("STOPPING=1"), "Traceback" in log(config)) == (0, False)
        assert not [word for word in manager.told if word.startswith("RELOADING") and word != "RELOADING=1"]
        config.unlink()
        config.write_text(good.replace("name: pump", "name: fan"))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the new configuration is in force" in log(config), "a good one is taken")
        wait_until(lambda: manager.count("STATUS=fan"), "and hears")
        assert (manager.count("STOPPING=1"), process.poll()) == (0, None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert manager.count("STOPPING=1") == 1


def test_metrics_without_the_library_are_no_end(config: Path, manager: Manager) -> None:
    with running(config, manager, before="import sys; sys.modules['prometheus_client'] = None") as process:
        wait_until(lambda: manager.count("READY=1") == 1, "it is ready")
        config.write_text(config_of(config.parent, more="metrics: {port: 9100}\n"))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.count("READY=1") == 2, "it stays")
        why = "metrics.port: 9100: expected null, because prometheus-client is not installed"
        wait_until(lambda: why in log(config), "why is said")  # the log has a thread of its own
        assert process.poll() is None


def test_a_detector_that_takes_its_time_keeps_no_word_from_the_watchdog(config: Path, manager: Manager) -> None:
    slow = (
        "from edge.detector import trial\n"
        "trial._COMMAND = (*trial._COMMAND[:-1], 'import time; time.sleep(4); ' + trial._COMMAND[-1])"
    )
    with running(config, manager, before=slow, watchdog_seconds=1.0) as process:
        wait_until(lambda: manager.count("READY=1") == 1, "it is ready")
        other = strange_detector(config.parent, lambda d: with_threshold(d, "2.0"))
        config.write_text(config_of(config.parent, detector=other))
        before = manager.count("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.count("READY=1") == 2, "it has reloaded")
        assert manager.count("WATCHDOG=1") - before >= 5
        assert "Traceback" not in log(config)


# --- A source that fails ---


FAILS: Final = """
from edge.daemon.hearing import Hearing
hear = Hearing.hear
def failing(self, block):
    if self._settings.name == "fan":
        raise ZeroDivisionError("no fan turns")
    return hear(self, block)
Hearing.hear = failing
"""


@pytest.fixture
def two(config: Path) -> Path:
    """A pump on standard input, and a fan that plays recordings; with a port for metrics that nobody holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    detector = f"detector: {DEMO / 'detector'}"
    config.write_text(
        f"sources:\n- {{{STDIN}, {detector}}}\n"
        f"- {{name: fan, type: folder, path: {DEMO / 'recordings'}, {detector}}}\n"
        f"{BROKER}metrics: {{port: {port}}}\n"
    )
    return config


def hear(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    assert process.stdin is not None
    sound = read_samples(next((DEMO / "recordings").glob("*.flac")))[: round(16_000 * seconds)]
    process.stdin.write(np.round(sound * 32_767).astype("<i2").tobytes())
    process.stdin.flush()


def reading(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    assert process.stdout is not None
    record: dict[str, Any] = json.loads(process.stdout.readline())
    return record


def test_a_source_that_fails_is_lost_and_the_others_listen_on(two: Path, manager: Manager) -> None:
    with running(two, manager, "--json", before=FAILS) as process:
        reason = "fan: lost (a defect of ours: ZeroDivisionError: no fan turns)"
        wait_until(lambda: reason in "".join(manager.told), "the reason is said")
        hear(process, 11.0)
        assert reading(process)["source"] == "pump"
        assert process.poll() is None
        assert log(two).count("Traceback") == 1

        port = two.read_text().split("metrics: {port: ")[1].split("}")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            told = answer.read().decode()
        assert 'earshot_source_defect{source="fan"} 1.0' in told
        assert 'earshot_source_defect{source="pump"} 0.0' in told
        assert 'earshot_source_up{source="fan"} 0.0' in told
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


ONE_TOO_MANY: Final = """
import threading
start = threading.Thread.start
def refused(self):
    if self.name == "fan":
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = refused
"""


def test_a_source_for_which_the_system_has_no_thread_is_lost_and_the_others_listen_on(
    two: Path, manager: Manager
) -> None:
    with running(two, manager, "--json", before=ONE_TOO_MANY) as process:
        reason = "fan: lost (fan: can't start new thread: expected one a source, from this system)"
        wait_until(lambda: reason in "".join(manager.told), "the reason is said")
        hear(process, 11.0)
        assert reading(process)["source"] == "pump"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "Traceback" not in log(two)


def test_where_no_source_is_left_the_process_ends_for_a_restart(two: Path, manager: Manager) -> None:
    with running(two, manager, before=FAILS) as process:
        wait_until(lambda: "fan: lost" in "".join(manager.told), "one fails")
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()  # the other has come to its end
        assert process.wait(PATIENCE_SECONDS) == 1


# --- Clips ---


def test_a_clip_that_is_being_written_at_a_reload_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "clips" / "pump"
    place.mkdir(parents=True)
    stale, clip = (place / f"2026010{i}T000000Z-{i:032x}.flac" for i in (1, 2))
    part = place / f".{clip.name}.part"
    (place / f".{stale.name}.part").write_bytes(b"half")

    slow, go_on, fsync = threading.Event(), threading.Event(), os.fsync

    def stalled(descriptor: int) -> None:
        slow.set()
        go_on.wait(PATIENCE_SECONDS)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", stalled)
    writer = threading.Thread(target=write_whole, args=(clip, b"whole"))
    writer.start()
    assert slow.wait(PATIENCE_SECONDS)
    (tmp_path / "other name").symlink_to(tmp_path / "clips")
    Shelf(EvidenceSettings(), tmp_path / "other name").tidy()  # of the daemon that follows
    assert [path.name for path in place.iterdir()] == [part.name]
    go_on.set()
    writer.join()
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {clip.name: b"whole"}
