"""Keys: what a result rests on, as one hash. What lies there under another key is stale: put aside, never deleted."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.dataset import Clip
from trainer.evaluation.scores import write_whole


def key_of(content: Mapping[str, Any]) -> str:
    """Return one hash of what can be written as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_key(path: Path) -> str | None:
    """Return the key that a marker holds, or None where there is no whole one."""
    try:
        key: str = json.loads(path.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key


def write_key(path: Path, key: str, **more: float) -> None:
    """Write a marker, whole or not at all."""
    write_whole(path, json.dumps({"key": key, **more}) + "\n")


def put_aside(path: Path) -> Path:
    """Give a file or folder the first free name of `<name>.1`, `<name>.2`, ..., and return it."""
    n = 1
    while (aside := path.with_name(f"{path.name}.{n}")).exists():
        n += 1
    return path.rename(aside)


def sound_of(clip: Clip) -> list[Any]:
    """Return what scores of a clip depend on: the recording and how it is heard, section and domain. No label."""
    stat = clip.path.stat()
    heard = [clip.pickup.channel, clip.pickup.gain_db, clip.pickup.salvage]
    return [str(clip.path), clip.name, clip.domain, stat.st_size, stat.st_mtime_ns, *heard]
