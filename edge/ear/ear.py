"""One stream from samples to measurements: ring -> frontend -> meter. It compares nothing, and knows no machine.

It knows neither where the samples come from nor what becomes of what it measures. Any block size gives the same
measurements: one a hop (0.512 s), as soon as the window (9.6 s) is full after a reset.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from edge.ear.frontend import Frontend, Samples
from edge.ear.meter import Measurement, Meter
from edge.ear.model import Model
from edge.ear.ring import HopPlan, Ring

MIN_LEVEL_DBFS: Final = -100.0


class Ear:
    """Samples to measurements. Of which machine is not its business."""

    def __init__(self, model: Model, plan: HopPlan, *, quiet: bool = True) -> None:
        """Hear through `model`, in windows and frames as `plan` has them; quiet: as for `Meter`."""
        self.plan = plan
        self._ring = Ring(plan)
        self._frontend = Frontend(plan.frontend)
        self._meter = Meter(model, plan, quiet=quiet)
        self.reset()

    def reset(self) -> None:
        """Forget the past, after every gap: nothing is measured until the window is full again."""
        self._ring.reset()
        self._meter.reset()

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

        def level(hops_after: int) -> float:
            return level_dbfs(samples[: samples.size - hops_after * hop_samples][-hop_samples:])

        yield from (one for one in self._meter.measure(self._frontend(samples), level) if one is not None)


def level_dbfs(samples: Samples) -> float:
    """Return the RMS of samples re full scale, in dB, at least -100."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(MIN_LEVEL_DBFS, 10 * math.log10(max(power, 1e-10)))
