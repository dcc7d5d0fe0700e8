"""The frontend keeps what physics promises, and agrees with librosa's numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ear.frontend import Frontend, FrontendSettings

GOLDEN = np.load(Path(__file__).parent / "golden" / "librosa_frames.npz")
SECOND = np.arange(16_000) / 16_000


def tone(hz: float, amplitude: float = 0.1) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * SECOND)).astype(np.float32)


def band_of(frontend: Frontend, hz: float) -> int:
    """The band whose peak is nearest."""
    return int(np.abs(frontend.band_edges_hz[1:-1] - hz).argmin())


@pytest.mark.parametrize("f_min_hz", [0, 1000, 2000])
def test_agrees_with_librosa(f_min_hz: int) -> None:
    frames = Frontend(FrontendSettings(f_min_hz=f_min_hz))(GOLDEN["samples"])
    np.testing.assert_allclose(frames, GOLDEN[f"f_min_{f_min_hz}"], atol=2e-3)  # dB


@pytest.mark.parametrize("f_min_hz", [0, 1000, 2000])
def test_no_band_is_dead(f_min_hz: int, rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.1, 16_000).astype(np.float32)
    assert (Frontend(FrontendSettings(f_min_hz=f_min_hz))(noise).mean(axis=1) > -60).all()


def test_a_tone_peaks_in_its_own_band() -> None:
    frontend = Frontend(FrontendSettings())
    for hz in (200, 1000, 3150, 7000):
        assert abs(int(frontend(tone(hz)).mean(axis=1).argmax()) - band_of(frontend, hz)) <= 1


def test_high_pass_kills_what_is_below_and_keeps_what_is_above() -> None:
    frontend = Frontend(FrontendSettings(f_min_hz=1000))
    assert frontend(tone(500)).max() < -60  # what a Hann window leaks an octave away
    assert frontend(tone(2000)).max() > -20


def test_twice_the_level_is_six_decibels_more(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.1, 16_000).astype(np.float32)
    frontend = Frontend(FrontendSettings())
    np.testing.assert_allclose(frontend(2 * noise) - frontend(noise), 20 * np.log10(2), atol=1e-3)


def test_silence_is_finite() -> None:
    np.testing.assert_allclose(Frontend(FrontendSettings())(np.zeros(4096, np.float32)), -100, rtol=1e-6)


@given(st.integers(0, 4000), st.integers(1024, 9000))
def test_a_frame_depends_on_its_own_samples_alone(start_frame: int, n_samples: int) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    frontend = Frontend(FrontendSettings())
    start = start_frame % 40 * 512
    part = frontend(samples[start : start + n_samples])
    whole = frontend(samples)[:, start // 512 :][:, : part.shape[1]]
    np.testing.assert_allclose(part, whole, atol=1e-4)


def test_result_is_float32_bands_by_frames() -> None:
    frames = Frontend(FrontendSettings())(np.zeros(153_600, np.float32))
    assert frames.shape == (128, 299)
    assert frames.dtype == np.float32


@pytest.mark.parametrize("shape", [(0,), (1023,), (2, 1024)])
def test_less_than_a_frame_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1024"):
        Frontend(FrontendSettings())(np.zeros(shape, np.float32))


def test_cut_off_beyond_half_the_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="8000"):
        FrontendSettings(f_min_hz=8000)


def test_fingerprint_tells_settings_apart() -> None:
    assert FrontendSettings().fingerprint == FrontendSettings().fingerprint
    assert FrontendSettings().fingerprint != FrontendSettings(f_min_hz=1000).fingerprint
