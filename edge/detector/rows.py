"""What windows measured, a row each, in arrays: what a fit takes, however long it was listened for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import HopPlan, Measurement
from edge.judge import NormalWindows

STRETCH_SECONDS: Final = 300.0
"""What counts as another recording of a machine that is recorded for hours. Long against the window and against what
comes and goes in a minute, so that a stretch is news to statistics that heard the one before; short enough that half an
hour is six of them."""


@dataclass(frozen=True)
class Part:
    """A stretch of so many rows."""

    name: str
    n_rows: int
    domain: str
    trained_on: bool


_TYPES: Final = {"texture": np.float16, "end_sample": np.int64, "stretch": np.int64}
"""Of columns; the others are float32. Of textures half the memory of two days, for a thousandth of a value."""


class Rows:
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

    def append(self, heard: Measurement, stretch: int = -1) -> None:
        row: dict[str, NDArray[Any]] = {
            "embedding": heard.embedding,
            "texture": heard.texture.astype(np.float16),
            "logits": heard.logits,
            "bands": heard.bands,
            "end_sample": np.array(heard.end_sample, np.int64),
            "stretch": np.array(stretch, np.int64),
        }
        if not self._columns:
            self._columns = {name: np.empty((0, *value.shape), value.dtype) for name, value in row.items()}
        if self._n == len(self._columns["end_sample"]):
            self._resize(self._n + max(64, self._n // 8))
        for name, value in row.items():
            self._columns[name][self._n] = value
        self._n += 1

    def column(self, name: str) -> NDArray[Any]:
        """Return what was measured under that name, a row a window: a view, as above."""
        return self._columns[name][: self._n]

    def extend(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Append rows as `since` returned them. Raises ValueError if they are not of this network."""
        n = len(rows["end_sample"])
        if any(name not in rows or rows[name].shape != (n, *own.shape[1:]) for name, own in self._columns.items()):
            raise ValueError(f"rows of {', '.join(f'{name} {x.shape}' for name, x in rows.items())}")
        if not self._columns:
            self._columns = {
                name: np.empty((0, *x.shape[1:]), _TYPES.get(name, np.float32)) for name, x in rows.items()
            }
        self._resize(self._n + n)
        for name, x in rows.items():
            self._columns[name][self._n :] = x
        self._n += n

    def since(self, first: int) -> dict[str, NDArray[Any]]:
        """Return the rows from the `first`, to be written down: measurements as float16."""
        own = {name: column[first : self._n] for name, column in self._columns.items()}
        return {name: x.astype(np.float16) if x.dtype == np.float32 else x.copy() for name, x in own.items()}

    def of(self, ranges: Iterable[tuple[int, int]]) -> "Rows":
        """Return a copy of the rows of ascending ranges (first, end)."""
        chosen = np.concatenate([np.arange(first, end) for first, end in ranges] or [np.empty(0, np.int64)])
        other = Rows()
        other._columns = {name: column[chosen] for name, column in self._columns.items()}
        other._n = chosen.size
        return other

    def keep(self, start: int, ranges: Iterable[tuple[int, int]]) -> None:
        """Keep the rows before `start` and those in ascending ranges (first, end) after it; forget the others."""
        self._n = start
        for first, end in ranges:
            for column in self._columns.values():
                column[self._n : self._n + end - first] = column[first:end]
            self._n += end - first

    def as_windows(self, plan: HopPlan, parts: Sequence[Part]) -> NormalWindows | None:
        """Return all rows, which the parts make up in their order, or None if there are none. Ends the growing."""
        if not self._n:
            return None
        self._resize(self._n)
        n_rows = [part.n_rows for part in parts]
        ends = np.split(self.end_samples, np.cumsum(n_rows)[:-1])
        index = np.repeat(np.arange(len(parts)), n_rows)
        broken = (np.diff(index) != 0) | (np.diff(self.end_samples) != plan.hop_samples)
        return NormalWindows(
            domain=[part.domain for part in parts for _ in range(part.n_rows)],
            embedding=self._columns["embedding"],
            texture=self._columns["texture"],
            logits=self._columns["logits"],
            bands=self._columns["bands"],
            recording=[part.name for part in parts for _ in range(part.n_rows)],
            apart=np.array([apart for own in ends for apart in apart_of(own.tolist(), plan)]),
            trained_on=np.array([part.trained_on for part in parts])[index],
            series=np.concatenate([[0], np.cumsum(broken)]).astype(np.int64),
            place=np.stack([self._columns["stretch"], self.end_samples], axis=1),
        )

    def _resize(self, n: int) -> None:
        """Make room for n rows, without a copy where the system can (mremap). No view of a column may be held."""
        for column in self._columns.values():
            column.resize((n, *column.shape[1:]), refcheck=False)


def apart_of(end_samples: Sequence[int], plan: HopPlan) -> list[bool]:
    """Say of each window whether it is one of those that do not overlap: the first, the next that shares nothing..."""
    apart: list[bool] = []
    latest = -plan.window_samples
    for end_sample in end_samples:
        apart.append(end_sample - latest >= plan.window_samples)
        if apart[-1]:
            latest = end_sample
    return apart


def stretches_of(end_samples: NDArray[np.int64], plan: HopPlan) -> list[tuple[int, int]]:
    """Cut a recording, whose windows end there, into equal stretches of `STRETCH_SECONDS` or a little more.

    Return the windows of each that lie wholly within it: the first, and the one after the last.
    """
    seconds = int(end_samples[-1]) / plan.frontend.sample_rate_hz
    n = max(1, int(seconds // STRETCH_SECONDS))
    cuts = [round(i * int(end_samples[-1]) / n) for i in range(n + 1)]
    firsts = np.searchsorted(end_samples, [start + plan.window_samples for start in cuts[:-1]])
    ends = np.searchsorted(end_samples, cuts[1:], "right")
    return [(int(first), max(int(first), int(end))) for first, end in zip(firsts, ends, strict=True)]
