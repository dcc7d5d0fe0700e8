"""Why it sounds wrong: what physics promises of tones, blows, noise and level; and the sentence a person would say."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge import detector as detectors
from edge.config.settings import EventSettings
from edge.detector import KEEPS_SECONDS, Explaining, Judge, Line
from edge.ear import Frontend, FrontendSettings, Newest, as_pcm
from edge.judge import Cause, Place, Portrait, Usual, added_sound, band_of, cause_of, portrait
from edge.source import read_samples
from edge.voice import cause_in_words
from tests.conftest import DEMO

RATE_HZ = 16_000
N = 8 * RATE_HZ
FRONTEND = Frontend(FrontendSettings())
HABIT = np.full(128, 0.7, np.float32)
NOISE_DB = -40.0
T = np.arange(N) / RATE_HZ


@pytest.fixture(scope="module")
def quiet() -> NDArray[np.float32]:
    """A machine: noise, and a line with two harmonics that was always there."""
    rng = np.random.default_rng(1)
    lines = sum(0.01 / k * np.sin(2 * np.pi * 110 * k * T) for k in (1, 2, 3))
    return (rng.normal(0, 10 ** (NOISE_DB / 20), N) + lines).astype(np.float32)


@pytest.fixture(scope="module")
def usual(quiet: NDArray[np.float32]) -> Usual:
    past = portrait(np.roll(quiet, RATE_HZ), FRONTEND)
    return Usual(past.level, HABIT, past)


def why(sound: NDArray[np.float64] | NDArray[np.float32], usual: Usual) -> Cause:
    return cause_of(portrait(sound.astype(np.float32), FRONTEND), usual, FRONTEND)


@pytest.mark.parametrize("hz", [180.0, 740.0, 3100.0, 6600.0])
def test_a_line_is_a_tone_at_its_frequency(hz: float, quiet: NDArray[np.float32], usual: Usual) -> None:
    found = why(quiet + 0.02 * np.sin(2 * np.pi * hz * T), usual)
    assert (found.kind, found.per_second, found.new) == ("tone", None, True)
    assert found.hz_lo == found.hz_hi == pytest.approx(hz, abs=1.5)
    assert found.delta_db > 6


def rumbling(seed: int) -> NDArray[np.float64]:
    """Noise, much of it where shafts have their lines."""
    rng = np.random.default_rng(seed)
    return band_of(rng.normal(0, 0.1, N), Place("hiss", 5, 190), RATE_HZ) + rng.normal(0, 10 ** (NOISE_DB / 20), N)


@pytest.mark.parametrize(("hz", "rise_db"), [(24.7, 6.0), (29.2, 9.0), (112.0, 6.0)])
def test_the_line_of_a_shaft_that_has_grown_is_no_new_one(hz: float, rise_db: float) -> None:
    turning = 0.01 * np.sin(2 * np.pi * hz * T)
    past = portrait((rumbling(1) + turning).astype(np.float32), FRONTEND)
    usual = Usual(past.level, HABIT, past)
    found = why(rumbling(2) + 10 ** (rise_db / 20) * turning, usual)
    assert (found.kind, found.per_second, found.new) == ("tone", None, False)
    assert found.hz_lo == found.hz_hi == pytest.approx(hz, abs=0.3)
    assert found.delta_db == pytest.approx(rise_db, abs=1)  # of the line; its band rises by half of that
    assert why(rumbling(2) + turning, usual).kind == "unknown"


def test_the_line_of_a_shaft_is_told_though_no_band_has_moved() -> None:
    turning = 0.002 * np.sin(2 * np.pi * 29.2 * T)
    past, now = (
        portrait((rumbling(seed) + gain * turning).astype(np.float32), FRONTEND) for seed, gain in ((1, 1.0), (2, 3.5))
    )
    assert np.abs(now.level - past.level).max() < 2
    found = cause_of(now, Usual(past.level, HABIT, past), FRONTEND)
    assert found.kind == "tone"
    assert found.hz_lo == found.hz_hi == pytest.approx(29.2, abs=0.3)


def test_what_rumbles_now_and_then_is_no_shaft() -> None:
    gusts = 0.02 * np.clip(np.sin(2 * np.pi * T / 3), 0, None) ** 8 * np.sin(2 * np.pi * 14 * T)
    past = portrait(rumbling(1).astype(np.float32), FRONTEND)
    usual = Usual(past.level, HABIT, past)
    assert why(rumbling(2) + 0.01 * np.sin(2 * np.pi * 14 * T), usual).kind == "tone"
    assert why(rumbling(2) + gusts, usual).kind == "unknown"


def test_the_past_holds_the_loudest_that_a_shaft_was(usual: Usual) -> None:
    past = usual.past
    assert past is not None
    louder = replace(past, shaft=past.shaft + 8)
    after = past.joined(past.joined(louder, 2), 3)
    assert np.allclose(after.shaft, past.shaft + 7)


def test_a_line_that_was_always_there_is_none(quiet: NDArray[np.float32], usual: Usual) -> None:
    assert why(quiet, usual).kind == "unknown"


@pytest.mark.parametrize("per_second", [2.5, 12.0, 97.0])
def test_blows_are_counted(per_second: float, quiet: NDArray[np.float32], usual: Usual) -> None:
    rng = np.random.default_rng(2)
    blows = np.exp(-(T % (1 / per_second)) / 0.002) * rng.standard_normal(N)
    place = Place("impacts", 2000, 5000, per_second)
    found = why(quiet + 0.4 * band_of(blows, place, RATE_HZ), usual)
    assert found.kind == "impacts"
    assert found.per_second == pytest.approx(per_second, rel=0.03)
    assert 1500 < found.hz_lo < 3000 < 4500 < found.hz_hi < 6000


def test_a_machine_that_strikes_harder_than_it_did_does_not_hiss(quiet: NDArray[np.float32]) -> None:
    blows = np.exp(-(T % 0.7) / 0.002) * np.random.default_rng(9).standard_normal(N)
    struck = 2 * band_of(blows, Place("impacts", 1000, 4000), RATE_HZ)
    past = portrait((quiet + struck).astype(np.float32), FRONTEND)
    found = why(quiet + 4 * struck, Usual(past.level, HABIT, past))
    assert (found.kind, found.per_second) == ("impacts", None)


def test_a_tone_is_one_though_something_faint_rings_beside_it(quiet: NDArray[np.float32], usual: Usual) -> None:
    beside = 0.0006 * np.sin(2 * np.pi * 1400 * T)
    assert why(quiet + 0.02 * np.sin(2 * np.pi * 1200 * T) + beside, usual).kind == "tone"


@pytest.mark.parametrize(("low_hz", "high_hz"), [(500.0, 1000.0), (1500.0, 4000.0), (4000.0, 8000.0)])
def test_noise_is_where_it_is(low_hz: float, high_hz: float, quiet: NDArray[np.float32], usual: Usual) -> None:
    added = added_sound(Place("hiss", low_hz, high_hz), N, RATE_HZ, np.random.default_rng(3))
    found = why(quiet + 0.03 * added, usual)
    assert (found.kind, found.per_second) == ("broadband", None)
    assert found.hz_lo == pytest.approx(low_hz, rel=0.1)
    assert found.hz_hi == pytest.approx(high_hz, rel=0.1)


def test_a_tone_that_beats_with_a_line_of_the_machine_is_no_blow(quiet: NDArray[np.float32], usual: Usual) -> None:
    found = why(quiet + 0.01 * np.sin(2 * np.pi * 130 * T), usual)  # 20 Hz above a line as loud
    assert (found.kind, found.per_second) == ("tone", None)
    assert found.hz_lo == pytest.approx(130, abs=1.5)


def test_noise_is_heard_between_the_lines_that_drown_it() -> None:
    rng = np.random.default_rng(6)
    mesh = sum(0.05 * np.sin(2 * np.pi * 75 * k * T) for k in range(15, 20))  # 1.1 to 1.4 kHz: a third of the octave
    machine = (rng.normal(0, 10 ** (NOISE_DB / 20), N) + mesh).astype(np.float32)
    past = portrait(np.roll(machine, RATE_HZ), FRONTEND)
    hiss = band_of(rng.normal(0, 0.05, N), Place("hiss", 1000, 2000), RATE_HZ)
    found = why(machine + hiss, Usual(past.level, HABIT, past))
    assert found.kind == "broadband"
    assert found.hz_lo == pytest.approx(1000, rel=0.1)
    assert found.hz_hi == pytest.approx(2000, rel=0.1)


def test_noise_stays_noise_where_something_rings_beside_it(quiet: NDArray[np.float32], usual: Usual) -> None:
    rng = np.random.default_rng(7)
    hiss = band_of(rng.normal(0, 0.03, N), Place("hiss", 1000, 2000), RATE_HZ)
    dropped = np.where(T > 5, np.exp(-(T - 5) / 0.2), 0) * sum(np.sin(2 * np.pi * hz * T) for hz in (2200, 2310))
    found = why(quiet + hiss + 0.01 * dropped, usual)
    assert found.kind == "broadband"
    assert found.hz_lo == pytest.approx(1000, rel=0.1)


def test_a_hiss_at_the_very_top_is_one(quiet: NDArray[np.float32], usual: Usual) -> None:
    hiss = band_of(np.random.default_rng(8).normal(0, 10 ** (NOISE_DB / 20), N), Place("hiss", 6200, 8000), RATE_HZ)
    found = why(quiet + 0.9 * hiss, usual)  # less than 3 dB more
    assert found.kind == "broadband"
    assert found.hz_lo == pytest.approx(6200, rel=0.1)


@pytest.mark.parametrize("db", [5.0, -7.0])
def test_twice_the_level_is_a_level(db: float, quiet: NDArray[np.float32], usual: Usual) -> None:
    found = why(quiet * 10 ** (db / 20), usual)
    assert found.kind == "level"
    assert found.delta_db == pytest.approx(db, abs=0.5)


def test_what_is_missing_is_said_too(quiet: NDArray[np.float32], usual: Usual) -> None:
    spectrum = np.fft.rfft(quiet)
    spectrum[np.fft.rfftfreq(N, 1 / RATE_HZ) > 3000] *= 0.3
    found = why(np.fft.irfft(spectrum), usual)
    assert found.kind == "broadband"
    assert found.delta_db == pytest.approx(-10, abs=1.5)
    assert found.hz_lo == pytest.approx(3000, rel=0.1)
    assert found.hz_hi == pytest.approx(8000, rel=0.1)


def test_a_swing_at_the_same_level_is_a_modulation(quiet: NDArray[np.float32], usual: Usual) -> None:
    place = Place("modulation", 2000, 4000)
    own = band_of(quiet, place, RATE_HZ)
    found = why(quiet + 0.8 * np.sin(2 * np.pi * 3 * T) * own, usual)
    assert found.kind == "modulation"
    assert found.per_second == pytest.approx(3, rel=0.05)


def test_without_a_past_enrolment_is_what_is_usual(quiet: NDArray[np.float32], usual: Usual) -> None:
    found = why(quiet + 0.02 * np.sin(2 * np.pi * 3100 * T), Usual(usual.level, HABIT))
    assert (found.kind, found.new) == ("tone", None)


def test_a_portrait_needs_a_second_and_the_past_is_a_mean(usual: Usual) -> None:
    with pytest.raises(ValueError, match="15999 samples: expected at least 16000"):
        portrait(np.zeros(RATE_HZ - 1, np.float32), FRONTEND)
    past = usual.past
    assert isinstance(past, Portrait)
    louder = replace(past, level=past.level + 8)
    assert np.allclose(louder.joined(past, 2).level, past.level + 4, atol=1e-3)
    assert np.allclose(louder.joined(past, 100).level, past.level + 1, atol=1e-3)


# --- From a recording to its events ---


def test_the_demo_says_that_it_knocks_in_any_block_size() -> None:
    detector = detectors.read(DEMO / "detector")
    section = detector.section(None)
    sound = read_samples(next((DEMO / "recordings").glob("*.flac")))[: 36 * RATE_HZ]
    said = []
    for block in (4096, 65_536):
        judge, line = Judge(EventSettings(), detector, section), Line(detector, section, keeps_seconds=KEEPS_SECONDS)
        explaining = Explaining(line, judge, section)
        events = [
            event
            for start in range(0, sound.size, block)
            for reading in line.feed(sound[start : start + block])
            for event in explaining.explain(reading, judge.hear(reading, reading.end_sample / RATE_HZ))
        ]
        assert [event.kind for event in events] == ["opened", "updated", "closed"]
        said.append([event.why for event in events])
    assert said[0] == said[1]
    opened = said[0][0]
    assert opened is not None
    assert opened.kind == "impacts"
    assert 3500 < opened.hz_lo < opened.hz_hi < 5500
    assert said[0][2] == said[0][1]  # what closes it says what it was


def test_sound_that_somebody_else_keeps_is_as_good_as_its_own() -> None:
    detector = detectors.read(DEMO / "detector")
    section = detector.section(None)
    sound = read_samples(next((DEMO / "recordings").glob("*.flac")))[: 30 * RATE_HZ]
    shared, block = Newest(7 * RATE_HZ), 4096
    line = Line(detector, section, newest=shared)
    began, ends = 0, list[int]()
    for start in range(0, sound.size, block):
        shared.push(as_pcm(sound[start : start + block]))  # also what comes before the line hears, or begins anew
        if start in (3 * block, 50 * block):
            line.reset()
            began = start
        for reading in line.feed(sound[start : start + block]) if began else []:
            ends.append(began + reading.end_sample)
            again = line.sound_of(reading, 6.0)
            assert again is not None
            assert np.array_equal(again, sound[ends[-1] - 6 * RATE_HZ : ends[-1]])
            assert line.sound_of(reading, 7.5) is None  # not so much is kept
    assert ends[0] == 3 * block + line.plan.window_samples
    assert 50 * block + line.plan.window_samples in ends


def test_no_sound_is_kept_where_none_may_be_and_then_no_cause_is_told() -> None:
    detector = detectors.read(DEMO / "detector")
    section = detector.section(None)
    judge, line = Judge(EventSettings(), detector, section), Line(detector, section)
    sound = read_samples(next((DEMO / "recordings").glob("*.flac")))[: 22 * RATE_HZ]
    events = []
    for reading in line.feed(sound):
        events += Explaining(line, judge, section).explain(reading, judge.hear(reading, reading.end_sample / RATE_HZ))
    assert [event.why for event in events] == [None]


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_the_newest_sound_is_what_was_heard_last(block: int) -> None:
    sound = (np.arange(1, 1001) / 32_768).astype(np.float32)
    newest = Newest(64)
    for start in range(0, sound.size, block):
        newest.push(as_pcm(sound[start : start + block]))
    assert newest.last(100).tolist() == list(range(937, 1001))
    assert newest.last(10, later=10).tolist() == list(range(981, 991))
    assert newest.last(10, later=60).tolist() == list(range(937, 941))
    assert newest.last(10, later=64).size == newest.last(0).size == Newest(0).last(10).size == 0


# --- In words ---


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (
            Cause("tone", 3104, 3104, 14.2, 12.04, new=True),
            "a new tone at 3.1 kHz, 14 dB above usual, about 12 times a second",
        ),
        (Cause("tone", 118.2, 118.2, 6.0), "a tone at 120 Hz, 6 dB above usual"),
        (Cause("tone", 24.8, 24.8, 9.1, new=False), "the tone at 25 Hz is 9 dB louder than usual"),
        (Cause("broadband", 4010, 8000, 9), "a hiss above 4 kHz, 9 dB above usual"),
        (Cause("broadband", 0, 310, 9), "a hum below 310 Hz, 9 dB above usual"),
        (Cause("broadband", 0, 500, -6), "quieter below 500 Hz by 6 dB"),
        (
            Cause("impacts", 2000, 5100, 8, 97.6),
            "knocking between 2 kHz and 5.1 kHz, about 98 times a second, 8 dB above usual",
        ),
        (Cause("modulation", 2000, 3000, 0, 3.0), "it comes and goes between 2 kHz and 3 kHz, about 3 times a second"),
        (Cause("level", 0, 8000, 5.1), "louder as a whole by 5 dB"),
        (Cause("level", 0, 8000, -5.1), "quieter as a whole by 5 dB"),
        (Cause("unknown", 0, 8000, 0), "it cannot be told what has changed"),
    ],
)
def test_a_cause_is_said_as_a_person_would(cause: Cause, sentence: str) -> None:
    assert cause_in_words(**vars(cause)) == sentence
