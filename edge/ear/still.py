"""Stretches of one value, sample by sample: what a muted microphone or a loose cable leaves in a recording."""

from typing import Final

import numpy as np

from edge.ear.frontend import Samples

ONE_VALUE: Final = 0.5 / 32_768
"""Peak to peak: half a step of 16 bits. The noise of the quietest microphones is some steps."""


def still_stretches(samples: Samples, min_samples: int) -> list[tuple[int, int]]:
    """Return where samples, shape (T,), stay at one value for `min_samples` or more: first, and the one after the last.

    Shorter ones are of no consequence where `min_samples` is a frame: no frame is without sound then.
    """
    moves = np.abs(np.diff(samples)) >= ONE_VALUE
    edges = np.flatnonzero(np.diff(np.concatenate([[True], moves, [True]]).astype(np.int8)))
    stretches = [(int(start), int(end) + 1) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return [
        (start, end)
        for start, end in stretches
        if end - start >= min_samples and np.ptp(samples[start:end]) < 2 * ONE_VALUE
    ]
