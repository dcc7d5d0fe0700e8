"""Two classifiers and a density, averaged: the recipe of the 2021 winner, the paper's [7], from peers that are here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from trainer.dataset import Clip
from trainer.peers.flow import Flow
from trainer.peers.mobilenetv2 import MobileNetV2
from trainer.peers.peer import Peer, PeerScores, folder_of
from trainer.peers.subcluster_adacos import SubclusterAdacos


@dataclass(frozen=True)
class Ensemble(Peer):
    """The mean of the members' z-scores, by section; a member that has no score of a section is left out there.

    Mean and deviation are those of the section's training clips: no test clip takes part.
    """

    about: ClassVar[str] = "mean z-score of the MobileNetV2 and sub-cluster AdaCos classifiers and the flow"
    default_score: ClassVar[str] = "mean"

    name: str = "ensemble"
    members: tuple[Peer, ...] = field(default_factory=lambda: (MobileNetV2(), SubclusterAdacos(), Flow()))

    def with_epochs(self, epochs: int) -> Peer:
        """Return an ensemble of members trained for so many epochs."""
        return replace(self, members=tuple(member.with_epochs(epochs) for member in self.members))

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Read the members' scores of this seed from beside, or compute them there."""
        z_scores: dict[Path, list[float]] = {}
        for member in self.members:
            own = member.scores(train, test, seed=seed, folder=folder_of(folder.parent, member.name, seed))
            for path, z in _z_scores(own, member.default_score, train, test).items():
                z_scores.setdefault(path, []).append(z)
        return PeerScores(
            {path: {self.default_score: float(np.mean(own))} for path, own in z_scores.items()},
            missing={str(clip.path): "no member has a score of it" for clip in test if clip.path not in z_scores},
        )


def _z_scores(scores: PeerScores, name: str, train: Sequence[Clip], test: Sequence[Clip]) -> dict[Path, float]:
    """Return one score of every test clip in deviations from the mean of its section's training clips."""
    z_scores: dict[Path, float] = {}
    for section in sorted({clip.name for clip in test}):
        normal = [scores.normal[c.path][name] for c in train if c.name == section and c.path in scores.normal]
        mean, deviation = (float(np.mean(normal)), float(np.std(normal))) if normal else (0.0, 0.0)
        if deviation > 0:
            own = (clip.path for clip in test if clip.name == section and clip.path in scores.test)
            z_scores |= {path: (scores.test[path][name] - mean) / deviation for path in own}
    return z_scores
