"""Does this detector still give what it gave where it was made, and what does it give at sounds that nobody played?

Asked at every start, before it is trusted. The golden recording proves the network and the section that it is scored
as. Every section is rehearsed besides, from measurement to judgement: on that recording, on silence and on the loudest
noise there is, so that what fails at the first sound fails here.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import closing
from typing import Final

import numpy as np

from edge.config import EventSettings
from edge.detector.card import Golden
from edge.detector.folder import Detector
from edge.detector.judge import Judge
from edge.detector.line import Line
from edge.ear import Ear, Measurement, Samples
from edge.errors import ConfigError, DetectorError, SourceError, shown
from edge.source import SAMPLE_RATE_HZ, read_blocks

TOLERANCE: Final = 1e-3
"""Relative: sums in another order on another processor differ by 1e-5; another network or frontend by far more."""

MOST_SECONDS: Final = 300.0
"""Of a golden recording: a few megabytes of FLAC may unpack to hours."""


def golden_scores(detector: Detector, section: str) -> Golden:
    """Return what `golden.flac` scores as `section`, for `detector.json`."""
    line = Line(detector, detector.section(section))
    readings = [line.score(each) for each in _measured(detector, _recording(detector))]
    return Golden(section=section, scores=[reading.scores[detector.card.score] for reading in readings])


Played = MutableMapping[tuple[str, ...], Sequence[Measurement]]
"""What a network measured of the recording, by their check sums: machines of one network have the same."""


def verify(detector: Detector, known: Played | None = None) -> None:
    """Replay the golden recording, and rehearse every section.

    known: what others that were verified have measured; added to.
    Raises DetectorError that says which window differs and by how much, or which section cannot be judged. A detector
    without a machine scores nothing, and has only to hear: what is enrolled on it has golden scores of this computer.
    """
    expected, (played, odd) = detector.card.golden, _measured_once(detector, {} if known is None else known)
    if detector.sections:
        if expected is None:
            raise DetectorError(f"{detector.path}: no golden scores in detector.json: expected those of golden.flac")
        line = Line(detector, detector.section(expected.section))
        readings = [line.score(each) for each in played]
        came = [reading.scores.get(detector.card.score, np.nan) for reading in readings]
        if not _close(came, expected.scores):
            raise DetectorError(
                f"{detector.path}: golden.flac scores {_shown(came)} as {expected.section}: expected "
                f"{_shown(expected.scores)}, as detector.json says: this detector does not work on this computer"
            )
    for name in detector.sections:
        _rehearse(detector, name, [*played[:REHEARSED], *odd])


REHEARSED: Final = 8
"""Windows of the golden recording that every section is tried on: more than it takes to open an episode."""


def _rehearse(detector: Detector, name: str, measured: Sequence[Measurement]) -> None:
    """Judge what was measured as if heard live. Raises DetectorError that says at what it fails."""
    section = detector.section(name)
    try:
        line, judge = Line(detector, section), Judge(EventSettings(), detector, section, learns=True)
        for time, each in enumerate(measured):
            judge.hear(line.score(each), time * detector.plan.hop_seconds)
    except (ConfigError, ArithmeticError, ValueError, LookupError) as error:
        raise DetectorError(f"{shown(detector.path)}: {name} cannot be judged: {shown(error)}") from error


def _measured_once(detector: Detector, known: Played) -> tuple[Sequence[Measurement], Sequence[Measurement]]:
    """Return what the network measures of the recording, and of odd sounds."""
    files, plan = detector.card.files, (detector.frontend.fingerprint, str(detector.card.window_frames))
    odd = (files.get("model.onnx", ""), *plan)
    heard = (files.get("golden.flac", ""), *odd)
    if heard not in known:
        known[heard] = list(_measured(detector, _recording(detector)))
    if odd not in known:
        known[odd] = [each for sound in _odd_sounds(detector) for each in _measured(detector, sound)]
    return known[heard], known[odd]


def _recording(detector: Detector) -> Iterator[Samples]:
    """Yield `golden.flac` hop by hop, as a microphone is heard: onnxruntime keeps the memory of the most it did."""
    path, n_samples = detector.path / "golden.flac", 0
    try:
        with closing(read_blocks(path, block_samples=detector.plan.hop_samples)) as blocks:  # type: ignore[type-var]  # a generator
            for block in blocks:
                n_samples += block.size
                if n_samples > MOST_SECONDS * SAMPLE_RATE_HZ:
                    raise DetectorError(f"{shown(path)}: longer than {MOST_SECONDS:g} s: expected a short recording")
                yield block
    except SourceError as error:
        raise DetectorError(str(error)) from error


def _odd_sounds(detector: Detector) -> Iterator[Iterator[Samples]]:
    """Yield the ends of what a microphone gives, of two windows' length each: hardly anything, and everything."""
    plan, rng = detector.plan, np.random.default_rng(0)
    for level in (1e-4, 1.0):
        noise = level * rng.uniform(-1, 1, 2 * plan.window_samples).astype(np.float32)
        yield (noise[at : at + plan.hop_samples] for at in range(0, noise.size, plan.hop_samples))


def _measured(detector: Detector, sound: Iterator[Samples]) -> Iterator[Measurement]:
    ear: Ear = detector.ear()
    for samples in sound:
        yield from _heard(detector, ear, samples)


def _heard(detector: Detector, ear: Ear, samples: Samples) -> list[Measurement]:
    try:
        return ear.feed(samples)
    except Exception as error:  # onnxruntime raises types of its own, one for each status code
        raise DetectorError(f"{shown(detector.path / 'model.onnx')}: cannot hear: {shown(error)}") from error


def _close(came: Sequence[float], expected: Sequence[float]) -> bool:
    return len(came) == len(expected) and all(
        abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in zip(came, expected, strict=True)
    )


def _shown(scores: Sequence[float]) -> str:
    shown = ", ".join(f"{score:.4f}" for score in scores[:3])
    return f"[{shown}{', ...' if len(scores) > 3 else ''}] ({len(scores)} windows)"
