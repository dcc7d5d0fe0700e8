"""The sub-cluster AdaCos system: the streaming backbone on its own terms, and cosine distances to cluster centres.

K. Wilkinghoff, "Sub-cluster AdaCos: learning representations for anomalous sound detection", IJCNN 2021, and the
paper's [9], its entry to DCASE 2021. The classifier itself is the default recipe's: trainer/adacos.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from edge.ear import FloatArray
from trainer.dataset import Clip
from trainer.features import FeatureStore
from trainer.network import TIME_STRIDE, Network
from trainer.peers.fitting import Group, each_group, section_of
from trainer.peers.frames import Sounds
from trainer.peers.peer import Peer, PeerScores, ScoresOf
from trainer.recipe import Recipe
from trainer.training import load_network, train_anew_if_other, window_of

FOLDS: Final = 5


def as_published() -> Recipe:
    """Return the default recipe but for what the publication does otherwise: uniform mixing, and no more than that."""
    return Recipe(mixup_alpha=1.0, mixup_labels="mixed", dropout=0.0, ema_decay=0.0, holdout=0.0)


@dataclass(frozen=True)
class SubclusterAdacos(Peer):
    """One network for all classes; the score is the cosine distance to the nearest centre of the section.

    The centres are those of k-means on the section's source clips, and every target clip by itself.
    """

    about: ClassVar[str] = "streaming backbone with a sub-cluster AdaCos head, cosine distance to k-means centres"
    default_score: ClassVar[str] = "cosine"

    name: str = "subcluster_adacos"
    centres: int = 16
    recipe: Recipe = field(default_factory=as_published)

    def with_epochs(self, epochs: int) -> Peer:
        """Return the same network trained for so many epochs."""
        return replace(self, recipe=self.recipe.model_copy(update={"epochs": epochs}))

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Train on every class, score every section under test."""
        sounds = Sounds.read(train, test, folder)
        recipe = self.recipe.model_copy(update={"seed": seed})
        train_anew_if_other(train, recipe, folder / "run", features=folder.parent / "features")
        network, _ = load_network(folder / "run")

        def fit_and_score(section: Group) -> PeerScores:
            normal = [_directions(network, sounds.store, place) for place in sounds.places(section.normal)]
            unknown = [_directions(network, sounds.store, place) for place in sounds.places(section.unknown)]
            centres = self._centres(section.normal, normal, seed)
            return PeerScores(
                _named(section.unknown, [_distance(own, centres) for own in unknown]),
                _named(section.normal, self._unseen(section.normal, normal, seed)),
            )

        return each_group(sounds, train, test, section_of, fit_and_score)

    def _centres(self, clips: Sequence[Clip], directions: Sequence[FloatArray], seed: int) -> FloatArray:
        """Return unit vectors (n, D)."""
        of = {
            domain: [own for clip, own in zip(clips, directions, strict=True) if clip.domain == domain]
            for domain in ("source", "target")
        }
        centres = [row for own in of["target"] for row in own]
        if of["source"]:
            source = np.concatenate(of["source"])
            n_clusters = min(self.centres, len(np.unique(source, axis=0)))
            centres += list(KMeans(n_clusters, n_init=10, random_state=seed).fit(source).cluster_centers_)
        return _unit(np.stack(centres))

    def _unseen(self, clips: Sequence[Clip], directions: Sequence[FloatArray], seed: int) -> list[float]:
        """Return the distance of every clip to the centres of others: the network knew it, the centres do not."""
        distances = [0.0] * len(clips)
        if len(clips) < 2:
            return distances
        for held_out in np.array_split(np.arange(len(clips)), min(FOLDS, len(clips))):
            kept = [i for i in range(len(clips)) if i not in held_out]
            centres = self._centres([clips[i] for i in kept], [directions[i] for i in kept], seed)
            for i in held_out:
                distances[i] = _distance(directions[i], centres)
        return distances


def _directions(network: Network, store: FeatureStore, place: int) -> FloatArray:
    """Return the embeddings of a clip on the unit sphere, (m, D): one a window, 16 frames apart."""
    frames, window = store[place], network.settings.window_frames
    if frames.shape[1] < window:
        frames = window_of(frames, 0, window)
    whole = window + (frames.shape[1] - window) // TIME_STRIDE * TIME_STRIDE
    features = torch.from_numpy(np.ascontiguousarray(frames[:, :whole]))[None, None]
    with torch.no_grad():
        embedding = network(features)[0][0].numpy()
    return _unit(embedding)


def _unit(x: NDArray[np.floating]) -> FloatArray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9), np.float32)


def _distance(directions: FloatArray, centres: FloatArray) -> float:
    """Return the cosine distance to the nearest centre, the mean over the windows of a clip."""
    return float((1 - (directions @ centres.T).max(1)).mean())


def _named(clips: Sequence[Clip], distances: Sequence[float]) -> ScoresOf:
    return {
        clip.path: {SubclusterAdacos.default_score: distance} for clip, distance in zip(clips, distances, strict=True)
    }
