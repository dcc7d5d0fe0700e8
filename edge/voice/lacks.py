"""What of the waiting events the disk does not know: the new ones, and those that are gone."""

from collections.abc import Collection, Iterable


class Lacks:
    """Numbers of events that the disk lacks, and of those that it should delete. The backlog's lock guards it."""

    def __init__(self, *, shadowed: bool) -> None:
        """shadowed: there will be a disk."""
        self.shadowed = shadowed
        self._unsaved: dict[int, None] = {}
        self._gone: set[int] | None = None  # None: no database is open, and the next one is compared

    @property
    def unsaved(self) -> list[int]:
        """What it lacks, in the order in which it came."""
        return list(self._unsaved)

    @property
    def gone(self) -> list[int]:
        """What it should delete."""
        return list(self._gone or ())

    def came(self, number: int) -> None:
        """An event waits that it has not, or has not any more."""
        if self._gone is not None:
            self._gone.discard(number)
        if self.shadowed:
            self._unsaved[number] = None

    def went(self, number: int) -> None:
        """An event waits no longer."""
        self._unsaved.pop(number, None)
        if self._gone is not None:
            self._gone.add(number)

    def saved(self, numbers: Iterable[int], gone: Iterable[int]) -> None:
        """It has these now, and those no more."""
        if self._gone is not None:
            self._gone.difference_update(gone)
        for number in numbers:
            self._unsaved.pop(number, None)

    def compare(self, waiting: Collection[int], on_disk: set[int]) -> None:
        """Find out what it lacks that holds these."""
        self._gone = on_disk.difference(waiting)
        self._unsaved = dict.fromkeys(number for number in waiting if number not in on_disk)

    def replace(self, numbers: Iterable[int]) -> None:
        """It was read, and these of its events have other numbers now."""
        self._gone = set(numbers)

    def lose(self) -> None:
        """It is closed: what it should delete is found out when it is opened again."""
        self._gone = None
