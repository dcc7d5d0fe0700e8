"""The whole line, read aloud: source -> (ring -> frontend -> model -> scorer) -> judge -> publisher.

What is this room's: it makes the parts, starts them, says how they are, and ends them in order. A block of samples
becomes a message elsewhere, in a thread a source, which nothing makes wait:

    listener     the door: carries each block through the rooms below
    lasting      a source, opened again whenever it is lost      -> Block | Lost
    hearing      sensor -> line -> judge                         -> Event | Standing | Moment   (happening)
    telling      to whom each of these is said, and when         -> publisher, clips, journal, who reads along
    payloads     and in which words                              -> JSON, as in edge/schemas/
    remembered   what its judge has learnt, from start to start  -> notes
    minutes      what happens there, each minute in numbers      -> history
    turns        in which order, where they are many
    shown        what the page is shown, and may ask             -> page

Whom they tell and where they keep is `shared`; how all of it is, `wellbeing` says.
A person who has a machine learnt anew does so in `school`, by sound that a listener hears anyway.

What a person asks for goes the other way: publisher -> daemon -> listener -> asked, and with the next block to hearing.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge.config import Config
from edge.daemon.listener import Listener
from edge.daemon.notify import ALIVE, READY, Watchdog, notify, watchdog_seconds
from edge.daemon.opening import openers
from edge.daemon.paging import Paging
from edge.daemon.payloads import Record
from edge.daemon.school import School
from edge.daemon.shared import Shared
from edge.daemon.trends import Trends
from edge.daemon.wellbeing import Wellbeing
from edge.detector import Detector
from edge.errors import ConfigError, EarshotError
from edge.memory import History, Notes
from edge.voice import Command, metrics

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.5
"""How often we look how we are. Every wake of an idle processor costs a hundred microseconds of it."""

JOIN_SECONDS: Final = 0.1


class Daemon:
    """Listens to every source of a configuration until it is told to stop, or until all of them have ended."""

    def __init__(
        self,
        config: Config,
        detectors: Mapping[Path, Detector],
        on_record: Callable[[Record], None] | None = None,
        *,
        learnt: Mapping[str, Detector] | None = None,
        on_reload: Callable[[], None] | None = None,
    ) -> None:
        """Open no source, no file and no connection.

        detectors: that which the configuration names, of each source, by its path; verified
        learnt: those that sources have learnt in place of these, by the names of the sources; verified
        on_record: if given, called with a JSON-ready record of every reading and event, from the sources' threads.
        on_reload: called when a person changed what is judged by: the next daemon judges by it.
        Raises DetectorError or ConfigError that names what does not fit.
        """
        self._config = config
        self._failure: Exception | None = None
        self._all_are_here = threading.Event()
        state = config.state_path
        self._shared = Shared.of(config, self._obey)
        opened = openers(config.sources, Notes(state / "heard" if state else None))
        self._paging = Paging(config, self, on_reload)
        judged_by = {**{source.name: detectors[source.detector] for source in config.sources}, **(learnt or {})}
        self._listeners = [
            Listener(
                source if source.name not in (learnt or {}) else source.model_copy(update={"section": None}),
                judged_by[source.name],
                self._paging.judging(source.name),
                opened[source.name],
                self._shared,
                self._paging.page,
                self._paging.records(on_record),
            )
            for source in config.sources
        ]
        self._wellbeing = Wellbeing(config.node_name, self._shared, self._listeners)
        history, on_learnt = self._shared.history, on_reload or (lambda: None)
        self.school = School(config, detectors, judged_by, self._listeners, on_learnt, history)

    @property
    def config(self) -> Config:
        """What it was made by."""
        return self._config

    def stop(self) -> None:
        """Ask `run` to return: episodes are closed and published first. May be called from any thread."""
        self._shared.stop.set()

    def run(self, seconds: float | None, on_tick: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Listen until `stop`, for `seconds` at most, or until every source has ended.

        on_tick, on_end: called here, in this thread, a few times a second, and when we begin to end.
        Raises ConfigError if metrics are asked for and cannot be had, and what a source failed by, if none is left.
        """
        until = None if seconds is None else time.monotonic() + seconds
        self._shared.start()
        threads = [threading.Thread(target=self._guard, args=(each,), name=each.name) for each in self._listeners]
        server = None
        try:
            self._begin(threads)
            # Neither for a microphone nor for the broker: each may come back tomorrow, and boot must not wait for it.
            notify(READY)
            server = self._serve_metrics()  # late: it asks DNS for our name, which may take its time
            self.school.resume()
            self._paging.open()
            self._watch(threads, until, on_tick)
        finally:
            on_end()
            none_is_left = not any(thread.is_alive() for thread in threads) and not self._shared.stop.is_set()
            self._shared.stop.set()
            self.school.close()
            self._end_sources(threads)
            self._paging.close()
            self._shared.close_memory()
            self._shared.publisher.health(self.health())
            self._shared.close_voice()
            if server is not None:
                server.close()
        if self._failure is not None and none_is_left:
            raise self._failure

    def _begin(self, threads: Sequence[threading.Thread]) -> None:
        """Start them; they wait for each other, for who hears already leaves the next hardly a moment to begin."""
        try:
            for thread in threads:
                thread.start()
        finally:
            self._all_are_here.set()

    def _end_sources(self, threads: Sequence[threading.Thread]) -> None:
        while alive := [each for each in zip(self._listeners, threads, strict=True) if each[1].is_alive()]:
            for listener, _ in alive:  # one that is just being opened does not hear the first call
                listener.close()
            alive[0][1].join(JOIN_SECONDS)

    def _serve_metrics(self) -> metrics.Server | None:
        try:
            return metrics.serve(self._config.metrics, self._wellbeing.snapshot)
        except ConfigError:
            raise
        except EarshotError as error:  # a port that is taken must not make the device deaf
            log.warning("no metrics: %s", error)
            return None

    def _guard(self, listener: Listener) -> None:
        """A source that fails, by a defect of ours or of its detector, is lost; the others listen on."""
        self._all_are_here.wait()
        try:
            listener.run()
        except Exception as error:
            log.exception("%s: fails, and is lost until the next start", listener.name)
            self._failure = error
            listener.fail(error)

    def _watch(self, threads: Sequence[threading.Thread], until: float | None, on_tick: Callable[[], None]) -> None:
        """Say how we are, and that we are alive, until there is a reason to stop."""
        limit_seconds = watchdog_seconds()
        watchdog = Watchdog(limit_seconds, time.monotonic()) if limit_seconds else None
        next_health = time.monotonic()
        said = ""
        while any(thread.is_alive() for thread in threads) and (until is None or time.monotonic() < until):
            if time.monotonic() >= next_health:
                self._shared.publisher.health(self.health())
                next_health += self._config.mqtt.health_seconds
            if (status := self._wellbeing.status) != said:
                notify(f"STATUS={status}")
                said = status
            if watchdog and watchdog.due(time.monotonic(), {each.name: each.progress for each in self._listeners}):
                notify(ALIVE)
            on_tick()
            if self._shared.stop.wait(TICK_SECONDS):
                return

    def _obey(self, source: str, command: Command) -> str | None:
        return next(each for each in self._listeners if each.name == source).obey(command)

    @property
    def listeners(self) -> Sequence[Listener]:
        """Who hears the sources."""
        return self._listeners

    @property
    def history(self) -> History | None:
        """What is remembered of them."""
        return self._shared.history

    @property
    def trends(self) -> Trends:
        """How they change over weeks."""
        return self._shared.trends

    @property
    def broker(self) -> Record:
        """Whether there is a connection to the broker, and why not."""
        return self._wellbeing.broker

    def health(self) -> Record:
        """Return how the device is (schemas/health.json)."""
        return self._wellbeing.health()
