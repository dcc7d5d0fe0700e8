"""A detector folder from a stranger is data: whatever the bytes, a DetectorError or a detector that scores numbers.

EARSHOT_MUTATIONS=2000 tries as many as that, in ten minutes; else a few.
"""

import math
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Judge, Line, verify
from edge.detector.golden import Played
from edge.errors import DetectorError
from tests.strange import mutate

MUTATIONS: Final = int(os.environ.get("EARSHOT_MUTATIONS", "30"))
MOST_SECONDS: Final = 10.0
MOST_BYTES: Final = 600_000_000

_played: dict[tuple[str, str], Played] = {}


def played_by(detector: detectors.Detector) -> Played:
    """What its network measures of its recording, and of odd sounds."""
    files = detector.card.files
    return _played.setdefault((files["model.onnx"], files["golden.flac"]), {})


def peak_bytes() -> int:
    """Of this process, other tests in it included: only by how much it rises says something."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=MUTATIONS, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_whatever_is_changed_it_is_refused_or_it_hears(three_sections: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "detector")
        shutil.copytree(three_sections, folder, copy_function=os.link)
        note(mutate(folder, data.draw))
        started, before = time.process_time(), peak_bytes()
        try:
            detector = detectors.read(folder)
            verify(detector, played_by(detector))
        except DetectorError as error:
            refused = str(error)
        else:
            refused = str(folder)
            for section in detector.sections.values():
                line, judge = Line(detector, section), Judge(EventSettings(), detector, section)
                for i, each in enumerate(each for known in played_by(detector).values() for each in known):
                    reading = line.score(each)
                    assert all(map(math.isfinite, reading.scores.values()))
                    judge.hear(reading, i * detector.plan.hop_seconds)
        assert str(folder) in refused
        assert time.process_time() - started < MOST_SECONDS
        assert peak_bytes() - before < MOST_BYTES
