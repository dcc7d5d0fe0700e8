"""What physics promises of changes laid over frames: that they are what altered samples would have given."""

import numpy as np
import pytest

from edge.ear import Features, Frontend, FrontendSettings, Samples
from edge.judge import Changes, Place, added_sound, band_of, places

RATE_HZ = 16_000
SETTINGS = FrontendSettings()
FRONTEND = Frontend(SETTINGS)
N_FRAMES = 600
OCTAVE = Place("hiss", 1_000, 2_000)


def noise(seed: int, seconds: float = 20.0) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.05, int(seconds * RATE_HZ)).astype(np.float32)


def power_db(frames: Features) -> np.ndarray:
    """Mean power in each band, dB."""
    return np.asarray(10 * np.log10(np.power(10.0, frames.astype(np.float64) / 10).mean(axis=1)))


@pytest.fixture
def frames() -> Features:
    return FRONTEND(noise(1))[:, :N_FRAMES]


@pytest.fixture
def changes(frames: Features) -> Changes:
    return Changes.of(FRONTEND, [frames], N_FRAMES)


@pytest.mark.parametrize("hz", [310.0, 1_500.0, 5_700.0])
@pytest.mark.parametrize("strength_db", [0.0, 10.0])
def test_a_tone_raises_its_band_as_powers_add_up(
    frames: Features, changes: Changes, hz: float, strength_db: float
) -> None:
    rise = power_db(changes.at(Place("tone", hz, hz))(frames, strength_db)) - power_db(frames)
    peak = np.abs(FRONTEND.band_edges_hz[1:-1] - hz).argmin()
    assert rise[peak] == pytest.approx(10 * np.log10(1 + 10 ** (strength_db / 10)), abs=0.5)
    assert np.delete(rise, slice(max(0, peak - 8), peak + 9)) == pytest.approx(0, abs=0.1)


def test_a_hiss_raises_its_octave_and_no_other(frames: Features, changes: Changes) -> None:
    rise = power_db(changes.at(OCTAVE)(frames, 6.0)) - power_db(frames)
    middles = FRONTEND.band_edges_hz[1:-1]
    assert rise[(middles > 1_100) & (middles < 1_900)] == pytest.approx(10 * np.log10(1 + 10**0.6), abs=0.7)
    assert rise[(middles < 900) | (middles > 2_200)] == pytest.approx(0, abs=0.05)


def test_a_level_shifts_all_bands(frames: Features, changes: Changes) -> None:
    np.testing.assert_allclose(changes.at(Place("level", 0, 8_000))(frames, 4.0), frames + 4.0, atol=1e-4)


def test_a_modulation_swings_by_its_strength(frames: Features, changes: Changes) -> None:
    swing = changes.at(Place("modulation", 1_000, 2_000, per_second=0.5))(frames, 6.0) - frames
    middles = FRONTEND.band_edges_hz[1:-1]
    within = swing[(middles > 1_000) & (middles < 2_000)]
    assert (within.max(), within.min()) == pytest.approx((6.0, -6.0), abs=0.1)
    assert within[0, :62].mean() == pytest.approx(0, abs=0.2)  # two seconds: one swing
    assert not swing[(middles < 1_000) | (middles > 2_000)].any()


def test_impacts_stand_out_at_their_rate(changes: Changes) -> None:
    quiet = np.full((SETTINGS.n_mels, N_FRAMES), -90.0, np.float32)
    struck = changes.at(Place("impacts", 2_000, 8_000, per_second=1.0))(quiet, 0.0)
    band = struck[100]
    blows = np.flatnonzero((band[1:-1] > band[:-2]) & (band[1:-1] >= band[2:]) & (band[1:-1] > band.max() - 15))
    assert np.diff(blows) == pytest.approx(RATE_HZ / SETTINGS.hop_samples, abs=2)


@pytest.mark.parametrize(
    "place",
    [
        Place("tone", 310, 310),
        Place("tone", 2_900, 2_900),
        Place("hiss", 250, 500),
        OCTAVE,
        Place("impacts", 2_000, 8_000, per_second=4.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("strength_db", [-6.0, 0.0, 6.0])
def test_frames_changed_are_the_frames_of_changed_samples(place: Place, strength_db: float) -> None:
    samples = noise(2, 30)
    own = FRONTEND(samples)
    changes = Changes.of(FRONTEND, [own], own.shape[1])
    added = added_sound(place, samples.size, RATE_HZ, np.random.default_rng(3))
    gain = np.sqrt(10 ** (strength_db / 10) / changes.gain(place, added))

    real = FRONTEND((samples + gain * added).astype(np.float32))
    predicted = changes.at(place)(own, strength_db)
    off = np.abs(predicted.mean(axis=1) - real.mean(axis=1))
    assert off.max() < 0.8
    assert off.mean() < 0.1
    assert np.abs(predicted.std(axis=1) - real.std(axis=1)).max() < 1.0


def test_a_modulation_of_frames_is_that_of_samples() -> None:
    samples, place = noise(4, 60), Place("modulation", 1_000, 4_000, per_second=2.0)
    own = FRONTEND(samples)
    swing = 10 ** (9 * np.sin(2 * np.pi * 2.0 * np.arange(samples.size) / RATE_HZ) / 20)
    real = FRONTEND((samples + (swing - 1) * band_of(samples, place, RATE_HZ)).astype(np.float32))
    predicted = Changes.of(FRONTEND, [own], own.shape[1]).at(place)(own, 9.0)
    middles = FRONTEND.band_edges_hz[1:-1]
    within = (middles > 1_100) & (middles < 3_700)
    assert np.abs(predicted[within].mean(axis=1) - real[within].mean(axis=1)).max() < 0.5
    assert np.abs(predicted[within].std(axis=1) - real[within].std(axis=1)).max() < 0.5


def test_every_kind_has_places_within_what_is_heard() -> None:
    found = places(2_000, 8_000)
    assert {place.kind for place in found} == {"tone", "hiss", "impacts", "modulation", "level"}
    assert all(place.low_hz >= 2_000 for place in found)


def test_nothing_is_added_by_what_adds_nothing() -> None:
    with pytest.raises(ValueError, match="level"):
        added_sound(Place("level", 0, 8_000), 100, RATE_HZ, np.random.default_rng(0))
