"""Episodes: when they open, what they say, and that every one of them closes."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.settings import EventSettings, OnDelay
from edge.judge.event import Event, EventDetector, moved_bands

HOP_SECONDS = 0.512
SETTINGS = EventSettings(on_delay=OnDelay(windows=4, of=6), off_delay_seconds=5.0, deadband=0.1, update_seconds=10)


def play(
    scores: Sequence[float], settings: EventSettings = SETTINGS, threshold: float = 2.0
) -> list[tuple[int, Event]]:
    """Every event, with the number of the window that caused it."""
    detector = EventDetector(settings, threshold)
    return [(i, event) for i, score in enumerate(scores) for event in detector.step(i * HOP_SECONDS, score)]


def test_one_loud_window_is_a_dropped_spanner() -> None:
    assert play([1] * 10 + [9] * 3 + [1] * 10) == []


def test_opens_with_the_fourth_of_six_and_closes_after_the_off_delay() -> None:
    events = play([1] * 10 + [3, 3, 1, 3, 3] + [3] * 5 + [1] * 20)
    assert [(i, event.kind, event.reason) for i, event in events] == [(14, "opened", None), (30, "closed", "recovered")]
    opened, closed = (event for _, event in events)
    assert opened.id == closed.id
    assert closed.duration_s == pytest.approx((30 - 14) * HOP_SECONDS)
    assert closed.peak == 3


def test_within_the_deadband_it_stays_open() -> None:
    assert [event.kind for _, event in play([3] * 4 + [1.85] * 15)] == ["opened"]


def test_updates_come_at_their_interval() -> None:
    events = play([3] * 60)
    assert [event.kind for _, event in events] == ["opened", "updated", "updated"]
    assert events[1][1].time - events[0][1].time == pytest.approx(10, abs=HOP_SECONDS)


def test_no_alarm_hangs_for_ever() -> None:
    settings = SETTINGS.model_copy(update={"max_episode_minutes": 1.0})
    kinds = [(event.kind, event.reason) for _, event in play([3] * 130, settings) if event.kind != "updated"]
    assert kinds[:3] == [("opened", None), ("closed", "max_duration"), ("opened", None)]


def test_a_lost_source_closes_the_episode_and_forgets_the_windows_before() -> None:
    detector = EventDetector(SETTINGS, 2.0)
    for i in range(5):
        detector.step(i * HOP_SECONDS, 3)
    (closed,) = detector.interrupt("source_lost")
    assert (closed.kind, closed.reason) == ("closed", "source_lost")
    assert detector.episode is None
    assert detector.interrupt("source_lost") == []
    assert detector.step(6 * HOP_SECONDS, 3) == []


def test_a_negative_threshold_has_its_deadband_below_it() -> None:
    events = play([0] * 4 + [-2.05] * 20, threshold=-2.0)
    assert [event.kind for _, event in events if event.kind != "updated"] == ["opened"]


@given(st.lists(st.floats(0, 4), max_size=300))
def test_whatever_comes_events_make_whole_episodes(scores: list[float]) -> None:
    detector = EventDetector(SETTINGS, 2.0)
    events = [event for i, score in enumerate(scores) for event in detector.step(i * HOP_SECONDS, score)]
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
