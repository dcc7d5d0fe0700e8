"""Hops and windows do not depend on how the samples arrive."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.ear.frontend import Frontend, FrontendSettings
from edge.ear.ring import FrameRing, HopPlan, Ring

PLANS = [HopPlan(FrontendSettings(), 299), HopPlan(FrontendSettings(), 311)]


def test_the_streaming_window_is_nine_point_six_seconds_exactly() -> None:
    assert PLANS[0].window_samples == 153_600
    assert PLANS[0].window_hops == 19
    assert PLANS[0].prime_frames == 5
    assert PLANS[0].hop_seconds == pytest.approx(0.512)


@pytest.mark.parametrize("plan", PLANS)
def test_the_first_window_needs_all_of_its_samples_and_no_more(plan: HopPlan) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, plan.window_samples).astype(np.float32)
    assert windows_of(plan, noise[:-1], [1600]) == []
    (window,) = windows_of(plan, noise, [1600])
    np.testing.assert_allclose(window, Frontend(plan.frontend)(noise), atol=1e-4)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=5), st.sampled_from(PLANS))
def test_block_sizes_do_not_matter(blocks: list[int], plan: HopPlan) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 220_000).astype(np.float32)
    came, expected = windows_of(plan, noise, blocks), windows_of(plan, noise, [8192])
    assert len(came) == len(expected) > 5
    for a, b in zip(came, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_reset_forgets_everything() -> None:
    plan, ring = PLANS[0], Ring(PLANS[0])
    ring.write(np.ones(9000, np.float32))
    ring.read()
    ring.reset()
    assert ring.hops_read == 0
    ring.write(np.ones(plan.frontend.samples_for(11) - 1, np.float32))
    assert ring.read().size == 0


def test_writing_more_than_fits_is_refused() -> None:
    ring = Ring(PLANS[0], max_hops=1)
    with pytest.raises(ValueError, match="room"):
        ring.write(np.zeros(ring.room + 1, np.float32))


def windows_of(plan: HopPlan, samples: np.ndarray, blocks: list[int]) -> list[np.ndarray]:
    """Every full window that comes out when samples arrive in blocks of these sizes, over and over."""
    ring, frontend, frames = Ring(plan), Frontend(plan.frontend), FrameRing(plan)
    windows: list[np.ndarray] = []
    start = 0
    for i in range(len(samples)):
        if start >= samples.size:
            break
        block = samples[start : start + blocks[i % len(blocks)]]
        start += block.size
        ring.write(block)
        hops = ring.read()
        if hops.size:
            windows += [window.copy() for window in frames.remember(frontend(hops)) if window is not None]
    return windows
