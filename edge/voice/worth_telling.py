"""Which of all that happens is worth a person's phone: the kinds that were asked for, and not too often of one source.

What ends is told where its beginning was, and nothing else: "normal again" alone makes people wonder.
"""

import threading
import time
from collections.abc import Callable, Collection

from edge.voice.notice import Notice


class WorthTelling:
    """When each source was told of last, and what of it is open. Any thread may call any method."""

    def __init__(self, kinds: Collection[str], gap_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        """gap_seconds: between two beginnings of a source that are told; of an alarm and of its microphone apart."""
        self._kinds = frozenset(kinds)
        self._gap_seconds = gap_seconds
        self._now = now
        self._lock = threading.Lock()
        self._next_at: dict[tuple[str, str], float] = {}
        self._episodes: dict[str, str] = {}
        self._unwell: set[str] = set()
        self._told: dict[str, Notice] = {}

    def event(self, source: str, kind: str, episode: str) -> bool:
        """Return whether this event of an episode is to be told."""
        with self._lock:
            if kind == "opened":
                self._episodes.pop(source, None)
                self._told.pop(source, None)
                if not self._is_time("episode", source):
                    return False
                self._episodes[source] = episode
                return "opened" in self._kinds
            if kind != "closed" or self._episodes.get(source) != episode:
                return False
            del self._episodes[source]
            return "closed" in self._kinds

    def sensor(self, source: str, status: str) -> bool:
        """Return whether it is to be told that a microphone is so."""
        if "sensor" not in self._kinds:
            return False
        with self._lock:
            if status in ("degraded", "lost"):
                if source in self._unwell or not self._is_time("sensor", source):
                    return False
                self._unwell.add(source)
                return True
            if status not in ("listening", "untaught") or source not in self._unwell:
                return False
            self._unwell.remove(source)
            return True

    def remember(self, notice: Notice) -> None:
        """Take note of what is told: its picture may come later."""
        if notice.kind in ("opened", "closed"):
            with self._lock:
                self._told[notice.source] = notice

    def told_of(self, source: str) -> Notice | None:
        """Return what was told last of the newest episode of a source; None if nothing was."""
        with self._lock:
            return self._told.get(source)

    def _is_time(self, what: str, source: str) -> bool:
        now = self._now()
        if now < self._next_at.get((what, source), now):
            return False
        self._next_at[what, source] = now + self._gap_seconds
        return True
