"""How peers are fitted: to a machine or a section at a time, on the best device, with dice that fall the same."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from trainer.dataset import Clip
from trainer.peers.frames import Sounds
from trainer.peers.peer import PeerScores


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


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Make torch's dice fall the same for one seed, leave the caller's as they were, and yield numpy's."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield np.random.default_rng(seed)
