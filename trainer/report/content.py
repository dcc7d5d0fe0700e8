"""What a report says, as plain values: whoever has scores can fill it in. Nothing is read or drawn here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.ear import FrontendSettings
from edge.source import AS_IT_IS, Pickup
from trainer.evaluation.scores import Scored, System

Cell = str | float | int | None
"""Of a table; None and NaN are shown as a dash."""

Unit = Literal["text", "figure", "count", "number", "score", "share"]
"""How a column is written: as it is; as it is, but to the right; whole; with three significant digits; with three
decimals; in per cent."""


@dataclass(frozen=True)
class Column:
    """The head of a column; `note` is shown below the name, in small: "uses test labels"."""

    name: str
    unit: Unit = "text"
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a sentence that says what to look for. Rows in `emphasis` (indices) are means and the like."""

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    emphasis: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Run:
    """The learning curves of one training: a row an epoch, as metrics.jsonl has them."""

    name: str
    epochs: Sequence[Mapping[str, float]]


Kind = Literal["train", "normal", "anomaly"]


@dataclass(frozen=True)
class Point:
    """A clip's place in the embedding of the detector that has its section; `name` is `machine/section`."""

    name: str
    kind: Kind
    embedding: NDArray[np.float32]
    space: str = ""
    """Which embedding: points of two detectors have no common map."""


ExampleKind = Literal["false alarm", "miss", "ordinary"]


@dataclass(frozen=True)
class Example:
    """A clip to look at and to listen to; `why` says which bands differ from normal, and `ordinary` is no mistake."""

    kind: ExampleKind
    name: str
    path: Path
    score: float | None = None
    threshold: float | None = None
    domain: str = ""
    attributes: str = ""
    why: str = ""
    frontend: FrontendSettings = field(default_factory=FrontendSettings)
    pickup: Pickup = AS_IT_IS


@dataclass(frozen=True)
class Facts:
    """What a thing is: a heading, and names with values."""

    title: str
    rows: Sequence[tuple[str, str]]
    text: str = ""
    """Shown as it is, folded: a recipe."""


@dataclass(frozen=True)
class ReportContent:
    """All of a report. Whatever is empty is left out of the page, or said to be missing.

    systems    the first is the one that figures are drawn of, by its default score; the others are compared
    honest     tables that say what was picked with test labels; `compared`: of systems; `details`: the rest
    promised   share of normal clips that may lie above the threshold, as the detector has it
    """

    title: str
    systems: Sequence[System] = ()
    runs: Sequence[Run] = ()
    points: Sequence[Point] = ()
    examples: Sequence[Example] = ()
    honest: Sequence[Table] = ()
    compared: Sequence[Table] = ()
    details: Sequence[Table] = ()
    facts: Sequence[Facts] = ()
    warnings: Sequence[str] = ()
    promised: float | None = None
    created: str = ""
    command: str = ""

    @property
    def scored(self) -> Sequence[Scored]:
        """The labelled clips of the system that figures are drawn of, where they have a finite score."""
        if not self.systems:
            return []
        return [s for s in self.systems[0].scored if s.clip.label and np.isfinite(s.scores.get(self.score, np.nan))]

    @property
    def score(self) -> str:
        """The score that figures are drawn of: chosen without test labels."""
        return self.systems[0].default_score if self.systems else ""

    @property
    def sections(self) -> Sequence[str]:
        """`machine/section` of every section with a labelled clip, sorted."""
        return sorted({s.clip.name for s in self.scored})
