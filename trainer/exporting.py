"""What the trainer asks of an exporter. It does not know one: whoever calls it hands one in, as `export/` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edge.detector import Detector


class Export(Protocol):
    """Makes a detector folder of a finished run, and returns it as a device would read it."""

    def __call__(
        self, run: Path, output: Path, *, name: str, false_alarm_rate: float, only: Sequence[str] | None = None
    ) -> Detector:
        """Fit the sections, prove the detector, and write it whole or not at all.

        false_alarm_rate: of the thresholds, a window, 0 to 1. only: the sections to fit, `machine/section`; None: all.
        Raises EarshotError if the run is not finished, has too little sound, or the detector does not prove itself.
        """
