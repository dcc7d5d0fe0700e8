"""`python -m benchmarks.evidence`: the cost of sensor health and evidence while listening, and of a picture."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import Table, cpu_seconds
from edge.config import EvidenceSettings, SensorSettings
from edge.judge import SensorHealth
from edge.memory import Beside, ClipStore, Evidence, spectrogram
from edge.source import Block

RATE_HZ = 16_000
BLOCK_SAMPLES = RATE_HZ // 10


def table() -> Table:
    """Measure, on blocks of 0.1 s."""
    samples = np.random.default_rng(0).normal(0, 0.1, 60 * RATE_HZ).astype(np.float32)
    block = Block(samples[:BLOCK_SAMPLES], 0, 0.0, "noise", starts_anew=False)
    levels = np.zeros(128, np.float32)
    settings = EvidenceSettings(privacy="audio", max_clip_seconds=300)
    with tempfile.TemporaryDirectory() as folder:
        store = ClipStore(settings, Path(folder))
        idle, open_, sensor = Evidence(store, "idle"), Evidence(store, "open"), SensorHealth(SensorSettings(), levels)

        def hear_in_an_episode() -> None:
            if open_.clip_name("0" * 32) is None:
                open_.opened("0" * 32, 0.0)
            open_.hear(block)

        works: dict[str, Callable[[], object]] = {
            "sensor.hear": lambda: sensor.hear(block.samples),
            "sensor.level, a reading": lambda: (sensor.hear(block.samples), sensor.level(levels)),
            "evidence.hear, no episode": lambda: idle.hear(block),
            "evidence.hear, in an episode": hear_in_an_episode,
            "picture of 60 s": lambda: spectrogram(samples, Beside(), opened_seconds=15, closed_seconds=55),
        }
        seconds = cpu_seconds(works)
    ring_bytes = int(settings.pre_roll_seconds * RATE_HZ) * 2
    return Table(
        "Sensor health and evidence, a block of 0.1 s",
        ["what", "microseconds"],
        [[name, f"{1e6 * each:.0f}"] for name, each in seconds.items()],
        f"Of a source the ring takes {ring_bytes / 1000:g} kB for {settings.pre_roll_seconds:g} s.",
    )


if __name__ == "__main__":
    print(table().as_markdown())
