"""What the page may ask of the daemon, and nothing else: the daemon answers, and the page knows no other wing of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.voice import Command

Record = dict[str, Any]


class Device(Protocol):
    """A daemon, as the page sees it. Called from the page's threads; nothing here waits for a sound."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources, in the order of the configuration."""

    def health(self) -> Record:
        """Return how the device is (schemas/health.json), with `broker`: whether it is connected, and why not."""

    def obey(self, source: str, command: Command) -> str:
        """Have a command done; return what will be done. Raises CommandError where it cannot be."""

    def cards(self) -> Mapping[str, Record]:
        """Return, for each source, what its detector is: name, machine, thresholds, what it would hear."""

    def minutes(self, source: str, names: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        """Return columns of what is remembered of a source, (n,) each, and their `time`. Reads the disk."""

    def days(self, source: str) -> tuple[Mapping[str, NDArray[np.float64]], Record]:
        """Return `time`, `score` and `level` of each day of the last year that was heard, (n,) each, and what of them
        drifts: by how much a week (`per_week`), from `low` to `high`, over how many `days`. Reads the disk."""

    def alarms(self, source: str, threshold: float, since: float) -> list[tuple[float, float]]:
        """Return from when to when another threshold would have alarmed since then, UNIX seconds. Reads the disk."""

    def teach(self, source: str, minutes: float, condition: str | None) -> None:
        """Begin to learn a machine from what its source hears. Raises EarshotError where that cannot be."""

    def relearn(self, source: str, stretch: tuple[float, float] | None) -> None:
        """Begin to learn a stretch of what is remembered (UNIX seconds), or what was called normal. As `teach`."""

    def taught(self, source: str) -> Record | None:
        """Return how far that has come, by its `stage` at least; None where nothing was begun."""

    def tell_teacher(self, source: str, word: str) -> None:
        """Say `enough`, `accept`, `stop` or `discard` to it. Raises EarshotError where that means nothing."""

    def configuration(self) -> Record:
        """Return the configuration as plain values."""

    @property
    def clips_folder(self) -> Path | None:
        """Where the clips and pictures of episodes lie, a folder a source; None: nothing is kept."""

    def listen_anew(self) -> bool:
        """Ask for the configuration, and what was chosen here, to be read anew; False where nobody can."""
