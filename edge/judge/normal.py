"""Normal sound of one section, as it was measured: what a fit takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray

MIN_WINDOWS: Final = 10
"""Fewer than this, a minute and a half of sound, say nothing about what is normal."""

RECORDING_MINUTES: Final = 5
"""What counts as another recording, of a machine that is heard for hours (edge/detector/enrolment.py)."""


@dataclass(frozen=True)
class NormalWindows:
    """What was measured on the normal sound of one section: a row a window, in the order of recording.

    domain     the condition each window was heard under: `source`, `target`, or another name, which counts as target
    recording  what each window is a part of: windows of one recording are never on both sides of a fold
    apart      (B,), which windows are fitted to: no two of them overlap. The others, a hop apart, are only scored
    trained_on  (B,), whether the network was trained on the window; never for a machine that is enrolled
    series     (B,), equal numbers are one unbroken run of hops
    place      (B, 2), where it was heard: the number of the file among those measured, and the sample that the window
               ends before; None where that was not kept
    """

    domain: Sequence[str]
    embedding: FloatArray
    texture: FloatArray
    logits: FloatArray
    bands: FloatArray
    recording: Sequence[str]
    apart: NDArray[np.bool_]
    trained_on: NDArray[np.bool_]
    series: NDArray[np.int64]
    place: NDArray[np.int64] | None = None

    @classmethod
    def of_minutes(
        cls, windows: Mapping[str, FloatArray], number: NDArray[np.int64], name: str, domain: str = "source"
    ) -> "NormalWindows":
        """Take one window of each minute, as the memory keeps them: for learning again from a stretch of it.

        windows: embedding, texture, logits and bands, (B, ...), of what was measured; a part may be missing.
        number: of the minutes, (B,), rising. Five in a row are a recording, as five minutes are of a file that is cut;
        name: what the recordings are called. No two windows overlap, and what the hops between them scored nobody
        knows: such a fit has thresholds by a rate, and none by the week.
        """
        n, nothing = number.size, np.zeros((number.size, 0), np.float32)
        return cls(
            embedding=windows.get("embedding", nothing),
            texture=windows.get("texture", nothing),
            logits=windows.get("logits", nothing),
            bands=windows["bands"],
            domain=[domain] * n,
            recording=[f"{name}#{i // RECORDING_MINUTES}" for i in number.tolist()],
            apart=np.ones(n, np.bool_),
            trained_on=np.zeros(n, np.bool_),
            series=np.arange(n),
        )

    def __len__(self) -> int:
        return len(self.domain)

    @property
    def n_apart(self) -> int:
        """How many windows do not overlap."""
        return int(self.apart.sum())

    def take(self, rows: NDArray[np.bool_]) -> "NormalWindows":
        """Return the windows where `rows`, (B,), is true."""
        chosen = [int(i) for i in np.flatnonzero(rows)]
        return NormalWindows(
            domain=[self.domain[i] for i in chosen],
            embedding=self.embedding[rows],
            texture=self.texture[rows],
            logits=self.logits[rows],
            bands=self.bands[rows],
            recording=[self.recording[i] for i in chosen],
            apart=self.apart[rows],
            trained_on=self.trained_on[rows],
            series=self.series[rows],
            place=None if self.place is None else self.place[rows],
        )

    def of_condition(self, name: str) -> "NormalWindows":
        """Return the windows that were heard under a condition."""
        return self.take(np.array([each == name for each in self.domain], np.bool_))

    def and_then(self, later: "NormalWindows") -> "NormalWindows":
        """Return these windows and, after them, those of another time, measured by the same network."""
        places = [
            np.stack([np.full(len(each), -1), np.arange(len(each))], axis=1) if each.place is None else each.place
            for each in (self, later)
        ]
        return NormalWindows(
            domain=[*self.domain, *later.domain],
            embedding=np.concatenate([self.embedding, later.embedding]),
            texture=np.concatenate([self.texture, later.texture]),
            logits=np.concatenate([self.logits, later.logits]),
            bands=np.concatenate([self.bands, later.bands]),
            recording=[*self.recording, *later.recording],
            apart=np.concatenate([self.apart, later.apart]),
            trained_on=np.concatenate([self.trained_on, later.trained_on]),
            series=np.concatenate([self.series, later.series + self.series.max(initial=-1) + 1]),
            place=np.concatenate(places),
        )
