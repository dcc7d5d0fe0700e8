"""The page of a daemon, if it has one: what it is given, and what it may ask."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.config import Config
from edge.daemon.payloads import Record
from edge.daemon.recorder import LIST_FOLDER
from edge.daemon.trends import Trends, drift_of
from edge.errors import EarshotError
from edge.memory import Episodes, History, Notes
from edge.page import ChoiceFile, Choices, Page, chosen
from edge.voice import Command

if TYPE_CHECKING:
    from edge.daemon.listener import Listener
    from edge.daemon.school import School

log = logging.getLogger(__name__)


class _Daemon(Protocol):
    @property
    def listeners(self) -> Sequence["Listener"]: ...
    @property
    def history(self) -> History | None: ...
    @property
    def trends(self) -> Trends: ...
    @property
    def school(self) -> "School": ...
    @property
    def broker(self) -> Record: ...
    def health(self) -> Record: ...


class Paging:
    """Makes the page, opens and closes it; does nothing where `page.port` is null.

    page  None where there is none
    """

    def __init__(self, config: Config, daemon: _Daemon, on_reload: Callable[[], None] | None) -> None:
        """Open nothing. on_reload: what the page calls when a person has changed what is judged by."""
        self._config = config
        self._choices = chosen(config)
        front = FrontDesk(config, daemon, on_reload)
        self.page = None if config.page.port is None else _page_of(config, front, self._choices)

    def judging(self, source: str) -> Config:
        """Return the configuration by which a source is judged: with what was chosen on the page."""
        return self._config.model_copy(update={"event": self._choices.events(source, self._config.event)})

    def records(self, on_record: Callable[[Record], None] | None) -> Callable[[Record], None] | None:
        """Return whom the records are told to: the page, too."""
        page = self.page
        if page is None or on_record is None:
            return page.record if page else on_record

        def both(record: Record) -> None:
            on_record(record)
            page.record(record)

        return both

    def open(self) -> None:
        """Begin to answer. A port that is taken must not make the device deaf: it is said, and that is all."""
        if self.page is None:
            return
        try:
            log.info("the page: %s", self.page.open())
        except EarshotError as error:
            log.warning("no page: %s", error)

    def close(self) -> None:
        """Answer no more."""
        if self.page is not None:
            self.page.close()


def _page_of(config: Config, front: "FrontDesk", choices: Choices) -> Page:
    folder = config.state_path
    return Page(
        config.page,
        front,
        Episodes(Notes(folder / LIST_FOLDER if folder else None), front.sources),
        ChoiceFile(folder, choices),
        finely=config.evidence.privacy == "audio",
        most_minutes=config.mqtt.largest_shelve_minutes,
    )


class FrontDesk:
    """Answers the page for the daemon (edge/page/device.py). Called from the page's threads."""

    def __init__(self, config: Config, daemon: _Daemon, on_reload: Callable[[], None] | None) -> None:
        self._config = config
        self._daemon = daemon
        self._reload = on_reload

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(source.name for source in self._config.sources)

    def health(self) -> Record:
        """Return how the device is."""
        return {**self._daemon.health(), "broker": self._daemon.broker}

    def obey(self, source: str, command: Command) -> str:
        """Have a command done. Raises CommandError where it cannot be."""
        return self._of(source).obey(command)

    def cards(self) -> Mapping[str, Record]:
        """Return what the detector of each source is."""
        return {each.name: each.card for each in self._daemon.listeners}

    def minutes(self, source: str, names: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        """Return what is remembered of a source."""
        history = self._daemon.history
        return {name: np.zeros(0) for name in ("time", *names)} if history is None else history.series(source, names)

    def days(self, source: str) -> tuple[Mapping[str, NDArray[np.float64]], Record]:
        """Return the days that are remembered of a source, and what changes over them by more than noise."""
        days = self._daemon.trends.days(source)
        return days, drift_of(days)

    def alarms(self, source: str, threshold: float, since: float) -> list[tuple[float, float]]:
        """Return from when to when another threshold would have alarmed since then."""
        found = self._of(source).alarms(threshold, since)
        return [(round(alarm.opened), round(alarm.closed)) for alarm in found]

    def teach(self, source: str, minutes: float, condition: str | None) -> None:
        """Begin to learn a machine. Raises EarshotError where that cannot be."""
        self._daemon.school.enrol(source, minutes=minutes, condition=condition)

    def relearn(self, source: str, stretch: tuple[float, float] | None) -> None:
        """Learn from what is remembered. Raises EarshotError where that cannot be."""
        self._daemon.school.relearn(source, stretch)

    def taught(self, source: str) -> Record | None:
        """Return how far that has come."""
        school = self._daemon.school
        proposal = school.proposal(source)
        if proposal is None:  # of an earlier daemon's, it is known only that there was one
            return {"stage": "stopped"} if school.goes_on(source) else None
        return proposal.progress()

    def tell_teacher(self, source: str, word: str) -> None:
        """Say something to it. Raises EarshotError where that means nothing."""
        self._daemon.school.tell(source, word)

    def configuration(self) -> Record:
        """Return the configuration as plain values."""
        return self._config.model_dump(mode="json")

    @property
    def clips_folder(self) -> Path | None:
        """Where the clips lie."""
        return self._config.state_path / "evidence" if self._config.state_path else None

    def listen_anew(self) -> bool:
        """Ask for the configuration to be read anew."""
        if self._reload is None:
            return False
        self._reload()
        return True

    def _of(self, source: str) -> "Listener":
        return next(each for each in self._daemon.listeners if each.name == source)
