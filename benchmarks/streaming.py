"""A decision every hop: a step of the streaming network against whole windows; many microphones; archives.

The networks have random weights, since a multiplication does not care by what.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
import torch

from benchmarks.measure import Table, Work, against, cpu_seconds, ms
from edge.detector import Card, Detector, Line, Section, SectionCard, readings_of
from edge.ear import HOP_FRAMES, Features, Frontend, FrontendSettings, Model, Samples
from edge.judge import DOMAINS, Gaussian, ScoreName, SectionStatistics
from export.graph import write_onnx
from trainer.network import Network, preset

CLASSES: Final = 36
"""Six machines of six sections, as in the data that the paper was written on."""

BATCHES: Final = (1, 8, 64)

ARCHIVE_FILES: Final = 6
ARCHIVE_FILE_SECONDS: Final = 60

PresetName = Literal["streaming", "paper"]


@dataclass(frozen=True)
class Contenders:
    """Both presets as the device runs them, and the paper's in torch."""

    streaming: Detector
    paper: Detector
    torch_paper: Network


@contextmanager
def contenders() -> Iterator[Contenders]:
    """Make the networks and export them; they are gone afterwards."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = {name: Network(preset(name), CLASSES).eval() for name in ("streaming", "paper")}
    with tempfile.TemporaryDirectory() as scratch:
        detectors = {name: _detector(network, Path(scratch, name)) for name, network in networks.items()}
        yield Contenders(detectors["streaming"], detectors["paper"], networks["paper"])


def decision_every_hop(made: Contenders) -> Table:
    """Measure one decision on the newest window, three ways."""
    frontend = Frontend(made.streaming.frontend)
    hop = _noise(frontend.settings.samples_for(HOP_FRAMES))
    window = _noise(made.paper.plan.window_samples)
    step = _step(made.streaming.model, frontend(hop)[None])
    whole = _step(made.paper.model, frontend(window)[None])
    line = _filled_line(made.streaming)
    newest = hop[: made.streaming.plan.hop_samples]

    def eager(frames: Features) -> object:
        return made.torch_paper(torch.from_numpy(frames)[None, None])

    hop_frames, window_frames = frontend(hop), frontend(window)
    with torch.inference_mode():
        seconds = cpu_seconds(
            {
                "(a)": lambda: step(frontend(hop)[None]),
                "(b)": lambda: whole(frontend(window)[None]),
                "(c)": lambda: eager(frontend(window)),
                "network of (a)": lambda: step(hop_frames[None]),
                "network of (b)": lambda: whole(window_frames[None]),
                "network of (c)": lambda: eager(window_frames),
                "line": lambda: line.feed(newest),
            }
        )

    def row(name: str, how: str, asked: tuple[float, float] | None = None) -> list[str]:
        network, together = seconds[f"network of {name}"], seconds[name]
        times = together / seconds["(a)"]
        verdict = against(times, *asked) if asked else ""
        return [f"{name} {how}", ms(together - network), ms(network), ms(together), f"{times:.1f}x", verdict]

    alone = [seconds[f"network of {name}"] / seconds["network of (a)"] for name in ("(b)", "(c)")]
    share = 100 * seconds["line"] / made.streaming.plan.hop_seconds
    return Table(
        "A decision on the newest window, every 0.512 s",
        ("how", "frames, ms", "network, ms", "together, ms", "costs", "asked for"),
        [
            row("(a)", "streaming preset, a step of one hop, onnxruntime"),
            row("(b)", "paper preset, whole 10 s window, onnxruntime", (24, 40)),
            row("(c)", "paper preset, whole 10 s window, PyTorch eager", (45, 70)),
        ],
        f"Of the networks alone, (b) costs {alone[0]:.1f} and (c) {alone[1]:.1f} times (a).\n\n"
        "All three have the frames of edge/ear. The 45x and 70x were asked for against librosa and PyTorch; "
        "librosa is no dependency of this project, so its own cost is not in (c).\n\n"
        f"The whole line, with ring, band statistics and every score, takes {ms(seconds['line'])} ms a hop: "
        f"{share:.2f} % of one core for one microphone. That is hop after hop without a pause: a daemon that sleeps "
        "half a second between two finds its caches cold, and needs more.",
    )


def many_microphones(made: Contenders) -> Table:
    """Measure the hop of one stream where N are stepped together."""
    frontend, model = Frontend(made.streaming.frontend), made.streaming.model
    hop = _noise(frontend.settings.samples_for(HOP_FRAMES))
    line = _filled_line(made.streaming)
    newest = hop[: made.streaming.plan.hop_samples]
    works: dict[str, Work] = {"frames": lambda: frontend(hop), "line": lambda: line.feed(newest)}
    for n in BATCHES:
        frames = np.repeat(frontend(hop)[None], n, axis=0)
        works[f"{n}"] = partial(_step(model, frames), frames)
    seconds = cpu_seconds(works)

    rest = seconds["line"] - seconds["1"] - seconds["frames"]
    rows = []
    for n in BATCHES:
        network = seconds[f"{n}"] / n
        whole = network + seconds["frames"] + rest
        fit_network, fit_whole = (int(made.streaming.plan.hop_seconds / each) for each in (network, whole))
        rows.append([f"{n}", ms(network), f"{fit_network}", ms(whole), f"{fit_whole}", against(fit_whole, 400, 800)])
    return Table(
        "Many microphones on one core",
        ("streams a step", "network, ms", "microphones", "whole line, ms", "microphones", "asked for"),
        rows,
        "Milliseconds a hop of one stream, and how many such streams one core keeps up with: if it did nothing but "
        "step the network, and with all that a score needs. "
        f"Frames ({ms(seconds['frames'])} ms), ring, band statistics and scores (together {ms(rest)} ms) are never "
        "batched; after a step of the network they find nothing of theirs in the caches.\n\n"
        "`earshot run` steps each source by itself: what it carries today is the first row. No line batches yet, so "
        "the whole line of the others is a sum, not a measurement.",
    )


def archive_replay(made: Contenders) -> Table:
    """Measure recordings through the line, from FLAC on disk."""
    line = _filled_line(made.streaming)
    rate_hz = made.streaming.frontend.sample_rate_hz
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"{i}.flac") for i in range(ARCHIVE_FILES)]
        for seed, file in enumerate(files):
            soundfile.write(file, _noise(ARCHIVE_FILE_SECONDS * rate_hz, seed), rate_hz, subtype="PCM_16")
        for _ in readings_of(line, files[0]):
            pass

        started, n_readings = time.process_time(), 0
        for file in files:
            n_readings += sum(1 for _ in readings_of(line, file))
        seconds = time.process_time() - started

    speed = ARCHIVE_FILES * ARCHIVE_FILE_SECONDS / seconds
    return Table(
        "Archive replay from FLAC, one core",
        ("files", "readings", "processor seconds", "times real time", "asked for"),
        [
            [
                f"{ARCHIVE_FILES} of {ARCHIVE_FILE_SECONDS} s",
                f"{n_readings}",
                f"{seconds:.2f}",
                f"{speed:.0f}x",
                against(speed, 300),
            ]
        ],
        "The whole line, a reading every 0.512 s. 16-bit noise, which FLAC can hardly shorten: the dearest to decode.",
    )


def _step(model: Model, frames: Features) -> Callable[[Features], object]:
    """Return one step of a model on N streams, with its caches full; of frames (N, M, F) it takes the last hop.

    A network for whole windows has the frames before the last hop for its cache: so it works on all F of them.
    """
    cache = model.empty_cache(len(frames))
    if frames.shape[2] > HOP_FRAMES:
        cache = (np.ascontiguousarray(frames[:, np.newaxis, :, :-HOP_FRAMES]),)
    return lambda frames: model(frames[:, :, -HOP_FRAMES:], cache)


def _filled_line(detector: Detector) -> Line:
    line = Line(detector, detector.section(None))
    line.feed(_noise(detector.plan.window_samples))
    return line


def _noise(n_samples: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.05, n_samples).astype(np.float32)


def _detector(network: Network, folder: Path) -> Detector:
    """Return a detector of one section in memory; `folder` holds its graph."""
    folder.mkdir()
    write_onnx(network, folder / "model.onnx", {})
    model, frontend = Model(folder / "model.onnx"), FrontendSettings()
    section = SectionCard(
        machine="noise", section="00", domains=list(DOMAINS), class_index=0, windows=0, thresholds={"fused": 1.0}
    )
    card = Card(
        name="benchmark",
        version="",
        created="",
        frontend=asdict(frontend),
        frontend_fingerprint=frontend.fingerprint,
        window_frames=network.settings.window_frames,
        network=asdict(network.settings),
        classes=[f"{i}" for i in range(network.n_classes)],
        sections=[section],
        score="fused",
        false_alarm_rate=0.1,
        training={},
        metrics={},
    )
    return Detector(folder, card, model, {section.name: Section(section, _statistics(model), {}, {})}, "")


def _statistics(model: Model) -> SectionStatistics:
    widths: dict[ScoreName, int] = {"mahalanobis": model.embedding_dim, "bands": 2 * model.n_mels, "l90": model.n_mels}
    parts = {
        name: Gaussian(DOMAINS, np.zeros((len(DOMAINS), width), np.float32), np.eye(width, dtype=np.float32))
        for name, width in widths.items()
    }
    level = np.zeros((len(DOMAINS), model.n_mels), np.float32)
    return SectionStatistics(parts, dict.fromkeys(widths, (1.0, 1.0)), level, level[0] + 1, class_index=0)
