"""A step of `earshot check`: what was looked at, the verdict, what was found, and what a person can do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge.errors import EarshotError

Verdict = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Step:
    """`warn`: it would run, but perhaps not as it should. `hint`: None for what is well."""

    step: str
    verdict: Verdict
    found: str
    hint: str | None = None

    def __str__(self) -> str:
        line = f"{self.verdict:<4}  {self.step}: {self.found}"
        return f"{line}\n      -> {self.hint}" if self.hint else line


class Trouble(EarshotError):  # noqa: N818  a verdict, which is read out and not thrown about
    """What ends a step badly, and what to do about it."""

    verdict: Verdict = "bad"

    def __init__(self, found: str, hint: str | None = None) -> None:
        super().__init__(found)
        self.hint = hint


class Doubt(Trouble):
    """What is worth a look, and is no reason not to run."""

    verdict: Verdict = "warn"


def look(step: str, what: Callable[[], str]) -> Step:
    """Do one step: `what` returns what it found, or raises an EarshotError or an OSError."""
    try:
        return Step(step, "ok", what())
    except Trouble as trouble:
        return Step(step, trouble.verdict, str(trouble), trouble.hint)
    except (EarshotError, OSError) as error:
        return Step(step, "bad", str(error))
