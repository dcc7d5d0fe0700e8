"""False alarms a week: counted as the event detector counts them, promised only as far as there was sound."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge import detector as detectors
from edge.config.settings import Config, EventSettings, OnDelay
from edge.daemon.daemon import Daemon
from edge.detector.card import WeeklyCard
from edge.ear.bands import FloatArray
from edge.errors import ConfigError
from edge.judge.calibration import (
    Rules,
    ScoreSeries,
    TooLittleSoundError,
    calibrate,
    counting_keys,
    hours_needed,
    openings,
    rarest,
    rate_curve,
)
from tests.conftest import DEMO

HOP_SECONDS = 0.512
SETTINGS = EventSettings()
RULES = Rules.of_settings(SETTINGS, HOP_SECONDS)
STRETCH_HOPS = int(300 / HOP_SECONDS)


def normal_sound(rng: np.random.Generator, hours: float) -> FloatArray:
    """Scores of a process that remembers its last ten seconds, as windows that overlap do: AR(1), a score a hop."""
    n = round(3600 * hours / HOP_SECONDS)
    memory = 0.93
    steps = rng.normal(size=n) * np.sqrt(1 - memory**2)
    scores = np.empty(n)
    latest = 0.0
    for start in range(0, n, 512):  # a geometric sum over 512 hops at a time, where a loop would take seconds
        part = steps[start : start + 512]
        powers = memory ** np.arange(part.size)
        summed = np.convolve(part, powers)[: part.size] + latest * memory * powers
        scores[start : start + part.size] = summed
        latest = summed[-1]
    return np.exp(0.15 * scores).astype(np.float32)


def stretches(scores: FloatArray) -> list[ScoreSeries]:
    return [
        ScoreSeries(scores[i : i + STRETCH_HOPS], str(i))
        for i in range(0, scores.size - STRETCH_HOPS + 1, STRETCH_HOPS)
    ]


def episodes_one_by_one(scores: FloatArray, threshold: float, settings: EventSettings) -> list[int]:
    """The same rules, hop by hop: k of n above open, so many in a row below close; twice as many if it comes again."""
    newest, opened, low, found = list[bool](), None, 0, list[int]()
    own_hops = off_hops = math.ceil(settings.off_delay_seconds / HOP_SECONDS - 1e-9)
    recovered = -math.inf
    longest = max(1, math.ceil(60 * settings.max_episode_minutes / HOP_SECONDS - 1e-9))
    for i, x in enumerate(scores):
        newest = [*newest, bool(x > threshold)][-settings.on_delay.of :]
        if opened is None:
            if sum(newest) >= settings.on_delay.windows:
                opened, low = i, 0
                found.append(i)
                off_hops = min(2 * off_hops, 586) if (i - recovered) * HOP_SECONDS < 600 else own_hops
            continue
        low = low + 1 if x <= threshold else 0
        if low > off_hops:
            newest, opened, recovered = [], None, i
        elif i - opened >= longest:
            newest, opened = [], None
    return found


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        EventSettings(on_delay=OnDelay(windows=1, of=1), off_delay_seconds=0),
        EventSettings(on_delay=OnDelay(windows=2, of=9), off_delay_seconds=1.3),
        EventSettings(off_delay_seconds=20, max_episode_minutes=0.21),
    ],
)
def test_the_episodes_at_any_threshold_are_those_of_the_event_detector(
    rng: np.random.Generator, settings: EventSettings
) -> None:
    scores = normal_sound(rng, 1.0)
    rules = Rules.of_settings(settings, HOP_SECONDS)
    n_episodes = 0
    for signed in (scores, np.log(scores)):  # the classifier's doubt may be negative
        for threshold in np.quantile(signed, [0.02, 0.3, 0.6, 0.8, 0.9, 0.97, 0.995, 1]):
            mine = [opened for opened, _ in openings(signed, float(threshold), rules)]
            assert mine == episodes_one_by_one(signed, float(threshold), settings)
            n_episodes += len(mine)
    assert n_episodes > 50


def alarms_a_week(threshold: float, weeks: list[FloatArray]) -> float:
    return float(np.mean([len(openings(week, threshold, RULES)) for week in weeks]))


def test_the_promise_is_kept_on_weeks_never_heard() -> None:
    """Within the reach: 48 hours for one a week, so 12 for four, and 3 for sixteen."""
    weeks = [normal_sound(np.random.default_rng(i), 168) for i in range(2)]
    for asked, hours in ((4.1, 12.0), (17.0, 3.0)):
        measured = [
            alarms_a_week(calibrate(stretches(sound), SETTINGS, asked, hop_seconds=HOP_SECONDS).threshold, weeks)
            for sound in (normal_sound(np.random.default_rng(100 + i), hours) for i in range(6))
        ]
        assert asked / 10 < np.mean(measured) < 1.6 * asked


def test_counts_that_were_heard_need_no_extrapolation() -> None:
    sound = stretches(normal_sound(np.random.default_rng(7), 60))
    hours = 60.0
    asked = 60.0  # about twenty in what was heard
    found = calibrate(sound, SETTINGS, asked, hop_seconds=HOP_SECONDS)
    counted = sum(len(openings(one.scores, found.threshold, RULES)) for one in sound) * 168 / hours
    assert counted == pytest.approx(asked, rel=0.4)
    assert found.interval[0] < asked < found.interval[1]


def test_a_rare_kind_of_sound_that_was_heard_is_reckoned_with() -> None:
    """One recording in twenty is another machine's: no tail of the others says so, and what was heard does."""

    def sound(seed: int, n_recordings: int) -> list[ScoreSeries]:
        rng = np.random.default_rng(seed)
        ordinary = normal_sound(rng, n_recordings * STRETCH_HOPS * HOP_SECONDS / 3600)
        odd = np.repeat(np.where(rng.random(n_recordings) < 0.05, rng.uniform(1.5, 3, n_recordings), 1.0), STRETCH_HOPS)
        return stretches((ordinary[: odd.size] * odd[: ordinary.size]).astype(np.float32))

    hours_to_come = 200
    to_come = sound(50, 12 * hours_to_come)
    asked = 100.0
    counted = []
    for seed in range(12):
        threshold = calibrate(sound(seed, 60), SETTINGS, asked, hop_seconds=HOP_SECONDS).threshold
        n_alarms = sum(len(openings(one.scores, threshold, RULES)) for one in to_come)
        counted.append(n_alarms * 168 / hours_to_come)
    assert np.mean(counted) < 1.6 * asked


def test_rarer_alarms_have_higher_thresholds_and_wider_intervals() -> None:
    curve = rate_curve(stretches(normal_sound(np.random.default_rng(3), 24)), SETTINGS, hop_seconds=HOP_SECONDS)
    assert curve.per_week[0] == pytest.approx(rarest(curve.hours))
    assert (np.diff(curve.thresholds) <= 0).all()
    assert curve.thresholds[0] > curve.thresholds[-1]
    spread = curve.high / np.maximum(curve.low, 1e-9)
    assert spread[0] > spread[-1] > 1


@pytest.mark.parametrize("n_recordings", [1, 2])
def test_few_recordings_are_resampled_as_stretches_of_them(n_recordings: int) -> None:
    """One recording resampled is itself, which would be no interval at all, whatever went on in it."""
    scores = normal_sound(np.random.default_rng(4), 6)
    scores[-scores.size // 5 :] *= 1.15
    series = [ScoreSeries(part, str(i)) for i, part in enumerate(np.array_split(scores, n_recordings))]
    curve = rate_curve(series, SETTINGS, hop_seconds=HOP_SECONDS)
    assert curve.hours == pytest.approx(6, rel=0.01)
    seldom = curve.per_week < 100  # more often, what comes again within minutes is one episode, whatever is resampled
    assert seldom.sum() > 5
    assert (curve.high > 2 * curve.low)[seldom].all()


def test_too_little_sound_is_refused_with_the_hours_that_it_takes() -> None:
    sound = stretches(normal_sound(np.random.default_rng(0), 10))
    with pytest.raises(
        TooLittleSoundError, match=r"pump/00: .* expected at least 48 for 1 false alarms a week"
    ) as refused:
        calibrate(sound, SETTINGS, 1.0, hop_seconds=HOP_SECONDS, what="pump/00")
    assert refused.value.hours_needed == hours_needed(1) == 48
    calibrate(sound, SETTINGS, 6.0, hop_seconds=HOP_SECONDS)


def test_clips_of_ten_seconds_can_open_no_episode() -> None:
    clips = [ScoreSeries(np.ones(1, np.float32), str(i)) for i in range(20_000)]
    with pytest.raises(TooLittleSoundError, match=r"0 hours .* carries no such rate"):
        calibrate(clips, SETTINGS, 1.0, hop_seconds=HOP_SECONDS)


def test_sound_that_never_changes_is_refused_rather_than_promised_on() -> None:
    with pytest.raises(TooLittleSoundError, match="carries no such rate"):
        calibrate([ScoreSeries(np.ones(400_000, np.float32), "a day")], SETTINGS, 1.0, hop_seconds=HOP_SECONDS)


# --- In the detector and in the configuration ---


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector, with the table of a day of invented scores."""
    demo = detectors.read(DEMO / "detector")
    own = demo.section(None)
    curve = rate_curve(stretches(normal_sound(np.random.default_rng(1), 25)), SETTINGS, hop_seconds=HOP_SECONDS)
    weekly = WeeklyCard(hours=curve.hours, rarest=rarest(curve.hours), event=counting_keys(SETTINGS))
    section = replace(own, card=own.card.model_copy(update={"weekly": weekly}), weekly={"fused": curve})
    return detectors.write(
        tmp_path_factory.mktemp("calibrated") / "detector",
        demo.card.model_copy(update={"sections": [section.card]}),
        {section.card.name: section},
        model=demo.path / "model.onnx",
        golden=demo.path / "golden.flac",
        model_card="# calibrated\n",
    ).path


def config(detector: Path, **event: object) -> Config:
    source = {"name": "pump", "type": "folder", "path": str(DEMO / "recordings"), "detector": str(detector)}
    return Config.model_validate({"sources": [source], "event": event, "mqtt": {"host": "localhost"}})


def test_a_detector_keeps_its_table(calibrated: Path) -> None:
    section = detectors.read(calibrated).section(None)
    curve = rate_curve(stretches(normal_sound(np.random.default_rng(1), 25)), SETTINGS, hop_seconds=HOP_SECONDS)
    np.testing.assert_array_equal(section.weekly["fused"].as_array(), curve.as_array())
    assert section.weekly["fused"].at(3) == curve.at(3)


def test_a_detector_from_before_is_read_and_promises_no_week() -> None:
    shipped = detectors.read(DEMO / "detector")
    assert shipped.section(None).weekly == {}
    assert shipped.section(None).threshold("fused", 0.05) > 1


def begin(config: Config) -> Daemon:
    return Daemon(config, {source.detector: detectors.read(source.detector) for source in config.sources})


def test_the_configuration_chooses_the_threshold(calibrated: Path, caplog: pytest.LogCaptureFixture) -> None:
    curve = detectors.read(calibrated).section(None).weekly["fused"]
    with caplog.at_level("INFO"):
        begin(config(calibrated, false_alarms_per_week=2.5))
    found = curve.at(2.5)
    threshold = detectors.read(calibrated).section(None).threshold("fused", 10**-found.threshold)
    assert f"threshold {threshold:.3f} of fused: 2.5 false alarms a week predicted" in caplog.text
    assert f"({found.interval[0]:.2g} to {found.interval[1]:.2g} with 90 %)" in caplog.text


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"false_alarms_per_week": 0.1}, "expected at least 480 for 0.1 false alarms a week"),
        ({"false_alarms_per_week": 1, "change_rate": 0.3}, r"other rules: event.change_rate 0.3 \(expected 0.2\)"),
        ({"false_alarms_per_week": 1, "score": "bands"}, "too little unbroken normal sound"),
    ],
)
def test_what_the_table_does_not_say_is_a_wrong_configuration(
    calibrated: Path, event: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"event.false_alarms_per_week: .*{named}") as refused:
        begin(config(calibrated, **event))
    assert refused.value.exit_code == 78


def test_an_old_detector_cannot_be_asked_for_a_week() -> None:
    with pytest.raises(ConfigError, match=r"event.false_alarms_per_week: .* at least 48 hours"):
        begin(config(DEMO / "detector", false_alarms_per_week=1))
