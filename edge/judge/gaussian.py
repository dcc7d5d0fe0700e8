"""A normal cloud: the Mahalanobis distance to it (the paper's Eq. 5), and its fit from few windows. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray

Domain = Literal["source", "target"]
DOMAINS: Final[tuple[Domain, ...]] = get_args(Domain)

DoubleArray = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """The normal cloud of one quantity: a mean for each condition heard, one covariance (the paper's Sec. 2.3).

    domains    which domain each mean is of; one that is heard under several conditions has several
    means      (n_means, D), in the order of `domains`
    whitening  (D, D): the distance of x is |(x - mean) @ whitening|; whitening @ whitening.T is the inverse covariance
    rest       (D,) where fewer windows than dimensions were heard. Shrinkage gives all directions that no window went
               one variance; the squared distance is that of an independent x, |(x - mean) * rest|^2, less
               |(x - mean) @ whitening|^2, with whitening (D, r) for the r directions that vary more: r x D numbers
    scale      (n_means,) what distances to each mean are divided by, for means that were added later: how much farther
               ordinary sound lies from those; None where it lies equally far from all
    """

    domains: tuple[Domain, ...]
    means: FloatArray
    whitening: FloatArray
    rest: FloatArray | None = None
    scale: FloatArray | None = None

    def distance(self, x: FloatArray, domain: Domain | None = None) -> FloatArray:
        """Return the Mahalanobis distance (Eq. 5) of x, shape (..., D), as (...,), >= 0.

        To the nearest mean of `domain`, or of all where it is not given.
        Raises ValueError if the domain was never heard.
        """
        if domain is not None and domain not in self.domains:
            raise ValueError(f"domain {domain}: expected one of {', '.join(self.domains)}")
        chosen = ... if domain is None else [i for i, own in enumerate(self.domains) if own == domain]
        means = self.means[chosen]
        # Centred before it is whitened: the other order would subtract two large numbers in float32.
        steps = x[..., np.newaxis, :] - means
        squared = np.square(steps @ self.whitening).sum(-1)
        if self.rest is not None:
            independent = np.square(steps * self.rest).sum(-1, dtype=np.float64)
            squared = np.maximum(independent - squared, 0)
        distances = np.sqrt(squared)
        if self.scale is not None:
            distances = distances / self.scale[chosen]
        nearest = distances.min(-1) if distances.shape[-1] > 1 else distances[..., 0]
        distance: FloatArray = nearest.astype(np.float32)
        return distance

    def with_mean(self, domain: Domain, mean: FloatArray, scale: float) -> "Gaussian":
        """Return it with one mean more, (D,); distances to that are divided by `scale` (> 0)."""
        before = np.ones(len(self.means)) if self.scale is None else self.scale
        return replace(
            self,
            domains=(*self.domains, domain),
            means=np.concatenate([self.means, mean[np.newaxis]]).astype(np.float32),
            scale=np.append(before, scale).astype(np.float32),
        )


def fit_gaussian(x: FloatArray, condition: Sequence[str]) -> Gaussian:
    """Fit the mean of each condition and one shrunk covariance of all clips, centred within their condition.

    x: (B, D), a row a window; condition: (B,), `source`, `target`, or another name, which counts as of the target
    domain. The covariance is shared because a domain of three clips has none of its own (Sec. 2.3).
    With fewer rows than dimensions it is kept by its B directions.
    """
    means, alike, deviation = _alike(x, condition)
    domains = tuple(domain_of(each) for each in heard_conditions(condition))
    if len(x) >= x.shape[1]:
        return Gaussian(domains, means, _whitening(alike, deviation))

    directions, variances, floor = _shrunk_directions(alike)
    # In float64 their gap is exact enough; see `Gaussian.rest`.
    gap = np.sqrt(np.maximum(1 / floor - 1 / variances, 0))
    whitening, rest = directions * gap / deviation[:, np.newaxis], 1 / (deviation * math.sqrt(floor))
    return Gaussian(domains, means, whitening.astype(np.float32), rest.astype(np.float32))


def fit_whitening(x: FloatArray, condition: Sequence[str]) -> FloatArray:
    """Return the whole (D, D) whitening matrix of what `fit_gaussian` fits, however few the rows of x, (B, D), are."""
    _, alike, deviation = _alike(x, condition)
    return _whitening(alike, deviation)


def _alike(x: FloatArray, condition: Sequence[str]) -> tuple[FloatArray, DoubleArray, DoubleArray]:
    """Return the means of the conditions, x, (B, D), centred within them and with equal variances, its deviations.

    Shrinkage pulls towards equal variances, so it is told of variances that have been made equal. A dimension that
    never moved is taken to move a hundredth of what the others do: its distances are large, but finite.
    """
    index, means = condition_means(x, condition)
    centred = (x - means[index]).astype(np.float64)
    deviation = centred.std(0)
    deviation = np.maximum(deviation, max(0.01 * float(np.median(deviation)), 1e-6))
    return means, centred / deviation, deviation


def domain_of(condition: str) -> Domain:
    """Return the domain that a condition belongs to: whatever is not the source was added to it."""
    return "source" if condition == "source" else "target"


def heard_conditions(condition: Sequence[str]) -> tuple[str, ...]:
    """Return the conditions that were heard, each once: the source and the target first, then as they came."""
    heard = dict.fromkeys(condition)
    return (*(each for each in DOMAINS if each in heard), *(each for each in heard if each not in DOMAINS))


def condition_means(x: FloatArray, condition: Sequence[str]) -> tuple[NDArray[np.int64], FloatArray]:
    """Return which condition each row of x, (B, D), was heard under, (B,), and the mean of each, (n_means, D)."""
    heard = {each: i for i, each in enumerate(heard_conditions(condition))}
    index = np.array([heard[each] for each in condition])
    means = np.stack([x[index == i].mean(0, dtype=np.float64) for i in range(len(heard))])
    return index, means.astype(np.float32)


def ledoit_wolf(centred: NDArray[np.floating]) -> DoubleArray:
    """Return the covariance of centred rows (B, D), shrunk towards a multiple of the identity, shape (D, D).

    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
    Analysis 88 (2004): the shrinkage that minimises the expected squared error, from the data alone.
    """
    x = centred.astype(np.float64)
    n, d = x.shape
    sample = x.T @ x / n
    scale, shrinkage = np.trace(sample) / d, _shrinkage(x, float(np.square(sample).sum()))
    shrunk: DoubleArray = (1 - shrinkage) * sample
    shrunk.flat[:: d + 1] += shrinkage * scale
    return shrunk


def _shrinkage(x: DoubleArray, squared_norm: float) -> float:
    """Return by how much (0 to 1) the covariance of centred rows, (B, D), is shrunk.

    squared_norm: of the sample covariance, the sum of its squares.
    """
    n, d = x.shape
    lengths = np.square(x).sum(1)
    distance = squared_norm / d - float(lengths.sum() / n / d) ** 2
    noise = (float(np.square(lengths).sum()) / n - squared_norm) / (n * d)
    return min(1.0, noise / distance) if distance > 0 else 1.0


def _shrunk_directions(x: DoubleArray) -> tuple[DoubleArray, DoubleArray, float]:
    """Return what `ledoit_wolf` of centred rows, (B, D) with B < D, is made of, without a D x D matrix.

    The r directions that the rows vary in, (D, r); their shrunk variances, (r,); and that of all other directions.
    """
    n, d = x.shape
    gram = x @ x.T / n  # has the sample covariance's own eigenvalues, but for zeros
    shrinkage, scale = _shrinkage(x, float(np.square(gram).sum())), float(np.trace(gram)) / d
    values, vectors = np.linalg.eigh(gram)
    heard = values > 1e-9 * max(float(values[-1]), 1e-9)
    directions = (x.T @ vectors[:, heard]) / np.sqrt(n * values[heard])
    floor = max(shrinkage * scale, 1e-9)
    return directions, np.maximum((1 - shrinkage) * values[heard] + shrinkage * scale, floor), floor


def _whitening(alike: DoubleArray, deviation: DoubleArray) -> FloatArray:
    values, vectors = np.linalg.eigh(ledoit_wolf(alike))
    whitening = vectors / np.sqrt(np.maximum(values, 1e-9)) / deviation[:, np.newaxis]
    return np.asarray(whitening, np.float32)
