"""One stream from samples to measurements: ring -> frontend -> meter. It compares nothing, and knows no machine.

It knows neither where the samples come from nor what becomes of what it measures. Any block size gives the same
measurements: one a hop (0.512 s), as soon as the window (9.6 s) is full after a reset.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from edge.ear.frontend import Frontend, Samples
from edge.ear.meter import Measurement, Meter
from edge.ear.model import Model
from edge.ear.offset import Offset
from edge.ear.ring import HopPlan, Ring

MIN_LEVEL_DBFS: Final = -100.0

OFFSET_MOVED: Final = "offset moved"


class Ear:
    """Samples to measurements. Of which machine is not its business."""

    def __init__(self, model: Model, plan: HopPlan, *, quiet: bool = True, least_offset: float = math.inf) -> None:
        """Hear through `model`, in windows and frames as `plan` has them; quiet: as for `Meter`.

        least_offset: of full scale, from which on a mean off zero is taken out; infinite: never. What learns, or
        compares with what another hears, takes sound as it is.
        """
        self.plan = plan
        self._offset = Offset(least_offset)
        self._ring = Ring(plan)
        self._frontend = Frontend(plan.frontend)
        self._meter = Meter(model, plan, quiet=quiet)
        self.reset()

    def reset(self) -> None:
        """Forget the past, after every gap: nothing is measured until the window is full again."""
        self._ring.reset()
        self._meter.reset()
        self._offset.reset()
        self._n_doubted = 0

    @property
    def offset(self) -> float:
        """The furthest off zero, of full scale, that was taken out since the last reset; 0 if nothing was."""
        return self._offset.most

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
        samples = self._ring.read()
        if not samples.size:
            return
        hop_samples = self.plan.hop_samples
        hops = [self._without_offset(hop) for hop in self._hops_of(samples)]
        if any(hop.offset for hop in hops):
            frames = np.concatenate([self._frontend(hop.samples) for hop in hops], axis=1)
        else:
            frames = self._frontend(samples)

        def level(hops_after: int) -> float:
            return level_dbfs(hops[-1 - hops_after].samples[-hop_samples:])

        for one, hop in zip(self._meter.measure(frames, level), hops, strict=True):
            if one is not None:
                yield replace(one, fault=one.fault or OFFSET_MOVED) if hop.is_doubted else one

    def _hops_of(self, samples: Samples) -> Iterator[Samples]:
        """Yield the samples of each hop, with the overlap that its first frame needs; the first may be shorter."""
        hop_samples, frontend = self.plan.hop_samples, self.plan.frontend
        overlap_samples = frontend.frame_samples - frontend.hop_samples
        n_hops = -(-(samples.size - overlap_samples) // hop_samples)
        for hops_after in reversed(range(n_hops)):
            end = samples.size - hops_after * hop_samples
            yield samples[max(0, end - hop_samples - overlap_samples) : end]

    def _without_offset(self, hop: Samples) -> "_Hop":
        if self._offset.hear(hop):
            self._n_doubted = self.plan.window_hops - 1  # until the last that was heard with another is in no window
        is_doubted = self._n_doubted > 0
        self._n_doubted -= is_doubted
        offset = self._offset.value
        return _Hop(hop - np.float32(offset) if offset else hop, offset, is_doubted)


class _Hop(NamedTuple):
    """Samples of a hop, what was taken from them, and whether its window holds hops heard before that was known."""

    samples: Samples
    offset: float
    is_doubted: bool


def level_dbfs(samples: Samples) -> float:
    """Return the RMS of samples re full scale, in dB, at least -100."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(MIN_LEVEL_DBFS, 10 * math.log10(max(power, 1e-10)))
