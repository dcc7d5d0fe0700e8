"""The product itself as a system: trained by the default recipe, exported, and scored through the device's own line."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from edge.detector import Detector
from trainer.dataset import Clip
from trainer.evaluation.scoring import score_clips
from trainer.exporting import Export, exported
from trainer.peers.peer import Peer, PeerScores
from trainer.recipe import Recipe
from trainer.training import train_anew_if_other


@dataclass(frozen=True)
class Preset(Peer):
    """One of the two presets of the network; every class of the training clips is learned.

    name: `streaming` or `paper`; all else is in the recipe. export: makes the detector of what was trained.
    """

    about: ClassVar[str] = "Earshot: network and bands, exported, on the device's own line"
    default_score: ClassVar[str] = "fused"

    name: str = "streaming"
    recipe: Recipe = field(default_factory=Recipe)
    export: Export = field(kw_only=True, compare=False, repr=False)

    def with_epochs(self, epochs: int) -> Peer:
        """Return the same network trained for so many epochs."""
        return replace(self, recipe=self.recipe.model_copy(update={"epochs": epochs}))

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        """Train, export and score."""
        detector = self.detector(train, seed=seed, folder=folder)
        scored, skipped = score_clips(detector, test)
        unfitted = {clip.name for clip in test} - set(detector.sections)
        return PeerScores(
            test={s.clip.path: s.scores for s in scored},
            missing={
                **dict.fromkeys(sorted(unfitted), "too little normal sound to fit it"),
                **dict(reason.split(": ", 1) for reason in skipped),
            },
            thresholds={s.clip.name: s.thresholds for s in scored},
        )

    def detector(self, train: Sequence[Clip], *, seed: int, folder: Path) -> Detector:
        """Return the detector of a run in `folder`, trained and exported unless it was already."""
        recipe = self.recipe.model_copy(update={"preset": self.name, "seed": seed})
        train_anew_if_other(train, recipe, folder / "run", features=folder.parent / "features")
        return exported(self.export, folder / "run", folder / "detector", name=f"{self.name}-seed{seed}")
