"""Evidence over time: what a step, a spanner, a gap and another recording are worth, and when it is over."""

from collections.abc import Iterable

import numpy as np
import pytest

from edge.config import EventSettings
from edge.judge.evidence import (
    GUARD_HOPS,
    MAX_BLOCKS,
    Evidence,
    Recovery,
    Surprise,
    _Past,
    evidence_of,
    log_score_at,
    rarity,
    rate_at,
    rate_of,
    scales_of,
)
from edge.judge.ordinary import Ordinary, student_quantile

HOP_SECONDS = 0.512
ORDINARY = Ordinary(level=2.5, level_deviation=0.25, level_freedom=5.0, deviation=0.15, freedom=3.0, trust=0.0)
SCALES = scales_of(9.6, (20, 60), HOP_SECONDS)


def evidence(believed: Ordinary = ORDINARY) -> Evidence:
    return Evidence(believed, SCALES, hop_seconds=HOP_SECONDS)


def play(listener: Evidence, scores: Iterable[float | None]) -> Surprise:
    """What the last of the scores says."""
    surprise = Surprise(1.0)
    for score in scores:
        surprise = listener.step(score)
    return surprise


def ordinary_sound(rng: np.random.Generator, hops: int, level: float = 2.5) -> list[float]:
    return [float(x) for x in rng.normal(level, 0.1, hops)]


# --- Scales ---


def test_the_scales_share_all_false_alarms_and_the_minute_has_most() -> None:
    scales = scales_of(9.6, (20, 60, 3600), HOP_SECONDS)
    assert sum(scale.share for scale in scales) == pytest.approx(1)
    assert [scale.hops for scale in scales] == [1, 39, 117, 7031]
    assert max(scales, key=lambda scale: scale.share).seconds == 60


@pytest.mark.parametrize("hops", [1, 39, 117])
def test_an_average_is_that_of_the_newest_hops_and_the_past_is_what_is_older(
    rng: np.random.Generator, hops: int
) -> None:
    scores, past = rng.normal(size=900), _Past(hops)
    for score in scores:
        past.push(float(score), learn=True)
    older = scores[: -hops - GUARD_HOPS]
    assert past.average == pytest.approx(scores[-hops:].mean())
    assert past.level == pytest.approx(older.mean())
    assert past.square == pytest.approx(older.var())


def test_an_hour_is_as_small_as_a_minute(rng: np.random.Generator) -> None:
    past = _Past(7031)
    for score in rng.normal(size=20_000):
        past.push(float(score), learn=True)
    assert len(past._blocks) <= MAX_BLOCKS + GUARD_HOPS + 5
    assert past.average == pytest.approx(0, abs=0.05)


def test_while_nothing_is_learnt_the_past_stays() -> None:
    past = _Past(1)
    for score in [1.0] * 100:
        past.push(score, learn=True)
    for score in [5.0] * 100:
        past.push(score, learn=False)
    assert past.level == pytest.approx(1)


# --- What is surprising ---


def test_ordinary_sound_is_not_surprising(rng: np.random.Generator) -> None:
    listener = evidence()
    assert min(listener.step(score).probability for score in ordinary_sound(rng, 2000)) > 0.01


def test_a_loud_fault_is_surprising_at_once_and_against_the_machine() -> None:
    surprise = evidence().step(5.0)
    assert surprise.probability < 0.001
    assert surprise.scale == SCALES[0]
    assert not surprise.is_step


def test_a_small_step_that_stays_is_reported(rng: np.random.Generator) -> None:
    listener = evidence()
    play(listener, ordinary_sound(rng, 600))
    surprise = play(listener, ordinary_sound(rng, 117, level=2.95))
    assert surprise.probability < 0.01
    assert surprise.is_step
    assert surprise.scale in SCALES[1:]
    assert surprise.average == pytest.approx(2.95, abs=0.1)


def test_the_same_level_from_the_first_hop_on_is_not(rng: np.random.Generator) -> None:
    assert play(evidence(), ordinary_sound(rng, 700, level=2.8)).probability > 0.01


def test_the_better_a_machine_is_known_the_fewer_steps_are_reported(rng: np.random.Generator) -> None:
    scores = ordinary_sound(rng, 600) + ordinary_sound(rng, 117, level=2.85)
    few, many = (play(evidence(Ordinary(2.5, 0.25, 5.0, 0.15, 3.0, trust)), scores).probability for trust in (0.0, 1.0))
    assert few < many


def test_a_dropped_spanner_is_not_a_minutes_evidence(rng: np.random.Generator) -> None:
    listener = evidence()
    play(listener, ordinary_sound(rng, 600))
    play(listener, [6.0] * 20)
    assert play(listener, ordinary_sound(rng, 60)).probability > 0.01


def test_a_gap_leaves_a_scale_waiting(rng: np.random.Generator) -> None:
    listener = evidence()
    play(listener, ordinary_sound(rng, 300))
    assert all(listener.step(None).probability == 1 for _ in range(70))
    assert listener._pasts[2].average is None
    assert listener.step(2.5).probability > 0.3


def test_passing_over_hops_is_hearing_nothing_in_them() -> None:
    one, other = evidence(), evidence()
    for listener in (one, other):
        play(listener, [2.4, 2.6] * 150)
    one.miss(50)
    play(other, [None] * 50)
    assert play(one, [3.0] * 30) == play(other, [3.0] * 30)


def test_after_an_episode_the_same_sound_is_not_reported_twice(rng: np.random.Generator) -> None:
    listener = evidence()
    play(listener, ordinary_sound(rng, 600))
    for score in ordinary_sound(rng, 117, level=3.2):
        surprise = listener.step(score, learn=False)
    assert surprise.probability < 0.01
    listener.restart()
    assert play(listener, ordinary_sound(rng, 60)).probability > 0.01


def test_another_recording_has_no_past() -> None:
    listener = evidence()
    play(listener, [2.0, 2.1] * 200)
    listener.forget()
    assert play(listener, [2.9] * 100) == play(evidence(), [2.9] * 100)


def test_false_alarms_come_no_more_often_than_asked(rng: np.random.Generator) -> None:
    """Recordings of five minutes whose levels are as believed: all scales together, at 5 %."""
    reported = []
    for tail in (np.arange(32) + 0.5) / 32:
        listener, level = evidence(), 2.5 + 0.25 * student_quantile(float(tail), 5)
        reported += [listener.step(score).probability < 0.05 for score in ordinary_sound(rng, 300, level)]
    assert np.mean(reported) < 0.05


def test_the_configuration_says_which_scales() -> None:
    settings = EventSettings()
    listener = evidence_of(settings, ORDINARY, window_seconds=9.6, hop_seconds=HOP_SECONDS)
    assert [scale.seconds for scale in listener._scales] == [9.6, *settings.averages_seconds]


# --- Rates and scores ---


@pytest.mark.parametrize("rate", [0.05, 0.01, 1e-4])
def test_a_score_and_its_rate_are_one_thing(rate: float) -> None:
    assert rate_at(ORDINARY, log_score_at(ORDINARY, rate)) == pytest.approx(rate, rel=1e-6)
    assert rate_of(rarity(rate)) == pytest.approx(rate)


def test_a_score_reported_is_one_above_the_threshold() -> None:
    threshold = log_score_at(ORDINARY, 0.01)
    assert evidence().step(threshold + 0.01).probability < 0.01 < evidence().step(threshold - 0.01).probability


# --- When it is over ---


def test_a_loud_fault_is_over_after_the_off_delay() -> None:
    recovery = Recovery(Surprise(0.001, SCALES[0], False, 4.5, 2.5), 0.1, off_hops=10)
    assert not any(recovery.step(4.5) for _ in range(200))
    over = [recovery.step(2.5) for _ in range(25)]
    assert over.index(True) < 20


def test_a_faint_one_takes_a_longer_average(rng: np.random.Generator) -> None:
    recovery = Recovery(Surprise(0.005, SCALES[2], True, 2.8, 2.5), 0.1, off_hops=10)
    assert not any(recovery.step(score) for score in ordinary_sound(rng, 300, level=2.8))
    over = [recovery.step(score) for score in ordinary_sound(rng, 200)]
    assert 10 <= over.index(True) < MAX_BLOCKS + 10
