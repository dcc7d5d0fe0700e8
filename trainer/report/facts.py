"""What a detector is, for a report: its card as facts, and its thresholds as a table."""

from collections.abc import Sequence

import yaml

from edge.detector import Card, Detector, Section
from edge.judge import rarest
from trainer.report.content import Column, Facts, Table


def facts_of(detector: Detector) -> Facts:
    """Return what the card says, and the recipe as text."""
    card = detector.card
    training = card.training
    frontend, plan = detector.frontend, detector.plan
    window_seconds, hop_seconds = (n / frontend.sample_rate_hz for n in (plan.window_samples, plan.hop_samples))
    rows = [
        ("name", card.name),
        ("SHA-256 of detector.json", detector.sha256),
        ("made by", f"Earshot {card.version}, {card.created}"),
        ("network", f"preset {card.network.get('preset', 'unknown')}, {len(card.classes)} classes"),
        ("window", f"{window_seconds:g} s, a score each {hop_seconds:g} s"),
        ("frequencies", f"{frontend.f_min_hz:g} to {frontend.f_max_hz:g} Hz in {frontend.n_mels} bands"),
        ("score", f"{card.score}, chosen without test labels"),
        ("false alarms promised", _promise(card)),
    ]
    if "enrolled_on" in training:
        rows.append(("enrolled on", f"the network of {training['enrolled_on']}, {training['windows']} windows"))
    if "clips" in training:
        rows.append(("trained on", f"{training['clips']} normal clips"))
    if "sha256" in training:
        rows.append(("SHA-256 of the recordings", str(training["sha256"])))
    recipe = training.get("recipe")
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else ""
    return Facts(card.name, rows, text)


def _promise(card: Card) -> str:
    if card.false_alarms_per_week is not None:
        return f"{card.false_alarms_per_week:g} a week"
    return f"{card.false_alarm_rate * 100:.3g} % of normal windows"


def _weekly(section: Section, card: Card) -> str | None:
    """False alarms a week that the threshold promises, or the fewest that the sound would allow to promise."""
    curve = section.weekly.get(card.score)
    if curve is None:
        return None
    if card.false_alarms_per_week is None:
        return f"{rarest(curve.hours):.3g} or more"
    found = curve.at(card.false_alarms_per_week)
    low, high = found.interval
    return f"{found.predicted:.3g} [{low:.2g}, {high:.2g}]"


def thresholds_table(detectors: Sequence[Detector]) -> Table:
    """Return the thresholds of every section, and what they promise."""
    scores = list(dict.fromkeys(name for d in detectors for card in d.card.sections for name in card.thresholds))
    columns = [
        *(Column("machine"), Column("section"), Column("domains heard"), Column("windows fitted", "count")),
        *(Column(name, "number", "threshold") for name in scores),
        Column("false alarms a week", "figure", "with 90 %"),
    ]
    rows = [
        (
            own.card.machine,
            own.card.section,
            ", ".join(own.card.domains),
            own.card.windows,
            *(own.card.thresholds.get(name) for name in scores),
            _weekly(own, detector.card),
        )
        for detector in detectors
        for own in detector.sections.values()
    ]
    return Table(
        "Thresholds",
        "A clip is reported when its score is above the threshold of its section. False alarms a week are a dash where "
        "there was too little unbroken normal sound to promise any.",
        columns,
        rows,
    )
