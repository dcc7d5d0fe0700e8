"""How far a sound is from the normal sounds of its section. Pure: statistics in, distances out; nothing is fitted here.

These parts are measured, each against the section's own normal recordings, by the paper's Eq. 5:

    mahalanobis  the network's embedding, which tells machines apart that the network knows
    texture      its early map, channels by frequency rows: what no class needed is still there, so it tells states of a
                 machine apart that the network never heard
    levels       mean of each mel band over the window; no network
    quiet        the same, moments counting by how quiet they are. A machine that runs is there all the time; rain,
                 voices and passing lorries are not
    l90          the level that each mel band exceeds 90 % of the window (L90 of ISO 1996-1), for the same reason
    bands        mean and deviation of each mel band

and besides them `confidence`, the classifier's doubt that it hears this section (Eq. 4), from the logits. `fused` joins
some of the distances. All keep to one rule: the smaller over the domains that are known, because nobody tells a device
whether it hears the source or the target domain.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray
from edge.judge.gaussian import Domain, Gaussian

ScoreName = Literal["fused", "mahalanobis", "texture", "levels", "quiet", "bands", "l90", "confidence"]
SCORE_NAMES: Final[tuple[ScoreName, ...]] = get_args(ScoreName)

Fusion = Literal["largest", "mean", "ratio"]
"""How distances become one. `largest` and `mean` of their z-scores on normal sound; `ratio`: the geometric mean of how
many times farther than ordinary each is."""


@dataclass(frozen=True)
class SectionStatistics:
    """What normal means for one section of one machine.

    parts      the normal cloud of each of `quantities` that is measured
    typical    ordinary distance of each part that is fused, and its deviation, on normal recordings that did not take
               part in the fit
    band_mean  ordinary `band_levels` of each domain, dB, (n_domains, M), and `band_deviation`, (M,): how much
               it varies from clip to clip within a domain
    class_index  this section's place among the logits; None for a machine that the network was not trained on
    fusion     how the parts are fused
    """

    parts: Mapping[ScoreName, Gaussian]
    typical: Mapping[ScoreName, tuple[float, float]]
    band_mean: FloatArray
    band_deviation: FloatArray
    class_index: int | None = None
    fusion: Fusion = "largest"

    @property
    def needs_quiet(self) -> bool:
        """Whether a part is measured on what counts moments by how quiet they are."""
        return not {"texture", "quiet"}.isdisjoint(self.parts)

    def nearest_normal(self, level_db: FloatArray) -> FloatArray:
        """Return the ordinary band levels, (M,), of the domain that is nearest to these, (M,)."""
        nearest: FloatArray = self.band_mean[np.abs(self.band_mean - level_db).mean(-1).argmin()]
        return nearest


def quantities(embedding: FloatArray, texture: FloatArray, bands: FloatArray) -> dict[ScoreName, FloatArray]:
    """Return what each distance is measured on, a row a window; of a graph without an output, nothing.

    embedding: (B, D); texture: (B, K); bands: (B, 4, M), from `band_statistics`.
    """
    measured: dict[ScoreName, FloatArray] = {
        "mahalanobis": embedding,
        "texture": texture,
        "levels": bands[:, 0],
        "quiet": bands[:, 3],
        "bands": bands[:, :2].reshape(len(bands), -1),
        "l90": bands[:, 2],
    }
    return {name: x for name, x in measured.items() if x.shape[1]}


def sizes(embedding_dim: int, texture_dim: int, n_mels: int) -> dict[ScoreName, int]:
    """Return how many numbers each of `quantities` has, of a graph with such outputs; 0 for one it has not."""
    return {
        "mahalanobis": embedding_dim,
        "texture": texture_dim,
        "levels": n_mels,
        "quiet": n_mels,
        "bands": 2 * n_mels,
        "l90": n_mels,
    }


def confidence(logits: FloatArray, class_index: int) -> FloatArray:
    """Return log((1 - P) / P) of the class (Eq. 4) for logits (..., k) as (...,).

    Computed as the logsumexp of the other logits minus the class's own, which does not saturate where P rounds to 1.
    """
    others = np.concatenate([logits[..., :class_index], logits[..., class_index + 1 :]], axis=-1, dtype=np.float64)
    peak = others.max(axis=-1, keepdims=True)
    rest = peak[..., 0] + np.log(np.exp(others - peak).sum(axis=-1))
    doubt: FloatArray = (rest - logits[..., class_index]).astype(np.float32)
    return doubt


class Scorer:
    """Measures sounds against one section."""

    def __init__(self, statistics: SectionStatistics) -> None:
        self.statistics = statistics
        has = {"fused", *statistics.parts} | ({"confidence"} if statistics.class_index is not None else set())
        self.score_names: tuple[ScoreName, ...] = tuple(name for name in SCORE_NAMES if name in has)

    def __call__(
        self,
        embedding: FloatArray,
        texture: FloatArray,
        logits: FloatArray,
        bands: FloatArray,
        domain: Domain | None = None,
    ) -> dict[ScoreName, FloatArray]:
        """Return every score of B windows, each of shape (B,).

        embedding: (B, D); texture: (B, K); logits: (B, k); bands: (B, 4, M), from `band_statistics`.
        All are distances >= 0 but `confidence`, which is any real number and missing where there is no classifier.
        """
        own = self.statistics
        measured = quantities(embedding, texture, bands)
        distances = {name: gaussian.distance(measured[name], domain) for name, gaussian in own.parts.items()}
        scores: dict[ScoreName, FloatArray] = {"fused": fuse(distances, own.typical, own.fusion), **distances}
        if own.class_index is not None:
            scores["confidence"] = confidence(logits, own.class_index)
        return scores


def fuse(
    parts: Mapping[ScoreName, FloatArray], typical: Mapping[ScoreName, tuple[float, float]], fusion: Fusion
) -> FloatArray:
    """Return the distances of `typical` joined, and so scaled that ordinary sound scores about 1; (B,), >= 0.

    Of z-scores the scale is how many deviations an ordinary distance is away from none, the mean over the parts: 1.5 is
    half as far again from normal as normal sound is.
    """
    distances = np.array([parts[name] for name in typical], np.float64)
    ordinary, deviation = np.array([*typical.values()]).T[:, :, np.newaxis]
    if fusion == "ratio":
        return np.asarray(np.exp(np.log(np.maximum(distances, LEAST_DISTANCE) / ordinary).mean(axis=0)), np.float32)
    z = (distances - ordinary) / deviation
    joined = z.max(axis=0) if fusion == "largest" else z.mean(axis=0)
    return np.asarray(np.maximum(1 + joined / (ordinary / deviation).mean(), 0), np.float32)


def log_score(scores: FloatArray | float, name: ScoreName) -> NDArray[np.float64]:
    """Return scores on the scale where what is ordinary is added and averaged: of distances the logarithm.

    The classifier's doubt is a logarithm already.
    """
    x = np.asarray(scores, np.float64)
    return x if name == "confidence" else np.log(np.maximum(x, LEAST_DISTANCE))


def score_of(log_of_it: float, name: ScoreName) -> float:
    """Return the score of which `log_score` makes this; one that no sound reaches where that is beyond all numbers."""
    return log_of_it if name == "confidence" else math.exp(min(log_of_it, MOST_LOG))


LEAST_DISTANCE: Final = 1e-9
MOST_LOG: Final = 700.0
