"""Thresholds keep their promise on sound that the fit has not seen."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge.ear.bands import FloatArray
from edge.judge.evidence import log_score_at
from edge.judge.fit import Fit, cross_fit, fit_section, network_shift
from edge.judge.folds import by_recording, by_stretch
from edge.judge.gaussian import Domain, fit_gaussian, fit_whitening, ledoit_wolf
from edge.judge.normal import MIN_WINDOWS, NormalWindows
from edge.judge.scorer import ScoreName, Scorer, score_of

N_MELS = 24


def windows(
    rng: np.random.Generator, n: int, n_target: int = 0, recording: Sequence[str] | None = None
) -> NormalWindows:
    mixing = np.random.default_rng(9).normal(size=(64, 64))
    shift = np.where(np.arange(n) < n - n_target, 0.0, 5.0)[:, None]
    domain: list[Domain] = ["source"] * (n - n_target)
    domain += ["target"] * n_target
    return made_of(
        domain,
        (rng.normal(size=(n, 64)) @ mixing + shift).astype(np.float32),
        rng.normal(size=(n, 3)).astype(np.float32),
        (rng.normal(size=(n, 4, N_MELS)) + shift[:, None]).astype(np.float32),
        recording,
    )


def made_of(
    domain: Sequence[Domain],
    embedding: FloatArray,
    logits: FloatArray,
    bands: FloatArray,
    recording: Sequence[str] | None = None,
) -> NormalWindows:
    """Windows of clips, each a recording of its own unless told otherwise, that no network was trained on."""
    n = len(domain)
    return NormalWindows(
        domain=domain,
        embedding=embedding,
        texture=np.empty((n, 0), np.float32),
        logits=logits,
        bands=bands,
        recording=[f"clip {i}" for i in range(n)] if recording is None else recording,
        apart=np.ones(n, np.bool_),
        trained_on=np.zeros(n, np.bool_),
        series=np.arange(n),
    )


def scores_of(fit: Fit, heard: NormalWindows, score: ScoreName = "fused") -> FloatArray:
    return Scorer(fit.statistics)(heard.embedding, heard.texture, heard.logits, heard.bands)[score]


def threshold_of(fit: Fit, rate: float, score: ScoreName = "fused") -> float:
    return score_of(log_score_at(fit.ordinary[score], rate), score)


def recordings_of(rng: np.random.Generator, n_recordings: int, n_each: int, apartness: float) -> NormalWindows:
    """Windows of several recordings, each of which is different as a whole, and hardly within itself."""
    n = n_recordings * n_each
    names = [f"flight {i}" for i in range(n_recordings) for _ in range(n_each)]

    def drawn(*shape: int) -> FloatArray:
        own = np.repeat(rng.normal(size=(n_recordings, *shape)), n_each, axis=0)
        return (apartness * own + rng.normal(size=(n, *shape))).astype(np.float32)

    return made_of(["source"] * n, drawn(64), drawn(3), drawn(4, N_MELS), names)


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
        fit = fit_section(windows(rng, 60), class_index=None)
        fresh = windows(rng, 200)
        alarms.append(float((scores_of(fit, fresh) > threshold_of(fit, rate)).mean()))
    assert np.mean(alarms) < 1.5 * rate


def test_in_sample_scores_would_not_have_kept_it(rng: np.random.Generator) -> None:
    """The reason for cross-fitting, in numbers: the same threshold from the clips that were fitted, asked for 5 %."""
    own = windows(rng, 60)
    fit = fit_section(own, class_index=None)
    seen, unseen = (scores_of(fit, heard, "mahalanobis") for heard in (own, windows(rng, 500)))
    assert (unseen > np.quantile(seen, 0.95)).mean() > 4 * 0.05


def test_three_target_clips_have_a_mean_of_their_own(rng: np.random.Generator) -> None:
    fit = fit_section(windows(rng, 63, n_target=3), class_index=0)
    assert fit.statistics.parts["mahalanobis"].domains == ("source", "target")
    assert set(fit.calibration) == {"fused", "mahalanobis", "bands", "l90", "confidence"}
    assert all(own.scores.size == 63 for own in fit.calibration.values())


# --- Recordings ---


def test_no_recording_is_on_both_sides_of_a_fold(rng: np.random.Generator) -> None:
    names = [f"flight {i}" for i in (0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7)]
    own = windows(rng, 17, n_target=3, recording=names)
    held_out_times = np.zeros(17)
    for held_out, fitted in by_recording(own):
        recordings = np.array(names)
        assert not set(recordings[held_out]) & set(recordings[fitted])
        assert {"source", "target"} <= set(np.array(own.domain)[fitted])
        held_out_times += held_out
    assert (held_out_times == 1).all()


def test_fewer_recordings_than_folds_make_fewer_folds(rng: np.random.Generator) -> None:
    own = windows(rng, 30, recording=[f"day {i // 10}" for i in range(30)])
    assert len(by_recording(own)) == 3


def test_one_recording_is_cut_into_stretches_with_a_gap(rng: np.random.Generator) -> None:
    own = windows(rng, 50, recording=["a day"] * 50)
    hops = replace(own, apart=np.arange(50) % 2 == 0)  # every other window overlaps its neighbours
    for windows_, reach in ((own, 1), (hops, 2)):
        made = by_recording(windows_)
        assert len(made) == 5
        for held_out, fitted in made:
            assert np.abs(np.subtract.outer(np.flatnonzero(held_out), np.flatnonzero(fitted))).min() > reach
            assert not (fitted & ~windows_.apart).any()


def test_windows_that_overlap_are_scored_and_not_fitted_to(rng: np.random.Generator) -> None:
    own = windows(rng, 60)
    doubled = NormalWindows(
        domain=[*own.domain, *own.domain],
        embedding=np.concatenate([own.embedding, own.embedding + 3]),
        texture=np.concatenate([own.texture, own.texture]),
        logits=np.concatenate([own.logits, own.logits]),
        bands=np.concatenate([own.bands, own.bands + 3]),
        recording=[*own.recording, *own.recording],
        apart=np.arange(120) < 60,
        trained_on=np.zeros(120, np.bool_),
        series=np.arange(120),
    )
    alone, beside = fit_section(own, None), fit_section(doubled, None)
    np.testing.assert_array_equal(alone.calibration["fused"].scores, beside.calibration["fused"].scores)
    assert beside.scores["fused"][60:].mean() > beside.scores["fused"][:60].mean()


def test_clips_of_one_recording_would_have_promised_too_much(rng: np.random.Generator) -> None:
    """The reason for folds of recordings: the same windows, with their neighbours on the other side of the fold."""
    nominal = 0.05
    kept: list[float] = []
    too_near: list[float] = []
    for _ in range(12):
        own, fresh = recordings_of(rng, 10, 8, apartness=1.0), recordings_of(rng, 40, 3, apartness=1.0)
        order = np.argsort(np.arange(len(own)) % 8, kind="stable")  # so that every fold has some of every recording
        shuffled = replace(own.take(np.ones(len(own), np.bool_)), embedding=own.embedding[order])
        shuffled = replace(shuffled, recording=[f"clip {i}" for i in range(len(own))], bands=own.bands[order])
        fit, leaked = fit_section(own, None), fit_section(shuffled, None)
        kept.append(float((scores_of(fit, fresh) > threshold_of(fit, nominal)).mean()))
        heard = np.log(scores_of(fit, fresh, "mahalanobis")).mean()
        too_near.append(float(heard - leaked.ordinary["mahalanobis"].level))
        assert abs(heard - fit.ordinary["mahalanobis"].level) < too_near[-1]
    assert np.mean(kept) < 1.5 * nominal
    assert np.mean(too_near) > 0.1  # more than windows differ


# --- What the network has seen ---


def overfitted(rng: np.random.Generator, n: int, n_held_out: int) -> NormalWindows:
    """Windows whose embedding a network has drawn together where it was trained on them."""
    own = windows(rng, n)
    trained_on = np.arange(n) % (n // n_held_out) != 0
    tight = np.where(trained_on[:, None], 0.7, 1.0).astype(np.float32)
    return replace(own, embedding=own.embedding * tight, trained_on=trained_on)


def test_recordings_held_out_of_the_network_keep_the_promise(rng: np.random.Generator) -> None:
    nominal = 0.05
    corrected: list[float] = []
    for _ in range(6):
        sections = [overfitted(rng, 70, 10) for _ in range(3)]
        shifts = network_shift([(own, cross_fit(own)) for own in sections])
        fresh = windows(rng, 200)
        fit, as_seen = fit_section(sections[0], None, shifts), fit_section(sections[0], None)
        scores = scores_of(fit, fresh, "mahalanobis")
        corrected.append(float((scores > threshold_of(fit, nominal, "mahalanobis")).mean()))
        heard = np.log(scores).mean()
        assert as_seen.ordinary["mahalanobis"].level < heard - 0.1
        assert abs(fit.ordinary["mahalanobis"].level - heard) < 0.1
    assert np.mean(corrected) < 1.5 * nominal


def test_a_network_that_has_seen_nothing_or_everything_shifts_nothing(rng: np.random.Generator) -> None:
    stranger = windows(rng, 40)
    everything = replace(stranger, trained_on=np.ones(40, np.bool_))
    assert network_shift([(own, cross_fit(own)) for own in (stranger, everything)]) == {}


# --- Thresholds ---


def test_rarer_false_alarms_need_a_higher_threshold(rng: np.random.Generator) -> None:
    fit = fit_section(windows(rng, 40), class_index=None)
    thresholds = [threshold_of(fit, rate) for rate in (0.1, 0.03, 0.01, 0.001, 0.0001)]
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] > fit.scores["fused"].max()


def test_too_little_sound_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=f"expected at least {MIN_WINDOWS}"):
        fit_section(windows(rng, MIN_WINDOWS - 1), class_index=None)


def test_copies_of_one_recording_give_finite_scores() -> None:
    one = windows(np.random.default_rng(0), 1)
    embedding, logits, bands = (np.repeat(x, 12, axis=0) for x in (one.embedding, one.logits, one.bands))
    copies = made_of(["source"] * 12, embedding, logits, bands)
    fit = fit_section(copies, class_index=None)
    other = windows(np.random.default_rng(1), 4)
    assert all(np.isfinite(scores_of(fit, other, name)).all() for name in fit.ordinary)
    assert np.isfinite(threshold_of(fit, 0.01))


def test_stretches_are_held_out_of_every_recording(rng: np.random.Generator) -> None:
    own = windows(rng, 26, recording=["a"] * 12 + ["b"] * 12 + ["c", "d"])
    made = by_stretch(own)
    assert sum(held_out.astype(int) for held_out, _ in made).tolist() == [1] * 26  # type: ignore[union-attr]
    for held_out, fitted in made:
        assert {"a", "b"} <= set(np.array(own.recording)[fitted])
        assert not (held_out & fitted).any()


@pytest.mark.parametrize("n", [30, 130])
def test_few_windows_of_many_dimensions_are_kept_by_their_directions(rng: np.random.Generator, n: int) -> None:
    x = (rng.normal(size=(n, 128)) @ rng.normal(size=(128, 128)) + 20 * rng.normal(size=128)).astype(np.float32)
    domain: list[Domain] = ["source"] * (n - 3)
    domain += ["target"] * 3
    gaussian, whole = fit_gaussian(x, domain), fit_whitening(x, domain)
    assert gaussian.whitening.shape == (128, min(n - 2, 128))
    other = (x + rng.normal(size=x.shape)).astype(np.float32)
    steps = (other[:, None] - gaussian.means).astype(np.float64) @ whole
    expected = np.sqrt(np.square(steps).sum(-1)).min(-1)
    np.testing.assert_allclose(gaussian.distance(other), expected, rtol=1e-4)


def test_a_band_that_never_moved_does_not_blow_up(rng: np.random.Generator) -> None:
    x = rng.normal(size=(50, 6)).astype(np.float32)
    x[:, 3] = -100
    nudged = x[:1].copy()
    nudged[0, 3] += 0.01
    gaussian = fit_gaussian(x, ["source"] * 50)
    assert gaussian.distance(nudged)[0] < gaussian.distance(x[:1])[0] + 5
