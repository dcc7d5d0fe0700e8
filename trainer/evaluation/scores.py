"""What is graded: labelled clips with every score that a system gave them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge.commands import open_output
from edge.errors import EarshotError
from trainer.dataset import Clip

SCHEMA: Final = 1


@dataclass(frozen=True)
class Scored:
    """A test clip and every score of it, the larger the stranger; thresholds by score where there are any.

    The label of the clip is None where nobody knows it; such clips can be scored and decided on, not graded.
    """

    clip: Clip
    scores: Mapping[str, float]
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One trained system and what it said of the test clips: a row of a table, one seed of it.

    name           of the row; systems of one name and several seeds are one row
    about          one line for people: what it is
    default_score  the score that it would be used with, chosen without test labels
    one_recipe     False where the recipe differs from machine to machine: such a row cannot be `fixed`
    """

    name: str
    seed: int
    about: str
    scored: Sequence[Scored]
    default_score: str
    one_recipe: bool = True

    @property
    def score_names(self) -> list[str]:
        """The scores that every clip has, in the order of the first clip."""
        first = self.scored[0].scores if self.scored else {}
        return [name for name in first if all(name in s.scores for s in self.scored)]


def write_system(system: System, path: Path) -> None:
    """Write a system and its scores as JSON, whole or not at all."""
    content = {
        "schema": SCHEMA,
        **{key: getattr(system, key) for key in ("name", "seed", "about", "default_score", "one_recipe")},
        "scored": [_row(s) for s in system.scored],
    }
    write_whole(path, json.dumps(content, indent=0) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_output(path) as stream:
        stream.write(text)


def read_system(path: Path) -> System:
    """Read what `write_system` wrote. Raises EarshotError if it is something else."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            raise EarshotError(f"{path}: another schema: expected {SCHEMA}")
        return System(**{**content, "scored": list(_scored(content["scored"]))})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EarshotError(f"{path}: {error}: expected the scores of a system") from error


def _row(scored: Scored) -> dict[str, Any]:
    return {"clip": scored.clip.as_row(), "scores": dict(scored.scores), "thresholds": dict(scored.thresholds)}


def _scored(rows: Sequence[Mapping[str, Any]]) -> Iterator[Scored]:
    for row in rows:
        yield Scored(Clip.of_row(row["clip"]), row["scores"], row["thresholds"])
