"""What ordinary sound is expected to score: Student's t, what is trusted, and that the rate asked for is what comes."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from edge.judge.ordinary import (
    LEAST_BETWEEN,
    MANY_FREEDOM,
    PRIOR,
    Ordinary,
    Prior,
    observed,
    ordinary,
    student_quantile,
    student_tail,
    variance_of_mean,
)

Scores = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]

BETWEEN, WITHIN = 0.15, 0.12
"""Deviation of recordings' levels, and of windows within one, of log distances: as real machines have them."""

GAP = 10.0
"""How far apart the two cross-fits of one recording would be, and of n recordings an n-th of that: nearly all of what
is measured is which recording it is."""

WORLD: Prior = replace(
    PRIOR,
    few_offset=0.0,
    few_slope=0.0,
    few_variance=2 * BETWEEN**2 - LEAST_BETWEEN**2,
    between_share=1 - (LEAST_BETWEEN / BETWEEN) ** 2,
    level_freedom=30.0,
    spread_offset=0.0,
    spread_slope=0.0,
)
"""The prior that `enrolled` follows."""


def enrolled(rng: np.random.Generator, n_recordings: int, each: int) -> Scores:
    """Cross-fitted scores of a machine whose recordings to come score 3 +- BETWEEN, as `ordinary` takes them."""
    recording = np.repeat(np.arange(n_recordings), each)
    level = 3 + BETWEEN * rng.normal(size=n_recordings)
    x = level[recording] + WITHIN * rng.normal(size=recording.size)
    too_near = (n_recordings - 1) / (n_recordings - 1 + WORLD.trusted_recordings)
    return x + (1 - too_near) * GAP / n_recordings, x - too_near * GAP / n_recordings, recording


# --- Student's t ---


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 60])
@pytest.mark.parametrize("t", [-6, -0.5, 0, 0.3, 1, 2.5, 6])
def test_the_tail_is_scipys(t: float, freedom: int) -> None:
    assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 60])
@pytest.mark.parametrize("tail", [0.9, 0.5, 0.3, 0.01, 1e-4])
def test_the_quantile_is_scipys(tail: float, freedom: int) -> None:
    assert student_quantile(tail, freedom) == pytest.approx(stats.t.isf(tail, freedom), rel=1e-6, abs=1e-9)


def test_beyond_many_degrees_of_freedom_it_stays_as_it_is() -> None:
    assert student_tail(2, 1e9) == student_tail(2, MANY_FREEDOM) == pytest.approx(stats.norm.sf(2), rel=0.11)


@pytest.mark.parametrize("tail", [0.0, -0.1, 1.0, math.nan])
def test_a_tail_that_is_no_probability_is_refused(tail: float) -> None:
    with pytest.raises(ValueError, match=f"tail {tail}: expected"):
        student_quantile(tail, 5)


# --- What is believed ---


def test_what_many_recordings_say_is_trusted_more(rng: np.random.Generator) -> None:
    believed = [ordinary(*enrolled(rng, n, 10), PRIOR) for n in (1, 2, 5, 12, 40)]
    trust = [one.trust for one in believed]
    assert trust == sorted(trust)
    assert trust[0] == 0
    assert trust[-1] > 0.9
    assert believed[-1].level_deviation < believed[1].level_deviation
    assert believed[-1].level == pytest.approx(3, abs=0.1)


def test_what_is_believed_moves_with_the_scores(rng: np.random.Generator) -> None:
    far, near, recording = enrolled(rng, 2, 7)
    one, other = ordinary(far, near, recording, PRIOR), ordinary(far + 2, near + 2, recording, PRIOR)
    assert other.level == pytest.approx(one.level + 2)
    assert other.deviation == pytest.approx(one.deviation)
    assert other.level_deviation == pytest.approx(one.level_deviation)


def test_a_threshold_falls_with_the_rate_and_with_the_hops() -> None:
    believed = Ordinary(2.5, 0.25, 5.0, 0.15, 3.0, 0.0)
    thresholds = [believed.threshold(rate) for rate in (1e-6, 1e-4, 0.001, 0.01, 0.05, 0.5)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[-1] == pytest.approx(believed.level)
    assert believed.threshold(0.01, 117) < believed.threshold(0.01, 39) < believed.threshold(0.01)


def test_no_average_removes_what_recordings_differ_by() -> None:
    believed = Ordinary(2.5, 0.25, 5.0, 0.15, 3.0, 0.0)
    alone = replace(believed, deviation=0.0)
    assert believed.threshold(0.01, 10**9) > alone.threshold(0.01)
    assert variance_of_mean(1) == 1
    assert variance_of_mean(10**9) == pytest.approx(0.04, abs=1e-6)


def test_few_windows_of_one_recording_count_as_few(rng: np.random.Generator) -> None:
    far, near, _ = enrolled(rng, 14, 1)
    alone = ordinary(far, near, np.zeros(14, np.int64), PRIOR)
    apart = ordinary(far, near, np.arange(14), PRIOR)
    assert alone.trust == 0
    assert apart.trust > 0.5
    of_another = 1 - math.exp(-2 * (alone.level - near.mean()))
    assert 0 < of_another < 1
    assert alone.level_deviation**2 == pytest.approx(LEAST_BETWEEN**2 + PRIOR.few_variance * of_another)
    assert alone.threshold(0.01) > apart.threshold(0.01)


def test_what_noise_masks_does_not_vary(rng: np.random.Generator) -> None:
    """Under noise windows differ much, and statistics of one recording find another as near as their own."""
    far, near, recording = enrolled(rng, 2, 30)
    noisy = near.mean() + 2.5 * (near - near.mean())
    told_apart, masked = ordinary(far, near, recording, PRIOR), ordinary(noisy, noisy, recording, PRIOR)
    assert LEAST_BETWEEN <= masked.level_deviation < 0.6 * told_apart.level_deviation


def test_an_odd_recording_is_no_spread_and_copies_are_no_certainty(rng: np.random.Generator) -> None:
    far, near, recording = enrolled(rng, 5, 10)
    odd = far + 20 * (recording == 3)
    assert observed(odd, near, recording).between == 0.5
    copies = np.full(recording.size, 3.0)
    believed = ordinary(copies, copies, recording, PRIOR)
    assert believed.deviation > 0
    assert believed.threshold(0.01) > 3


def test_scores_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores \(3,\) and \(4,\)"):
        ordinary(np.zeros(3), np.zeros(4), np.zeros(3, np.int64), PRIOR)
    with pytest.raises(ValueError, match="n >= 2"):
        ordinary(np.zeros(1), np.zeros(1), np.zeros(1, np.int64), PRIOR)


# --- The rate that comes ---


@pytest.mark.parametrize("asked", [0.01, 0.05])
@pytest.mark.parametrize(("n_recordings", "each"), [(2, 7), (5, 12), (20, 10)])
def test_the_rate_that_comes_is_the_one_asked_for(
    rng: np.random.Generator, n_recordings: int, each: int, asked: float
) -> None:
    came = []
    for _ in range(400):
        threshold = ordinary(*enrolled(rng, n_recordings, each), WORLD).threshold(asked)
        came.append(stats.norm.sf(threshold, 3, math.hypot(BETWEEN, WITHIN)))
    assert asked / 2 < np.mean(came) < 1.2 * asked
