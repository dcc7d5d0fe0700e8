"""Episodes: when they open, what they say, and that every one of them closes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.settings import EventSettings, OnDelay
from edge.judge.event import Band, Event, EventDetector, moved_bands
from edge.judge.evidence import evidence_of, log_score_at, rate_at
from edge.judge.ordinary import Ordinary

HOP_SECONDS = 0.512
SETTINGS = EventSettings(on_delay=OnDelay(windows=4, of=6), off_delay_seconds=5.0, update_seconds=10)
ORDINARY = Ordinary(0.0, 0.1, 30.0, 0.1, 30.0, 1.0)
"""A machine that is well known: ordinary sound scores 1, a tenth more or less."""

JUST_ENROLLED = replace(ORDINARY, level_freedom=6.0, freedom=2.4)
"""The same as a quarter of an hour knows it."""

MINUTES = 117
"""Hops a minute."""


def detector_of(settings: EventSettings = SETTINGS, rate: float = 0.01, ordinary: Ordinary = ORDINARY) -> EventDetector:
    evidence = evidence_of(settings, ordinary, window_seconds=9.6, hop_seconds=HOP_SECONDS)
    threshold = float(np.exp(log_score_at(ordinary, rate)))
    return EventDetector(settings, evidence, rate=rate, threshold=threshold)


def play(
    scores: Sequence[float], settings: EventSettings = SETTINGS, ordinary: Ordinary = ORDINARY
) -> list[tuple[int, Event]]:
    """Every event, with the number of the window that caused it."""
    detector = detector_of(settings, ordinary=ordinary)
    return [(i, event) for i, score in enumerate(scores) for event in step(detector, i, score)]


def step(detector: EventDetector, i: int, score: float) -> list[Event]:
    return detector.step(i * HOP_SECONDS, score, float(np.log(score)))


def test_the_rate_of_a_threshold_is_the_one_that_it_was_made_of() -> None:
    for rate in (0.3, 0.01, 1e-6):
        assert rate_at(ORDINARY, log_score_at(ORDINARY, rate)) == pytest.approx(rate, rel=1e-6)


def test_one_loud_window_is_a_dropped_spanner() -> None:
    assert play([1] * 10 + [9] * 3 + [1] * 10) == []


def test_opens_with_the_fourth_of_six_and_closes_after_the_off_delay() -> None:
    events = play([1] * 10 + [3, 3, 1, 3, 3] + [3] * 25 + [1] * 40)
    assert [(i, event.kind) for i, event in events if event.kind != "updated"] == [(14, "opened"), (54, "closed")]
    opened, closed = events[0][1], events[-1][1]
    assert opened.id == closed.id
    assert closed.reason == "recovered"
    assert closed.duration_s == pytest.approx((54 - 14) * HOP_SECONDS)
    assert closed.peak == 3
    assert (opened.basis.seconds, opened.basis.against) == (9.6, "enrolment")


def test_what_moved_is_looked_for_where_it_is_said_and_nowhere_else() -> None:
    detector, asked = detector_of(), list[int]()
    for i, score in enumerate([1] * 10 + [3] * 6 + [2.5] * 5 + [3.5] + [3] * 5):

        def moved(hop: int = i) -> Sequence[Band]:
            asked.append(hop)
            return ()

        detector.step(i * HOP_SECONDS, score, float(np.log(score)), moved)
    assert asked == [13, 21]  # where it opens, and at a higher peak


def test_that_somebody_knows_is_told_with_the_next_window_and_once() -> None:
    detector = detector_of()
    opened = [event for i in range(10) for event in step(detector, i, 3)]
    assert [event.kind for event in opened] == ["opened"]
    assert not detector.acknowledge("another")
    assert step(detector, 10, 3) == []
    assert detector.acknowledge(opened[0].id)
    (told,) = step(detector, 11, 3)
    assert (told.kind, told.acknowledged) == ("updated", True)
    assert detector.acknowledge(opened[0].id)
    assert step(detector, 12, 3) == []


def test_a_small_step_that_stays_is_reported_by_a_longer_average(rng: np.random.Generator) -> None:
    """No window of it is loud: by the newest alone, as many again would be false."""
    normal, fault = rng.normal(0, 0.1, 5 * MINUTES), rng.normal(0.22, 0.1, 3 * MINUTES)
    events = play(np.exp(np.concatenate([normal, fault])).tolist())
    i, opened = events[0]
    assert 5 * MINUTES < i < 8 * MINUTES
    assert opened.basis.seconds > 9.6
    assert opened.score < detector_of().threshold
    without = play(
        np.exp(np.concatenate([normal, fault])).tolist(), SETTINGS.model_copy(update={"averages_seconds": ()})
    )
    assert not without or without[0][0] > i


def test_a_minutes_evidence_does_not_outlive_a_repair(rng: np.random.Generator) -> None:
    series = [rng.normal(0, 0.1, 10 * MINUTES), rng.normal(0.3, 0.1, 20 * MINUTES), rng.normal(0, 0.1, 30 * MINUTES)]
    events = [(i, e) for i, e in play(np.exp(np.concatenate(series)).tolist()) if e.kind != "updated"]
    assert [event.kind for _, event in events] == ["opened", "closed"]
    assert 30 * MINUTES < events[1][0] < 32 * MINUTES


def ends(events: Sequence[tuple[int, Event]]) -> list[tuple[int, str]]:
    return [(i, event.kind) for i, event in events if event.kind != "updated"]


def test_what_comes_again_within_minutes_is_one_episode_in_the_end(rng: np.random.Generator) -> None:
    """A fault that rattles, ten seconds a minute for half an hour."""
    normal, rattle = rng.normal(0, 0.05, 30 * MINUTES), rng.normal(0, 0.05, (30, MINUTES))
    rattle[:, :20] += 1.0
    scores = np.exp(np.concatenate([normal, rattle.ravel(), rng.normal(0, 0.05, 10 * MINUTES)])).tolist()
    found = ends(play(scores))
    assert len(found) <= 2 * 6
    assert found[-2][0] < 36 * MINUTES  # open from then on
    assert 60 * MINUTES < found[-1][0] < 64.5 * MINUTES  # and over within five minutes of the last time


def test_what_comes_again_after_an_hour_is_as_soon_over_as_the_first_time(rng: np.random.Generator) -> None:
    quiet = rng.normal(0, 0.05, 60 * MINUTES)
    found = ends(play(np.exp(np.concatenate([quiet, *[np.r_[np.ones(20), quiet]] * 3])).tolist()))
    lengths = [closed - opened for (opened, _), (closed, _) in zip(found[::2], found[1::2], strict=True)]
    assert len(lengths) == 3
    assert max(lengths) < 40


def test_a_young_run_learns_what_it_came_back_from_and_an_old_one_is_told_of_it(rng: np.random.Generator) -> None:
    """A machine that is higher for a minute of every three. Heard from the first minute on, that is how it sounds."""
    turn = np.concatenate([rng.normal(-0.1, 0.1, 2 * MINUTES), rng.normal(0.25, 0.1, MINUTES)])
    habit = ends(play(np.exp(np.tile(turn, 20)).tolist(), ordinary=JUST_ENROLLED))
    assert [kind for _, kind in habit] == ["opened", "closed"]

    before = rng.normal(-0.1, 0.1, 60 * MINUTES)
    news = ends(play(np.exp(np.concatenate([before, np.tile(turn, 20)])).tolist(), ordinary=JUST_ENROLLED))
    assert 3 <= len(news) <= 2 * 7
    assert news[-1][1] == "opened"  # and stands


def test_updates_come_at_their_interval() -> None:
    events = play([3] * 60)
    assert [event.kind for _, event in events] == ["opened", "updated", "updated"]
    assert events[1][1].time - events[0][1].time == pytest.approx(10, abs=HOP_SECONDS)


def test_no_alarm_hangs_for_ever() -> None:
    settings = SETTINGS.model_copy(update={"max_episode_minutes": 1.0})
    kinds = [(event.kind, event.reason) for _, event in play([3] * 130, settings) if event.kind != "updated"]
    assert kinds[:3] == [("opened", None), ("closed", "max_duration"), ("opened", None)]


def test_a_lost_source_closes_the_episode_and_forgets_the_windows_before() -> None:
    detector = detector_of()
    for i in range(5):
        step(detector, i, 3)
    (closed,) = detector.interrupt("source_lost")
    assert (closed.kind, closed.reason) == ("closed", "source_lost")
    assert detector.episode is None
    assert detector.interrupt("source_lost") == []
    assert step(detector, 6, 3) == []


def test_a_gap_leaves_a_scale_waiting_and_not_wrong(rng: np.random.Generator) -> None:
    detector = detector_of()
    events = [e for i, x in enumerate(rng.normal(0, 0.1, 600)) for e in step(detector, i, float(np.exp(x)))]
    detector.interrupt("source_lost")
    events += [e for i in range(5 * 7031, 5 * 7031 + 30) for e in step(detector, i, 1.0)]  # five hours later
    assert events == []


def test_another_recording_starts_from_nothing() -> None:
    detector = detector_of()
    for i in range(300):
        step(detector, i, 1.0)
    detector.interrupt("source_lost")
    detector.forget()
    assert step(detector, 0, 1.0) == []  # time may begin anew


@given(st.lists(st.floats(0.01, 4), max_size=300))
def test_whatever_comes_events_make_whole_episodes(scores: list[float]) -> None:
    detector = detector_of()
    events = [event for i, score in enumerate(scores) for event in step(detector, i, score)]
    events += detector.interrupt("shutdown")

    episodes = list(dict.fromkeys(event.id for event in events))
    for episode in episodes:
        kinds = [event.kind for event in events if event.id == episode]
        assert kinds[0] == "opened"
        assert kinds[-1] == "closed"
        assert set(kinds[1:-1]) <= {"updated"}
    assert [event.id for event in events] == sorted((event.id for event in events), key=episodes.index)


def test_moved_bands_say_where_and_by_how_much() -> None:
    edges_hz = np.arange(12, dtype=np.float64) * 100
    normal, deviation = np.full(10, -60, np.float32), np.full(10, 0.5, np.float32)
    level = normal.copy()
    level[2:4] += 10
    level[7] -= 6
    level[9] += 1.4  # three deviations would be 1.5 dB
    rose, fell = moved_bands(level, normal, deviation, edges_hz)
    assert (rose.hz_lo, rose.hz_hi, rose.delta_db) == (200, 500, 10)
    assert (fell.hz_lo, fell.hz_hi, fell.delta_db) == (700, 900, -6)


def test_a_band_that_always_wanders_is_no_reason() -> None:
    edges_hz = np.arange(12, dtype=np.float64) * 100
    normal, deviation = np.full(10, -60, np.float32), np.full(10, 4.0, np.float32)
    assert moved_bands(normal + 10, normal, deviation, edges_hz) == []
