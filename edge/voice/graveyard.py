"""Events that were set aside: kept, for whoever wants to know, and until they are taken after all."""

from collections.abc import Mapping
from typing import Final

from edge.voice.waiting import Dead

MOST_DEAD: Final = 1000
"""The oldest are given up."""


class Graveyard:
    """The events that were set aside, by their numbers, and which of that the disk does not know yet.

    Not locked: the backlog's lock guards it.
    """

    def __init__(self) -> None:
        self._dead: dict[int, Dead] = {}
        self._changed: set[int] = set()
        self._given_up = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._dead)

    @property
    def all(self) -> tuple[Dead, ...]:
        """Those that are here, the longest first."""
        return tuple(self._dead.values())

    @property
    def given_up(self) -> int:
        """Those for which there was no room, since the start."""
        return self._given_up

    def bury(self, dead: Dead) -> None:
        """Set an event aside, or take note of what has come to be known of one that is."""
        self.take_in(dead)
        self._changed.add(dead.event.number)

    def exhume(self, number: int) -> Dead | None:
        """Give an event back; None if it is not here."""
        found = self._dead.pop(number, None)
        if found is not None:
            self._changed.add(number)
        return found

    def take_in(self, dead: Dead, was: int | None = None) -> None:
        """Take what the disk knows already. was: under which other number."""
        if was is not None:
            self._changed |= {was, dead.event.number}
        self._dead[dead.event.number] = dead
        while len(self._dead) > MOST_DEAD:
            oldest = next(iter(self._dead))
            del self._dead[oldest]
            self._changed.add(oldest)
            self._given_up += 1

    def compare(self, on_disk: set[int]) -> None:
        """Find out what a disk lacks that holds these."""
        self._changed = on_disk | self._dead.keys()

    def news(self) -> dict[int, Dead | None]:
        """Return what the disk does not know yet; None: no longer set aside."""
        return {number: self._dead.get(number) for number in self._changed}

    def saved(self, news: Mapping[int, Dead | None]) -> None:
        """Take as known to the disk what has not changed since `news` told it."""
        self._changed -= {number for number, dead in news.items() if self._dead.get(number) == dead}
