"""Which episodes are open, as far as their events tell: what an earlier run left open has to be closed by this one."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from edge.voice.message import Payload

Last = tuple[str, str]
"""Topic and text of an episode's last event."""

MOST_EPISODES: Final = 1024
"""Episodes that may be open at once; one a source is usual."""


class Orphan(NamedTuple):
    """An episode of an earlier run that was opened and never closed: its topic, and its last event."""

    topic: str
    payload: Payload


class Episodes:
    """The last event of each open episode, which of them changed since the disk was told, and the orphans it gave us.

    Not locked: the backlog's lock guards it.
    """

    def __init__(self) -> None:
        self._open: dict[str, Last] = {}
        self._changed: set[str] = set()
        self._orphans: list[Orphan] = []

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @property
    def n_orphans(self) -> int:
        """Episodes of an earlier run that nobody has asked for yet."""
        return len(self._orphans)

    def follow(self, episode: str, kind: object, last: Last) -> None:
        """Take note of an event; the oldest episode is forgotten where too many are open."""
        if kind == "closed":
            self._open.pop(episode, None)
        elif kind in ("opened", "updated"):
            self._open[episode] = last
        else:
            return
        self._changed.add(episode)
        while len(self._open) > MOST_EPISODES:
            oldest = next(iter(self._open))
            del self._open[oldest]
            self._changed.add(oldest)

    def take_in(self, found: Mapping[str, Last]) -> None:
        """Take what was open on disk as orphans."""
        for name, (topic, text) in found.items():
            self._open[name] = topic, text
            self._orphans.append(Orphan(topic, json.loads(text)))

    def take_orphans(self) -> list[Orphan]:
        """Return the orphans, each once."""
        found, self._orphans = self._orphans, []
        return found

    def compare(self, on_disk: set[str]) -> None:
        """Find out what a disk lacks that holds episodes of these names."""
        self._changed = on_disk | self._open.keys()

    def news(self) -> dict[str, Last | None]:
        """Return what the disk does not know yet; None: no longer open."""
        return {name: self._open.get(name) for name in self._changed}

    def saved(self, news: Mapping[str, Last | None]) -> None:
        """Take as known to the disk what has not changed since `news` told it."""
        self._changed -= {name for name, last in news.items() if self._open.get(name) == last}
