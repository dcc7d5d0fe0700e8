"""Densities on the embedding of the streaming preset: nearest neighbours and a Gaussian mixture, as the paper's [8].

Both score with the network that the `streaming` peer of the same seed trained: one training, several rows.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture as Mixture
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

from edge.detector import measure
from edge.ear import FloatArray
from edge.errors import EarshotError
from edge.judge import fit_whitening
from trainer.dataset import Clip
from trainer.peers.peer import Peer, PeerScores, folder_of
from trainer.peers.preset import Preset

Scores = Mapping[str, NDArray[np.floating]]
"""Every score of some embeddings, each (B,)."""

MIN_WINDOWS: Final = 2


@dataclass(frozen=True)
class Density(Peer):
    """A density a section, on the embeddings of its normal clips; a clip scores the mean over its windows."""

    preset: Preset = field(kw_only=True)

    @abstractmethod
    def fit(self, normal: Sequence[Clip], x: FloatArray, seed: int) -> Callable[[FloatArray], Scores]:
        """Return what scores embeddings (B, D), fitted to those of normal windows: x (n, D), and the clip of each."""

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Train the preset of this seed unless it is there; fit and score every section under test."""
        sections = {clip.name for clip in test}
        detector = self.preset.detector(train, seed=seed, folder=folder_of(folder.parent, self.preset.name, seed))
        missing: dict[str, str] = {}

        def heard(clips: Sequence[Clip]) -> dict[Clip, FloatArray]:
            ear, embeddings = detector.ear(), {}
            for clip in tqdm([clip for clip in clips if clip.name in sections], self.name, unit="clip"):
                try:
                    embeddings[clip] = np.stack([window.embedding for window in measure(ear, clip.path, clip.pickup)])
                except EarshotError as error:
                    missing[str(clip.path)] = str(error)
            return embeddings

        normal, unknown = heard(train), heard(test)
        scores: dict[Path, Mapping[str, float]] = {}
        for section in sorted(sections):
            own = [(clip, row) for clip, rows in normal.items() if clip.name == section for row in rows]
            if len(own) < MIN_WINDOWS:
                missing[section] = f"{len(own)} windows of normal sound: expected at least {MIN_WINDOWS}"
                continue
            score = self.fit([clip for clip, _ in own], np.stack([row for _, row in own]), seed)
            for clip, rows in unknown.items():
                if clip.name == section:
                    scores[clip.path] = {name: float(values.mean()) for name, values in score(rows).items()}
        return PeerScores(scores, missing=missing)


@dataclass(frozen=True)
class NearestNeighbour(Density):
    """Mean Euclidean distance to the k nearest normal windows, in units of each dimension's own deviation."""

    about: ClassVar[str] = "distance to the nearest normal embeddings of the streaming network"
    default_score: ClassVar[str] = "k1"

    name: str = "nearest_neighbour"
    neighbours: tuple[int, ...] = (1, 2, 3)

    def fit(
        self,
        normal: Sequence[Clip],  # noqa: ARG002  a neighbour is one, whatever its domain
        x: FloatArray,
        seed: int,  # noqa: ARG002  no dice here
    ) -> Callable[[FloatArray], Scores]:
        """Remember all of x, (n, D)."""
        deviation = np.maximum(x.std(0), 1e-6)
        index = NearestNeighbors(n_neighbors=min(max(self.neighbours), len(x)), algorithm="brute").fit(x / deviation)

        def score(rows: FloatArray) -> Scores:
            distances = index.kneighbors(rows / deviation)[0]
            return {f"k{k}": distances[:, :k].mean(1) for k in self.neighbours}

        return score


@dataclass(frozen=True)
class GaussianMixture(Density):
    """Negative log-likelihood of a mixture of a few diagonal Gaussians in the space that Ledoit-Wolf whitens.

    With one component it ranks much as the Mahalanobis distance does.
    """

    about: ClassVar[str] = "Gaussian mixture on the whitened embeddings of the streaming network"
    default_score: ClassVar[str] = "nll"

    name: str = "gaussian_mixture"
    components: int = 4
    windows_a_component: int = 5
    least_variance: float = 0.1

    def fit(self, normal: Sequence[Clip], x: FloatArray, seed: int) -> Callable[[FloatArray], Scores]:
        """Fit to x, (n, D); fewer components where there are few windows."""
        whitening = fit_whitening(x, [clip.domain for clip in normal])
        n_components = max(1, min(self.components, len(x) // self.windows_a_component))
        mixture = Mixture(
            n_components, covariance_type="diag", reg_covar=self.least_variance, n_init=3, random_state=seed
        ).fit(x @ whitening)
        return lambda rows: {self.default_score: -mixture.score_samples(rows @ whitening)}
