"""What a detector says it would hear: a table that never falls, loud changes always, faint ones never."""

import json
from pathlib import Path

import numpy as np
import pytest

from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, enroll, would_hear_text
from edge.judge import RANGES_DB, Limit, Ordinary, Trial, at_level, heard_normal, in_words, limits
from edge.judge.limits import lasting
from tests.conftest import DEMO

HOP_SECONDS = 0.512
ORDINARY = Ordinary(level=0.0, level_deviation=0.2, level_freedom=5.0, deviation=0.1, freedom=3.0, trust=0.5)
N_HOPS = 40


def trial(at_10_db: float, kind: str = "tone") -> Trial:
    """A change whose log score is in proportion to its power, and `at_10_db` at 10 dB."""
    normal = np.random.default_rng(0).normal(0, 0.05, 200)
    before, seconds = heard_normal(
        EventSettings(), ORDINARY, normal, rate=0.01, window_seconds=9.6, hop_seconds=HOP_SECONDS
    )

    def log_scores(strength_db: float) -> np.ndarray:
        onset = np.minimum(1, np.arange(1, N_HOPS + 1) / 19)
        return normal[:N_HOPS] + onset * at_10_db * 10 ** (strength_db / 10 - 1)

    return Trial(kind, before, seconds, HOP_SECONDS, log_scores)  # type: ignore[arg-type]


def test_the_table_never_falls_and_crosses_nine_of_ten_at_the_limit() -> None:
    (limit,) = limits([trial(at_10_db) for at_10_db in np.geomspace(0.1, 10, 10)])
    assert limit.limit_db is not None
    assert np.diff(limit.probability).min() >= 0
    reached = [s for s, p in zip(limit.strengths_db, limit.probability, strict=True) if p >= 0.9]
    assert reached[0] - 3 < limit.limit_db <= reached[0]
    assert limit.wait_seconds is not None
    assert limit.wait_louder_seconds is not None
    assert limit.wait_louder_seconds <= limit.wait_seconds


def test_ten_times_the_power_is_heard_ten_decibels_sooner() -> None:
    faint, plain = trial(0.3).limit_db(), trial(3.0).limit_db()
    assert faint is not None
    assert plain is not None
    assert faint - plain == pytest.approx(10, abs=1.5)


def test_what_is_never_reported_has_no_limit() -> None:
    (limit,) = limits([trial(0.0)])
    assert limit.limit_db is limit.wait_seconds is None
    assert set(limit.probability) == {0.0}
    assert in_words(limit) == "a new tone: not even at +36 dB"


def test_a_change_that_stays_goes_round() -> None:
    np.testing.assert_array_equal(lasting(np.arange(4.0), 9), [0, 1, 2, 3, 2, 3, 2, 3, 2])
    np.testing.assert_array_equal(lasting(np.arange(4.0), 3), [0, 1, 2])


def test_a_recording_that_is_farther_off_hears_less_of_a_faint_change_and_as_much_of_a_plain_one() -> None:
    normal = np.full(5, 1.0, np.float32)
    np.testing.assert_allclose(at_level(normal, normal, 0.3), 0.3, atol=1e-6)
    np.testing.assert_allclose(at_level(normal, normal, -0.3), -0.3, atol=1e-6)
    faint, plain = at_level(1.2 * normal, normal, 0.5), at_level(100 * normal, normal, 0.5)
    assert faint[0] - 0.5 < np.log(1.2)
    assert plain[0] == pytest.approx(np.log(100), abs=1e-3)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit("hiss", 3.0, 118.0, 8.2, (), ()), "a hiss from +3 dB on, after 2 min (8 s from +9 dB on)"),
        (Limit("level", -2.0, 9.0, None, (), ()), "a level from -2 dB on, after 9 s"),
        (Limit("modulation", 8.0, 6.0, 3.0, (), ()), "a modulation from ±8 dB on, after 6 s (3 s from ±14 dB on)"),
    ],
)
def test_words(limit: Limit, words: str) -> None:
    assert in_words(limit) == words


# --- A machine that hums and hisses, enrolled ---


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    import soundfile

    folder, rng = tmp_path_factory.mktemp("machine"), np.random.default_rng(0)
    for i in range(3):
        sound = rng.normal(0, 0.02, 50 * 16_000) + 0.02 * np.sin(2 * np.pi * 100 * np.arange(50 * 16_000) / 16_000)
        soundfile.write(folder / f"normal_{i}.wav", sound, 16_000)
    base = detectors.read(DEMO / "detector")
    return enroll("hum", sorted(folder.glob("*.wav")), base, folder / "detector", limits=True)


def test_an_absurdly_loud_change_is_always_reported(enrolled: Detector) -> None:
    told = {limit.kind: limit for limit in enrolled.card.sections[0].would_hear}
    assert set(told) == set(RANGES_DB)
    for limit in told.values():
        assert limit.probability[-1] == 1.0
        assert np.diff(limit.probability).min() >= 0
    assert all(told[kind].probability[0] == 0 for kind in told)


def test_what_would_be_heard_is_kept_and_told(enrolled: Detector) -> None:
    card = detectors.read(enrolled.path).card.sections[0]
    assert card == enrolled.card.sections[0]
    stored = json.loads((enrolled.path / "detector.json").read_text())["sections"][0]["would_hear"]
    assert [limit["kind"] for limit in stored] == list(RANGES_DB)
    lines = would_hear_text(card)
    assert len(lines) == len(RANGES_DB)
    text = (enrolled.path / "MODEL_CARD.md").read_text()
    assert all(f"- {line}\n" in text for line in lines)


def test_a_detector_that_does_not_say_is_read(demo_detector: Path) -> None:
    card = detectors.read(demo_detector).card.sections[0]
    assert would_hear_text(card.model_copy(update={"would_hear": ()})) == []
