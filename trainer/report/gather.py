"""Fills in a report from detectors, the clips they were tried on, and the runs they came from."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from tqdm import tqdm

from edge.detector import Card, Detector, Line, Section, measure, readings_of
from edge.ear import Frontend
from edge.errors import EarshotError
from edge.judge import moved_bands, rarest
from trainer.dataset import Clip
from trainer.evaluation.honest import honest_table
from trainer.evaluation.scores import Scored, System
from trainer.evaluation.scoring import score_clips
from trainer.report.content import Column, Example, ExampleKind, Facts, Kind, Point, ReportContent, Run, Table
from trainer.report.report import worst
from trainer.report.tables import compared_table, honest_tables

log = logging.getLogger(__name__)

MAP_CLIPS: Final = 3000
"""On all maps together: each goes through the network once more."""

CELL_CLIPS: Final = (24, 120)
"""At least and at most, of each section and of each of: training clips, normal test clips, anomalies."""

_MINUS: Final = "\N{MINUS SIGN}"

ORDINARY_CELLS: Final = 6
"""For so many sections and domains among the worst clips there is an ordinary clip to compare with."""


def report_of(
    detectors: Sequence[Detector],
    clips: Sequence[Clip],
    *,
    systems: Sequence[System] = (),
    runs: Sequence[Path] = (),
    honest: Sequence[Table] = (),
    compared: Sequence[Table] = (),
    warnings: Sequence[str] = (),
    command: str = "",
    title: str = "",
) -> ReportContent:
    """Return the report of detectors, no section of which two have, on clips (training and test).

    systems: what was scored already, the one to draw figures of first; without any, the test clips are scored here.
    honest, compared: tables instead of those that are made here of the systems.
    runs: run folders, whose learning curves are shown.
    Clips that cannot be read are among the warnings. Raises EarshotError where a run has no metrics.
    """
    owners = {name: detector for detector in detectors for name in detector.sections}
    notes = list(warnings)
    if not systems:
        systems = [_scored_here(detectors, clips, notes)]
    main = systems[0]
    table = {} if honest and compared else _honest(systems)
    false_alarms, misses = worst(main.scored, main.default_score)
    rates = {_promised(detector.card) for detector in detectors}
    return ReportContent(
        title=title or ", ".join(detector.card.name for detector in detectors) or main.name,
        systems=systems,
        runs=[_run(path, name) for path, name in zip(runs, _told_apart(runs), strict=True)],
        points=list(_points(owners, clips, notes)),
        examples=[
            *_examples("false alarm", false_alarms, main.default_score, owners),
            *_examples("miss", misses, main.default_score, owners),
            *_ordinary([*false_alarms, *misses], clips, owners),
        ],
        honest=honest or (honest_tables(table) if table else ()),
        compared=compared or ([compared_table(table)] if len(table.get("rows", ())) > 1 else ()),
        details=[_thresholds(detectors)] if owners else [],
        facts=[_facts(detector) for detector in detectors],
        warnings=notes,
        promised=rates.pop() if len(rates) == 1 else None,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
    )


def _promised(card: Card) -> float | None:
    """The share of normal clips that may be above the threshold; None where the promise is alarms a week instead."""
    return None if card.false_alarms_per_week is not None else card.false_alarm_rate


def _scored_here(detectors: Sequence[Detector], clips: Sequence[Clip], notes: list[str]) -> System:
    scored: list[Scored] = []
    for detector in detectors:
        own, skipped = score_clips(detector, [clip for clip in clips if clip.label])
        scored += own
        notes += [f"left out: {reason}" for reason in skipped]
    names = [detector.card.name for detector in detectors]
    return System(", ".join(names), 0, "this detector", scored, default_score=detectors[0].card.score)


def _honest(systems: Sequence[System]) -> dict[str, Any]:
    """Return the data of the honest table, empty where nothing can be graded: clips of one label only."""
    try:
        return honest_table(systems).as_json()
    except EarshotError as error:
        log.info("no honest table: %s", error)
        return {}


def _told_apart(runs: Sequence[Path]) -> list[str]:
    """Return what to call run folders: the last name of each, without the end that all of them share."""
    parts = [path.absolute().parts for path in runs]
    while len(parts) > 1 and len({own[-1] for own in parts}) == 1 and all(len(own) > 2 for own in parts):
        parts = [own[:-1] for own in parts]
    return [own[-1] for own in parts]


def _run(path: Path, name: str) -> Run:
    from trainer.runs import load_metrics  # loads torch, which a report without runs does not need

    try:
        rows = load_metrics(path)
    except (OSError, ValueError) as error:
        raise EarshotError(
            f"{path / 'metrics.jsonl'}: {error}: expected the metrics of a run, a JSON object a line"
        ) from error
    # A run that was killed and went on has written some epochs twice: the later ones are those that count.
    by_epoch = {row.get("epoch", i): row for i, row in enumerate(rows)}
    return Run(name, [by_epoch[epoch] for epoch in sorted(by_epoch)])


# --- The map ---


def _points(owners: Mapping[str, Detector], clips: Sequence[Clip], notes: list[str]) -> Iterator[Point]:
    ears = {detector.path: detector.ear() for detector in owners.values()}
    for clip, kind in tqdm(list(_mapped(owners, clips)), "map", unit="clip"):
        detector = owners[clip.name]
        try:
            heard = measure(ears[detector.path], clip.path)
        except EarshotError as error:
            notes.append(f"not on the map: {error}")
            continue
        embedding = np.stack([own.embedding for own in heard]).mean(axis=0)
        yield Point(clip.name, kind, embedding, space=detector.sha256)


def _mapped(owners: Mapping[str, Detector], clips: Sequence[Clip]) -> Iterator[tuple[Clip, Kind]]:
    """Yield clips and their kind, evenly thinned to `CELL_CLIPS` of a section and kind."""
    cells: dict[tuple[str, Kind], list[Clip]] = {}
    for clip in clips:
        kind: Kind | None = "train" if clip.split == "train" else clip.label
        if clip.name in owners and kind:
            cells.setdefault((clip.name, kind), []).append(clip)
    most = int(np.clip(MAP_CLIPS / max(1, len(cells)), *CELL_CLIPS))
    for (_, kind), own in cells.items():
        step = max(1.0, len(own) / most)
        yield from ((own[int(i * step)], kind) for i in range(int(len(own) / step)))


# --- The clips to listen to ---


def _examples(
    kind: ExampleKind, scored: Iterable[Scored], score: str, owners: Mapping[str, Detector]
) -> Iterator[Example]:
    for s in scored:
        detector = owners.get(s.clip.name)
        yield Example(
            kind=kind,
            name=s.clip.name,
            path=s.clip.path,
            score=s.scores[score],
            threshold=s.thresholds.get(score),
            domain=s.clip.domain,
            attributes=s.clip.attributes,
            why=_why(detector, detector.sections[s.clip.name], s.clip.path) if detector else "",
            **({"frontend": detector.frontend} if detector else {}),
        )


def _why(detector: Detector, section: Section, path: Path) -> str:
    """Say which bands differ from normal over the whole clip, as an event does."""
    try:
        levels = [r.band_level for r in readings_of(Line(detector, section), path) if r.fault is None]
    except EarshotError:
        return ""  # the page says it beside the clip
    if not levels:
        return ""
    level = np.stack(levels).mean(axis=0)
    statistics = section.statistics
    edges_hz = Frontend(detector.frontend).band_edges_hz
    bands = moved_bands(level, statistics.nearest_normal(level), statistics.band_deviation, edges_hz)[:3]
    if not bands:
        return "no band differs from normal by itself"
    told = "; ".join(f"{band.hz_lo:.0f} to {band.hz_hi:.0f} Hz: {band.delta_db:+.0f} dB" for band in bands)
    return f"against normal, {told.replace('-', _MINUS)}"


def _ordinary(chosen: Iterable[Scored], clips: Sequence[Clip], owners: Mapping[str, Detector]) -> Iterator[Example]:
    """Yield a training clip from the middle of each cell that is among the worst: what it should sound like."""
    cells = dict.fromkeys((s.clip.name, s.clip.domain) for s in chosen if s.clip.name in owners)
    for name, domain in list(cells)[:ORDINARY_CELLS]:
        own = [clip for clip in clips if (clip.name, clip.domain, clip.split) == (name, domain, "train")]
        if own:
            clip = own[len(own) // 2]
            frontend = owners[name].frontend
            yield Example("ordinary", name, clip.path, domain=domain, attributes=clip.attributes, frontend=frontend)


# --- What it is ---


def _facts(detector: Detector) -> Facts:
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


def _thresholds(detectors: Sequence[Detector]) -> Table:
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
