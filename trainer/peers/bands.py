"""Mel-band statistics and a Mahalanobis distance: no network, and the row that every other has to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from edge.ear import FloatArray, band_statistics
from edge.judge import Gaussian, fit_gaussian
from trainer.dataset import Clip
from trainer.peers.fitting import Group, each_group, section_of
from trainer.peers.frames import Sounds
from trainer.peers.peer import Peer, PeerScores


@dataclass(frozen=True)
class Bands(Peer):
    """Mean and deviation of each band (`bands`), and what it exceeds 90 % of the time (`l90`), a Gaussian a section."""

    about: ClassVar[str] = "mean and deviation of each mel band, Ledoit-Wolf Mahalanobis; untrained"
    default_score: ClassVar[str] = "bands"

    name: str = "bands"

    def compute(
        self,
        train: Sequence[Clip],
        test: Sequence[Clip],
        *,
        seed: int,  # noqa: ARG002  no dice here
        folder: Path,
    ) -> PeerScores:
        """Fit and score every section under test."""
        sounds = Sounds.read(train, test, folder)

        def fit_and_score(section: Group) -> PeerScores:
            domains = [clip.domain for clip in section.normal]
            parts = {name: fit_gaussian(x, domains) for name, x in _quantities(sounds, section.normal).items()}
            return PeerScores(_score(sounds, section.unknown, parts), _score(sounds, section.normal, parts))

        return each_group(sounds, train, test, section_of, fit_and_score)


def _score(sounds: Sounds, clips: Sequence[Clip], parts: Mapping[str, Gaussian]) -> dict[Path, dict[str, float]]:
    if not clips:
        return {}
    distances = {name: parts[name].distance(x) for name, x in _quantities(sounds, clips).items()}
    return {clip.path: {name: float(own[i]) for name, own in distances.items()} for i, clip in enumerate(clips)}


def _quantities(sounds: Sounds, clips: Sequence[Clip]) -> dict[str, FloatArray]:
    """Return what the distances are measured on, a row a clip: (n, 2 M) and (n, M), dB."""
    bands = np.stack([band_statistics(sounds.store[place]) for place in sounds.places(clips)])
    return {"bands": bands[:, :2].reshape(len(bands), -1), "l90": bands[:, 2]}
