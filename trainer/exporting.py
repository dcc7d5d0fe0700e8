"""What the trainer asks of an exporter. It does not know one: whoever calls it hands one in, as `export/` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import yaml

from edge import detector as detectors
from edge.detector import Detector, file_sha256
from trainer.judging import judging
from trainer.keys import key_of, read_key, write_key

FALSE_ALARM_RATE: Final = 0.01
"""Of the thresholds of detectors that are made to be graded, a window; no ranking depends on it."""


class Export(Protocol):
    """Makes a detector folder of a finished run, and returns it as a device would read it."""

    def __call__(
        self, run: Path, output: Path, *, name: str, false_alarm_rate: float, only: Sequence[str] | None = None
    ) -> Detector:
        """Fit the sections, prove the detector, and write it whole or not at all.

        false_alarm_rate: of the thresholds, a window, 0 to 1. only: the sections to fit, `machine/section`; None: all.
        Raises EarshotError if the run is not finished, has too little sound, or the detector does not prove itself.
        """


def exported(export: Export, run: Path, output: Path, *, name: str, only: Sequence[str] | None = None) -> Detector:
    """Return the detector of a finished run, exported unless it was already: of this network, with this judge.

    Raises EarshotError as `Export` does.
    """
    score = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["score"]
    rests_on = {"network": file_sha256(run / "network.pt"), "score": score, "name": name, "only": only}
    key, marker = key_of({**rests_on, "rate": FALSE_ALARM_RATE, "judging": judging()}), marker_of(output)
    if read_key(marker) == key and (output / "detector.json").exists():
        return detectors.read(output)
    detector = export(run, output, name=name, false_alarm_rate=FALSE_ALARM_RATE, only=only)
    write_key(marker, key)
    return detector


def marker_of(output: Path) -> Path:
    """Return the file beside a detector that tells what it was made of."""
    return output.with_name(f"{output.name}.exported.json")
