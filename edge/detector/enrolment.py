"""Learns machines from their normal recordings, on the embedding of a network that is there already; no torch.

The trainer fits the sections it trained on with the same functions: a machine that is enrolled on a device and one
that was trained on a workstation differ in nothing but their place among the logits.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import EventSettings
from edge.detector.card import Card, LimitCard, SectionCard, WeeklyCard
from edge.detector.folder import Detector, read, write
from edge.detector.golden import golden_scores
from edge.detector.limits import would_hear, would_hear_text
from edge.detector.measuring import measure_normal, recording_of
from edge.detector.sections import Section
from edge.detector.sound import Recordings, Sound
from edge.ear import HopPlan
from edge.errors import EarshotError
from edge.judge import (
    MIN_WINDOWS,
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
    heard_conditions,
    hours_needed,
    log_score,
    log_score_at,
    rarest,
    rarity,
    rate_curve,
    rate_of,
    score_of,
)
from edge.source import AS_IT_IS, Pickup

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promise:
    """What a threshold is to keep: a rate a window, or false alarms a week as `event` counts episodes.

    score: which one decides. Another, of which so few a week cannot be promised, has the threshold of the rate.
    """

    false_alarm_rate: float
    false_alarms_per_week: float | None = None
    event: EventSettings = field(default_factory=EventSettings)
    score: ScoreName = "fused"


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
    there is too little sound for them by the score that decides.
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
        conditions=heard_conditions(windows.domain),
    )
    return Section(card, fit.statistics, fit.ordinary, fit.calibration, known)


def _threshold(score: ScoreName, curve: RateCurve, fit: Fit, promise: Promise, name: str) -> float:
    """Return the score that a window has to exceed, as promised: by the week, or by the rate."""
    rate = promise.false_alarm_rate
    if promise.false_alarms_per_week is not None:
        try:
            rate = rate_of(curve.at(promise.false_alarms_per_week, name).threshold)
        except TooLittleSoundError as error:
            if score == promise.score:
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
    notes: Mapping[str, object] | None = None,
) -> Detector:
    """Write a new detector for machine `name`, from its normal recordings and the network of `base`.

    promise: what its threshold is to keep; else the rate a window of `base`.
    pickup: channel and gain of the recordings, which the detector remembers.
    limits: find out what it would hear, too, which takes some seconds.
    notes: what its card says besides of how it was made.
    Raises EarshotError that says how much sound there must be.
    """
    windows = measure_normal(base.ear(), [recording_of(path, pickup) for path in recordings])
    sound = Recordings(recordings, pickup) if limits else None
    return enroll_windows(name, windows, base, output, promise, pickup, sound, notes=notes)


def enroll_windows(
    name: str,
    windows: NormalWindows | None,
    base: Detector,
    output: Path,
    promise: Promise | None = None,
    pickup: Pickup = AS_IT_IS,
    sound: Sound | None = None,
    *,
    notes: Mapping[str, object] | None = None,
) -> Detector:
    """Do as `enroll` with what was measured already, on the network of `base`.

    sound: what was measured, to find out what would be heard of changes to it.
    notes: what its card says besides of how it was made.
    """
    promise = promise or Promise(base.card.false_alarm_rate)
    n_windows = 0 if windows is None else windows.n_apart
    if windows is None or n_windows < MIN_WINDOWS:
        window_seconds = base.plan.window_samples / base.frontend.sample_rate_hz
        raise EarshotError(
            f"{name}: {n_windows} windows of normal sound: expected at least {MIN_WINDOWS} of {window_seconds:g} s each"
        )

    section = learn_section(name, "00", windows, class_index=None, promise=promise, plan=base.plan)
    section = with_limits(section, windows, base, promise, sound)
    training = {
        "enrolled_on": base.card.name,
        "base_sha256": base.sha256,
        "windows": n_windows,
        "channel": pickup.channel,
        "gain_db": pickup.gain_db,
        **(notes or {}),
    }
    return write_enrolled(output, section, windows, base, promise, training)


def with_limits(
    section: Section, windows: NormalWindows, base: Detector, promise: Promise, sound: Sound | None
) -> Section:
    """Return the section with what it would hear of changes to `sound`; none of it where there is no sound."""
    found = [] if sound is None else would_hear(section, windows, sound, base.model, base.plan, promise.event)
    limits = tuple(LimitCard(**asdict(limit)) for limit in found)
    return replace(section, card=section.card.model_copy(update={"would_hear": limits}))


def write_enrolled(
    output: Path,
    section: Section,
    windows: NormalWindows | None,
    base: Detector,
    promise: Promise,
    training: Mapping[str, object],
) -> Detector:
    """Write the detector of one machine, on the network of `base`.

    windows: what it was fitted to, which is kept for what is learnt later. training: what its card says of that.
    """
    name = section.card.machine
    card = Card(
        **{
            **base.card.model_dump(),
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sections": [section.card],
            "score": "fused",
            "false_alarm_rate": promise.false_alarm_rate,
            "false_alarms_per_week": promise.false_alarms_per_week,
            "training": training,
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
        normal=windows,
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
