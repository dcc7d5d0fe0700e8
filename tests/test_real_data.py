"""Real recordings, which are not ours to ship: the shipped network's ear on machines it has never heard."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge import detector as detectors
from edge.detector.archive import readings_of, score_file
from edge.detector.enrolment import enroll
from edge.detector.folder import Detector
from edge.detector.line import Line
from edge.detector.naming import parse_name
from edge.source import find_audio, read_samples
from tests.conftest import COMMAND, DEMO, REAL_DATA, needs_real_data, run_process

pytestmark = needs_real_data


def enrolled(name: str, recordings: Sequence[Path], folder: Path) -> Detector:
    return enroll(name, recordings, detectors.read(DEMO / "detector"), folder / name)


def auc(detector: Detector, clips: Sequence[Path]) -> float:
    """Probability that an anomaly scores above a normal clip, which is the area under the ROC curve."""
    line = Line(detector, detector.section(None))
    scores = {clip: score_file(line, clip)["fused"] for clip in clips}
    labels = {clip: named.label for clip in clips if (named := parse_name(clip))}
    normal = np.array([scores[clip] for clip in clips if labels[clip] == "normal"])
    anomalous = np.array([scores[clip] for clip in clips if labels[clip] == "anomaly"])
    return float((anomalous[:, np.newaxis] > normal).mean())


def test_a_desk_fan_is_told_from_its_faults(tmp_path: Path) -> None:
    detector = enrolled("fan", find_audio(REAL_DATA / "fan" / "train"), tmp_path)
    assert auc(detector, find_audio(REAL_DATA / "fan" / "test")) > 0.95


@pytest.mark.parametrize("section", ["00", "01", "02"])
def test_broken_propellers_are_heard_through_the_weather(section: str, tmp_path: Path) -> None:
    """Above 0.93 in each section: what mel-band statistics alone reach as a mean of the three."""
    train, test = (
        [clip for clip in find_audio(REAL_DATA / "uav" / split) if f"section_{section}" in clip.name]
        for split in ("train", "test")
    )
    assert auc(enrolled("uav", train, tmp_path), test) > 0.93


@pytest.mark.parametrize("number", [0, 60, 120])
def test_file_blocks_and_stdin_score_the_same(number: int, tmp_path: Path) -> None:
    path = find_audio(REAL_DATA / "uav" / "test")[number]
    detector = detectors.read(DEMO / "detector")
    line = Line(detector, detector.section(None))
    expected = score_file(line, path)["fused"]
    for block_samples in (160, 1000, 48_000):
        (reading,) = readings_of(line, path, block_samples=block_samples)
        assert reading.scores["fused"] == pytest.approx(expected, rel=1e-5)
    assert heard_on_stdin(path, tmp_path) == pytest.approx([expected], rel=1e-5)


def heard_on_stdin(path: Path, folder: Path) -> list[float]:
    """The scores of `earshot run --json` with the clip on its standard input, and no broker that answers."""
    config = folder / "config.yaml"
    config.write_text(
        f"sources: [{{name: pipe, type: stdin, detector: {DEMO / 'detector'}}}]\nmqtt: {{host: 127.0.0.1, port: 9}}\n"
    )
    samples = (read_samples(path) * 32_768).astype("<i2").tobytes()
    done = run_process([*COMMAND, "run", "--config", str(config), "--json"], stdin=samples)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return [record["score"] for record in records if record["type"] == "reading"]
