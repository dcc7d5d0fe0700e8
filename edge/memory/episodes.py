"""The newest episodes of every source, and what a person said of them: a list to look at, not a promise to deliver.

Written when an episode opens, when it ends and when somebody says something of it, by the thread of the notes; nothing
here waits for a disk but `recall`.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from edge.memory.notes import MOST_BYTES, Notes

Record = dict[str, Any]

MOST: Final = 50
"""Of a source: a note of 40 kB. The clips have a quota of their own, and go when they must."""

SCHEMA: Final = 1

_KEPT: Final = (
    "id", "source", "machine", "section", "score", "peak", "threshold", "duration_s", "bands", "why", "reason",
    "acknowledged", "evidence", "clip", "clock_synced",
)  # fmt: skip


class Episodes:
    """Steps of episodes in, a list out. Any thread may call any method."""

    def __init__(self, notes: Notes, sources: Iterable[str]) -> None:
        """Open nothing."""
        self._notes = notes
        self._lock = threading.Lock()
        self._of: dict[str, dict[str, Record]] = {source: {} for source in sources}  # by id, the oldest first

    def recall(self) -> None:
        """Take back what was written: an episode that was open then has ended, and nobody heard how."""
        for source, known in self._of.items():
            note = self._notes.read(source) or {}
            before = note.get("episodes")
            if note.get("schema") != SCHEMA or not isinstance(before, list):
                continue
            old = {each["id"]: {"reason": "interrupted", **each, "open": False} for each in before if _is_whole(each)}
            with self._lock:
                self._of[source] = {**old, **known}

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take a step of an episode (edge/schemas/event.json)."""
        source, kind = event["source"], event["kind"]
        with self._lock:
            known = self._of[source]
            before = known.get(event["id"], {"opened": event["time"], "normal": False})
            kept = {name: event[name] for name in _KEPT if name in event}
            known[event["id"]] = {**before, **kept, "until": event["time"], "open": kind != "closed"}
            while len(known) > MOST:
                del known[next(iter(known))]
        if kind != "updated":
            self._write(source)

    def newest(self, most: int, source: str | None = None) -> list[Record]:
        """Return the newest episodes, of one source or of all, the newest first."""
        with self._lock:
            found = [each for name, known in self._of.items() if source in (None, name) for each in known.values()]
        return sorted(found, key=lambda each: str(each["opened"]), reverse=True)[:most]

    def find(self, episode: str) -> Record | None:
        """Return the episode of that id."""
        with self._lock:
            return next((known[episode] for known in self._of.values() if episode in known), None)

    def call_normal(self, episode: str, normal: bool) -> None:
        """Note that a person says that this was normal, or that it was not after all. Raises KeyError if unknown."""
        with self._lock:
            source = next((name for name, known in self._of.items() if episode in known), None)
            if source is None:
                raise KeyError(episode)
            self._of[source][episode] = {**self._of[source][episode], "normal": normal}
        self._write(source)

    def _write(self, source: str) -> None:
        with self._lock:
            episodes = list(self._of[source].values())
        while len(json.dumps(episodes)) > MOST_BYTES - 1000:
            episodes.pop(0)
        self._notes.write(source, {"schema": SCHEMA, "episodes": episodes})


def _is_whole(kept: object) -> bool:
    """Whether it is what was written: a disk gives back all sorts of things."""
    if not isinstance(kept, dict):
        return False
    texts = all(isinstance(kept.get(name), str) for name in ("id", "source", "opened", "until"))
    return texts and isinstance(kept.get("bands"), list) and isinstance(kept.get("peak"), int | float)
