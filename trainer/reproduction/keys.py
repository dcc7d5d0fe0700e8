"""Keys: what a step rests on, as one hash. What was left under another key is stale."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trainer.dataset import Clip
from trainer.evaluation.scores import write_whole
from trainer.reproduction.steps import Step

REVISION: Final = 1
"""Part of every key: raise it when the same recipe and data come to give other scores."""


def key_of(step: Step, test_clips: Sequence[Clip]) -> str:
    """Return the key of a step: its recipe, the recordings it learns and scores, and the key of its beginning."""
    own = {clip.machine for clip in step.clips}
    content = {
        "revision": REVISION,
        "recipe": step.recipe.model_dump(mode="json"),
        "train": [_identity(clip) for clip in step.clips],
        "test": [_identity(clip) for clip in test_clips if clip.machine in own],
        "start": None if step.start is None else key_of(step.start, test_clips),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_key(path: Path) -> str | None:
    """Return the key that a marker holds, or None where there is no whole one."""
    try:
        key: str = json.loads(path.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key


def write_key(path: Path, key: str | None, **more: float) -> None:
    """Write a marker, whole or not at all."""
    write_whole(path, json.dumps({"key": key, **more}) + "\n")


def _identity(clip: Clip) -> list[str | int | None]:
    stat = clip.path.stat()
    return [str(clip.path), clip.name, clip.domain, clip.label, stat.st_size, stat.st_mtime_ns]
