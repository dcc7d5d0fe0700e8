"""The prior that is learnt from enrolments keeps the rate asked for on machines that it was not learnt from."""

import math
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from scipy import stats

from edge.judge import PRIOR, expected, observed

with mock.patch.dict(os.environ):  # benchmarks have one BLAS thread; other tests compare with processes that have all
    from benchmarks import prior

BETWEEN, WITHIN, GAP = 0.15, 0.12, 0.8


def enrolment(rng: np.random.Generator, family: str, n_recordings: int) -> prior.Enrolment:
    """Of a machine whose recordings to come score as those enrolled; the two cross-fits miss them by parts of `GAP`."""
    recording = np.repeat(np.arange(n_recordings), 8)
    levels = 3 + BETWEEN * rng.normal(size=n_recordings + 6)
    x = levels[recording] + WITHIN * rng.normal(size=recording.size)
    unheard = [level + WITHIN * rng.normal(size=8) for level in levels[n_recordings:]]
    near, far = x - GAP / 2 / n_recordings, x + GAP / 2 / n_recordings
    return prior.Enrolment(
        family, family, (recording.size, n_recordings), far, near, recording, unheard, np.full(4, 4.5)
    )


@pytest.fixture
def made(rng: np.random.Generator) -> list[prior.Enrolment]:
    return [enrolment(rng, family, n) for family in ("pump", "valve") for n in (2, 5, 12) for _ in range(12)]


def test_the_rate_that_comes_is_the_one_asked_for(made: list[prior.Enrolment]) -> None:
    asked = 0.05  # at less a world without heavy tails has fewer
    learnt = prior.learn(made, without=["valve"])
    unknown = [observed(one.far, one.near, one.recording) for one in made if one.family == "valve"]
    thresholds = [expected(heard, learnt).threshold(asked) for heard in unknown]
    assert asked / 2 < np.mean(stats.norm.sf(thresholds, 3, math.hypot(BETWEEN, WITHIN))) < 1.2 * asked


def test_what_is_left_out_teaches_nothing(made: list[prior.Enrolment]) -> None:
    far_off = [replace(one, near=one.near - 3) if one.family == "valve" else one for one in made]
    assert prior.learn(made, ["valve"]) == prior.learn(far_off, ["valve"])


def test_the_table_has_a_row_for_each_size(made: list[prior.Enrolment]) -> None:
    table = prior.promises(made[:14] + made[-26:], dict.fromkeys((one.family for one in made), PRIOR))
    assert [row[0] for row in table.rows] == ["all", "16 of 2", "40 of 5", "96 of 12"]
