"""The figures as a scraper reads them: asked for over HTTP, parsed by Prometheus's own parser."""

import math
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from edge.config.settings import MetricsSettings
from edge.errors import ConfigError, EarshotError
from edge.voice.metrics import BUCKETS_SECONDS, Server, Snapshot, SourceSnapshot, Stopwatch, serve, written_bytes

HOST: Final = "127.0.0.1"

FAN: Final = SourceSnapshot(
    name="fan",
    up=True,
    frames=16_000,
    overruns=2,
    gap_seconds=0.25,
    level_dbfs=-31.5,
    score=1.25,
    threshold=1.5,
    lag_seconds=0.03,
    windows_dropped=3,
    episodes=4,
    shelved_seconds=60.0,
    threshold_commanded=True,
)
MISSING: Final = replace(FAN, name="pump", up=False, frames=0, level_dbfs=None, score=None, lag_seconds=None)
SNAPSHOT: Final = Snapshot(
    build={"version": "0.1.0", "onnxruntime": "1.32.0"},
    sources=(FAN, MISSING),
    mqtt_connected=False,
    outbox_messages=7,
    outbox_dropped=1,
    clips_bytes=1_000_000,
    written_bytes=4096,
    dead_letters={"hung_up": 2},
    arrived=1,
    left_out=1,
    links_renewed=3,
    commands_on=True,
    largest_shelve_seconds=28_800.0,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings() -> MetricsSettings:
    return MetricsSettings(port=free_port())


def served(settings: MetricsSettings, snapshot: Callable[[], Snapshot]) -> Server:
    server = serve(settings, snapshot)
    assert server is not None
    return server


def ask(settings: MetricsSettings) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{settings.port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def values(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples(text)}


def test_a_scraper_reads_what_the_daemon_said(settings: MetricsSettings) -> None:
    with served(settings, lambda: SNAPSHOT):
        told = values(ask(settings))

    assert {
        key: value for key, value in told.items() if key[0].startswith("earshot") and "inference" not in key[0]
    } == {
        ("earshot_build_info", "0.1.0", "1.32.0"): 1,
        ("earshot_mqtt_connected",): 0,
        ("earshot_outbox_messages",): 7,
        ("earshot_outbox_dropped_total",): 1,
        ("earshot_outbox_set_aside", "hung_up"): 2,
        ("earshot_outbox_set_aside", "too_large"): 0,
        ("earshot_outbox_set_aside", "refused"): 0,
        ("earshot_outbox_set_aside", "unanswered"): 0,
        ("earshot_outbox_set_aside_arrived_total",): 1,
        ("earshot_mqtt_left_out",): 1,
        ("earshot_mqtt_links_renewed_total",): 3,
        ("earshot_commands_enabled",): 1,
        ("earshot_largest_shelve_seconds",): 28_800,
        ("earshot_clips_bytes",): 1_000_000,
        ("earshot_written_bytes_total",): 4096,
        ("earshot_source_up", "fan"): 1,
        ("earshot_source_up", "pump"): 0,
        ("earshot_audio_frames_total", "fan"): 16_000,
        ("earshot_audio_frames_total", "pump"): 0,
        ("earshot_audio_overruns_total", "fan"): 2,
        ("earshot_audio_overruns_total", "pump"): 2,
        ("earshot_audio_gap_seconds_total", "fan"): 0.25,
        ("earshot_audio_gap_seconds_total", "pump"): 0.25,
        ("earshot_level_dbfs", "fan"): -31.5,
        ("earshot_score", "fan"): 1.25,
        ("earshot_score_threshold", "fan"): 1.5,
        ("earshot_score_threshold", "pump"): 1.5,
        ("earshot_shelved_seconds", "fan"): 60,
        ("earshot_shelved_seconds", "pump"): 60,
        ("earshot_source_defect", "fan"): 0,
        ("earshot_source_defect", "pump"): 0,
        ("earshot_threshold_commanded", "fan"): 1,
        ("earshot_threshold_commanded", "pump"): 1,
        ("earshot_lag_seconds", "fan"): 0.03,
        ("earshot_windows_dropped_total", "fan"): 3,
        ("earshot_windows_dropped_total", "pump"): 3,
        ("earshot_episodes_total", "fan"): 4,
        ("earshot_episodes_total", "pump"): 4,
    }
    assert told["process_resident_memory_bytes",] > 1e6


def test_each_request_hears_how_it_is_now(settings: MetricsSettings) -> None:
    counts = iter((1, 2))

    def snapshot() -> Snapshot:
        return replace(SNAPSHOT, outbox_messages=next(counts))

    with served(settings, snapshot):
        assert [values(ask(settings))["earshot_outbox_messages",] for _ in range(2)] == [1, 2]


def test_durations_become_a_histogram(settings: MetricsSettings) -> None:
    watch = Stopwatch()
    for seconds in (0.0005, 0.001, 0.0011, 0.03, 2.0):
        watch.add(seconds)
    fan = replace(FAN, inference=watch.durations)
    with served(settings, lambda: replace(SNAPSHOT, sources=(fan,))):
        told = list(samples(ask(settings)))

    name = "earshot_inference_duration_seconds"
    n_until = {float(each.labels["le"]): each.value for each in told if each.name == f"{name}_bucket"}
    assert list(n_until) == [*BUCKETS_SECONDS, math.inf]
    # An upper end belongs to its bucket.
    assert (n_until[0.001], n_until[0.002], n_until[0.02], n_until[0.05], n_until[0.5]) == (2, 3, 3, 4, 4)
    assert {each.name: each.value for each in told if each.name in {f"{name}_count", f"{name}_sum"}} == {
        f"{name}_count": 5,
        f"{name}_sum": pytest.approx(2.0326),
    }


def test_promtool_finds_nothing_to_mend(settings: MetricsSettings) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed, and not asked for: it comes with all of prometheus")
    with served(settings, lambda: SNAPSHOT):
        text = "".join(line for line in ask(settings).splitlines(keepends=True) if "earshot" in line)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_no_port_no_server() -> None:
    before = threading.active_count()
    assert serve(MetricsSettings(), lambda: SNAPSHOT) is None
    assert threading.active_count() == before


def test_closed_it_answers_nobody_and_leaves_nothing(settings: MetricsSettings) -> None:
    before = set(threading.enumerate())
    server = served(settings, lambda: SNAPSHOT)
    ask(settings)
    server.close()
    server.close()
    with pytest.raises(urllib.error.URLError):
        ask(settings)
    for thread in set(threading.enumerate()) - before:  # of a request that was answered
        thread.join(5)
    assert set(threading.enumerate()) == before
    with served(settings, lambda: SNAPSHOT):
        ask(settings)


def test_a_port_in_use_is_named(settings: MetricsSettings) -> None:
    with socket.socket() as other:
        other.bind((HOST, settings.port or 0))
        other.listen()
        with pytest.raises(EarshotError, match=f"metrics.port {settings.port}: Address already in use"):
            serve(settings, lambda: SNAPSHOT)


def test_without_the_extra_it_says_what_to_install(settings: MetricsSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"metrics.port: \d+: expected null.*pip install 'earshot\[web\]'"):
        serve(settings, lambda: SNAPSHOT)


def test_a_defect_in_the_daemon_is_an_error_of_the_answer_and_of_nothing_else(
    settings: MetricsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def snapshot() -> Snapshot:
        if broken:
            raise RuntimeError("no snapshot")
        return SNAPSHOT

    with served(settings, snapshot):
        with pytest.raises(urllib.error.HTTPError, match="500"):
            ask(settings)
        broken = False
        assert values(ask(settings))["earshot_outbox_messages",] == 7
    assert "no snapshot" in caplog.text


def test_the_kernel_counts_what_is_written(tmp_path: Path) -> None:
    counted = tmp_path / "io"
    counted.write_text("rchar: 5\nwchar: 6\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n")
    assert written_bytes(counted) == 8192
    assert written_bytes(tmp_path / "nowhere") is None
    assert (written_bytes() or 0) >= 0


def test_connections_that_say_nothing_take_no_files_and_keep_nobody_out(settings: MetricsSettings) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with served(settings, lambda: SNAPSHOT):
        idle = [socket.create_connection((HOST, settings.port), 20) for _ in range(300)]
        assert "earshot_source_up" in ask(settings)
        ours = len(list(Path("/proc/self/fd").iterdir())) - before - len(idle)
        assert ours < 100  # 32 that are held, and those that are just going
        for each in idle:
            each.close()
