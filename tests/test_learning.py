"""Provisional: what is learnt tightens the judge, whatever is learnt never makes it laxer, and no topic teaches it."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import detector as detectors
from edge.config.settings import EventSettings, OnDelay
from edge.detector.judge import Judge
from edge.judge.calibration import hours_needed
from edge.judge.evidence import STEP_SHARE, Evidence, scales_of
from edge.judge.learning import WAITING_STRETCHES, Learner, Learnt, Provisional
from edge.judge.ordinary import PRIOR, Ordinary
from tests.conftest import DEMO

HOP_SECONDS = 0.512
STRETCH = round(300 / HOP_SECONDS)
SCALES = scales_of(9.6, (20, 60, 600, 3600), HOP_SECONDS)
RATE = 0.01
ENROLLED = Ordinary(0.0, level_deviation=0.3, level_freedom=5, deviation=0.15, freedom=3, trust=0.0)

DETECTOR = detectors.read(DEMO / "detector")
SECTION = DETECTOR.section(None)


def learner(enrolled: Ordinary = ENROLLED, hours_needed: float = 48.0) -> Learner:
    hops = [scale.hops for scale in SCALES]
    return Learner(enrolled, rate=RATE, hop_seconds=HOP_SECONDS, scales_hops=hops, hours_needed=hours_needed)


def learn(one: Learner, levels: list[float], deviation: float = 0.1) -> None:
    """Have it hear a stretch at each level, and as many more as wait."""
    wave = deviation * math.sqrt(2) * np.sin(np.arange(STRETCH))
    for level in levels:
        for x in (level + wave).tolist():
            one.hear(x, is_ordinary=True)


def reported(ordinary: Ordinary, hops: int) -> float:
    """The average over so many hops from which on it is reported."""
    return ordinary.threshold(RATE * (1 - STEP_SHARE), hops)


# --- What is learnt ---


def test_without_anything_heard_it_is_enrolment() -> None:
    one = learner()
    assert one.believed == ENROLLED
    assert one.learnt == Learnt()
    learn(one, [0.0] * WAITING_STRETCHES)
    assert one.believed == ENROLLED, "an hour late"


@pytest.mark.parametrize("level", [-0.4, -0.1, 0.0, 0.2])
def test_two_days_of_one_level_are_believed_nearly_as_it_is(level: float) -> None:
    one = learner()
    learn(one, [level] * 600)
    known = one.believed
    assert one.is_done
    assert known.level == pytest.approx(level, abs=0.03)
    assert known.level_deviation < 0.5 * ENROLLED.level_deviation
    assert known.level_freedom == pytest.approx(5 + 12, abs=0.1)
    assert known.trust == pytest.approx(12 / (12 + PRIOR.trusted_recordings), abs=0.01)
    assert known.deviation < ENROLLED.deviation


def test_thresholds_fall_as_it_hears_more() -> None:
    one, thresholds = learner(), [reported(ENROLLED, 1)]
    for _ in range(8):
        learn(one, [0.0] * 72)
        thresholds.append(reported(one.believed, 1))
    assert all(later < before for before, later in pairwise(thresholds))


def test_a_machine_that_varies_stays_wider_than_one_that_does_not() -> None:
    steady, varied = learner(), learner()
    learn(steady, [0.0] * 600)
    learn(varied, [-0.3, 0.3] * 300)
    assert steady.believed.level_deviation < 0.7 * varied.believed.level_deviation
    assert varied.believed.level_deviation == pytest.approx(0.29, abs=0.02)


def test_after_enough_nothing_more_is_learnt() -> None:
    one = learner(hours_needed=2.0)
    learn(one, [0.0] * 100)
    before = one.learnt
    assert before.hours == pytest.approx(2.0, abs=0.1)
    learn(one, [0.5] * 50)
    assert one.learnt == before


# --- What is not ---


@given(
    levels=st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    deviation=st.floats(0, 1),
    enrolled=st.builds(
        Ordinary,
        level=st.floats(-1, 1),
        level_deviation=st.floats(0.02, 1),
        level_freedom=st.just(5.0),
        deviation=st.floats(0.02, 1),
        freedom=st.just(3.0),
        trust=st.floats(0, 1),
    ),
)
@settings(max_examples=30)
def test_whatever_it_hears_it_is_never_laxer_than_enrolment(
    levels: list[float], deviation: float, enrolled: Ordinary
) -> None:
    one = learner(enrolled)
    learn(one, levels * 6, deviation)
    known = one.believed
    assert known.level <= enrolled.level + enrolled.level_deviation
    assert known.level_deviation <= enrolled.level_deviation
    assert known.deviation <= enrolled.deviation
    for scale in SCALES:
        assert reported(known, scale.hops) <= reported(enrolled, scale.hops) + 1e-6


@given(
    hours=st.floats(0, 1e6), mean=st.floats(-1e6, 1e6), square=st.floats(0, 1e6), within=st.floats(0, 1e6)
)  # a file may say anything
def test_whatever_it_recalls_it_is_never_laxer_than_enrolment(
    hours: float, mean: float, square: float, within: float
) -> None:
    one = learner()
    one.recall(Learnt(hours, mean, square, within))
    for scale in SCALES:
        assert reported(one.believed, scale.hops) <= reported(ENROLLED, scale.hops) + 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"hours": -1.0},
        {"square": -0.1},
        {"mean": math.nan},
        {"within": math.inf},
        {"waiting": ((0.0, -1.0),)},
        {"waiting": ((0.0, 0.1),) * (WAITING_STRETCHES + 1)},
    ],
)
def test_what_cannot_have_been_learnt_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(Learnt(), **wrong)  # type: ignore[arg-type]


def test_one_hop_that_speaks_against_it_spoils_its_stretch() -> None:
    one = learner()
    for i in range(40 * STRETCH):
        one.hear(0.0, is_ordinary=i % STRETCH != STRETCH // 2)
    assert one.learnt == Learnt()


def test_an_episode_takes_back_the_hour_before() -> None:
    one = learner()
    learn(one, [0.0] * 20)
    taken = one.learnt.hours
    one.doubt()
    assert one.learnt == replace(one.learnt, hours=taken, waiting=())
    learn(one, [0.0] * WAITING_STRETCHES)
    assert one.learnt.hours == taken


def test_a_level_that_enrolment_held_to_be_unlikely_teaches_nothing() -> None:
    one = learner()
    learn(one, [1.5] * 100)
    assert one.learnt == Learnt()


def test_it_goes_on_after_a_restart_where_it_was() -> None:
    through, first, second = learner(), learner(), learner()
    learn(through, [0.1, 0.0, -0.1] * 20)
    learn(first, [0.1, 0.0, -0.1] * 10)
    second.recall(first.learnt)
    learn(second, [0.1, 0.0, -0.1] * 10)
    assert second.believed == through.believed
    assert second.learnt == through.learnt


# --- A fault that grows ---


def hears_a_ramp(days: float, *, learns: bool, top: float = 2.0) -> tuple[float | None, Evidence]:
    """Carry a fault that grows from 0 to `top` through evidence and learner, a hop of ten each (to save time).

    Return the log score at which it was first reported.
    """
    rng = np.random.default_rng(0)
    hop = 10 * HOP_SECONDS
    scales = scales_of(9.6, (60, 600, 3600), hop)
    evidence = Evidence(ENROLLED, scales, hop_seconds=hop)
    hops = [scale.hops for scale in scales]
    own = Learner(ENROLLED, rate=RATE, hop_seconds=hop, scales_hops=hops, hours_needed=48.0)
    n = round(days * 86_400 / hop)
    for level, x in zip(np.linspace(0, top, n).tolist(), rng.normal(0, 0.1, n).tolist(), strict=True):
        surprise = evidence.step(level + x)
        if surprise.probability <= RATE:
            return level, evidence
        if learns and own.hear(level + x, is_ordinary=True):
            evidence.ordinary = own.believed
    return None, evidence


@pytest.mark.parametrize("days", [1, 3, 7])
def test_a_slow_ramp_is_reported_and_learning_makes_it_no_later(days: float) -> None:
    without, _ = hears_a_ramp(days, learns=False)
    with_it, _ = hears_a_ramp(days, learns=True)
    assert without is not None
    assert with_it is not None
    assert with_it <= without + 0.05
    assert without <= reported(ENROLLED, 1) + 0.1, "by the absolute belief at the latest"


def test_a_step_that_enrolment_would_report_is_reported_after_whatever_was_learnt() -> None:
    learnt = learner()
    learn(learnt, [0.25] * 600)
    assert learnt.believed.level > 0.2

    def step_that_is_reported(ordinary: Ordinary) -> float:
        evidence = Evidence(ENROLLED, SCALES, hop_seconds=HOP_SECONDS)
        evidence.ordinary = ordinary
        wave = 0.1 * math.sqrt(2) * np.sin(np.arange(4000))
        for x in (0.25 + wave).tolist():
            evidence.step(x)
        for i, x in enumerate((np.linspace(0, 1, 4000) + 0.25 + wave).tolist()):
            if evidence.step(x).probability <= RATE:
                return i / 4000
        return math.inf

    assert step_that_is_reported(learnt.believed) <= step_that_is_reported(ENROLLED) < 0.5


def test_a_run_that_rattles_ever_more_does_not_widen_what_is_believed_without_end() -> None:
    evidence = Evidence(ENROLLED, SCALES, hop_seconds=HOP_SECONDS)
    rng = np.random.default_rng(0)
    for x in rng.normal(0, 2.0, 4000).tolist():
        evidence.step(x)
    assert evidence.deviation == pytest.approx(2 * ENROLLED.deviation)


# --- In the judge ---


def judge(settings: EventSettings | None = None, *, learns: bool = True) -> Judge:
    return Judge(settings or EventSettings(), DETECTOR, SECTION, learns=learns)


def hear(one: Judge, hours: float, log_score: float | None = None, start: float = 0.0) -> float:
    """Have it hear scores at the level that is expected, or at another; return where it ended, s."""
    level = SECTION.ordinary["fused"].level if log_score is None else log_score
    n = round(hours * 3600 / HOP_SECONDS)
    for i, x in enumerate((level + 0.05 * np.sin(np.arange(n))).tolist()):
        one.weigh(math.exp(x), start + i * HOP_SECONDS)
    return start + n * HOP_SECONDS


def test_hours_of_enrolment_count_and_one_alarm_a_week_is_enough() -> None:
    known = judge().provisional
    hours = SECTION.card.windows * DETECTOR.plan.window_seconds / 3600
    assert known == Provisional(hours, hours_needed(1.0))
    assert known.of == 48
    assert judge(EventSettings(learning_hours=hours / 2)).provisional is None


def test_a_live_judge_learns_and_its_threshold_falls() -> None:
    one = judge()
    before = one.threshold
    hear(one, 3)
    known = one.provisional
    assert known is not None
    assert known.hours == pytest.approx(SECTION.card.windows * DETECTOR.plan.window_seconds / 3600 + 2, abs=0.1)
    assert one.threshold < before
    one.threshold = 7.0
    one.threshold = None
    assert one.threshold < before


@pytest.mark.parametrize(
    ("settings", "learns"),
    [
        (EventSettings(learning="off"), True),
        (EventSettings(threshold=SECTION.card.thresholds["fused"]), True),
        (EventSettings(), False),
    ],
)
def test_where_it_may_not_learn_it_stays_as_it_was(settings: EventSettings, *, learns: bool) -> None:
    one = judge(settings, learns=learns)
    before = one.threshold
    hear(one, 2.5)
    assert one.learnt is None
    assert one.threshold == before
    one.recall(Learnt(10.0, 0.0, 0.0, 0.0))
    assert one.threshold == before


def test_a_threshold_that_was_sent_teaches_nothing() -> None:
    """Who may write to a topic could raise it until a fault opens no episode, and wait until that is ordinary."""
    one = judge()
    one.threshold = 1e6
    hear(one, 2.5, log_score=SECTION.ordinary["fused"].level + 0.2)
    assert one.learnt == Learnt()


def test_who_is_asked_to_be_quiet_learns_nothing() -> None:
    one = judge()
    one.shelve(math.inf)
    hear(one, 2.5)
    assert one.learnt == Learnt()


def test_an_episode_teaches_nothing() -> None:
    one = judge(EventSettings(on_delay=OnDelay(windows=1, of=1), max_episode_minutes=600))
    end = hear(one, 0.5)
    end = hear(one, 2.5, log_score=3.0, start=end)
    assert one.episode is not None
    assert one.learnt == Learnt()


def test_evidence_is_nothing_before_anything_is_heard_and_one_at_an_alarm() -> None:
    one = judge()
    assert str(one.evidence) == "0.0"
    hear(one, 0.1)
    assert 0 <= one.evidence < 1
    hear(one, 0.01, log_score=4.0, start=360.0)
    assert one.evidence > 1
