"""Learns what normal means from normal sounds alone; numpy only, so that a device can enrol a machine by itself.

Scores of the clips that a covariance was fitted to are useless for a threshold: in 128 dimensions a nominal 10 % of
false alarms becomes 48 % with a thousand clips. So every threshold here comes from cross-fitted scores: those of
recordings that the statistics had not heard. Of recordings, not of clips: clips that were cut from one recording are
alike, and a fold that has heard the neighbours has heard the clip.

A network trained on a recording is nearer to it, too, than to any to come. What that makes is measured on recordings
that were held out of its training (`network_shift`), and the scores of those it has seen are moved accordingly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray, band_levels
from edge.judge import folds
from edge.judge.gaussian import Gaussian, condition_means, fit_gaussian
from edge.judge.normal import MIN_WINDOWS, NormalWindows
from edge.judge.ordinary import PRIOR, Ordinary, ordinary
from edge.judge.scorer import Fusion, ScoreName, SectionStatistics, confidence, fuse, log_score, quantities

FEW_RECORDINGS: Final = 5
"""Fewer cannot tell how much recordings differ from each other; stretches of them have to."""

BATCH_WINDOWS: Final = 8192
"""Scored at once."""

DISTANCE_DEVIATION: Final = 0.2
"""By how much the logarithm of a distance usually varies."""

KNOWN: Final[tuple[ScoreName, ...]] = ("mahalanobis", "bands", "l90")
STRANGER: Final[tuple[ScoreName, ...]] = ("texture", "levels", "quiet")
"""The parts of the fused score: of machines that the network was trained on, and of those that it never heard."""

OF_NETWORK: Final[tuple[ScoreName, ...]] = ("mahalanobis", "texture", "confidence")
"""The quantities that a network can have got used to; the others know none."""

DoubleArray = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Cross-fitted normal scores of one section, one a window, ascending, and what each is a part of.

    recording  (B,), equal numbers are windows of one recording; None where it is not known: each stands for itself
    """

    scores: FloatArray
    recording: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Shift:
    """How much farther sound is that the network has not seen, in deviations of the sound that it has seen.

    mean     of the unseen, one standard error on the safe side, >= 0
    spread   deviation of the unseen, >= 1
    """

    mean: float
    spread: float


@dataclass(frozen=True)
class Fit:
    """One section, fitted.

    ordinary  what ordinary sound is expected to score, of every score
    scores    of every window, by statistics that had not heard its recording and as of a network that had not: (B,)
    """

    statistics: SectionStatistics
    ordinary: Mapping[ScoreName, Ordinary]
    calibration: Mapping[ScoreName, Calibration]
    scores: Mapping[ScoreName, FloatArray]


def fit_section(
    windows: NormalWindows, class_index: int | None, shifts: Mapping[ScoreName, Shift] | None = None
) -> Fit:
    """Fit one section, with the calibration of every score.

    shifts: from `network_shift`, for the windows that the network was trained on.
    Raises ValueError if there are fewer than `MIN_WINDOWS` windows.
    """
    if windows.n_apart < MIN_WINDOWS:
        raise ValueError(f"{windows.n_apart} normal windows: expected at least {MIN_WINDOWS}")

    far, near = (
        {
            name: _as_unseen(values, windows, name, (shifts or {}).get(name))
            for name, values in cross_fit(windows, class_index, fold).items()
        }
        for fold in (folds.by_recording, folds.by_stretch)
    )
    apart = windows.take(windows.apart)
    recording = np.unique(np.array(apart.recording), return_inverse=True)[1].astype(np.int64)

    def expected(name: ScoreName, far: FloatArray, near: FloatArray) -> Ordinary:
        return _ordinary(far[windows.apart], near[windows.apart], recording, name)

    believed = {name: expected(name, far[name], near[name]) for name in far}
    fusion, names = _fusion(class_index, windows)
    typical = {name: _typical(far[name][windows.apart]) for name in names}
    if fusion == "ratio":
        typical = {name: (math.exp(believed[name].level), deviation) for name, (_, deviation) in typical.items()}
    fused, fused_near = (fuse(each, typical, fusion) for each in (far, near))
    scores: dict[ScoreName, FloatArray] = {"fused": fused, **far}
    stretches = _samples_of(apart)
    levels = band_levels(apart.bands)
    index, band_mean = condition_means(levels, apart.domain)
    return Fit(
        SectionStatistics(
            parts=_fit_parts(apart, class_index),
            typical=typical,
            band_mean=band_mean,
            band_deviation=(levels - band_mean[index]).std(0),
            class_index=class_index,
            fusion=fusion,
        ),
        ordinary={"fused": expected("fused", fused, fused_near), **believed},
        calibration={name: _calibration(values[windows.apart], stretches) for name, values in scores.items()},
        scores=scores,
    )


def ordinary_of(calibration: Calibration, name: ScoreName) -> Ordinary:
    """Return what ordinary sound is expected to score, of a section whose scores by stretch are not known."""
    scores, recording = calibration.scores, calibration.recording
    return _ordinary(scores, scores, np.arange(scores.size) if recording is None else recording, name)


def _ordinary(far: FloatArray, near: FloatArray, recording: NDArray[np.int64], name: ScoreName) -> Ordinary:
    x, y = log_score(far, name), log_score(near, name)
    # The prior is of distances. A doubt has a scale of its own: as if it varied as much as they do.
    scale = max(float(y.std()), 1e-6) / DISTANCE_DEVIATION if name == "confidence" else 1.0
    return ordinary(x / scale, y / scale, recording, PRIOR).times(scale)


def _fusion(class_index: int | None, windows: NormalWindows) -> tuple[Fusion, tuple[ScoreName, ...]]:
    """Return how, and of which parts, a section's fused score is made."""
    if class_index is not None:
        return "largest", KNOWN
    return "ratio", tuple(name for name in STRANGER if name != "texture" or windows.texture.shape[1])


def cross_fit(
    windows: NormalWindows,
    class_index: int | None = None,
    fold: Callable[[NormalWindows], list[folds.Fold]] = folds.by_recording,
) -> dict[ScoreName, FloatArray]:
    """Return the distances of every window to statistics of folds that held it out, each (B,).

    With the classifier's doubt of its class, where it has one: that needs no fit.
    """
    unseen: dict[ScoreName, FloatArray] = {}
    for held_out, fitted in fold(windows):
        parts, rows = _fit_parts(windows.take(fitted), class_index), np.flatnonzero(held_out)
        for some in np.array_split(rows, -(-rows.size // BATCH_WINDOWS)):  # a fold of two days of hops is 140 MB
            for name, x in _quantities(windows, some, class_index).items():
                unseen.setdefault(name, np.empty(len(windows), np.float32))[some] = parts[name].distance(x)
    if class_index is not None:
        unseen["confidence"] = confidence(windows.logits, class_index)
    return unseen


def refit(windows: NormalWindows, rows: NDArray[np.bool_], statistics: SectionStatistics) -> SectionStatistics:
    """Return the statistics as they would be of the windows of `rows`, (B,), alone; how parts are joined stays."""
    return replace(statistics, parts=_fit_parts(windows.take(rows), statistics.class_index))


def _quantities(
    windows: NormalWindows, rows: NDArray[np.int64] | slice, class_index: int | None
) -> dict[ScoreName, FloatArray]:
    """Return what the distances of a section are measured on: of a machine that the network knows, `KNOWN` alone."""
    measured = quantities(windows.embedding[rows], windows.texture[rows].astype(np.float32), windows.bands[rows])
    return {name: x for name, x in measured.items() if class_index is None or name in KNOWN}


def network_shift(
    sections: Sequence[tuple[NormalWindows, Mapping[ScoreName, FloatArray]]],
) -> dict[ScoreName, Shift]:
    """Return how much farther sections are where the network has not seen them: windows with what `cross_fit` says.

    Pooled over the sections, since the few recordings held out of one say little. Empty where fewer than
    `FEW_RECORDINGS` were, or none was trained on.
    """
    shifts: dict[ScoreName, Shift] = {}
    for name in OF_NETWORK:
        deviations: list[DoubleArray] = []
        recordings: list[float] = []
        for windows, scores in sections:
            seen, held_out = windows.apart & windows.trained_on, windows.apart & ~windows.trained_on
            if name not in scores or seen.sum() < 2 or not held_out.any():
                continue
            centre, deviation = _moments(log_score(scores[name], name)[seen])
            z = (log_score(scores[name], name)[held_out] - centre) / deviation
            own = np.array(windows.recording)[held_out]
            deviations.append(z)
            recordings += [float(z[own == recording].mean()) for recording in np.unique(own)]
        if len(recordings) < FEW_RECORDINGS:
            continue
        pooled = np.concatenate(deviations)
        error = float(np.std(recordings, ddof=1)) / math.sqrt(len(recordings))
        shifts[name] = Shift(max(0.0, float(pooled.mean()) + error), max(1.0, float(pooled.std(ddof=1))))
    return shifts


def _fit_parts(windows: NormalWindows, class_index: int | None) -> dict[ScoreName, Gaussian]:
    measured = _quantities(windows, slice(None), class_index)
    return {name: fit_gaussian(x, windows.domain) for name, x in measured.items()}


def _as_unseen(values: FloatArray, windows: NormalWindows, name: ScoreName, shift: Shift | None) -> FloatArray:
    """Return the scores, (B,), with those of windows that the network was trained on moved to where it had not been."""
    if shift is None or not windows.trained_on.any():
        return values
    x = log_score(values, name)
    centre, deviation = _moments(x[windows.apart & windows.trained_on])
    moved = centre + deviation * shift.mean + shift.spread * (x - centre)
    moved = moved if name == "confidence" else np.exp(moved)
    return np.where(windows.trained_on, moved, values).astype(np.float32)


def _moments(x: DoubleArray) -> tuple[float, float]:
    return float(x.mean()), max(float(x.std()), 1e-9)


def _calibration(scores: FloatArray, recording: NDArray[np.int64]) -> Calibration:
    order = np.argsort(scores, kind="stable")
    return Calibration(scores[order], recording[order])


def _samples_of(apart: NormalWindows) -> NDArray[np.int64]:
    """Return which recording each window is a part of, (B,); which stretch, where there are too few recordings."""
    recording = np.unique(np.array(apart.recording), return_inverse=True)[1].astype(np.int64)
    if recording.max() + 1 >= FEW_RECORDINGS:
        return recording
    stretches = np.empty(len(apart), np.int64)
    for i, rows in enumerate(np.array_split(np.argsort(recording, kind="stable"), FEW_RECORDINGS)):
        stretches[rows] = i
    return stretches


def _typical(distances: FloatArray) -> tuple[float, float]:
    """Return mean and deviation; recordings that are copies of each other have none, and a thousandth is taken."""
    mean, deviation = float(distances.mean()), float(distances.std())
    return max(mean, 1e-6), max(deviation, 1e-3 * mean, 1e-9)
