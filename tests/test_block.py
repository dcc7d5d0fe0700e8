"""Times of a stretch: they follow the card's crystal, and nothing that jitters."""

import numpy as np
import pytest

from edge.source.block import SAMPLE_RATE_HZ, Stretch

BLOCK = np.zeros(16_000, np.float32)
BLOCK_SECONDS = BLOCK.size / SAMPLE_RATE_HZ


def end_of_a_day(*, drift: float, jitter_seconds: float) -> float:
    """Return by how many seconds the stamp of the last block of a day is off, at its worst in the last minute."""
    rng = np.random.default_rng(0)
    stretch = Stretch("mic", start_time=100.0)
    worst = 0.0
    n_blocks = round(86_400 / BLOCK_SECONDS)
    for i in range(n_blocks):
        truth = 100.0 + i * BLOCK_SECONDS * (1 + drift)
        block = stretch.block(BLOCK, truth + jitter_seconds * rng.standard_normal())
        if i > n_blocks - 60:
            worst = max(worst, abs(block.time - truth))
    return worst


@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4])
def test_a_day_on_a_crystal_that_is_off(drift: float) -> None:
    assert end_of_a_day(drift=drift, jitter_seconds=0.03) < 0.07  # 8.6 s by counting alone


def test_without_capture_times_it_counts() -> None:
    stretch = Stretch("stdin", start_time=5.0)
    assert [stretch.block(BLOCK).time for _ in range(3)] == pytest.approx([5.0, 6.0, 7.0])


def test_a_stall_that_lost_nothing_moves_times_by_a_thousandth_at_most() -> None:
    stretch = Stretch("mic", start_time=0.0)
    times = [stretch.block(BLOCK, i * BLOCK_SECONDS + (2.0 if i > 10 else 0.0)).time for i in range(200)]
    steps = np.diff(times)
    assert steps.max() <= BLOCK_SECONDS * 1.001 + 1e-9
    assert times[-1] < 199 * BLOCK_SECONDS + 2.0
