"""What the peers have in common: one interface, and scores that are kept.

A peer is fitted on normal training clips and never sees a label of a test clip: they are taken off before it is called.
Its scores lie in `scores.json` of its folder, written whole at the end, and are read from there as long as settings,
seed, recordings, the peers' code and the judge are the same; else they are put aside.
"""

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from trainer.dataset import Clip
from trainer.evaluation.scores import Scored, System, write_whole
from trainer.judging import judging
from trainer.keys import key_of, put_aside, sound_of
from trainer.recipe import Recipe
from trainer.runs import NOT_LEARNED, resolved

log = logging.getLogger(__name__)

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
    """A method of the field, in an implementation of ours (docs/peers.md).

    Its fields are its settings, but for those that it is handed to work with, which are left out of comparisons.
    """

    about: ClassVar[str]
    default_score: ClassVar[str]

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """What its scores depend on."""
        return {own.name: getattr(self, own.name) for own in fields(self) if own.compare}

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
            if path.exists():
                log.warning("%s: of other clips, settings or code: kept as %s", path, put_aside(path))
            kept = self.compute(train, [replace(clip, label=None) for clip in test], seed=seed, folder=folder)
            _write(path, key, kept)
        for what, why in kept.missing.items():
            log.warning("%s: no score for %s: %s", self.name, what, why)
        return kept

    def _key(self, train: Sequence[Clip], test: Sequence[Clip], seed: int) -> str:
        settings = json.loads(json.dumps(self.settings, default=_plain))
        what = {"peer": self.name, "settings": settings, "seed": seed, "code": _code(), "judging": judging()}
        clips = {"train": [sound_of(clip) for clip in train], "test": [sound_of(clip) for clip in test]}
        return key_of({**what, **clips})


def _not_available(missing: Mapping[str, str]) -> str:
    first = "".join(f"; not available for {what}: {why}" for what, why in list(missing.items())[:NAMED_MISSING])
    return f"{first}; and {n_more} more" if (n_more := len(missing) - NAMED_MISSING) > 0 else first


def folder_of(root: Path, name: str, seed: int) -> Path:
    """Return the folder of a peer: where the others look for what they share with it."""
    return root / f"{name}-seed{seed}"


@cache
def _code() -> str:
    """Return the hash of what the peers are: their settings do not tell all, and their training is short."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _plain(value: object) -> Any:  # noqa: ANN401  what json.dumps hands over
    if isinstance(value, Recipe):
        return {**value.model_dump(mode="json", exclude=set(NOT_LEARNED)), "resolved": resolved(value)}
    if isinstance(value, Peer):
        return value.settings
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
    content = {
        "key": key,
        "test": {str(clip): dict(own) for clip, own in scores.test.items()},
        "normal": {str(clip): dict(own) for clip, own in scores.normal.items()},
        "missing": dict(scores.missing),
        "thresholds": {section: dict(own) for section, own in scores.thresholds.items()},
    }
    write_whole(path, json.dumps(content, indent=1))
