"""Recordings through the same line as live sound: every window of a file, or one score for all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from edge.detector.line import Line, Reading
from edge.errors import EarshotError
from edge.judge import ScoreName
from edge.source import read_blocks

BLOCK_SAMPLES: Final = 1 << 16
"""About eight hops at once; any number gives the same readings."""


def readings_of(line: Line, path: Path, *, channel: int = 0, block_samples: int = BLOCK_SAMPLES) -> Iterator[Reading]:
    """Yield the readings of a recording, which stands for itself: the line is reset before it.

    Raises SourceError, perhaps after some readings: a file has a score only if it was read to its end.
    """
    line.reset()
    for samples in read_blocks(path, channel=channel, block_samples=block_samples):
        yield from line.feed(samples)


def score_file(line: Line, path: Path, *, channel: int = 0) -> dict[ScoreName, float]:
    """Return every score of a recording: the mean over its windows (the B segments of the paper's Eq. 4).

    Raises SourceError if it cannot be read, and EarshotError if it is shorter than one window or holds no sound.
    """
    readings = list(readings_of(line, path, channel=channel))
    heard = [reading.scores for reading in readings if reading.fault is None]
    if not readings:
        seconds = line.plan.window_samples / line.plan.frontend.sample_rate_hz
        raise EarshotError(f"{path}: shorter than one window: expected at least {seconds:g} s")
    if not heard:
        raise EarshotError(f"{path}: {readings[0].fault}: expected the sound of a machine")
    return {name: float(np.mean([scores[name] for scores in heard])) for name in heard[0]}
