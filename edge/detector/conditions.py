"""What a machine is taught after it was enrolled: another load, season or place, and what a person called normal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from edge.detector.card import MOST_CONDITIONS
from edge.detector.enrolment import Promise, learn_section, with_limits, write_enrolled
from edge.detector.folder import Detector
from edge.detector.sections import Section
from edge.detector.sound import Sound
from edge.errors import EarshotError
from edge.judge import NormalWindows, add_condition, heard_conditions

LEAST_WINDOWS: Final = 12
"""Two minutes. The paper has three clips of 10 s; a mean of so few is off by a third of a deviation and more."""


def next_condition(base: Detector, wanted: str = "target") -> str:
    """Return a name that no condition of the detector's machine has yet: `wanted`, or with a number behind it."""
    known = base.section(None).card.conditions
    names = (wanted, *(f"{wanted}-{i}" for i in range(2, len(known) + 3)))
    return next(name for name in names if name not in known)


def teach(
    base: Detector,
    conditions: Sequence[tuple[str, NormalWindows]],
    output: Path,
    promise: Promise | None = None,
    sound: Sound | None = None,
    *,
    notes: Mapping[str, object] | None = None,
) -> Detector:
    """Write the detector of a machine that is known, `base`, with further conditions of which these windows are.

    Where the windows of its enrolment are in it, all are fitted together: a mean a condition, and the paper's one
    covariance, centred within them; short ones are a mean more. Else, and where its threshold was counted by the week,
    which takes the enrolment's unbroken hours, each is a mean more and the covariance stays (edge/judge/condition.py).
    sound: of these windows, to find out what would be heard under the new conditions; without, what was known stays.
    Raises EarshotError where it has several machines, or too many conditions.
    """
    section, card = base.section(None), base.card
    promise = promise or Promise(card.false_alarm_rate, card.false_alarms_per_week)
    known = None if card.false_alarms_per_week is not None else base.normal(section.card.name)
    names = dict.fromkeys([*(section.card.conditions or section.card.domains), *(name for name, _ in conditions)])
    if len(names) > MOST_CONDITIONS:
        raise EarshotError(
            f"{base.path}: {len(names)} conditions: expected {MOST_CONDITIONS} at most; enrol the machine anew"
        )
    taught = [_of_condition(name, windows) for name, windows in conditions]
    if known is None:
        for windows in taught:
            section = _with_mean(section, windows, base)
    else:
        for windows in taught:
            known = known.and_then(windows)
        section, known = _fitted(section, known, base, promise, sound)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    taught_notes = [{"condition": name, "windows": own.n_apart, "learnt": now} for name, own in conditions]
    training = {**card.training, "taught": [*card.training.get("taught", []), *taught_notes], **(notes or {})}
    return write_enrolled(output, section, known, base, promise, training)


def _fitted(
    before: Section, whole: NormalWindows, base: Detector, promise: Promise, sound: Sound | None
) -> tuple[Section, NormalWindows]:
    """Return the section of all conditions, and their windows in its order.

    A condition of less than `LEAST_WINDOWS`, as an episode that was called normal, says nothing of how it varies: it is
    a mean more.
    """
    count = Counter(name for name, is_apart in zip(whole.domain, whole.apart.tolist(), strict=True) if is_apart)
    short = [name for name in heard_conditions(whole.domain) if count[name] < LEAST_WINDOWS and name != "source"]
    fitted = whole.take(np.array([name not in short for name in whole.domain], np.bool_))
    own = before.card
    section = learn_section(own.machine, own.section, fitted, class_index=None, promise=promise, plan=base.plan)
    if sound is None:
        section = replace(section, card=section.card.model_copy(update={"would_hear": own.would_hear}))
    else:
        section = with_limits(section, fitted, base, promise, sound)
    for windows in (whole.of_condition(name) for name in short):
        section, fitted = _with_mean(section, windows, base), fitted.and_then(windows)
    return section, fitted


def _of_condition(name: str, windows: NormalWindows) -> NormalWindows:
    """Return the windows as heard under that condition, their recordings named apart from those of others."""
    return replace(
        windows, domain=[name] * len(windows), recording=[f"{name}: {recording}" for recording in windows.recording]
    )


def _with_mean(section: Section, windows: NormalWindows, base: Detector) -> Section:
    """Return the section with a mean more, of windows of one condition."""
    own, card = section.statistics, section.card
    statistics = add_condition(own, section.ordinary["fused"], windows, rate=base.card.false_alarm_rate)
    domains = list(next(iter(statistics.parts.values())).domains)
    conditions = (*(card.conditions or card.domains), windows.domain[0])
    return replace(
        section,
        statistics=statistics,
        card=card.model_copy(update={"domains": domains, "conditions": conditions}),
    )


def shortest(windows: NormalWindows | None) -> str | None:
    """Say what is missing for a condition; None if there is enough."""
    n = 0 if windows is None else windows.n_apart
    if n >= LEAST_WINDOWS:
        return None
    return f"{n} windows: expected {LEAST_WINDOWS} or more"
