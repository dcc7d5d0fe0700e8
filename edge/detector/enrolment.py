"""Learns machines from their normal recordings, on the embedding of a network that is there already; no torch.

The trainer fits the sections it trained on with the same functions: a machine that is enrolled on a device and one
that was trained on a workstation differ in nothing but their place among the logits.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings
from edge.detector.card import Card, LimitCard, SectionCard, WeeklyCard
from edge.detector.folder import Detector, read, write
from edge.detector.golden import golden_scores
from edge.detector.limits import would_hear, would_hear_text
from edge.detector.naming import parse_name, whole_of
from edge.detector.sections import Section
from edge.ear import Ear, HopPlan, Measurement
from edge.errors import EarshotError, shown
from edge.judge import (
    MIN_WINDOWS,
    Domain,
    Fit,
    NormalWindows,
    Ordinary,
    RateCurve,
    ScoreName,
    ScoreSeries,
    Shift,
    TooLittleSoundError,
    counting_keys,
    evidence_of,
    fit_section,
    hours_needed,
    log_score,
    log_score_at,
    rarest,
    rarity,
    rate_curve,
    rate_of,
    score_of,
)
from edge.source import AS_IT_IS, Note, Pickup, read_blocks, say_once

log = logging.getLogger(__name__)

BLOCK_SAMPLES: Final = 1 << 16

STRETCH_SECONDS: Final = 300.0
"""What counts as another recording of a machine that is recorded for hours. Long against the window and against what
comes and goes in a minute, so that a stretch is news to statistics that heard the one before; short enough that half an
hour is six of them."""


def measure(ear: Ear, path: Path, pickup: Pickup = AS_IT_IS) -> list[Measurement]:
    """Return what the windows of one recording measure, no two of them overlapping.

    Raises SourceError or EarshotError that names the recording if it cannot be used: damaged, too short, or silent.
    """
    heard = list(_hear(ear, path, pickup))
    apart = _apart([one.end_sample for one in heard], ear)
    return [one for one, is_apart in zip(heard, apart, strict=True) if is_apart]


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
    pickup: Pickup = AS_IT_IS


def recording_of(path: Path, pickup: Pickup = AS_IT_IS) -> Recording:
    """Return a file as a recording, with the name that its parts share: all that stands before `_part_N`."""
    named = parse_name(path)
    whole = whole_of(named.attributes if named else path.stem)
    if whole is None:
        return Recording(path, str(path), pickup=pickup)
    return Recording(path, f"{path.parent}/{named.section if named else ''}/{whole}", pickup=pickup)


def measure_normal(
    ear: Ear,
    recordings: Iterable[Recording],
    skip: Callable[[str], None] = log.warning,
) -> NormalWindows | None:
    """Return what the recordings measure at every hop, in their order; those that cannot be used are left out.

    A file longer than twice `STRETCH_SECONDS` is cut into stretches, each a recording of its own, and no window reaches
    across a cut. None if nothing is left; `skip` is told what was left out.
    Memory: what is returned, 2.1 kB a hop and a few bytes a class (0.7 GB for two days), and an eighth of it at most
    while it grows.
    """
    rows, parts = _Rows(), list[_Part]()
    for file, recording in enumerate(recordings):
        start = len(rows)
        try:
            for heard in _hear(ear, recording.path, recording.pickup):
                rows.append(heard, file)
        except EarshotError as error:
            rows.keep(start, [])
            skip(str(error))
            continue
        end_samples = rows.end_samples[start:].copy()
        n_stretches = max(1, int(_seconds(ear, int(end_samples[-1])) // STRETCH_SECONDS))
        stretches = _stretches(end_samples, n_stretches, ear)
        for i, (first, end) in enumerate(stretches):
            name = f"{recording.name}#{i}" if n_stretches > 1 else recording.name
            parts.append(_Part(name, end - first, recording.domain, recording.trained_on))
        rows.keep(start, [(start + first, start + end) for first, end in stretches])
    return rows.as_windows(ear, parts)


@dataclass(frozen=True)
class Stretch:
    """What the hops of one stretch of sound measured, in their order, those that could not be trusted left out."""

    name: str
    heard: Sequence[Measurement]
    domain: Domain = "source"
    trained_on: bool = False


def normal_windows(ear: Ear, stretches: Iterable[Stretch]) -> NormalWindows | None:
    """Return the windows of stretches of normal sound as a fit takes them, or None if there are none."""
    rows, parts = _Rows(), list[_Part]()
    for stretch in stretches:
        for heard in stretch.heard:
            rows.append(heard)
        parts.append(_Part(stretch.name, len(stretch.heard), stretch.domain, stretch.trained_on))
    return rows.as_windows(ear, parts)


@dataclass(frozen=True)
class _Part:
    """A stretch of so many rows."""

    name: str
    n_rows: int
    domain: Domain
    trained_on: bool


class _Rows:
    """What windows measured, a row each, in arrays that grow in place: two days of hops would not fit a small computer
    as objects, nor twice as arrays.
    """

    def __init__(self) -> None:
        self._n = 0
        self._columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._n

    @property
    def end_samples(self) -> NDArray[np.int64]:
        """Where each window ends, (n,): a view, not to be held while rows are appended."""
        return self._columns["end_sample"][: self._n]

    def append(self, heard: Measurement, file: int = -1) -> None:
        row: dict[str, NDArray[Any]] = {
            "embedding": heard.embedding,
            "texture": heard.texture.astype(np.float16),  # half the memory of two days, for a thousandth of a value
            "logits": heard.logits,
            "bands": heard.bands,
            "end_sample": np.array(heard.end_sample, np.int64),
            "file": np.array(file, np.int64),
        }
        if not self._columns:
            self._columns = {name: np.empty((0, *value.shape), value.dtype) for name, value in row.items()}
        if self._n == len(self._columns["end_sample"]):
            self._resize(self._n + max(64, self._n // 8))
        for name, value in row.items():
            self._columns[name][self._n] = value
        self._n += 1

    def keep(self, start: int, ranges: Iterable[tuple[int, int]]) -> None:
        """Keep the rows before `start` and those in ascending ranges (first, end) after it; forget the others."""
        self._n = start
        for first, end in ranges:
            for column in self._columns.values():
                column[self._n : self._n + end - first] = column[first:end]
            self._n += end - first

    def as_windows(self, ear: Ear, parts: Sequence[_Part]) -> NormalWindows | None:
        """Return all rows, which the parts make up in their order, or None if there are none. Ends the growing."""
        if not self._n:
            return None
        self._resize(self._n)
        n_rows = [part.n_rows for part in parts]
        ends = np.split(self.end_samples, np.cumsum(n_rows)[:-1])
        index = np.repeat(np.arange(len(parts)), n_rows)
        broken = (np.diff(index) != 0) | (np.diff(self.end_samples) != ear.plan.hop_samples)
        return NormalWindows(
            domain=[part.domain for part in parts for _ in range(part.n_rows)],
            embedding=self._columns["embedding"],
            texture=self._columns["texture"],
            logits=self._columns["logits"],
            bands=self._columns["bands"],
            recording=[part.name for part in parts for _ in range(part.n_rows)],
            apart=np.array([apart for own in ends for apart in _apart(own.tolist(), ear)]),
            trained_on=np.array([part.trained_on for part in parts])[index],
            series=np.concatenate([[0], np.cumsum(broken)]).astype(np.int64),
            place=np.stack([self._columns["file"], self.end_samples], axis=1),
        )

    def _resize(self, n: int) -> None:
        """Make room for n rows, without a copy where the system can (mremap). No view of a column may be held."""
        for column in self._columns.values():
            column.resize((n, *column.shape[1:]), refcheck=False)


def _hear(ear: Ear, path: Path, pickup: Pickup = AS_IT_IS) -> Iterator[Measurement]:
    """Yield what every hop of a recording measures where its sound can be trusted. Raises as `measure`, at the end."""
    ear.reset()
    n_samples = n_heard = 0
    fault: str | None = None
    notes: list[Note] = []
    for samples in read_blocks(path, pickup, block_samples=BLOCK_SAMPLES, on_note=notes.append):
        n_samples += samples.size
        for heard in ear.feed(samples):
            fault = fault or heard.fault
            if heard.fault is None:
                n_heard += 1
                yield heard

    if n_heard:
        for note in notes:
            say_once(path, note)
        return
    if fault is not None:
        why = "; ".join([fault, *(note.text for note in notes)])
        raise EarshotError(f"{shown(path)}: {why}: expected the sound of a machine")
    window_seconds = _seconds(ear, ear.plan.window_samples)
    raise EarshotError(
        f"{shown(path)}: {_seconds(ear, n_samples):.2f} s: expected one window, {window_seconds:g} s, or more"
    )


def _apart(end_samples: Sequence[int], ear: Ear) -> list[bool]:
    """Say of each window whether it is one of those that do not overlap: the first, the next that shares nothing..."""
    apart: list[bool] = []
    latest = -ear.plan.window_samples
    for end_sample in end_samples:
        apart.append(end_sample - latest >= ear.plan.window_samples)
        if apart[-1]:
            latest = end_sample
    return apart


def _stretches(end_samples: NDArray[np.int64], n: int, ear: Ear) -> list[tuple[int, int]]:
    """Return the windows of each of n equal stretches that lie wholly within it: first, and the one after the last."""
    cuts = [round(i * int(end_samples[-1]) / n) for i in range(n + 1)]
    firsts = np.searchsorted(end_samples, [start + ear.plan.window_samples for start in cuts[:-1]])
    ends = np.searchsorted(end_samples, cuts[1:], "right")
    return [(int(first), max(int(first), int(end))) for first, end in zip(firsts, ends, strict=True)]


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
    plan: HopPlan,
    shifts: Mapping[ScoreName, Shift] | None = None,
) -> Section:
    """Fit one section, its thresholds, and their table by false alarms a week where there is sound enough for one.

    Raises ValueError if there are too few windows, and TooLittleSoundError if false alarms a week are promised and
    there is too little sound for them by the fused score, which decides. Another score that they cannot be promised of
    has the threshold of the rate a window.
    """
    name = f"{machine}/{section}"
    fit = fit_section(windows, class_index, shifts)
    curves = {
        score: rate_curve(
            _series_of(windows, log_score(values, score), fit.ordinary[score], promise.event, plan),
            promise.event,
            hop_seconds=plan.hop_seconds,
        )
        for score, values in fit.scores.items()
    }
    thresholds = {score: _threshold(score, curve, fit, promise, name) for score, curve in curves.items()}
    known = {score: curve for score, curve in curves.items() if curve.per_week.size}
    hours = curves["fused"].hours
    card = SectionCard(
        machine=machine,
        section=section,
        domains=list(next(iter(fit.statistics.parts.values())).domains),
        class_index=class_index,
        windows=windows.n_apart,
        thresholds=thresholds,
        weekly=WeeklyCard(hours=hours, rarest=rarest(hours), event=counting_keys(promise.event)) if known else None,
        fusion=fit.statistics.fusion,
    )
    return Section(card, fit.statistics, fit.ordinary, fit.calibration, known)


def _threshold(score: ScoreName, curve: RateCurve, fit: Fit, promise: Promise, name: str) -> float:
    """Return the score that a window has to exceed, as promised: by the week, or by the rate."""
    rate = promise.false_alarm_rate
    if promise.false_alarms_per_week is not None:
        try:
            rate = rate_of(curve.at(promise.false_alarms_per_week, name).threshold)
        except TooLittleSoundError as error:
            if score == "fused":
                raise
            log.info("%s: the threshold of %s is that of %g of windows instead: %s", name, score, rate, error)
    return score_of(log_score_at(fit.ordinary[score], rate), score)


def _series_of(
    windows: NormalWindows, log_scores: NDArray[np.float64], ordinary: Ordinary, settings: EventSettings, plan: HopPlan
) -> list[ScoreSeries]:
    """Return how rare each hop of normal sound would have looked, (n,) a series: minus the decimal logarithm of it.

    A file that was cut into stretches is heard in one: its cuts are gaps, so that an hour's evidence is there too.
    """
    evidence = evidence_of(settings, ordinary, window_seconds=plan.window_seconds, hop_seconds=plan.hop_seconds)
    series, whole = list[ScoreSeries](), ""
    starts = np.flatnonzero(np.diff(windows.series, prepend=-1))
    for start, part in zip(starts, np.split(log_scores, starts[1:]), strict=True):
        recording = windows.recording[int(start)]
        if recording.split("#")[0] == whole:
            evidence.miss(plan.window_hops - 1)
        else:
            evidence.forget()
        whole = recording.split("#")[0]
        rarities = [rarity(evidence.step(x).probability) for x in part.tolist()]
        series.append(ScoreSeries(np.array(rarities, np.float32), recording))
    return series


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
    name: str,
    recordings: Sequence[Path],
    base: Detector,
    output: Path,
    promise: Promise | None = None,
    pickup: Pickup = AS_IT_IS,
    *,
    limits: bool = False,
) -> Detector:
    """Write a new detector for machine `name`, from its normal recordings and the network of `base`.

    promise: what its threshold is to keep; else the rate a window of `base`.
    pickup: channel and gain of the recordings, which the detector remembers.
    limits: find out what it would hear, too, which takes some seconds.
    Raises EarshotError that says how much sound there must be.
    """
    windows = measure_normal(base.ear(), [recording_of(path, pickup) for path in recordings])
    return enroll_windows(name, windows, base, output, promise, pickup, recordings if limits else ())


def enroll_windows(
    name: str,
    windows: NormalWindows | None,
    base: Detector,
    output: Path,
    promise: Promise | None = None,
    pickup: Pickup = AS_IT_IS,
    recordings: Sequence[Path] = (),
) -> Detector:
    """Do as `enroll` with what was measured already, on the network of `base`.

    recordings: what was measured, all of it and in that order, to find out what would be heard of changes to it.
    """
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
        plan=base.plan,
    )
    if recordings:
        found = would_hear(section, windows, recordings, base.model, base.plan, promise.event, pickup=pickup)
        limits = tuple(LimitCard(**asdict(limit)) for limit in found)
        section = replace(section, card=section.card.model_copy(update={"would_hear": limits}))
    card = Card(
        **{
            **base.card.model_dump(),
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sections": [section.card],
            "score": "fused",
            "false_alarm_rate": promise.false_alarm_rate,
            "false_alarms_per_week": promise.false_alarms_per_week,
            "training": {
                "enrolled_on": base.card.name,
                "base_sha256": base.sha256,
                "windows": n_windows,
                "channel": pickup.channel,
                "gain_db": pickup.gain_db,
            },
            "metrics": {},
            "golden": None,
            "files": {},
        }
    )
    return write(
        output,
        card,
        {section.card.name: section},
        model=base.path / "model.onnx",
        golden=base.path / "golden.flac",
        model_card=_model_card(name, base, section, promise),
        check=lambda written: card.model_copy(update={"golden": golden_scores(read(written), section.card.name)}),
    )


NETWORK_HEADING: Final = "## The network"
"""Of a model card: from here on it is the network's, whatever machine is enrolled on it, with those it is owed to."""


def _model_card(name: str, base: Detector, section: Section, promise: Promise) -> str:
    threshold = section.card.thresholds["fused"]
    of_base = (base.path / "MODEL_CARD.md").read_text(encoding="utf-8", errors="replace")
    _, heading, network = of_base.partition(NETWORK_HEADING)
    return (
        f"# {name}\n\n"
        f"Enrolled on the network of `{base.card.name}` from {section.card.windows} windows of normal sound.\n"
        f"Ordinary sound scores 1; a sound is reported when its fused score exceeds {threshold:.3f}:\n"
        f"{weekly_text(section, 'fused', promise.false_alarms_per_week)}.\n"
        f"{_limits_text(section)}" + (f"\n{heading}{network}" if heading else "")
    )


def _limits_text(section: Section) -> str:
    """Say what it would hear, under a heading; nothing where nobody has tried."""
    lines = would_hear_text(section.card)
    if not lines:
        return ""
    return (
        "\n## What it would hear\n\n"
        "Known changes, laid over its own normal sound: the strength (dB over the machine's own level there) from\n"
        "which on nine of ten are reported within two minutes, and the median wait. A modulation swings by so much.\n\n"
        + "".join(f"- {line}\n" for line in lines)
    )
