"""What is heard of the microphone before, and while, a machine is learnt by it: samples in, advice and faults out."""

from typing import Final

import numpy as np

from edge.config import SensorSettings
from edge.ear import QUIET_ROWS, FloatArray, Frontend, FrontendSettings, Samples
from edge.judge import Advice, SensorHealth, check_sound, gain_moved
from edge.source import SAMPLE_RATE_HZ

CHECK_SECONDS: Final = 10.0
"""Checked in one piece, and again until it is well: a person may turn the knob and watch."""

GAIN_SECONDS: Final = 2.0
"""Of a piece that the gain is looked at in: noise moves 32 bands by half a decibel in it."""


class Checking:
    """One microphone.

    fault   why what is heard now cannot be trusted, None if it can
    passed  whether the sound has been found well enough to learn from
    n_checks  how often it was looked at until then
    """

    def __init__(self, frontend: FrontendSettings) -> None:
        """Look at bands as `frontend` has them."""
        self.fault: str | None = None
        self.passed = False
        self.n_checks = 0
        self._frontend = Frontend(frontend)
        self._sensor = SensorHealth(SensorSettings())
        self._sound: tuple[Advice, ...] = ()
        self._gain: Advice | None = None
        self._bands: list[FloatArray] = []
        self._gathered: list[Samples] = []

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What is wrong with the sound."""
        return (*self._sound, self._gain) if self._gain else self._sound

    def begin(self) -> None:
        """Nothing connects what comes with what was heard."""
        self._gathered.clear()
        self._sensor.reset()

    def hear(self, samples: Samples) -> bool:
        """Take the next samples; return whether they are to be learnt from."""
        self.fault, was_well = self._sensor.hear(samples), self.passed
        if self.fault is not None and was_well:
            self._gathered.clear()
            return False
        self._gathered.append(samples)
        if sum(each.size for each in self._gathered) >= self._piece_seconds * SAMPLE_RATE_HZ:
            self._look(np.concatenate(self._gathered))
            self._gathered.clear()
        return was_well

    @property
    def _piece_seconds(self) -> float:
        return GAIN_SECONDS if self.passed else CHECK_SECONDS

    def _look(self, samples: Samples) -> None:
        if self.passed:
            frames = self._frontend(samples)
            self._bands.append(frames.reshape(QUIET_ROWS, -1).mean(axis=1))
            self._gain = gain_moved(np.stack(self._bands))
        else:
            self.n_checks += 1
            self._sound = tuple(check_sound(samples))
            self.passed = self.fault is None and not any(each.fault for each in self._sound)
