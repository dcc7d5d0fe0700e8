"""How recordings are heard: the options that every command and the folder source share, and what is said of a file."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.errors import shown

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Pickup:
    """What is made of a recording.

    channel  which one, counted from 0; never a mix of them
    gain_db  by how much it is made louder: for floats that have another full scale than 1
    salvage  whether what there is of a file that is cut off is taken
    """

    channel: int = 0
    gain_db: float = 0.0
    salvage: bool = False

    @property
    def factor(self) -> float:
        """What each sample is multiplied by."""
        return float(10 ** (self.gain_db / 20))

    def __str__(self) -> str:
        return f"channel {self.channel}" + (f", gain {self.gain_db:+g} dB" if self.gain_db else "")


AS_IT_IS: Final = Pickup()


@dataclass(frozen=True)
class Note:
    """Something about a recording that was read all the same; files with one fault of a writer share the `kind`."""

    kind: str
    text: str


OnNote = Callable[[Note], None]


class SayOnce:
    """Logs the first note of each kind, and no other: a recorder that has a fault has it in every file."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, path: object, note: Note) -> None:
        """Say it of `path`, unless a note of its kind was said before."""
        if note.kind not in self._said:
            self._said.add(note.kind)
            log.warning("%s: %s (said once; others may be alike)", shown(path), note.text)


say_once: Final = SayOnce()
"""The one of this process."""
