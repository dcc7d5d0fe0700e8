"""The sub-cluster AdaCos head on our streaming backbone: every class is sixteen directions on a sphere.

K. Wilkinghoff, "Sub-cluster AdaCos: learning representations for anomalous sound detection", IJCNN 2021, and the
paper's [9], its entry to DCASE 2021.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from edge.scorer import FloatArray
from trainer.allocator import keep_freed_memory
from trainer.dataset import Clip
from trainer.features import FeatureStore
from trainer.loss import mixup
from trainer.network import EMBEDDING_DIM, TIME_STRIDE, Network
from trainer.peers.peer import Group, Peer, PeerScores, ScoresOf, Sounds, best_device, each_group, section_of, seeded
from trainer.recipe import Recipe
from trainer.training import Compiled, Forward, compile_pays, precision_of, window_of

FOLDS: Final = 5


@dataclass(frozen=True)
class SubclusterAdacos(Peer):
    """One network for all classes; the score is the cosine distance to the nearest centre of the section.

    The centres are those of k-means on the section's source clips, and every target clip by itself.
    Of the recipe, network, epochs, batch size, learning rate, warm-up and precision are used. Mixing is as published:
    uniform weights, mixed labels.
    """

    about: ClassVar[str] = "streaming backbone with a sub-cluster AdaCos head, cosine distance to k-means centres"
    default_score: ClassVar[str] = "cosine"

    name: str = "subcluster_adacos"
    subclusters: int = 16
    recipe: Recipe = field(default_factory=Recipe)

    def with_epochs(self, epochs: int) -> Peer:
        """Return the same network trained for so many epochs."""
        return replace(self, recipe=self.recipe.model_copy(update={"epochs": epochs}))

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Train on every class, score every section under test."""
        sounds = Sounds.read(train, test, folder)
        network = self._train(sounds, [clip for clip in train if clip.path in sounds.place], seed)

        def fit_and_score(section: Group) -> PeerScores:
            normal = [_directions(network, sounds.store, place) for place in sounds.places(section.normal)]
            unknown = [_directions(network, sounds.store, place) for place in sounds.places(section.unknown)]
            centres = self._centres(section.normal, normal, seed)
            return PeerScores(
                _named(section.unknown, [_distance(own, centres) for own in unknown]),
                _named(section.normal, self._unseen(section.normal, normal, seed)),
            )

        return each_group(sounds, train, test, section_of, fit_and_score)

    def _train(self, sounds: Sounds, clips: Sequence[Clip], seed: int) -> Network:
        recipe, device = self.recipe, best_device()
        keep_freed_memory()
        classes = sorted({clip.name for clip in clips})
        labels = np.array([classes.index(clip.name) for clip in clips])
        with seeded(seed) as rng:
            network = Network(recipe.network(), len(classes))
            mean, deviation = sounds.store.band_moments(sounds.places(clips))
            network.band_mean.copy_(torch.from_numpy(mean)[:, None])
            network.band_deviation.copy_(torch.from_numpy(deviation)[:, None])
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            head = SubclusterHead(EMBEDDING_DIM, len(classes), self.subclusters).to(device)

            n_steps = recipe.epochs * -(-len(labels) // recipe.batch_size)
            forward: Forward = Compiled(network) if compile_pays(recipe, n_steps) else network
            precision = precision_of(recipe, device)
            optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=recipe.learning_rate)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, recipe.learning_rate, n_steps + 1, pct_start=min(1.0, max(recipe.warmup, 1.5 / n_steps))
            )
            for _ in range(recipe.epochs):
                for chosen in _batches(len(labels), recipe.batch_size, rng):
                    windows = _windows(sounds, clips, chosen, network.settings.window_frames, rng)
                    mixed, targets = mixup(
                        windows.to(device),
                        torch.from_numpy(labels[chosen]).to(device),
                        len(classes),
                        alpha=1.0,
                        mixed_labels=True,
                    )
                    with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
                        embedding = forward(mixed.contiguous(memory_format=torch.channels_last))[0][:, 0]
                    loss = head(embedding.float(), targets)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
        return network.eval()

    def _centres(self, clips: Sequence[Clip], directions: Sequence[FloatArray], seed: int) -> FloatArray:
        """Return unit vectors (n, D)."""
        of = {
            domain: [own for clip, own in zip(clips, directions, strict=True) if clip.domain == domain]
            for domain in ("source", "target")
        }
        centres = [row for own in of["target"] for row in own]
        if of["source"]:
            source = np.concatenate(of["source"])
            n_clusters = min(self.subclusters, len(np.unique(source, axis=0)))
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


class SubclusterHead(nn.Module):
    """Softmax over cosines to `subclusters` directions a class, with a scale that adapts itself.

    The probability of a class is the sum over its directions; the loss is the cross-entropy with mixed labels. The
    scale is that of AdaCos (X. Zhang et al., CVPR 2019): log B / cos(min(45 degrees, angle)), where B is the batch's
    mean of exp(scale * cosine), summed over the directions of other classes, and angle the median between a sample and
    the nearest direction of its own. As published for mixed labels, B sums over all directions, and the scale runs
    away where a few samples of a small batch lie better than the median.
    """

    scale: Tensor

    def __init__(self, n_dims: int, n_classes: int, subclusters: int) -> None:
        super().__init__()
        self.subclusters = subclusters
        self.directions = nn.Parameter(F.normalize(torch.randn(n_classes * subclusters, n_dims), dim=1))
        n_directions = n_classes * subclusters
        self.register_buffer("scale", torch.tensor(max(0.5, math.sqrt(2) * math.log(max(2, n_directions) - 1))))

    def forward(self, embedding: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of embeddings (N, D) with mixed one-hot targets (N, k); move the scale if training."""
        cosines = F.linear(F.normalize(embedding, dim=1), F.normalize(self.directions, dim=1))
        if self.training:
            self._adapt(cosines.detach(), targets)
        logits = self._of_classes(self.scale * cosines).logsumexp(2)
        loss: Tensor = -(targets * logits.log_softmax(1)).sum(1).mean()
        return loss

    def _adapt(self, cosines: Tensor, targets: Tensor) -> None:
        nearest = self._of_classes(cosines).amax(2).clamp(-1, 1).acos()
        angle = (targets * nearest).sum(1).median().clamp(max=math.pi / 4)
        foreign = (targets == 0).repeat_interleave(self.subclusters, dim=1)
        log_mean = (self.scale * cosines)[foreign].logsumexp(0) - math.log(len(cosines))
        self.scale.copy_((log_mean / angle.cos()).clamp(min=0.5))

    def _of_classes(self, x: Tensor) -> Tensor:
        """(N, k * subclusters) -> (N, k, subclusters)."""
        return x.reshape(len(x), -1, self.subclusters)


def _batches(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield every clip once in random order, the last batch filled up with the first clips again."""
    order = np.resize(rng.permutation(n), -(-n // batch_size) * batch_size)
    yield from order.reshape(-1, batch_size)


def _windows(
    sounds: Sounds, clips: Sequence[Clip], chosen: NDArray[np.int64], window_frames: int, rng: np.random.Generator
) -> Tensor:
    """Return a window at a random place of each chosen clip, (N, 1, M, window_frames), dB."""
    windows = []
    for place in sounds.places([clips[i] for i in chosen]):
        n_frames = sounds.store.n_frames(place)
        start = rng.integers(n_frames - window_frames + 1 if n_frames >= window_frames else n_frames)
        windows.append(window_of(sounds.store[place], int(start), window_frames))
    return torch.from_numpy(np.stack(windows)[:, None])


def _directions(network: Network, store: FeatureStore, place: int) -> FloatArray:
    """Return the embeddings of a clip on the unit sphere, (m, D): one a window, 16 frames apart."""
    frames, window = store[place], network.settings.window_frames
    if frames.shape[1] < window:
        frames = window_of(frames, 0, window)
    whole = window + (frames.shape[1] - window) // TIME_STRIDE * TIME_STRIDE
    features = torch.from_numpy(np.ascontiguousarray(frames[:, :whole]))[None, None]
    with torch.no_grad():
        embedding = network(features.to(best_device()))[0][0].cpu().numpy()
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
