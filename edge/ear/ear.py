"""One stream from samples to measurements: ring -> frontend -> model. It compares nothing, and knows no machine.

It knows neither where the samples come from nor what becomes of what it measures. Any block size gives the same
measurements: one a hop (0.512 s), as soon as the window (9.6 s) is full after a reset.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.ear.bands import DEAD_DB, FloatArray, band_statistics
from edge.ear.frontend import Features, Frontend, Samples
from edge.ear.model import Model
from edge.ear.ring import HOP_FRAMES, HopPlan, Ring
from edge.ear.texture import Texture

MIN_LEVEL_DBFS: Final = -100.0

MAX_DEAD_FRAMES: Final = 8
"""A quarter of a second in a window: no microphone hears that, however quiet the room."""

_LOWEST_BANDS: Final = 4


@dataclass(frozen=True)
class Measurement:
    """What one window measured, before it is compared with anything.

    end_sample  position of the sample after the window, since the last reset
    embedding   (D,); logits (k,); texture (C R,), of C channels and R rows; empty where the graph has no such output
    bands       (4, M), from `band_statistics`
    level_dbfs  RMS of the newest hop re full scale, at least -100
    fault       why the sound cannot be trusted: the window has a stretch of one value; else None
    """

    end_sample: int
    embedding: FloatArray
    texture: FloatArray
    logits: FloatArray
    bands: FloatArray
    level_dbfs: float
    fault: str | None = None


class Ear:
    """Samples to measurements: ring -> frontend -> model. Of which machine is not its business."""

    def __init__(self, model: Model, plan: HopPlan) -> None:
        """Hear through `model`, in windows and frames as `plan` has them."""
        self.plan = plan
        self._frontend = Frontend(plan.frontend)
        self._model = model
        self._ring = Ring(self.plan)
        self._texture = Texture(plan.window_hops - 1, *model.texture_shape)
        self.reset()

    def reset(self) -> None:
        """Forget the past, after every gap: nothing is measured until the window is full again."""
        self._ring.reset()
        self._texture.reset()
        self._cache = self._model.empty_cache()

    def feed(self, samples: Samples) -> list[Measurement]:
        """Take mono samples, shape (T,), of any length; return what the windows that they completed measure."""
        measurements: list[Measurement] = []
        while samples.size:
            room = self._ring.room
            self._ring.write(samples[:room])
            samples = samples[room:]
            measurements += self._step()
        return measurements

    def _step(self) -> Iterator[Measurement]:
        plan, first_hop = self.plan, self._ring.hops_read + 1
        samples = self._ring.read()
        if not samples.size:
            return

        frames = self._frontend(samples)
        heard, self._cache = self._model(_whole_hops(frames)[np.newaxis], self._cache)
        textures = self._texture.push(heard.texture[0], heard.quiet[0])
        windows = self._ring.remember(frames)
        for i, window in enumerate(windows):
            if window is None:
                continue
            newest = samples[: samples.size - (len(windows) - 1 - i) * plan.hop_samples][-plan.hop_samples :]
            yield Measurement(
                plan.window_samples + (first_hop + i - plan.window_hops) * plan.hop_samples,
                heard.embedding[0, i],
                textures[i],
                heard.logits[0, i],
                band_statistics(window),
                level_dbfs(newest),
                _fault(window),
            )


def level_dbfs(samples: Samples) -> float:
    """Return the RMS of samples re full scale, in dB, at least -100."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(MIN_LEVEL_DBFS, 10 * math.log10(max(power, 1e-10)))


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
