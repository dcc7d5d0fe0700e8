"""Log-mel frames of many clips on disk, computed once, by the device's own frontend.

One file of float32 rows, a frame a row, mapped into memory: data may be larger than memory. An index beside it holds
the fingerprint of the frontend and the size and time of every recording, so that stale features are never read.
"""

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge.errors import EarshotError
from edge.frontend import Features, Frontend, FrontendSettings
from edge.source import read_samples
from trainer.dataset import Clip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureStore:
    """Frames of the clips that could be read, in their order; the others are named in `skipped`."""

    clips: Sequence[Clip]
    skipped: Sequence[tuple[Path, str]]
    _frames: NDArray[np.float32]
    _starts: Sequence[int]

    def __getitem__(self, index: int) -> Features:
        """Return the frames of clip `index`, shape (M, F), dB, a view of the file."""
        frames: Features = self._frames[self._starts[index] : self._starts[index + 1]].T
        return frames

    def n_frames(self, index: int) -> int:
        """Return how many frames clip `index` has."""
        return self._starts[index + 1] - self._starts[index]

    def band_moments(self, indices: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and deviation of each mel band over the frames of some clips, each (M,), dB."""
        n, total, squares = 0, 0.0, 0.0
        for index in indices:
            frames = self[index].astype(np.float64)
            n += frames.shape[1]
            total = total + frames.sum(1)
            squares = squares + np.square(frames).sum(1)
        mean = np.asarray(total / n)
        deviation = np.sqrt(np.maximum(np.asarray(squares / n) - np.square(mean), 1e-6))
        return mean.astype(np.float32), deviation.astype(np.float32)


def compute_features(clips: Sequence[Clip], settings: FrontendSettings, folder: Path) -> FeatureStore:
    """Return the frames of every clip, from `folder` where they are there and still true, else computed into it.

    A recording that cannot be used is logged by name and left out. Raises EarshotError if none is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"frontend": settings.fingerprint, "recordings": [_identity(clip.path) for clip in clips]}
    index_path, frames_path = folder / "features.json", folder / "features.f32"
    index = _read_index(index_path)
    if index is None or index["wanted"] != wanted:
        index = {"wanted": wanted, **_compute(clips, settings, frames_path)}
        _write_index(index_path, index)

    skipped = {clips[i].path: reason for i, reason in index["skipped"]}
    for path, reason in skipped.items():
        log.warning("left out: %s", reason or path)
    kept = [clip for clip in clips if clip.path not in skipped]
    if not kept:
        raise EarshotError("none of the recordings can be used")
    starts = np.concatenate([[0], np.cumsum(index["n_frames"], dtype=np.int64)]).tolist()
    frames = np.memmap(frames_path, np.float32, "r", shape=(starts[-1], settings.n_mels))
    return FeatureStore(kept, list(skipped.items()), frames, starts)


def _compute(clips: Sequence[Clip], settings: FrontendSettings, path: Path) -> dict[str, Any]:
    n_frames: list[int] = []
    skipped: list[tuple[int, str]] = []
    jobs = [(clip.path, settings) for clip in clips]
    # Spawned, not forked: torch has threads of its own by now, and a fork would copy their locks.
    with path.open("wb") as file, ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        results = pool.map(_frames_of, jobs, chunksize=8)
        for i, result in enumerate(tqdm(results, "features", len(jobs), unit="clip")):
            if isinstance(result, str):
                skipped.append((i, result))
            else:
                n_frames.append(len(result))
                file.write(result.tobytes())
    return {"n_frames": n_frames, "skipped": skipped}


def _frames_of(job: tuple[Path, FrontendSettings]) -> NDArray[np.float32] | str:
    """Return the frames of a recording, (F, M), or why there are none. Runs in a process of its own."""
    path, settings = job
    try:
        samples = read_samples(path)
    except EarshotError as error:
        return str(error)
    if samples.size < settings.frame_samples:
        return f"{path}: {samples.size} samples: expected at least {settings.frame_samples}, one frame"
    return np.ascontiguousarray(Frontend(settings)(samples).T)


def _identity(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _read_index(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    index: dict[str, Any] = json.loads(path.read_text())
    index["wanted"]["recordings"] = [tuple(entry) for entry in index["wanted"]["recordings"]]
    return index


def _write_index(path: Path, index: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(index))
    part.replace(path)
