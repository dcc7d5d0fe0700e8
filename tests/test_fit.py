"""Thresholds keep their promise on sound that the fit has not seen."""

import numpy as np
import pytest

from edge.fit import MIN_WINDOWS, Calibration, NormalWindows, fit_gaussian, fit_section, ledoit_wolf
from edge.scorer import Domain, Scorer

N_MELS = 24


def windows(rng: np.random.Generator, n: int, n_target: int = 0) -> NormalWindows:
    mixing = np.random.default_rng(9).normal(size=(64, 64))
    shift = np.where(np.arange(n) < n - n_target, 0.0, 5.0)[:, None]
    domain: list[Domain] = ["source"] * (n - n_target)
    domain += ["target"] * n_target
    return NormalWindows(
        domain=domain,
        embedding=(rng.normal(size=(n, 64)) @ mixing + shift).astype(np.float32),
        logits=rng.normal(size=(n, 3)).astype(np.float32),
        bands=(rng.normal(size=(n, 3, N_MELS)) + shift[:, None]).astype(np.float32),
    )


def test_ledoit_wolf_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    sklearn_covariance = pytest.importorskip("sklearn.covariance")
    for n, d in ((10, 40), (200, 40), (40, 128)):
        x = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d)
        x -= x.mean(0)
        expected = sklearn_covariance.LedoitWolf(assume_centered=True).fit(x).covariance_
        np.testing.assert_allclose(ledoit_wolf(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_promised_false_alarm_rate_is_kept_on_sound_never_heard(rng: np.random.Generator, rate: float) -> None:
    alarms = []
    for _ in range(20):
        statistics, calibration = fit_section(windows(rng, 60), class_index=None)
        fresh = windows(rng, 200)
        scores = Scorer(statistics)(fresh.embedding, fresh.logits, fresh.bands)["fused"]
        alarms.append(float((scores > calibration["fused"].threshold(rate)).mean()))
    assert np.mean(alarms) < 1.5 * rate


def test_in_sample_scores_would_not_have_kept_it(rng: np.random.Generator) -> None:
    """The reason for cross-fitting, in numbers: the same threshold from the clips that were fitted."""
    own = windows(rng, 60)
    statistics, _ = fit_section(own, class_index=None)
    seen = Scorer(statistics)(own.embedding, own.logits, own.bands)["fused"]
    fresh = windows(rng, 500)
    unseen = Scorer(statistics)(fresh.embedding, fresh.logits, fresh.bands)["fused"]
    assert (unseen > np.quantile(seen, 0.95)).mean() > 0.3


def test_three_target_clips_have_a_mean_of_their_own(rng: np.random.Generator) -> None:
    statistics, calibration = fit_section(windows(rng, 63, n_target=3), class_index=0)
    assert statistics.parts["mahalanobis"].domains == ("source", "target")
    assert set(calibration) == {"fused", "mahalanobis", "bands", "l90", "confidence"}
    assert all(own.scores.size == 63 for own in calibration.values())


def test_threshold_within_what_was_heard_is_the_conformal_quantile() -> None:
    calibration = Calibration(np.arange(1, 100, dtype=np.float32))
    assert calibration.threshold(0.05) == 95
    assert calibration.threshold(0.5) == 50


def test_threshold_beyond_what_was_heard_lies_beyond_it() -> None:
    scores = np.sort(np.random.default_rng(0).gamma(50, 0.02, 50)).astype(np.float32)
    thresholds = [Calibration(scores).threshold(rate) for rate in (0.03, 0.01, 0.001, 0.0001)]
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] > scores[-1]


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Calibration(np.ones(20, np.float32)).threshold(rate)


def test_too_little_sound_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=f"expected at least {MIN_WINDOWS}"):
        fit_section(windows(rng, MIN_WINDOWS - 1), class_index=None)


def test_copies_of_one_recording_give_finite_scores() -> None:
    one = windows(np.random.default_rng(0), 1)
    copies = NormalWindows(["source"] * 12, *(np.repeat(x, 12, axis=0) for x in (one.embedding, one.logits, one.bands)))
    statistics, calibration = fit_section(copies, class_index=None)
    other = windows(np.random.default_rng(1), 4)
    scores = Scorer(statistics)(other.embedding, other.logits, other.bands)
    assert all(np.isfinite(values).all() for values in scores.values())
    assert np.isfinite(calibration["fused"].threshold(0.01))


def test_a_band_that_never_moved_does_not_blow_up(rng: np.random.Generator) -> None:
    x = rng.normal(size=(50, 6)).astype(np.float32)
    x[:, 3] = -100
    nudged = x[:1].copy()
    nudged[0, 3] += 0.01
    gaussian = fit_gaussian(x, ["source"] * 50)
    assert gaussian.distance(nudged)[0] < gaussian.distance(x[:1])[0] + 5
