"""`earshot check`: would it run, and if not, why not? A verdict a step, and a hint for each that is not well."""

import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from edge import __version__, clock
from edge.commands.check_broker import broker_steps
from edge.commands.check_page import check_page
from edge.commands.steps import Doubt, Step, Trouble, look
from edge.config import Config, FolderSettings, MicrophoneSettings, SourceSettings, StdinSettings, load
from edge.daemon import knows_machine_of, learnt_path, openers, pickup_of
from edge.errors import EarshotError, SourceError, shown
from edge.source import SAMPLE_RATE_HZ, Samples, describe_input, find_audio, seconds_in
from edge.voice import Webhook, of_check

if TYPE_CHECKING:
    from edge.detector import Trials

LISTEN_SECONDS: Final = 2.0

LOOKED_AT: Final = 50
"""Recordings of a folder whose length is looked at: what a recorder writes is of one length."""

CLIPPED: Final = 0.999
MOST_CLIPPED: Final = 1e-3
"""Of the samples: a knock may touch the end of the scale."""

QUIET_DBFS: Final = -70.0
"""16-bit microphones have about this of their own noise."""

DAEMON_MB: Final = 120
MICROPHONE_MB: Final = 35
"""Its own process: Python, PortAudio and buffers."""

LOW_DISK_BYTES, NO_DISK_BYTES = 500_000_000, 20_000_000

STATE_FOLDER: Final = Path("/var/lib/earshot")
"""StateDirectory of systemd/earshot.service, which is told of it and nobody else."""


@click.command("check", short_help="Check configuration, detectors, sound, broker and this computer.")
@click.option("--config", "path", type=click.Path(path_type=Path), default="config.yaml", show_default=True)
@click.option(
    "--listen",
    "listen_seconds",
    type=click.FloatRange(0, 60),
    default=LISTEN_SECONDS,
    show_default=True,
    help="How long to listen to each source, in seconds; 0: not at all.",
)
@click.option("--json", "as_json", is_flag=True, help="The steps as one JSON array.")
def command(path: Path, listen_seconds: float, as_json: bool) -> None:
    """Check the configuration, and every detector and source in it, the broker, and this computer.

    Each step is ok, worth a look (warn) or bad, and says what to do. Exit code 1 if one is bad, 78 for a wrong config.
    """
    config = load(path)
    steps = []
    for step in _steps(path, config, listen_seconds):
        steps.append(step)
        if not as_json:
            click.echo(str(step))
    if as_json:
        click.echo(json.dumps([asdict(step) for step in steps], indent=2))
    n_bad = sum(step.verdict == "bad" for step in steps)
    if n_bad:
        raise EarshotError(f"{n_bad} of {len(steps)} steps failed")


def _steps(path: Path, config: Config, listen_seconds: float) -> Iterator[Step]:
    yield Step("config", "ok", str(path))
    runtime = look("program", _program)
    yield runtime
    yield look("memory", partial(_memory, config))
    for source in config.sources:
        if runtime.verdict != "bad":  # else the import alone may end this process
            yield look(f"{source.name}: detector", partial(_detector, source, config))
        sound = look(f"{source.name}: {source.type}", partial(_source, source))
        yield sound
        if listen_seconds and sound.verdict != "bad" and not _is_terminal(source):
            yield look(f"{source.name}: sound", partial(_listen, source, listen_seconds))
    if config.mqtt.host is None:
        yield look("broker", _demo_broker)
    else:
        names = [source.name for source in config.sources]
        yield from broker_steps(config.mqtt, config.mqtt.host, config.node_name, names)
    if config.notify.url is not None:
        yield look("notify", partial(_notify, config))
    if config.metrics.port is not None:
        yield look("metrics", _metrics)
    if config.page.port is not None:
        yield look("page", partial(check_page, config.page, config.state_path))
    yield look("disk", partial(_disk, config.state_path or STATE_FOLDER))
    yield look("clock", _clock)


# --- This computer ---


def _program() -> str:
    version = metadata.version("onnxruntime")
    if sys.maxsize < 2**32:
        raise Trouble(f"a 32-bit Python on {platform.machine()}", "onnxruntime needs a 64-bit system")
    if version == "1.21.0":
        raise Trouble(
            "onnxruntime 1.21.0", "it dies of an illegal instruction on a Raspberry Pi 4: pip install -U onnxruntime"
        )
    # In a process of its own: a library that was built for another processor ends the one that loads it.
    tried = subprocess.run([sys.executable, "-c", "import onnxruntime"], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no word"])[-1]
        if tried.returncode < 0:
            reason = signal.Signals(-tried.returncode).name
        raise Trouble(f"onnxruntime {version} cannot be loaded: {reason}", "pip install -U onnxruntime")
    return (
        f"earshot {__version__}, Python {platform.python_version()}, onnxruntime {version}, "
        f"numpy {metadata.version('numpy')}, {platform.machine()}"
    )


def _memory(config: Config) -> str:
    n_microphones = sum(isinstance(source, MicrophoneSettings) for source in config.sources)
    needed = DAEMON_MB + MICROPHONE_MB * n_microphones
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) // 1000 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return f"about {needed} MB are needed; what is free, this system does not say"
    found = f"{available} MB are free, about {needed} MB are needed"
    if available < needed:
        raise Doubt(found, "what else runs here? `ps -e -o rss,comm --sort=-rss | head`; if it is earshot, all is well")
    return found


def _disk(folder: Path) -> str:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        raise Trouble(
            f"{there}: Read-only file system",
            "a worn SD card, or a power cut: `dmesg` tells",
        )
    if os.access(there, os.W_OK):
        with tempfile.TemporaryFile(dir=there) as trial:
            trial.write(b"\0")
    found = f"{folder}: {free / 1e9:.1f} GB free"
    if free < NO_DISK_BYTES:
        raise Trouble(found, "events that wait for the broker have no place: `du -xh / | sort -h | tail`")
    if free < LOW_DISK_BYTES:
        raise Doubt(found, "room for events, and for little else: `du -xh / | sort -h | tail`")
    return found if there == folder else f"{found} (made when the service starts)"


def _clock() -> str:
    found = f"{clock.rfc3339(time.time())}"
    synced = clock.synced()
    if synced is None:
        raise Doubt(f"{found}; nobody here can tell whether a time server has set it", "is it right?")
    if not synced:
        raise Doubt(
            f"{found}; no time server has set it since the boot",
            "events carry this time, and TLS refuses certificates that are not valid yet: `timedatectl`",
        )
    return f"{found}, set by a time server"


def _metrics() -> str:
    if importlib.util.find_spec("prometheus_client") is None:
        raise Trouble("prometheus-client is not installed", "pip install 'earshot[web]', or metrics.port: null")
    return "prometheus-client is installed"


def _notify(config: Config) -> str:
    webhook = Webhook(config.notify)
    answer = webhook.tell(of_check(config.node_name, clock.rfc3339(time.time()), config.notify.language))
    if answer.reason is not None:
        raise Trouble(f"{webhook}: {answer.reason}", "notifications wait for two days, and are told when it is mended")
    return f"{webhook}: it took a message; is it on the phone?"


def _demo_broker() -> str:
    if importlib.util.find_spec("amqtt") is None:
        raise Trouble("mqtt.host is null, and amqtt, the broker of the demo, is not installed", "name a broker")
    return "inside the process, for the demo"


# --- A source ---


def _detector(source: SourceSettings, config: Config) -> str:
    detector = _trials().open([source.detector])[source.detector]
    section = detector.section(source.section)
    if words := detector.mismatch(pickup_of(source)):
        raise Doubt(words, "give the source that channel and gain, or enrol anew with these: --channel, --gain-db")
    if not knows_machine_of(source, detector) and not _has_learnt(source, config):
        raise Doubt(
            f"{detector.card.name} is an example: this machine is not taught yet, and there is no alarm",
            "let it learn: on the page, Learning; or `earshot enroll`, and name what it writes as `detector`",
        )
    if isinstance(source, FolderSettings) and source.watch == "all":
        _long_enough(source, detector.plan.window_samples / detector.frontend.sample_rate_hz)
    return f"{detector.card.name} {detector.card.version}, {section.card.name}, golden recording scores as it should"


def _has_learnt(source: SourceSettings, config: Config) -> bool:
    """Whether the daemon has learnt this machine in place of what the configuration names."""
    return config.state_path is not None and learnt_path(config.state_path, source.name).is_dir()


@cache
def _trials() -> "Trials":
    """Return what tries detectors, each once, in a process that they may harm."""
    from edge.detector import Trials  # onnxruntime with it, which `_program` has tried

    return Trials()


def _long_enough(source: FolderSettings, window_seconds: float) -> None:
    """Doubt a folder of recordings that are all shorter than a window: each stands for itself, and none is judged."""
    lengths = []
    for path in find_audio(source.path)[:LOOKED_AT]:
        with suppress(SourceError):
            lengths.append(seconds_in(path, pickup_of(source)))
    known = [seconds for seconds in lengths if seconds is not None]
    if known and len(known) == len(lengths) and max(known) < window_seconds:
        raise Doubt(
            f"the recordings in {shown(source.path)} are shorter than a window of {window_seconds:g} s, the longest of "
            f"{len(known)} {max(known):.2f} s: none of them can be judged",
            "let the recorder write longer ones",
        )


def _source(source: SourceSettings) -> str:
    if isinstance(source, FolderSettings) and source.watch == "new" and source.path.is_dir():
        return f"what comes into {shown(source.path)}"
    if isinstance(source, FolderSettings):
        return f"{len(find_audio(source.path))} recordings in {source.path}"
    if isinstance(source, MicrophoneSettings):
        return describe_input(source.device, channel=source.channel, rate_hz=source.rate_hz)
    expected = f"{source.rate_hz} Hz, {source.channels} channels, {source.format} on standard input"
    if _is_terminal(source):
        raise Doubt(f"{expected}, which is a terminal now", "`arecord -t raw ... | earshot check` listens to it")
    return expected


def _is_terminal(source: SourceSettings) -> bool:
    return isinstance(source, StdinSettings) and sys.stdin is not None and sys.stdin.isatty()


def _listen(source: SourceSettings, seconds: float) -> str:
    samples = _hear(source, round(seconds * SAMPLE_RATE_HZ))
    if not samples.size:
        raise Trouble("no sound came")
    if samples.min() == samples.max():
        raise Trouble(
            f"one value, {samples[0]:g}, for {samples.size / SAMPLE_RATE_HZ:.1f} s: silent or stuck",
            "is it muted, or its gain at nothing? `alsamixer`, F4 for recording, F6 for the card; is it plugged in?",
        )
    level_dbfs, peak_dbfs = _db(float(np.mean(np.square(samples, dtype=np.float64)))), _db(float(np.max(samples**2)))
    found = f"level {level_dbfs:.1f} dBFS, peak {peak_dbfs:.1f} dBFS in {samples.size / SAMPLE_RATE_HZ:.1f} s"
    clipped = float(np.mean(np.abs(samples) >= CLIPPED))
    if clipped > MOST_CLIPPED:
        raise Doubt(f"{found}, {clipped:.1%} of it clipped", "too loud: turn the gain down (`alsamixer`, F4)")
    if level_dbfs < QUIET_DBFS:
        raise Doubt(found, "very quiet: is the machine off? Else turn the gain up (`alsamixer`, F4), then enrol anew")
    return found


def _hear(source: SourceSettings, n_samples: int) -> Samples:
    """Return the first `n_samples` of a source, fewer if it ends before."""
    pieces, n_heard = [np.zeros(0, np.float32)], 0
    if isinstance(source, FolderSettings):
        source = source.model_copy(update={"realtime": False, "loop": False, "watch": "all"})
    with closing(openers([source])[source.name]()) as opened, closing(opened.blocks()) as blocks:  # type: ignore[type-var]  # generators
        for block in blocks:
            pieces.append(block.samples)
            n_heard += block.samples.size
            if n_heard >= n_samples:
                break
    return np.concatenate(pieces)[:n_samples]


def _db(power: float) -> float:
    return 10 * float(np.log10(max(power, 1e-10)))
