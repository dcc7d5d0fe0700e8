"""How long something takes: in turns with what it is compared to, in seconds of this thread, and as a table."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

ROUNDS: Final = 25
TURN_SECONDS: Final = 0.02
"""What is shorter is repeated until a turn takes about this long."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Table:
    """Rows under a title, and what one has to know to read them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def as_markdown(self) -> str:
        """Return the table, its cells padded so that it can be read as it stands."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [self.columns, ["-" * width for width in widths], *self.rows]
        text = "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
        return f"## {self.title}\n\n{text}\n" + (f"\n{self.note}\n" if self.note else "")


def cpu_seconds(works: Mapping[str, Work], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the seconds that each work takes of this thread, by its name: the median over the rounds.

    In every round each has its turn, so that whatever else the computer does disturbs all of them alike. The thread's
    own clock stands still while other programs have the core.
    """
    repeats = {name: max(1, round(TURN_SECONDS / _once(work))) for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(_turn(work, repeats[name]))
    return {name: float(np.median(turns)) for name, turns in seconds.items()}


def ms(seconds: float) -> str:
    """Return seconds as milliseconds, for a cell."""
    return f"{1e3 * seconds:.2f}"


def against(value: float, floor: float, goal: float | None = None) -> str:
    """Return how a figure stands to the least it should be, and to what we would like, for a cell."""
    if goal is not None and value >= goal:
        return f"goal {goal:g} reached"
    if value >= floor:
        return f"{floor:g} reached" + (f", goal {goal:g} not" if goal is not None else "")
    return f"**{floor:g} not reached**"


def _once(work: Work) -> float:
    """Warm it up, then return the seconds of one call."""
    work()
    return max(_turn(work, 1), 1e-6)


def _turn(work: Work, repeats: int) -> float:
    started = time.thread_time()
    for _ in range(repeats):
        work()
    return (time.thread_time() - started) / repeats
