"""How far a sound is from the normal sounds of its section. Pure: statistics in, distances out; nothing is fitted here.

Four parts are measured, each against the section's own normal recordings:

    mahalanobis  the network's embedding (the paper's Eq. 5)
    bands        mean and deviation of each mel band over the window, the same distance; no network
    l90          the level that each mel band exceeds 90 % of the window (L90 of ISO 1996-1), the same distance: a
                 machine that runs is there all the time, rain, voices and passing lorries are not
    confidence   the classifier's doubt that it hears this section (Eq. 4), from the logits

and `fused` is the largest of the distances, each as a z-score on normal sound: a fault need not be heard by all three.
They keep to one rule: the smaller over the domains that are known, because nobody tells a device whether it hears the
source or the target domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from edge.ear import FloatArray

ScoreName = Literal["fused", "mahalanobis", "bands", "l90", "confidence"]
SCORE_NAMES: Final[tuple[ScoreName, ...]] = get_args(ScoreName)
FUSED_PARTS: Final[tuple[ScoreName, ...]] = ("mahalanobis", "bands", "l90")

Fusion = Literal["largest", "mean"]
"""How the parts become one. The largest: each part is deaf to some faults, and one that hears is enough. The mean: what
detectors were made with before."""

Domain = Literal["source", "target"]
DOMAINS: Final[tuple[Domain, ...]] = get_args(Domain)


@dataclass(frozen=True)
class Gaussian:
    """The normal cloud of one quantity: a mean for each domain that was heard, one covariance (the paper's Sec. 2.3).

    means      (n_domains, D), in the order of `domains`
    whitening  (D, D): the distance of x is |(x - mean) @ whitening|; whitening @ whitening.T is the inverse covariance
    """

    domains: tuple[Domain, ...]
    means: FloatArray
    whitening: FloatArray

    def distance(self, x: FloatArray, domain: Domain | None = None) -> FloatArray:
        """Return the Mahalanobis distance (Eq. 5) of x, shape (..., D), as (...,), >= 0.

        To the mean of `domain`, or to the nearest one where it is not given.
        Raises ValueError if the domain was never heard.
        """
        if domain is not None and domain not in self.domains:
            raise ValueError(f"domain {domain}: expected one of {', '.join(self.domains)}")
        means = self.means if domain is None else self.means[[self.domains.index(domain)]]
        # Centred before it is whitened: the other order would subtract two large numbers in float32.
        steps = (x[..., np.newaxis, :] - means) @ self.whitening
        distance: FloatArray = np.sqrt(np.square(steps).sum(-1)).min(-1)
        return distance


@dataclass(frozen=True)
class SectionStatistics:
    """What normal means for one section of one machine.

    parts      the normal cloud of each of `quantities`
    typical    mean and deviation of each part's distance over normal recordings that did not take part in the fit
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

    def nearest_normal(self, level_db: FloatArray) -> FloatArray:
        """Return the ordinary band levels, (M,), of the domain that is nearest to these, (M,)."""
        nearest: FloatArray = self.band_mean[np.abs(self.band_mean - level_db).mean(-1).argmin()]
        return nearest


def quantities(embedding: FloatArray, bands: FloatArray) -> dict[ScoreName, FloatArray]:
    """Return what each distance is measured on, a row a window, for embeddings (B, D) and band statistics (B, 3, M)."""
    return {"mahalanobis": embedding, "bands": bands[:, :2].reshape(len(bands), -1), "l90": bands[:, 2]}


def confidence(logits: FloatArray, class_index: int) -> FloatArray:
    """Return log((1 - P) / P) of the class (Eq. 4) for logits (..., k) as (...,).

    Computed as the logsumexp of the other logits minus the class's own, which does not saturate where P rounds to 1.
    """
    others = np.delete(logits, class_index, axis=-1).astype(np.float64)
    peak = others.max(axis=-1, keepdims=True)
    rest = peak[..., 0] + np.log(np.exp(others - peak).sum(axis=-1))
    doubt: FloatArray = (rest - logits[..., class_index]).astype(np.float32)
    return doubt


class Scorer:
    """Measures sounds against one section."""

    def __init__(self, statistics: SectionStatistics) -> None:
        self.statistics = statistics
        self.score_names: tuple[ScoreName, ...] = tuple(
            name for name in SCORE_NAMES if name != "confidence" or statistics.class_index is not None
        )

    def __call__(
        self, embedding: FloatArray, logits: FloatArray, bands: FloatArray, domain: Domain | None = None
    ) -> dict[ScoreName, FloatArray]:
        """Return every score of B windows, each of shape (B,).

        embedding: (B, D); logits: (B, k); bands: (B, 3, M), from `band_statistics`.
        All are distances >= 0 but `confidence`, which is any real number and missing where there is no classifier.
        """
        own = self.statistics
        distances = {name: own.parts[name].distance(x, domain) for name, x in quantities(embedding, bands).items()}
        scores: dict[ScoreName, FloatArray] = {"fused": fuse(distances, own.typical, own.fusion), **distances}
        if own.class_index is not None:
            scores["confidence"] = confidence(logits, own.class_index)
        return scores


def fuse(
    parts: Mapping[ScoreName, FloatArray], typical: Mapping[ScoreName, tuple[float, float]], fusion: Fusion
) -> FloatArray:
    """Return the parts' z-scores on normal sound, joined, and so scaled that ordinary sound scores about 1; (B,), >= 0.

    The scale is how many deviations an ordinary distance is away from none, the mean over the parts: 1.5 is half as far
    again from normal as normal sound is.
    """
    z = np.stack([(np.asarray(parts[n], np.float64) - typical[n][0]) / typical[n][1] for n in FUSED_PARTS])
    ordinary = np.mean([typical[name][0] / typical[name][1] for name in FUSED_PARTS])
    joined = z.max(axis=0) if fusion == "largest" else z.mean(axis=0)
    return np.asarray(1 + joined / ordinary, np.float32)
