"""Learns machines from their normal recordings, on the embedding of a network that is there already; no torch.

The trainer fits the sections it trained on with the same functions: a machine that is enrolled on a device and one
that was trained on a workstation differ in nothing but their place among the logits.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from edge import detector as detectors
from edge.calibration import ScoreSeries, counting_keys, hours_needed, rarest, rate_curve
from edge.config import EventSettings
from edge.detector import Card, Detector, Section, SectionCard, WeeklyCard
from edge.errors import EarshotError
from edge.fit import MIN_WINDOWS, NormalWindows, Shift, fit_section
from edge.golden import golden_scores
from edge.line import Ear, Measurement
from edge.naming import parse_name
from edge.scorer import Domain, FloatArray, ScoreName
from edge.source import read_blocks

log = logging.getLogger(__name__)

BLOCK_SAMPLES: Final = 1 << 16

STRETCH_SECONDS: Final = 300.0
"""What counts as another recording of a machine that is recorded for hours. Long against the window and against what
comes and goes in a minute, so that a stretch is news to statistics that heard the one before; short enough that half an
hour is six of them."""

_PART: Final = re.compile(r"(?P<whole>.+)_part_\d+")


def measure(ear: Ear, path: Path) -> list[Measurement]:
    """Return what the windows of one recording measure, no two of them overlapping.

    Raises SourceError or EarshotError that names the recording if it cannot be used: damaged, too short, or silent.
    """
    heard = _measure_every_hop(ear, path)
    return [measurement for measurement, apart in zip(heard, _apart(heard, ear), strict=True) if apart]


@dataclass(frozen=True)
class Recording:
    """One file of normal sound.

    name     what it was cut from: parts of one recording have one name
    trained_on  whether the network was trained on it
    """

    path: Path
    name: str
    domain: Domain = "source"
    trained_on: bool = False


def recording_of(path: Path) -> Recording:
    """Return a file as a recording, with the name that its parts share: all that stands before `_part_N`."""
    named = parse_name(path)
    part = _PART.fullmatch(named.attributes) if named else _PART.fullmatch(path.stem)
    if part is None:
        return Recording(path, str(path))
    return Recording(path, f"{path.parent}/{named.section if named else ''}/{part['whole']}")


def measure_normal(
    ear: Ear,
    recordings: Iterable[Recording],
    skip: Callable[[str], None] = log.warning,
) -> NormalWindows | None:
    """Return what the recordings measure at every hop, in their order; those that cannot be used are left out.

    A file longer than twice `STRETCH_SECONDS` is cut into stretches, each a recording of its own, and no window reaches
    across a cut. None if nothing is left; `skip` is told what was left out.
    """
    made: list[Stretch] = []
    for recording in recordings:
        try:
            heard = _measure_every_hop(ear, recording.path)
        except EarshotError as error:
            skip(str(error))
            continue
        n_stretches = max(1, int(_seconds(ear, heard[-1].end_sample) // STRETCH_SECONDS))
        for i, part in enumerate(_stretches(heard, n_stretches, ear)):
            name = f"{recording.name}#{i}" if n_stretches > 1 else recording.name
            made.append(Stretch(name, part, recording.domain, recording.trained_on))
    return normal_windows(ear, made)


@dataclass(frozen=True)
class Stretch:
    """What the hops of one stretch of sound measured, in their order, those that could not be trusted left out."""

    name: str
    heard: Sequence[Measurement]
    domain: Domain = "source"
    trained_on: bool = False


def normal_windows(ear: Ear, stretches: Iterable[Stretch]) -> NormalWindows | None:
    """Return the windows of stretches of normal sound as a fit takes them, or None if there are none."""
    rows = [(stretch, one) for stretch in stretches for one in stretch.heard]
    if not rows:
        return None
    broken = [
        a is not b or after.end_sample - before.end_sample != ear.plan.hop_samples
        for (a, before), (b, after) in pairwise(rows)
    ]
    by_stretch = {id(stretch): stretch for stretch, _ in rows}.values()
    return NormalWindows(
        domain=[stretch.domain for stretch, _ in rows],
        embedding=np.stack([heard.embedding for _, heard in rows]),
        logits=np.stack([heard.logits for _, heard in rows]),
        bands=np.stack([heard.bands for _, heard in rows]),
        recording=[stretch.name for stretch, _ in rows],
        apart=np.array([apart for stretch in by_stretch for apart in _apart(stretch.heard, ear)]),
        trained_on=np.array([stretch.trained_on for stretch, _ in rows]),
        series=np.cumsum([False, *broken]).astype(np.int64),
    )


def _measure_every_hop(ear: Ear, path: Path) -> list[Measurement]:
    ear.reset()
    heard: list[Measurement] = []
    n_samples = 0
    for samples in read_blocks(path, block_samples=BLOCK_SAMPLES):
        n_samples += samples.size
        heard += ear.feed(samples)

    if not heard:
        window_seconds = _seconds(ear, ear.plan.window_samples)
        raise EarshotError(
            f"{path}: {_seconds(ear, n_samples):.2f} s: expected one window, {window_seconds:g} s, or more"
        )
    sound = [measurement for measurement in heard if measurement.fault is None]
    if not sound:
        raise EarshotError(f"{path}: {heard[0].fault}: expected the sound of a machine")
    return sound


def _apart(heard: Sequence[Measurement], ear: Ear) -> list[bool]:
    """Say of each window whether it is one of those that do not overlap: the first, the next that shares nothing..."""
    apart: list[bool] = []
    latest = -ear.plan.window_samples
    for measurement in heard:
        apart.append(measurement.end_sample - latest >= ear.plan.window_samples)
        if apart[-1]:
            latest = measurement.end_sample
    return apart


def _stretches(heard: Sequence[Measurement], n: int, ear: Ear) -> Iterator[list[Measurement]]:
    """Yield the windows of each of n equal stretches that lie wholly within it."""
    cuts = [round(i * heard[-1].end_sample / n) for i in range(n + 1)]
    for start, end in pairwise(cuts):
        yield [one for one in heard if one.end_sample <= end and one.end_sample - ear.plan.window_samples >= start]


def _seconds(ear: Ear, n_samples: int) -> float:
    return n_samples / ear.plan.frontend.sample_rate_hz


@dataclass(frozen=True)
class Promise:
    """What a threshold is to keep: a rate a window, or false alarms a week as `event` counts episodes."""

    false_alarm_rate: float
    false_alarms_per_week: float | None = None
    event: EventSettings = field(default_factory=EventSettings)


def learn_section(
    machine: str,
    section: str,
    windows: NormalWindows,
    *,
    class_index: int | None,
    promise: Promise,
    hop_seconds: float,
    shifts: Mapping[ScoreName, Shift] | None = None,
) -> Section:
    """Fit one section, its thresholds, and their table by false alarms a week where there is sound enough for one.

    Raises ValueError if there are too few windows, and TooLittleSoundError if false alarms a week are promised and
    there is too little sound for them.
    """
    name = f"{machine}/{section}"
    fit = fit_section(windows, class_index, shifts)
    curves = {
        score: rate_curve(_series_of(windows, values), promise.event, hop_seconds=hop_seconds)
        for score, values in fit.scores.items()
    }
    if promise.false_alarms_per_week is None:
        thresholds = {score: own.threshold(promise.false_alarm_rate) for score, own in fit.calibration.items()}
    else:
        rate = promise.false_alarms_per_week
        thresholds = {score: curve.at(rate, name).threshold for score, curve in curves.items()}

    known = {score: curve for score, curve in curves.items() if curve.per_week.size}
    hours = curves["fused"].hours
    card = SectionCard(
        machine=machine,
        section=section,
        domains=list(fit.statistics.parts["mahalanobis"].domains),
        class_index=class_index,
        windows=windows.n_apart,
        thresholds=thresholds,
        weekly=WeeklyCard(hours=hours, rarest=rarest(hours), event=counting_keys(promise.event)) if known else None,
        fusion=fit.statistics.fusion,
    )
    return Section(card, fit.statistics, fit.calibration, known)


def _series_of(windows: NormalWindows, scores: FloatArray) -> list[ScoreSeries]:
    starts = np.flatnonzero(np.diff(windows.series, prepend=-1))
    return [
        ScoreSeries(part, windows.recording[int(start)])
        for start, part in zip(starts, np.split(scores, starts[1:]), strict=True)
    ]


def weekly_text(section: Section, score: ScoreName, false_alarms_per_week: float | None) -> str:
    """Say what false alarms a week the threshold of a section promises, or what it would take to promise any."""
    curve = section.weekly.get(score)
    if curve is None:
        return (
            "its false alarms a week cannot be told from so little unbroken sound: "
            f"{hours_needed(1):g} hours are needed for one a week"
        )
    if false_alarms_per_week is None:
        return f"{curve.hours:.3g} hours can promise {rarest(curve.hours):.3g} false alarms a week, or more"
    found = curve.at(false_alarms_per_week)
    low, high = found.interval
    return (
        f"{found.predicted:.3g} false alarms a week predicted ({low:.2g} to {high:.2g} with 90 %), from "
        f"{found.hours:.3g} hours"
    )


def enroll(
    name: str, recordings: Sequence[Path], base: Detector, output: Path, promise: Promise | None = None
) -> Detector:
    """Write a new detector for machine `name`, from its normal recordings and the network of `base`.

    promise: what its threshold is to keep; else the rate a window of `base`.
    Raises EarshotError that says how much sound there must be.
    """
    windows = measure_normal(Ear(base), [recording_of(path) for path in recordings])
    return enroll_windows(name, windows, base, output, promise)


def enroll_windows(
    name: str, windows: NormalWindows | None, base: Detector, output: Path, promise: Promise | None = None
) -> Detector:
    """Do as `enroll` with what was measured already, on the network of `base`."""
    promise = promise or Promise(base.card.false_alarm_rate)
    n_windows = 0 if windows is None else windows.n_apart
    if windows is None or n_windows < MIN_WINDOWS:
        window_seconds = base.plan.window_samples / base.frontend.sample_rate_hz
        raise EarshotError(
            f"{name}: {n_windows} windows of normal sound: expected at least {MIN_WINDOWS} of {window_seconds:g} s each"
        )

    section = learn_section(
        name,
        "00",
        windows,
        class_index=None,
        promise=promise,
        hop_seconds=base.plan.hop_samples / base.frontend.sample_rate_hz,
    )
    card = Card(
        **{
            **base.card.model_dump(),
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sections": [section.card],
            "score": "fused",
            "false_alarm_rate": promise.false_alarm_rate,
            "false_alarms_per_week": promise.false_alarms_per_week,
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
        model_card=_model_card(name, base, section, promise),
        check=lambda folder: card.model_copy(
            update={"golden": golden_scores(detectors.read(folder), section.card.name)}
        ),
    )


def _model_card(name: str, base: Detector, section: Section, promise: Promise) -> str:
    threshold = section.card.thresholds["fused"]
    return (
        f"# {name}\n\n"
        f"Enrolled on the network of `{base.card.name}` from {section.card.windows} windows of normal sound.\n"
        f"Ordinary sound scores 1; a sound is reported when its fused score exceeds {threshold:.3f}:\n"
        f"{weekly_text(section, 'fused', promise.false_alarms_per_week)}.\n"
    )
