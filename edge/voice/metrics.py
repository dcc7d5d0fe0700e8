"""What the daemon counts, in the words of Prometheus, over HTTP for who asks; nothing here keeps a count of its own.

The daemon says how it is in a `Snapshot`, and only when somebody asks. prometheus-client comes with the `web` extra and
is loaded by `serve` alone: a device that is not asked for metrics neither has nor needs it.
"""

import importlib.util
import logging
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from edge.config import MetricsSettings
from edge.errors import ConfigError, EarshotError
from edge.voice.waiting import Cause

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

BUCKETS_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Upper ends for the time a hop takes: a workstation needs one millisecond, and at a hop's 0.512 s all is lost."""

_CLOSE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Durations:
    """How many took how long, since the start. `counts`: for each of BUCKETS_SECONDS and, last, for more than that."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS_SECONDS) + 1)
    sum_seconds: float = 0.0


class Stopwatch:
    """Counts durations. One thread adds; any thread may read."""

    def __init__(self) -> None:
        self._durations = Durations()

    def add(self, seconds: float) -> None:
        """Count one."""
        before, bucket = self._durations, bisect_left(BUCKETS_SECONDS, seconds)
        counts = (*before.counts[:bucket], before.counts[bucket] + 1, *before.counts[bucket + 1 :])
        self._durations = Durations(counts, before.sum_seconds + seconds)

    @property
    def durations(self) -> Durations:
        """What was counted so far."""
        return self._durations


@dataclass(frozen=True)
class SourceSnapshot:
    """One source. Counts are since the start of the daemon; None is what is not known now, and is left out.

    up               whether sound comes
    frames           samples heard, of 16 kHz
    overruns         how often samples were lost
    gap_seconds      how much was lost by that
    level_dbfs       RMS of the newest hop re full scale
    score            the newest score that decides, and the threshold it is compared with
    evidence         how near an alarm is over all averages: 1 is one
    provisional_hours  of ordinary sound heard, of a machine that is not known well enough yet
    lag_seconds      from the capture of the newest sample judged to its score
    windows_dropped  windows that were not judged, because there was no time
    episodes         episodes opened
    inference        the time that each hop took
    shelved_seconds  for how long a command silences it yet
    threshold_commanded  whether its threshold is a command's
    defect           whether it is lost by a defect, until the next start
    """

    name: str
    up: bool
    frames: int
    overruns: int
    gap_seconds: float
    level_dbfs: float | None
    score: float | None
    threshold: float
    lag_seconds: float | None
    windows_dropped: int
    episodes: int
    evidence: float | None = None
    provisional_hours: float | None = None
    inference: Durations = Durations()
    shelved_seconds: float = 0.0
    threshold_commanded: bool = False
    defect: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The daemon, at one moment. Counts are since its start.

    build            labels of earshot_build_info: version, onnxruntime and so on
    mqtt_connected   whether the broker has accepted us
    outbox_messages  events that it has not acknowledged yet
    outbox_dropped   events given up because too many were waiting
    clips_bytes      what the kept recordings take on disk
    written_bytes    what was written to disk; `written_bytes()`, or None where it is not known
    dead_letters     events set aside, because the broker hung up at them or refused them, by cause (voice/waiting.py)
    arrived          those that have arrived after all
    left_out         topics on which nothing is said, or heard, because of that
    links_renewed    connections ended because an answer did not come
    commands_on      whether commands are heard, and for how long one may silence a source
    """

    build: dict[str, str]
    sources: tuple[SourceSnapshot, ...]
    mqtt_connected: bool
    outbox_messages: int
    outbox_dropped: int
    clips_bytes: int
    written_bytes: int | None
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    arrived: int = 0
    left_out: int = 0
    links_renewed: int = 0
    commands_on: bool = False
    largest_shelve_seconds: float = 0.0


def written_bytes(io_file: Path = Path("/proc/self/io")) -> int | None:
    """Return how many bytes this process has had written to storage, its databases' logs included (proc(5)).

    None where the kernel does not say.
    """
    try:
        lines = io_file.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    except (OSError, StopIteration, ValueError):
        return None


class Server:
    """A port that answers /metrics, until it is closed."""

    def __init__(self, server: "WSGIServer", thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    def close(self) -> None:
        """Answer nobody any more, within two seconds. A second time is nothing."""
        self._server.shutdown()
        self._thread.join(_CLOSE_SECONDS)
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(settings: MetricsSettings, snapshot: Callable[[], Snapshot]) -> Server | None:
    """Answer on `settings.host`:`settings.port` in threads of our own; None if no port is given.

    snapshot: called in one of these threads, for every request; it must be quick and may not wait for anything.
    Raises ConfigError without prometheus-client, and EarshotError if the port cannot be had.
    """
    if settings.port is None:
        return None
    check(settings)
    import prometheus_client as prometheus

    from edge.voice import metrics_port

    registry = prometheus.CollectorRegistry()  # not the global one, to which anything imported may add
    prometheus.ProcessCollector(registry=registry)  # memory, processor time, open files: of this process
    registry.register(_Collector(snapshot))
    try:
        server = metrics_port.listen(settings.host, settings.port, prometheus.make_wsgi_app(registry))
    except OSError as error:
        reason = error.strerror or error
        raise EarshotError(f"metrics.host {settings.host}, metrics.port {settings.port}: {reason}") from error
    log.info("metrics: http://%s:%d/metrics", settings.host, settings.port)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return Server(server, thread)


def check(settings: MetricsSettings) -> None:
    """Raise ConfigError for a port without prometheus-client."""
    if settings.port is not None and importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError(
            f"metrics.port: {settings.port}: expected null, because prometheus-client is not installed: it is in the "
            "web extra, `pip install 'earshot[web]'`"
        )


class _Collector:
    """A snapshot in prometheus-client's words; its base class asks for nothing but `collect`."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator["Metric"]:
        try:
            now = self._snapshot()
        except Exception:
            log.exception("metrics: a defect of ours")
            raise  # the asker gets status 500
        yield from _of_the_daemon(now)
        yield from _of_the_sources(now.sources)


def _of_the_daemon(now: Snapshot) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    build = GaugeMetricFamily("earshot_build_info", "What runs here; always 1.", labels=list(now.build))
    build.add_metric(list(now.build.values()), 1)
    yield build
    yield GaugeMetricFamily("earshot_mqtt_connected", "Whether the broker has accepted us.", now.mqtt_connected)
    yield GaugeMetricFamily("earshot_outbox_messages", "Events not acknowledged by the broker.", now.outbox_messages)
    yield CounterMetricFamily("earshot_outbox_dropped", "Events given up: too many were waiting.", now.outbox_dropped)
    yield GaugeMetricFamily("earshot_clips_bytes", "Disk taken by kept recordings.", now.clips_bytes)
    dead = GaugeMetricFamily("earshot_outbox_set_aside", "Events kept here, and why.", labels=["cause"])
    for cause in Cause:
        dead.add_metric([cause], now.dead_letters.get(cause, 0))
    yield dead
    yield CounterMetricFamily("earshot_outbox_set_aside_arrived", "Events that arrived after all.", now.arrived)
    yield GaugeMetricFamily("earshot_mqtt_left_out", "Topics that the broker hung up at, or refused.", now.left_out)
    yield CounterMetricFamily("earshot_mqtt_links_renewed", "Ended: an answer did not come.", now.links_renewed)
    yield GaugeMetricFamily("earshot_commands_enabled", "Whether mqtt.commands is on.", now.commands_on)
    yield GaugeMetricFamily(
        "earshot_largest_shelve_seconds", "For how long a command may silence a source.", now.largest_shelve_seconds
    )
    if now.written_bytes is not None:
        yield CounterMetricFamily("earshot_written_bytes", "Bytes written to disk.", now.written_bytes)


def _of_the_sources(sources: tuple[SourceSnapshot, ...]) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    def each(kind: type[Any], name: str, text: str, value: Callable[[SourceSnapshot], float | None]) -> "Metric":
        family: Metric = kind(name, text, labels=["source"])
        for source in sources:
            if (v := value(source)) is not None:
                family.add_metric([source.name], v)  # type: ignore[attr-defined]  # every kind has it, not the base
        return family

    gauge, counter = GaugeMetricFamily, CounterMetricFamily
    yield each(gauge, "earshot_source_up", "Whether sound comes.", lambda s: s.up)
    yield each(gauge, "earshot_source_defect", "Whether it is lost by a defect until a restart.", lambda s: s.defect)
    yield each(counter, "earshot_audio_frames", "Samples heard, of 16 kHz.", lambda s: s.frames)
    yield each(counter, "earshot_audio_overruns", "How often samples were lost.", lambda s: s.overruns)
    yield each(counter, "earshot_audio_gap_seconds", "Sound that was lost by that.", lambda s: s.gap_seconds)
    yield each(gauge, "earshot_level_dbfs", "RMS of the newest hop re full scale.", lambda s: s.level_dbfs)
    yield each(gauge, "earshot_score", "The newest score that decides.", lambda s: s.score)
    yield each(gauge, "earshot_score_threshold", "What a score has to exceed.", lambda s: s.threshold)
    yield each(gauge, "earshot_shelved_seconds", "For how long a command silences it.", lambda s: s.shelved_seconds)
    yield each(gauge, "earshot_threshold_commanded", "Whether a command set it.", lambda s: s.threshold_commanded)
    yield each(gauge, "earshot_evidence", "How near an alarm is: 1 is one.", lambda s: s.evidence)
    hours = "Ordinary sound heard of a machine that is provisional, hours."
    yield each(gauge, "earshot_provisional_hours", hours, lambda s: s.provisional_hours)
    yield each(gauge, "earshot_lag_seconds", "From capture to score.", lambda s: s.lag_seconds)
    yield each(counter, "earshot_windows_dropped", "Windows not judged in time.", lambda s: s.windows_dropped)
    yield each(counter, "earshot_episodes", "Episodes opened.", lambda s: s.episodes)

    inference = HistogramMetricFamily("earshot_inference_duration_seconds", "Time that a hop took.", labels=["source"])
    for source in sources:
        n_until, buckets = 0, []
        for end, n in zip((*map(str, BUCKETS_SECONDS), "+Inf"), source.inference.counts, strict=True):
            n_until += n
            buckets.append((end, n_until))
        inference.add_metric([source.name], buckets, source.inference.sum_seconds)
    yield inference
