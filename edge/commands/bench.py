"""`earshot bench`: what this computer can carry."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from edge import detector as detectors
from edge.commands.options import detector_option
from edge.detector import Detector, Line
from edge.ear import HOP_FRAMES, Frontend

REPEATS = 50


@click.command("bench", short_help="Measure how many microphones fit a core.")
@detector_option
@click.option("--streams", type=click.IntRange(min=1), default=32, show_default=True, help="Batch of the second row.")
@click.option("--json", "as_json", is_flag=True)
def command(detector_path: Path, streams: int, as_json: bool) -> None:
    """Measure one hop (0.512 s of sound) on one core, and how many microphones that makes."""
    detector = detectors.read(detector_path)
    hop_seconds = detector.plan.hop_seconds
    line_seconds = _line_seconds(detector)
    model_seconds = {n: _model_seconds(detector, n) / n for n in (1, streams)}
    result = {
        "hop_ms": round(1e3 * line_seconds, 3),
        "streams_per_core": int(hop_seconds / line_seconds),
        "cpu_percent_of_one_stream": round(100 * line_seconds / hop_seconds, 2),
        **{f"model_ms_a_stream_of_{n}": round(1e3 * seconds, 3) for n, seconds in model_seconds.items()},
    }
    if as_json:
        click.echo(json.dumps(result))
        return
    for name, value in result.items():
        click.echo(f"{name.replace('_', ' ')}: {value}")


def _line_seconds(detector: Detector) -> float:
    """Frontend, network and every score of one stream, a hop at a time."""
    plan = detector.plan
    line = Line(detector, next(iter(detector.sections.values())))
    noise = np.random.default_rng(0).normal(0, 0.05, plan.window_samples + plan.hop_samples).astype(np.float32)
    line.feed(noise)
    hop = noise[: plan.hop_samples]
    return _median_seconds(lambda: line.feed(hop))


def _model_seconds(detector: Detector, n_streams: int) -> float:
    frames = Frontend(detector.frontend)(np.zeros(detector.frontend.samples_for(HOP_FRAMES), np.float32))
    features = np.repeat(frames[np.newaxis], n_streams, axis=0)
    cache = detector.model.empty_cache(n_streams)
    return _median_seconds(lambda: detector.model(features, cache))


def _median_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
