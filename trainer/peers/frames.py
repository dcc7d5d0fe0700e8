"""The frames that peers learn from: those of all clips, from one cache, and stretches of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.ear import FrontendSettings
from trainer.dataset import Clip
from trainer.features import FeatureStore, compute_features


@dataclass(frozen=True)
class Sounds:
    """The frames of all clips of a comparison, from one cache."""

    store: FeatureStore
    place: Mapping[Path, int]

    @classmethod
    def read(cls, train: Sequence[Clip], test: Sequence[Clip], folder: Path) -> "Sounds":
        """Compute them, or read them from the cache beside the peer's folder."""
        store = compute_features([*train, *test], FrontendSettings(), folder.parent / "features")
        return cls(store, {clip.path: i for i, clip in enumerate(store.clips)})

    def places(self, clips: Sequence[Clip]) -> list[int]:
        """Return where the clips are in the store."""
        return [self.place[clip.path] for clip in clips]


class Stacks:
    """Every stretch of `length` frames of some clips, `hop` frames apart; clips shorter than that have none."""

    def __init__(self, sounds: Sounds, clips: Sequence[Clip], *, length: int, hop: int) -> None:
        self.clips = clips
        self.length = length
        frames = [sounds.store[place].T for place in sounds.places(clips)]
        n_frames = [len(own) for own in frames]
        first = np.concatenate([[0], np.cumsum(n_frames)[:-1]]).astype(np.int64)
        starts = [np.arange(0, n - length + 1, hop) for n in n_frames]
        self._frames = np.concatenate(frames)
        self._starts = np.concatenate([own + offset for own, offset in zip(starts, first, strict=True)])
        self.clip_of = np.repeat(np.arange(len(clips)), [len(own) for own in starts])

    def __len__(self) -> int:
        return len(self._starts)

    def take(self, rows: NDArray[np.integer]) -> torch.Tensor:
        """Return the chosen stretches, (B, length, M), dB."""
        return torch.from_numpy(self._frames[self._starts[rows, None] + np.arange(self.length)])

    def labels(self, sections: Sequence[str]) -> NDArray[np.int64]:
        """Return which of the sections each stretch is said to be of, (n,)."""
        return np.array([sections.index(clip.name) for clip in self.clips], np.int64)[self.clip_of]

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation of each mel band over all frames, each (M,), dB."""
        mean, deviation = self._frames.mean(0, dtype=np.float64), self._frames.std(0, dtype=np.float64)
        return torch.tensor(mean, dtype=torch.float32), torch.tensor(np.maximum(deviation, 1e-3), dtype=torch.float32)

    def batches(self, rng: np.random.Generator, batch_size: int, most: int) -> Iterator[NDArray[np.int64]]:
        """Yield an epoch of rows in random order, at most `most` of them, in batches of at least half the size."""
        order = rng.permutation(len(self))[:most]
        yield from np.array_split(order, max(1, round(len(order) / batch_size)))

    def in_order(self, batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Yield all rows in their order."""
        for start in range(0, len(self), batch_size):
            yield np.arange(start, min(start + batch_size, len(self)))

    def mean_of_clips(self, values: NDArray[np.floating], name: str) -> dict[Path, dict[str, float]]:
        """Return the mean of a value per stretch over each clip, as the score `name` of the clip."""
        counts = np.bincount(self.clip_of, minlength=len(self.clips))
        sums = np.bincount(self.clip_of, values, minlength=len(self.clips))
        heard = zip(self.clips, sums, counts, strict=True)
        return {clip.path: {name: float(total / n)} for clip, total, n in heard if n}
