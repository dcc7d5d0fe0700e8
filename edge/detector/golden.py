"""Does this detector still give what it gave where it was made? Asked at every start, before it is trusted."""

from collections.abc import Sequence
from typing import Final

from edge.detector.folder import Detector, Golden
from edge.detector.line import Line
from edge.errors import DetectorError
from edge.source import read_samples

TOLERANCE: Final = 1e-3
"""Relative: sums in another order on another processor differ by 1e-5; another network or frontend by far more."""


def golden_scores(detector: Detector, section: str) -> Golden:
    """Return what `golden.flac` scores as `section`, for `detector.json`.

    It is fed hop by hop, as a microphone is heard: onnxruntime keeps the memory of the most it had to do at once.
    """
    line = Line(detector, detector.section(section))
    samples, hop = read_samples(detector.path / "golden.flac"), detector.plan.hop_samples
    readings = [reading for at in range(0, samples.size, hop) for reading in line.feed(samples[at : at + hop])]
    return Golden(section=section, scores=[reading.scores[detector.card.score] for reading in readings])


def verify(detector: Detector) -> None:
    """Replay the golden recording. Raises DetectorError that says which window differs and by how much.

    A detector without a machine scores nothing, and passes: what is enrolled on it has golden scores of this computer.
    """
    if not detector.sections:
        return
    expected = detector.card.golden
    if expected is None:
        raise DetectorError(f"{detector.path}: no golden scores in detector.json: expected those of golden.flac")
    came = golden_scores(detector, expected.section).scores
    if not _close(came, expected.scores):
        raise DetectorError(
            f"{detector.path}: golden.flac scores {_shown(came)} as {expected.section}: expected "
            f"{_shown(expected.scores)}, as detector.json says: this detector does not work on this computer"
        )


def _close(came: Sequence[float], expected: Sequence[float]) -> bool:
    return len(came) == len(expected) and all(
        abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in zip(came, expected, strict=True)
    )


def _shown(scores: Sequence[float]) -> str:
    shown = ", ".join(f"{score:.4f}" for score in scores[:3])
    return f"[{shown}{', ...' if len(scores) > 3 else ''}] ({len(scores)} windows)"
