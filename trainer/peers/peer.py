"""What the peers have in common: one interface, scores that are kept, and stacks of frames.

A peer is fitted on normal training clips and never sees a label of a test clip: they are taken off before it is called.
Its scores lie in `scores.json` of its folder, written whole at the end, and are read from there as long as settings,
seed and recordings are the same.
"""

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from edge.ear import FrontendSettings
from trainer.dataset import Clip
from trainer.evaluation.scores import Scored, System
from trainer.features import FeatureStore, compute_features

log = logging.getLogger(__name__)

REVISION: Final = 1
"""Part of the key of kept scores: raise it when the same settings begin to give other numbers."""

NAMED_MISSING: Final = 3
"""How many reasons for a missing score a table names; the log has all."""

ScoresOf = Mapping[Path, Mapping[str, float]]
"""Every score of a recording, by its path; higher is more anomalous."""


@dataclass(frozen=True)
class PeerScores:
    """What a peer gives.

    test        scores of the test clips
    normal      scores of the training clips, for whoever must bring several peers to one scale; of clips that the peer
                was fitted on, and so lower than those of new normal clips
    missing     why others have none, by machine, `machine/section` or path
    thresholds  by `machine/section`, where the method has any
    """

    test: ScoresOf
    normal: ScoresOf = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer(ABC):
    """A method of the field, in an implementation of ours (docs/peers.md). Its fields are its settings."""

    about: ClassVar[str]
    default_score: ClassVar[str]

    name: str

    @abstractmethod
    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Fit and score. The test clips come without their labels; the folder is there."""

    def with_epochs(self, epochs: int) -> "Peer":
        """Return the same method trained for so many epochs, for a try; as it is where nothing is trained."""
        trained: dict[str, Any] = {"epochs": epochs} if hasattr(self, "epochs") else {}
        return replace(self, **trained)

    def fit_and_score(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> System:
        """Fit on normal clips and score others, or read what was computed before.

        Clips that cannot be scored are left out, and the system's `about` says why.

        folder: the peer's own, as `folder_of` names it. Beside it lie `features`, for all peers, and other peers'.
        """
        scores = self.scores(train, test, seed=seed, folder=folder)
        scored = [
            Scored(clip, scores.test[clip.path], scores.thresholds.get(clip.name, {}))
            for clip in test
            if clip.path in scores.test
        ]
        return System(self.name, seed, f"{self.about}{_not_available(scores.missing)}", scored, self.default_score)

    def scores(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Return the scores kept in `folder`, or compute them and keep them."""
        folder.mkdir(parents=True, exist_ok=True)
        path, key = folder / "scores.json", self._key(train, test, seed)
        kept = _read(path, key)
        if kept is None:
            log.info("%s: seed %d", self.name, seed)
            kept = self.compute(train, [replace(clip, label=None) for clip in test], seed=seed, folder=folder)
            _write(path, key, kept)
        for what, why in kept.missing.items():
            log.warning("%s: no score for %s: %s", self.name, what, why)
        return kept

    def _key(self, train: Sequence[Clip], test: Sequence[Clip], seed: int) -> str:
        what = {"revision": REVISION, "peer": self.name, "settings": asdict(self), "seed": seed}
        clips = {"train": [_identity(clip) for clip in train], "test": [_identity(clip) for clip in test]}
        return hashlib.sha256(json.dumps({**what, **clips}, default=_plain, sort_keys=True).encode()).hexdigest()


def _not_available(missing: Mapping[str, str]) -> str:
    first = "".join(f"; not available for {what}: {why}" for what, why in list(missing.items())[:NAMED_MISSING])
    return f"{first}; and {n_more} more" if (n_more := len(missing) - NAMED_MISSING) > 0 else first


def folder_of(root: Path, name: str, seed: int) -> Path:
    """Return the folder of a peer: where the others look for what they share with it."""
    return root / f"{name}-seed{seed}"


def _identity(clip: Clip) -> list[str | int]:
    stat = clip.path.stat()
    return [str(clip.path), clip.name, clip.domain, stat.st_size, stat.st_mtime_ns]


def _plain(value: object) -> Any:  # noqa: ANN401  what json.dumps hands over
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{value!r}: expected settings that can be written as JSON")


def _read(path: Path, key: str) -> PeerScores | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("key") != key:
        return None
    test, normal = ({Path(clip): own for clip, own in kept[part].items()} for part in ("test", "normal"))
    return PeerScores(test, normal, kept["missing"], kept["thresholds"])


def _write(path: Path, key: str, scores: PeerScores) -> None:
    """Whole or not at all: a kill in between leaves no half of a result."""
    content = {
        "key": key,
        "test": {str(clip): dict(own) for clip, own in scores.test.items()},
        "normal": {str(clip): dict(own) for clip, own in scores.normal.items()},
        "missing": dict(scores.missing),
        "thresholds": {section: dict(own) for section, own in scores.thresholds.items()},
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)


# --- Clips and their frames ---


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


@dataclass(frozen=True)
class Group:
    """What is fitted together and scored together: a machine or a section under test, with the clips of it."""

    name: str
    normal: Sequence[Clip]
    unknown: Sequence[Clip]


def each_group(
    sounds: Sounds,
    train: Sequence[Clip],
    test: Sequence[Clip],
    name_of: Callable[[Clip], str],
    fit_and_score: Callable[[Group], PeerScores],
    *,
    min_frames: int = 1,
) -> PeerScores:
    """Fit and score every group of clips that `name_of` puts together and that has test clips.

    Training clips of other groups, such as background, are left alone. So are clips that could not be read, are
    shorter than `min_frames`, or are of a section without normal clips: `missing` names them.
    """
    machines = {clip.machine for clip in test}
    train = [clip for clip in train if clip.machine in machines]
    missing = {str(clip.path): why for clip in [*train, *test] if (why := _unusable(sounds, clip, min_frames))}
    normal = [clip for clip in sorted(train) if str(clip.path) not in missing]
    sections = {clip.name for clip in normal}
    unknown = [clip for clip in sorted(test) if str(clip.path) not in missing and clip.name in sections]
    missing |= {clip.name: "no normal clip to learn from" for clip in test if clip.name not in sections}

    total = PeerScores(test={}, normal={}, missing=missing)
    for name in sorted({name_of(clip) for clip in unknown}):
        members = ([clip for clip in clips if name_of(clip) == name] for clips in (normal, unknown))
        scores = fit_and_score(Group(name, *members))
        total = PeerScores(
            {**total.test, **scores.test}, {**total.normal, **scores.normal}, {**total.missing, **scores.missing}
        )
    return total


def _unusable(sounds: Sounds, clip: Clip, min_frames: int) -> str | None:
    if clip.path not in sounds.place:
        return "cannot be used, as the log says"
    n_frames = sounds.store.n_frames(sounds.place[clip.path])
    return f"{n_frames} frames: expected at least {min_frames}" if n_frames < min_frames else None


def machine_of(clip: Clip) -> str:
    """Group by machine, as the baselines do."""
    return clip.machine


def section_of(clip: Clip) -> str:
    """Group by `machine/section`."""
    return clip.name


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


# --- Torch ---


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Make torch's dice fall the same for one seed, leave the caller's as they were, and yield numpy's."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield np.random.default_rng(seed)
