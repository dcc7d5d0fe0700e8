"""Conditions: what comes and goes three times is one; what stays, creeps, is mended or passes by is none."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edge.config import EventSettings
from edge.judge.evidence import Evidence, scales_of
from edge.judge.learning import Learnt
from edge.judge.ordinary import Ordinary
from edge.judge.returns import VISITS, Returns
from tests.test_learning import HOP_SECONDS, SECTION, judge, learner

STRETCH_HOURS = 300 / 3600
HOUR = round(1 / STRETCH_HOURS)

LOW, HIGH = [0.0] * HOUR, [0.5] * HOUR


def returned_from(levels: Sequence[float]) -> Returns:
    """Having heard stretches of these levels."""
    one = Returns(0.1, stretch_hops=586, stretch_hours=STRETCH_HOURS)
    for level in levels:
        one.hear(level)
    return one


def test_what_it_came_down_from_three_times_is_a_condition() -> None:
    assert returned_from([*LOW, *HIGH] * VISITS).known_level is None, "it is still there the third time"
    assert returned_from([*LOW, *HIGH] * VISITS + LOW).known_level == pytest.approx(0.5)


def test_the_third_highest_counts_whatever_the_order(rng: np.random.Generator) -> None:
    visits = [0.4, 0.9, 0.3, 0.7, 0.5]
    rng.shuffle(visits)
    one = returned_from([level for visit in visits for level in (*LOW, *[visit] * HOUR)] + LOW)
    assert one.came_from == pytest.approx((0.9, 0.7, 0.5))
    assert one.known_level == pytest.approx(0.5)


@pytest.mark.parametrize(
    "levels",
    [
        [*LOW, *HIGH * 500],
        np.linspace(0, 2, 2000).tolist(),
        [*LOW, 0.5] * 20,
        ([*[0.0] * 2, *[0.5] * 2] * 3)[:HOUR],
    ],
    ids=["stays", "creeps", "passes by", "rattles within an hour"],
)
def test_a_fault_is_no_condition(levels: list[float]) -> None:
    assert returned_from(levels).known_level is None


def test_what_was_mended_while_nobody_heard_it_is_no_condition() -> None:
    one = returned_from([])
    for _ in range(2 * VISITS):
        for level in (*LOW, *HIGH):
            one.hear(level)
        one.interrupt()
    assert one.known_level is None


# --- What the evidence makes of it ---


BELIEVED = Ordinary(level=0.0, level_deviation=0.15, level_freedom=6.0, deviation=0.06, freedom=3.0, trust=0.6)


def stepped(rng: np.random.Generator, to: float, known_level: float | None) -> float:
    """The probability of the first minute after a step, from an hour of ordinary sound."""
    one = Evidence(BELIEVED, scales_of(9.6, (20, 60), HOP_SECONDS), hop_seconds=HOP_SECONDS)
    one.known_level = known_level
    for x in rng.normal(-0.1, 0.05, 7000).tolist():
        one.step(x)
    return min(one.step(x).probability for x in rng.normal(to, 0.05, 117).tolist())


def test_a_step_to_a_condition_is_none_and_one_beyond_it_is(rng: np.random.Generator) -> None:
    assert stepped(rng, 0.3, None) < 0.01
    assert stepped(rng, 0.3, 0.3) > 0.01
    assert stepped(rng, 0.6, 0.3) < 0.01


def test_what_enrolment_reports_stays_reported(rng: np.random.Generator) -> None:
    assert stepped(rng, 1.5, 5.0) < 0.01


def test_a_machine_whose_condition_changes_is_reported_ever_less() -> None:
    """And not at all once it has come down three times; before, nobody could know."""
    one, opened, end = judge(EventSettings()), [0, 0], 0.0
    known, rng = SECTION.ordinary["fused"], np.random.default_rng(0)
    for visit in range(VISITS + 2):
        for deviations, hours in ((-1.0, 1.0), (2.0, 0.4)):
            level = known.level + deviations * known.level_deviation
            for x in rng.normal(level, 0.02, round(3600 * hours / HOP_SECONDS)).tolist():
                end += HOP_SECONDS
                opened[visit >= VISITS] += sum(event.kind == "opened" for event in one.weigh(math.exp(x), end))
    assert opened[0] > 0
    assert opened[1] == 0


def test_it_is_remembered() -> None:
    one = learner()
    one.recall(Learnt(came_from=(0.9, 0.7, 0.5)))
    assert one.known_level == 0.5
    assert one.learnt == Learnt(came_from=(0.9, 0.7, 0.5))


@pytest.mark.parametrize("came_from", [(0.5, 0.7), (0.9, 0.7, 0.5, 0.3), (float("nan"),)])
def test_what_cannot_be_is_refused(came_from: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Learnt(came_from=came_from)
