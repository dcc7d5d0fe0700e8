"""One stream from frames to measurements: network, texture, band statistics. It neither hears samples nor compares.

Who alters frames, to learn what a machine would sound like with a fault, measures them here: as those of any sound.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from edge.ear.bands import DEAD_DB, STATISTICS, FloatArray, band_statistics
from edge.ear.frontend import Features
from edge.ear.model import Model
from edge.ear.ring import HOP_FRAMES, FrameRing, HopPlan
from edge.ear.texture import Texture

MAX_DEAD_FRAMES: Final = 8
"""A quarter of a second in a window: no microphone hears that, however quiet the room."""

_LOWEST_BANDS: Final = 4


@dataclass(frozen=True)
class Measurement:
    """What one window measured, before it is compared with anything.

    end_sample  position of the sample after the window, since the last reset
    embedding   (D,); logits (k,); texture (C R,), of C channels and R rows; empty where the graph has no such output
    bands       (4, M), from `band_statistics`
    level_dbfs  RMS of the newest hop re full scale, at least -100; NaN where there were only frames
    fault       why the sound cannot be trusted: the window has a stretch of one value; else None
    """

    end_sample: int
    embedding: FloatArray
    texture: FloatArray
    logits: FloatArray
    bands: FloatArray
    level_dbfs: float
    fault: str | None = None


def measured_shapes(model: Model, *, quiet: bool = True) -> dict[str, tuple[int, ...]]:
    """Return the shape of each part of a `Measurement` through `model`; quiet: as for `Meter`."""
    return {
        "embedding": (model.embedding_dim,),
        "texture": (model.texture_dim if quiet else 0,),
        "logits": (model.n_classes,),
        "bands": (STATISTICS, model.n_mels),
    }


class _Given(NamedTuple):
    """What the network gives of one window: embedding (D,), logits (k,), texture (C R,)."""

    embedding: FloatArray
    logits: FloatArray
    texture: FloatArray


class Meter:
    """Frames to measurements, hop by hop."""

    def __init__(self, model: Model, plan: HopPlan, *, quiet: bool = True) -> None:
        """Measure through `model`, in windows as `plan` has them.

        quiet: whether what counts moments by how quiet they are is wanted: texture and quiet level of the bands. They
        are a fifth of the cost of a hop.
        """
        self.plan = plan
        self._quiet = quiet
        self._model = model if quiet else model.without_texture()
        self._frames = FrameRing(plan)
        self._texture = Texture(plan.window_hops - 1, *self._model.texture_shape)
        self.reset()

    def reset(self) -> None:
        """Forget the past: nothing is measured until the window is full again."""
        self._frames.reset()
        self._texture.reset()
        self._cache = self._model.empty_cache()
        self._n_hops = 0

    def fork(self) -> "Meter":
        """Return a meter with the same past, which does not share its future. The model is the same."""
        other = copy.copy(self)  # all that it remembers is replaced and never written into, but for these two
        other._frames, other._texture = copy.deepcopy(self._frames), copy.deepcopy(self._texture)
        return other

    def measure(
        self, frames: Features, level_dbfs: Callable[[int], float] = lambda _: math.nan
    ) -> list[Measurement | None]:
        """Take the frames of whole hops, (M, 16 m); return what the window that ends with each hop measures.

        The first hop of a stream lacks `plan.prime_frames`, and may do so. None where the window is not full yet.
        level_dbfs: asked for the level of the hop that so many of these come after.
        """
        plan = self.plan
        windows = self._frames.remember(frames)
        is_whole = self._model.whole_frames == plan.window_frames
        given = self._of_windows(windows) if is_whole else self._of_hops(frames)
        measurements: list[Measurement | None] = []
        for after, window, one in zip(reversed(range(len(windows))), windows, given, strict=True):
            self._n_hops += 1
            if window is None or one is None:
                measurements.append(None)
                continue
            end_sample = plan.window_samples + (self._n_hops - plan.window_hops) * plan.hop_samples
            bands, fault = band_statistics(window, quiet=self._quiet), _fault(window)
            level = level_dbfs(after)
            measurements.append(Measurement(end_sample, one.embedding, one.texture, one.logits, bands, level, fault))
        return measurements

    def _of_hops(self, frames: Features) -> list[_Given]:
        heard, self._cache = self._model(_whole_hops(frames)[np.newaxis], self._cache)
        textures = self._texture.push(heard.texture[0], heard.quiet[0])
        return [_Given(*each) for each in zip(heard.embedding[0], heard.logits[0], textures, strict=True)]

    def _of_windows(self, windows: Sequence[Features | None]) -> list[_Given | None]:
        """A network that computes windows whole does nothing until one is full: a clip of ten seconds is one."""
        heard = [None if window is None else self._model.of_window(window) for window in windows]
        none = np.zeros(0, np.float32)
        return [None if one is None else _Given(one.embedding[0, 0], one.logits[0, 0], none) for one in heard]


def _whole_hops(frames: Features) -> Features:
    """Put the dummy frames in front that the first hop of a stream lacks; no scored window holds them."""
    missing = -frames.shape[1] % HOP_FRAMES
    return np.pad(frames, ((0, 0), (missing, 0))) if missing else frames


def _fault(window: Features) -> str | None:
    """Say what is wrong with the sound of a window (M, F), or None.

    The lowest bands are left out: a constant offset leaks into them, and is no sound.
    """
    dead_frames = int((window[_LOWEST_BANDS:].max(axis=0) < DEAD_DB).sum())
    return "silent or stuck" if dead_frames >= MAX_DEAD_FRAMES else None
