"""The judge: what decides, where the threshold lies, and what a person may say to an open episode."""

import math
from dataclasses import replace

import pytest

from edge import detector as detectors
from edge.config.settings import EventSettings, OnDelay
from edge.detector.judge import Judge
from edge.detector.line import Reading
from edge.errors import ConfigError
from edge.judge.event import Event
from tests.conftest import DEMO

DETECTOR = detectors.read(DEMO / "detector")
SECTION = DETECTOR.section(None)
AT_ONCE = EventSettings(threshold=2.0, on_delay=OnDelay(windows=1, of=1))


def reading(score: float | None) -> Reading:
    scores = {} if score is None else {"fused": score}
    return Reading(0, scores, SECTION.statistics.band_mean[0], -30.0, "silent or stuck" if score is None else None)  # type: ignore[arg-type]


def hear(judge: Judge, *scores: float | None) -> list[tuple[str, str | None]]:
    events: list[Event] = []
    for i, score in enumerate(scores):
        events += judge.hear(reading(score), float(i))
    return [(event.kind, event.reason) for event in events]


def test_the_threshold_is_the_detectors_or_the_configurations() -> None:
    assert Judge(EventSettings(), DETECTOR, SECTION).threshold == SECTION.card.thresholds["fused"]
    judge = Judge(EventSettings(threshold=7.0), DETECTOR, SECTION)
    assert judge.threshold == 7.0
    judge.threshold = 1.0
    assert hear(judge, 1.1, 1.1, 1.1, 1.1) == [("opened", None)]
    judge.threshold = None
    assert judge.threshold == 7.0


def test_a_score_that_the_detector_does_not_have_is_refused() -> None:
    section = SECTION
    assert "texture" in section.calibration
    bare = replace(section, calibration={"fused": section.calibration["fused"]})
    with pytest.raises(ConfigError, match=r"event\.score: texture: expected one of fused"):
        Judge(EventSettings(score="texture"), DETECTOR, bare)


def test_sound_that_cannot_be_trusted_ends_an_episode_and_is_none() -> None:
    assert hear(Judge(AT_ONCE, DETECTOR, SECTION), 3.0, None, None) == [("opened", None), ("closed", "source_lost")]


def test_shelved_means_no_episode_until_it_is_over() -> None:
    judge = Judge(AT_ONCE, DETECTOR, SECTION)
    assert hear(judge, 3.0) == [("opened", None)]
    assert [event.reason for event in judge.shelve(2.0)] == ["shelved"]
    assert hear(judge, 3.0, 3.0) == []
    assert hear(judge, 0.0, 0.0, 3.0) == [("opened", None)]
    judge.shelve(math.inf)
    judge.shelve(-math.inf)
    assert hear(judge, 3.0) == [("opened", None)]


def test_only_the_episode_that_is_open_can_be_acknowledged() -> None:
    judge = Judge(AT_ONCE, DETECTOR, SECTION)
    assert not judge.acknowledge(None)
    hear(judge, 3.0)
    assert not judge.acknowledge("another")
    assert judge.acknowledge(judge.episode)
    closed = judge.interrupt("shutdown")[0]
    assert closed.acknowledged
    hear(judge, 3.0)
    assert not judge.interrupt("shutdown")[0].acknowledged
