"""Learns machines from their normal recordings, on the embedding of a network that is there already; no torch.

The trainer fits the sections it trained on with the same functions: a machine that is enrolled on a device and one
that was trained on a workstation differ in nothing but their place among the logits.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge import detector as detectors
from edge.detector import Card, Detector, Section, SectionCard
from edge.errors import EarshotError
from edge.fit import MIN_WINDOWS, NormalWindows, fit_section
from edge.golden import golden_scores
from edge.line import Ear, Measurement
from edge.scorer import Domain
from edge.source import read_blocks

log = logging.getLogger(__name__)

BLOCK_SAMPLES = 1 << 16


def measure(ear: Ear, path: Path) -> list[Measurement]:
    """Return what the windows of one recording measure, no two of them overlapping.

    Raises SourceError or EarshotError that names the recording if it cannot be used: damaged, too short, or silent.
    """
    ear.reset()
    heard: list[Measurement] = []
    n_samples = 0
    for samples in read_blocks(path, block_samples=BLOCK_SAMPLES):
        n_samples += samples.size
        for measurement in ear.feed(samples):
            if not heard or measurement.end_sample - heard[-1].end_sample >= ear.plan.window_samples:
                heard.append(measurement)

    rate_hz = ear.plan.frontend.sample_rate_hz
    if not heard:
        window_seconds = ear.plan.window_samples / rate_hz
        raise EarshotError(f"{path}: {n_samples / rate_hz:.2f} s: expected one window, {window_seconds:g} s, or more")
    sound = [measurement for measurement in heard if measurement.fault is None]
    if not sound:
        raise EarshotError(f"{path}: {heard[0].fault}: expected the sound of a machine")
    return sound


def measure_normal(
    ear: Ear, recordings: Iterable[tuple[Path, Domain]], skip: Callable[[str], None] = log.warning
) -> NormalWindows | None:
    """Return what the recordings measure, in their order; those that cannot be used are reported and left out.

    None if nothing is left.
    """
    rows: list[tuple[Domain, Measurement]] = []
    for path, domain in recordings:
        try:
            rows += [(domain, heard) for heard in measure(ear, path)]
        except EarshotError as error:
            skip(str(error))
    if not rows:
        return None
    return NormalWindows(
        domain=[domain for domain, _ in rows],
        embedding=np.stack([heard.embedding for _, heard in rows]),
        logits=np.stack([heard.logits for _, heard in rows]),
        bands=np.stack([heard.bands for _, heard in rows]),
    )


def learn_section(
    machine: str, section: str, windows: NormalWindows, *, class_index: int | None, false_alarm_rate: float
) -> Section:
    """Fit one section and its thresholds. Raises ValueError if there are too few windows."""
    statistics, calibration = fit_section(windows, class_index)
    card = SectionCard(
        machine=machine,
        section=section,
        domains=list(statistics.parts["mahalanobis"].domains),
        class_index=class_index,
        windows=len(windows),
        thresholds={name: own.threshold(false_alarm_rate) for name, own in calibration.items()},
    )
    return Section(card, statistics, calibration)


def enroll(name: str, recordings: Sequence[Path], base: Detector, output: Path) -> Detector:
    """Write a new detector for machine `name`, from its normal recordings and the network of `base`.

    Raises EarshotError that says how much sound there must be.
    """
    windows = measure_normal(Ear(base), [(path, "source") for path in recordings])
    n_windows = 0 if windows is None else len(windows)
    if windows is None or n_windows < MIN_WINDOWS:
        window_seconds = base.plan.window_samples / base.frontend.sample_rate_hz
        raise EarshotError(
            f"{name}: {n_windows} windows of normal sound: expected at least {MIN_WINDOWS} of {window_seconds:g} s each"
        )

    section = learn_section(name, "00", windows, class_index=None, false_alarm_rate=base.card.false_alarm_rate)
    card = Card(
        **{
            **base.card.model_dump(),
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sections": [section.card],
            "score": "fused",
            "training": {"enrolled_on": base.card.name, "base_sha256": base.sha256, "windows": n_windows},
            "metrics": {},
            "golden": None,
            "files": {},
        }
    )
    return detectors.write(
        output,
        card,
        {section.card.name: section},
        model=base.path / "model.onnx",
        golden=base.path / "golden.flac",
        model_card=_model_card(name, base, section),
        check=lambda folder: card.model_copy(
            update={"golden": golden_scores(detectors.read(folder), section.card.name)}
        ),
    )


def _model_card(name: str, base: Detector, section: Section) -> str:
    threshold = section.card.thresholds["fused"]
    return (
        f"# {name}\n\n"
        f"Enrolled on the network of `{base.card.name}` from {section.card.windows} windows of normal sound.\n"
        f"Ordinary sound scores 1; a sound is reported when its fused score exceeds {threshold:.3f}.\n"
    )
