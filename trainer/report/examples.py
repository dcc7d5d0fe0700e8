"""The clips of a report to look at and to listen to: the worst mistakes, why, and what is normal beside them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from edge.detector import Detector, Line, Section, readings_of
from edge.ear import Frontend
from edge.errors import EarshotError
from edge.judge import moved_bands
from trainer.dataset import Clip
from trainer.evaluation.scores import Scored, System
from trainer.report.content import Example, ExampleKind

_MINUS: Final = "\N{MINUS SIGN}"

ORDINARY_CELLS: Final = 6
"""For so many sections and domains among the worst clips there is an ordinary clip to compare with."""


def examples_of(system: System, clips: Sequence[Clip], owners: Mapping[str, Detector]) -> list[Example]:
    """Return the worst false alarms and misses of a system by its default score, and ordinary clips of their cells.

    clips: with the training clips, which the ordinary ones are of. owners: the detector of each section, by
    `machine/section`; an example of a section without one says nothing of its bands.
    """
    score = system.default_score
    false_alarms, misses = worst(system.scored, score)
    return [
        *_examples("false alarm", false_alarms, score, owners),
        *_examples("miss", misses, score, owners),
        *_ordinary([*false_alarms, *misses], clips, owners),
    ]


def worst(scored: Sequence[Scored], score: str, *, most: int = 4) -> tuple[list[Scored], list[Scored]]:
    """Return the normal clips that score highest and the anomalies that score lowest, the worst first.

    Sections are compared by how far a score is above its threshold, as a ratio; or, where scores may be negative or a
    threshold is missing, by the share of the section's clips that score less.
    """
    usable = [s for s in scored if s.clip.label and math.isfinite(s.scores.get(score, math.nan))]
    by_ratio = all(s.scores[score] >= 0 and s.thresholds.get(score, 0) > 0 for s in usable)
    of_section: dict[str, list[float]] = {}
    for s in usable:
        of_section.setdefault(s.clip.name, []).append(s.scores[score])

    def height(s: Scored) -> float:
        if by_ratio:
            return s.scores[score] / s.thresholds[score]
        others = of_section[s.clip.name]
        return sum(other < s.scores[score] for other in others) / len(others)

    ordered = sorted(usable, key=height)
    normal = [s for s in reversed(ordered) if s.clip.label == "normal"]
    return normal[:most], [s for s in ordered if s.clip.label == "anomaly"][:most]


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
            pickup=s.clip.pickup,
            why=_why(detector, detector.sections[s.clip.name], s.clip) if detector else "",
            **({"frontend": detector.frontend} if detector else {}),
        )


def _why(detector: Detector, section: Section, clip: Clip) -> str:
    """Say which bands differ from normal over the whole clip, as an event does."""
    try:
        levels = [r.band_level for r in readings_of(Line(detector, section), clip.path, clip.pickup) if r.fault is None]
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
            yield Example(
                "ordinary",
                name,
                clip.path,
                domain=domain,
                attributes=clip.attributes,
                frontend=frontend,
                pickup=clip.pickup,
            )
