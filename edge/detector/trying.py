"""What tries detectors, in a process of its own (edge/detector/trial.py): limits first, then folder after folder.

It reads JSON, `{"folders": [...], "passed": [...]}` with check sums, and answers with a line of JSON for each folder,
in order: `{"sha256": "..."}` of its detector.json, or `{"error": "..."}`.
"""

import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge.detector.folder import digest_of, read
from edge.detector.golden import Played, verify
from edge.ear import Model
from edge.errors import DetectorError, shown

SECONDS: Final = 30.0
"""For one detector; it takes 0.1 s on a workstation, and a second or two on a Raspberry Pi."""

START_SECONDS: Final = 60.0
"""For the child's imports besides, on a slow and busy computer."""

MOST_BYTES: Final = 1 << 30
"""Of the child's memory."""


def main() -> None:
    """Try the folders that standard input names."""
    asked = json.load(sys.stdin)
    _limit(len(asked["folders"]))
    passed: set[str] = set(asked["passed"])
    models: dict[str, Model] = {}
    played: Played = {}
    for path in asked["folders"]:
        print(json.dumps(_tried(Path(path), passed, models, played)), flush=True)


def _limit(n_folders: int) -> None:
    cpu_seconds = round(START_SECONDS + SECONDS * n_folders)  # in case nobody is left to kill it
    for limit, most in (
        (resource.RLIMIT_DATA, MOST_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_seconds),
    ):
        with suppress(OSError, ValueError):  # it is lower already
            resource.setrlimit(limit, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _tried(path: Path, passed: set[str], models: dict[str, Model], played: Played) -> dict[str, Any]:
    try:
        digest = digest_of(path)
        if digest not in passed:
            detector = read(path, models)
            verify(detector, played)
            passed.add(digest)
    except DetectorError as error:
        return {"error": str(error)[:4000]}
    except MemoryError:
        return {"error": f"{shown(path)}: takes more memory than there is"}
    except Exception as error:  # whatever it is, it is of this folder, and here it harms nobody
        return {"error": f"{shown(path)}: {type(error).__name__}: {shown(error)[:1000]}: expected a detector"}
    return {"sha256": digest}
