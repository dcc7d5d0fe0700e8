"""What waits for the broker, in memory, and which of it the disk does not know yet. It never waits for that disk.

Memory is the truth while the process lives, and the disk its shadow (edge/voice/shadow.py), which is told in two steps:
`news` says what it lacks, and `saved`, once that is written, that it lacks it no longer. What changes in between is
news again.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from edge.config import OutboxSettings
from edge.voice.episodes import Episodes, Last, Orphan
from edge.voice.graveyard import Graveyard
from edge.voice.lacks import Lacks
from edge.voice.message import Payload, as_json
from edge.voice.waiting import Cause, Dead, Queue, Waiting


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
        self._held: set[int] = set()
        self._dead = Graveyard()
        self._newest = 0
        self._created_at_zero = 0.0
        self._lacks = Lacks(shadowed=shadowed)

    def __len__(self) -> int:
        """Return how many events wait."""
        with self._lock:
            return len(self._queue)

    @property
    def dropped(self) -> int:
        """Events given up since the start, because too many, too large or too old ones waited or were set aside."""
        with self._lock:
            return self._queue.dropped + self._dead.given_up

    @property
    def dead(self) -> tuple[Dead, ...]:
        """Events that are set aside, those of earlier runs included, the longest first."""
        with self._lock:
            return self._dead.all

    @property
    def n_orphans(self) -> int:
        """Episodes of an earlier run that nobody has asked for yet."""
        with self._lock:
            return self._episodes.n_orphans

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is open, so that a power cut finds nothing to take."""
        with self._lock:
            return len(self._queue) == len(self._episodes) == 0

    def put(self, topic: str, payload: Payload, born: object | None, *, held: bool) -> int:
        """Keep an event; the least worth go if there is no room. See Outbox. Return its number.

        held: it and what comes after are not to be said before `let_go`.
        """
        text = as_json(payload)
        kind, episode = payload.get("kind"), payload.get("id")
        with self._lock:
            self._append(topic, text, kind if isinstance(kind, str) else None, self._now(), born)
            if self._lacks.shadowed and isinstance(episode, str):
                self._episodes.follow(episode, kind, (topic, text))
            number = self._newest
            if held:
                self._held.add(number)
            self._make_room()
        return number

    def let_go(self, number: int) -> None:
        """Have an event that was held be said."""
        with self._lock:
            self._held.discard(number)

    def after(self, number: int) -> Waiting | None:
        """Return the oldest event that is newer than `number`; None if there is none, or it is held."""
        with self._lock:
            event = self._queue.after(number)
            return None if event is not None and event.number in self._held else event

    def age_seconds(self, event: Waiting) -> float:
        """Return for how long an event has waited, of running time."""
        with self._lock:
            return self._now() - event.created

    def is_too_old(self, event: Waiting) -> bool:
        """Whether an event may wait no longer."""
        with self._lock:
            return self._queue.is_too_old(event, self._now())

    def remove(self, number: int) -> bool:
        """Forget an event, if it waits or is set aside; return whether the disk holds events that are gone."""
        with self._lock:
            exhumed = self._dead.exhume(number)
            if self._queue.take_out(number):
                self._lacks.went(number)
            return exhumed is not None or bool(self._lacks.gone)

    def set_aside(self, number: int, cause: Cause, reason: str) -> None:
        """Have an event wait no longer, and be kept all the same."""
        with self._lock:
            if number in self._queue.numbers:
                event = self._queue[number]
                self._queue.take_out(number)
                self._lacks.went(number)
                self._dead.bury(Dead(event, cause, reason))

    def tried_in_vain(self, number: int, cause: Cause, reason: str) -> None:
        """Take note of what became of an event that is set aside and was said once more."""
        with self._lock:
            dead = self._dead.exhume(number)
            if dead is not None:
                self._dead.bury(replace(dead, cause=cause, reason=reason, n_tries=dead.n_tries + 1))

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
            latest = max((event.created for event in (*events, *(each.event for each in dead))), default=None)
            if latest is not None and self._newest == 0:
                self._continue(events, dead, latest)
            elif latest is not None:
                self._put_behind(events, dead, latest)
            self._episodes.take_in(episodes)
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

    def _continue(self, events: Iterable[Waiting], dead: Iterable[Dead], latest: float) -> None:
        """Take in what was on disk, where nothing has come since. latest: when the newest of it was put."""
        for event in events:
            self._queue.add(event)
            self._newest = max(self._newest, event.number)
        for each in dead:
            self._dead.take_in(each)
            self._newest = max(self._newest, each.event.number)
        self._created_at_zero = latest - self._clock()

    def _put_behind(self, events: list[Waiting], dead: Iterable[Dead], latest: float) -> None:
        """The same where something has: its numbers are taken."""
        later = self._now() - latest
        for event in events:
            self._append(event.topic, event.text, event.kind, event.created + later, None)
        self._lacks.replace(event.number for event in events)
        for each in dead:
            self._newest += 1
            event = replace(each.event, number=self._newest, created=each.event.created + later)
            self._dead.take_in(replace(each, event=event), was=each.event.number)

    def _make_room(self) -> None:
        for number in self._queue.make_room(self._now()):
            self._lacks.went(number)
