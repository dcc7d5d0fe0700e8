"""What waits for the broker, in memory, and which of it the disk does not know yet. It never waits for that disk.

Memory is the truth while the process lives, and the disk its shadow (edge/voice/shadow.py), which is told in two steps:
`news` says what it lacks, and `saved`, once that is written, that it lacks it no longer. What changes in between is
news again.
"""

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from edge.config import OutboxSettings
from edge.voice.episodes import Episodes, Last, Orphan
from edge.voice.graveyard import Graveyard
from edge.voice.lacks import Lacks
from edge.voice.message import Payload, as_json
from edge.voice.waiting import Dead, Queue, Waiting


class News(NamedTuple):
    """What the disk does not know yet: numbers that are gone, new events, changed episodes (None: no longer open), and
    what is or no longer is set aside (None)."""

    gone: list[int]
    events: list[Waiting]
    episodes: dict[str, Last | None]
    dead: dict[int, Dead | None]


class Backlog:
    """Events in the order in which they were put, the episodes that are open, and what of both the disk lacks.

    Any thread may call any method: `_lock` guards all of it, is held for as long as memory takes, and nobody else is
    asked meanwhile. Only the shadow calls `news`, `saved`, `compare`, `take_in` and `lose_the_disk`.
    """

    def __init__(self, settings: OutboxSettings, clock: Callable[[], float], *, shadowed: bool) -> None:
        """Begin empty. `shadowed`: there will be a disk, so what it lacks is noted."""
        self._clock = clock
        self._lock = threading.Lock()
        self._queue = Queue(settings)
        self._episodes = Episodes()
        self._dead = Graveyard()
        self._newest = 0
        self._created_at_zero = 0.0
        self._lacks = Lacks(shadowed=shadowed)

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Events given up since the start, because too many, too large or too old ones waited."""
        return self._queue.dropped

    @property
    def n_dead(self) -> int:
        """Events that were set aside, those of earlier runs included."""
        return len(self._dead)

    @property
    def n_orphans(self) -> int:
        """Episodes of an earlier run that nobody has asked for yet."""
        return self._episodes.n_orphans

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is open, so that a power cut finds nothing to take."""
        return len(self._queue) == len(self._episodes) == 0

    def put(self, topic: str, payload: Payload, born: object | None) -> None:
        """Keep an event; the least worth go if there is no room. See Outbox."""
        text = as_json(payload)
        kind, episode = payload.get("kind"), payload.get("id")
        with self._lock:
            self._append(topic, text, kind if isinstance(kind, str) else None, self._now(), born)
            if self._lacks.shadowed and isinstance(episode, str):
                self._episodes.follow(episode, kind, (topic, text))
            self._make_room()

    def after(self, number: int) -> Waiting | None:
        """Return the oldest event that is newer than `number`; None if there is none."""
        with self._lock:
            return self._queue.after(number)

    def age_seconds(self, event: Waiting) -> float:
        """Return for how long an event has waited, of running time."""
        with self._lock:
            return self._now() - event.created

    def remove(self, number: int) -> bool:
        """Forget an event, if it still waits; return whether the disk holds events that are gone."""
        with self._lock:
            if self._queue.take_out(number):
                self._lacks.went(number)
            return bool(self._lacks.gone)

    def set_aside(self, number: int, reason: str) -> None:
        """Have an event wait no longer, and be kept all the same."""
        with self._lock:
            if number in self._queue.numbers:
                event = self._queue[number]
                self._queue.take_out(number)
                self._lacks.went(number)
                self._dead.bury(Dead(event, reason))

    def take_back(self, number: int) -> None:
        """Have an event that was set aside wait again."""
        with self._lock:
            dead = self._dead.exhume(number)
            if dead is not None:
                self._queue.add(dead.event)
                self._lacks.came(number)

    def orphans(self) -> list[Orphan]:
        """Return the episodes that were found open on disk, each once."""
        with self._lock:
            return self._episodes.take_orphans()

    def make_room(self) -> None:
        """Drop what has become too old."""
        with self._lock:
            self._make_room()

    def news(self) -> News:
        """Return what the disk does not know yet."""
        with self._lock:
            events = [self._queue[number] for number in self._lacks.unsaved]
            return News(self._lacks.gone, events, self._episodes.news(), self._dead.news())

    def saved(self, news: News) -> None:
        """Take it that the disk now knows this, as far as nothing has changed since."""
        with self._lock:
            self._lacks.saved([event.number for event in news.events], news.gone)
            self._episodes.saved(news.episodes)
            self._dead.saved(news.dead)

    def compare(self, numbers: set[int], episodes: set[str], dead: set[int]) -> None:
        """Find out what a disk lacks that was opened anew, and holds these."""
        with self._lock:
            self._lacks.compare(self._queue.numbers, numbers)
            self._episodes.compare(episodes)
            self._dead.compare(dead)

    def take_in(self, events: list[Waiting], episodes: Mapping[str, Last], dead: list[Dead]) -> None:
        """Add what was on disk. Where events came before the disk could be read, its own are put behind them."""
        with self._lock:
            self._lacks.replace(())
            if events and self._newest == 0:
                self._continue(events)
            elif events:
                self._put_behind(events)
            self._episodes.take_in(episodes)
            for each in dead:
                self._dead.take_in(each)
                self._newest = max(self._newest, each.event.number)
            self._make_room()

    def lose_the_disk(self) -> None:
        """Note no longer what it should delete."""
        with self._lock:
            self._lacks.lose()

    def _now(self) -> float:
        return self._created_at_zero + self._clock()

    def _append(self, topic: str, text: str, kind: str | None, created: float, born: object | None) -> None:
        self._newest += 1
        self._queue.add(Waiting(self._newest, topic, text, kind, created, born))
        self._lacks.came(self._newest)

    def _continue(self, events: list[Waiting]) -> None:
        for event in events:
            self._queue.add(event)
        self._newest = events[-1].number
        self._created_at_zero = events[-1].created - self._clock()

    def _put_behind(self, events: list[Waiting]) -> None:
        now = self._now()
        for event in events:
            age_seconds = events[-1].created - event.created
            self._append(event.topic, event.text, event.kind, now - age_seconds, None)
        self._lacks.replace(event.number for event in events)

    def _make_room(self) -> None:
        for number in self._queue.make_room(self._now()):
            self._lacks.went(number)
