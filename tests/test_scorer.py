"""Distances are what the paper's equations say, and `fused` can be read."""

import numpy as np
import pytest

from edge.ear.bands import FloatArray, band_levels, band_statistics
from edge.judge.gaussian import Gaussian
from edge.judge.scorer import Fusion, ScoreName, Scorer, SectionStatistics, confidence, fuse


def test_distance_is_equation_5(rng: np.random.Generator) -> None:
    covariance = np.cov(rng.normal(size=(4, 50)))
    mean, x = rng.normal(size=4), rng.normal(size=(6, 4))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    gaussian = Gaussian(("source",), mean[None].astype(np.float32), whitening.astype(np.float32))

    step = x - mean
    expected = np.sqrt(np.einsum("bi,ij,bj->b", step, np.linalg.inv(covariance), step))
    np.testing.assert_allclose(gaussian.distance(x.astype(np.float32)), expected, rtol=1e-4)


def test_an_unknown_domain_takes_the_nearer_mean() -> None:
    means = np.array([[0.0, 0.0], [10.0, 0.0]], np.float32)
    gaussian = Gaussian(("source", "target"), means, np.eye(2, dtype=np.float32))
    x = np.array([[9.0, 0.0]], np.float32)
    assert gaussian.distance(x)[0] == 1
    assert gaussian.distance(x, "source")[0] == 9
    assert gaussian.distance(x, "target")[0] == 1


def test_a_domain_that_was_never_heard_is_refused() -> None:
    gaussian = Gaussian(("source",), np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32))
    with pytest.raises(ValueError, match="target"):
        gaussian.distance(np.zeros((1, 2), np.float32), "target")


def test_confidence_is_equation_4(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(5, 7)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(confidence(logits, 2), np.log((1 - p[:, 2]) / p[:, 2]), rtol=1e-4)


def test_confidence_does_not_saturate() -> None:
    sure, surer = np.array([[100.0, 0.0], [200.0, 0.0]], np.float32)
    assert confidence(surer, 0) < confidence(sure, 0) == pytest.approx(-100)


def test_l90_is_the_level_that_is_exceeded_nine_tenths_of_the_time() -> None:
    window = np.tile(np.arange(100, dtype=np.float32), (3, 1))
    mean, deviation, l90, _ = band_statistics(window)
    assert l90[0] == 10
    assert mean[0] == pytest.approx(49.5)
    assert deviation[0] == pytest.approx(np.arange(100).std())


def test_l90_hears_the_machine_and_not_the_passing_lorry() -> None:
    quiet = np.full((4, 300), -60, np.float32)
    lorry = quiet.copy()
    lorry[:, 50:250] += 30
    assert band_statistics(lorry)[0, 0] > band_statistics(quiet)[0, 0] + 15
    assert band_statistics(lorry)[2, 0] == band_statistics(quiet)[2, 0]


def test_a_quiet_moment_counts_more_and_a_drop_out_not_at_all() -> None:
    window = np.full((64, 300), -40, np.float32)
    window[:, :30] = -60
    window[:, 100:104] = -100  # digital silence, shorter than what makes a sensor unwell
    quiet = band_statistics(window)[3]
    np.testing.assert_allclose(quiet, -60, atol=0.5)
    steady = np.full((64, 300), -40, np.float32)
    np.testing.assert_allclose(band_statistics(steady)[3], -40, atol=1e-3)


def test_band_levels_are_what_the_energy_says() -> None:
    levels = np.random.default_rng(0).normal(-60, 5, (2, 100_000)).astype(np.float32)
    energy = 10 * np.log10((10 ** (levels.astype(np.float64) / 10)).mean(1))
    np.testing.assert_allclose(band_levels(band_statistics(levels)), energy, atol=0.2)


TYPICAL: dict[ScoreName, tuple[float, float]] = {"mahalanobis": (10, 1), "bands": (20, 4), "l90": (5, 0.5)}


@pytest.mark.parametrize("fusion", ["largest", "mean", "ratio"])
def test_ordinary_sound_scores_one_and_ranks_like_z_scores(fusion: Fusion, rng: np.random.Generator) -> None:
    parts = {name: rng.normal(mean, 3 * sd, 50).astype(np.float32) for name, (mean, sd) in TYPICAL.items()}
    ordinary: dict[ScoreName, FloatArray] = {name: np.array([mean], np.float32) for name, (mean, _) in TYPICAL.items()}
    assert fuse(ordinary, TYPICAL, fusion)[0] == pytest.approx(1)

    z = np.stack([(parts[name] - mean) / sd for name, (mean, sd) in TYPICAL.items()])
    ratio = np.stack([parts[name] / mean for name, (mean, _) in TYPICAL.items()]).prod(0)
    joined = {"largest": z.max(0), "mean": z.mean(0), "ratio": ratio}[fusion]
    assert (np.argsort(fuse(parts, TYPICAL, fusion)) == np.argsort(joined)).all()


def test_a_fault_that_one_part_hears_is_heard() -> None:
    """And the others, which are deaf to it, do not talk it down."""
    heard: dict[ScoreName, FloatArray] = {name: np.array([mean], np.float32) for name, (mean, _) in TYPICAL.items()}
    heard["l90"] = np.array([5 + 8 * 0.5], np.float32)
    deaf = {**heard, "mahalanobis": np.array([8], np.float32), "bands": np.array([12], np.float32)}
    assert fuse(deaf, TYPICAL, "largest")[0] == fuse(heard, TYPICAL, "largest")[0] > 1.9
    assert fuse(deaf, TYPICAL, "mean")[0] < fuse(heard, TYPICAL, "mean")[0]


@pytest.mark.parametrize("fusion", ["largest", "mean", "ratio"])
def test_no_fused_score_is_negative(fusion: Fusion) -> None:
    nothing: dict[ScoreName, FloatArray] = {name: np.zeros(1, np.float32) for name in TYPICAL}
    assert fuse(nothing, TYPICAL, fusion)[0] >= 0


def test_a_machine_without_a_class_has_no_confidence(rng: np.random.Generator) -> None:
    def gaussian(d: int) -> Gaussian:
        return Gaussian(("source",), np.zeros((1, d), np.float32), np.eye(d, dtype=np.float32))

    statistics = SectionStatistics(
        parts={"mahalanobis": gaussian(8), "bands": gaussian(6), "l90": gaussian(3)},
        typical={"mahalanobis": (1.0, 1.0), "bands": (1.0, 1.0), "l90": (1.0, 1.0)},
        band_mean=np.zeros((1, 3), np.float32),
        band_deviation=np.ones(3, np.float32),
    )
    embedding, logits, bands = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8), (2, 5), (2, 4, 3)))
    scores = Scorer(statistics)(embedding, np.empty((2, 0), np.float32), logits, bands)
    assert set(scores) == {"fused", "mahalanobis", "bands", "l90"}
    assert all((values >= 0).all() and values.shape == (2,) for values in scores.values())
