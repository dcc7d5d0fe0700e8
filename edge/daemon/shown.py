"""What happens at one source, as the page is shown it, and what the page may ask of the whole daemon."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge import clock
from edge.config import Config
from edge.daemon import payloads
from edge.daemon.happening import Happening, Moment, Standing
from edge.daemon.payloads import Origin, Record
from edge.daemon.telling import by_now
from edge.detector import Judge
from edge.page import Page
from edge.source import Block
from edge.voice import Command

if TYPE_CHECKING:
    from edge.daemon.listener import Listener

STEP_SECONDS: Final = 0.5
"""Between two states while no window is judged: the window fills before one's eyes."""


class Shown:
    """Hands what happens at one source to the page. For the listening thread; waits for nobody."""

    def __init__(self, page: Page, origin: Origin, judge: Judge) -> None:
        self._feed = page.feed
        self._origin = origin
        self._judge = judge
        self._standing = Standing("waiting")
        self._due = 0.0

    def hear(self, block: Block) -> None:
        """Take sound."""
        self._feed.hear(self._origin.source, block.samples)

    def see(self, happening: Happening) -> None:
        """Look on."""
        match happening:
            case Standing():
                self._standing = happening
            case Moment() if happening.reading is not None or time.monotonic() >= self._due:
                self._due = time.monotonic() + STEP_SECONDS
                self._show(by_now(happening))

    def _show(self, moment: Moment) -> None:
        epoch = clock.utc(0.0)
        record = payloads.state_of(self._origin, self._standing, moment, epoch=epoch)
        scales = self._judge.scales if self._standing.status == "listening" else []
        self._feed.state(
            self._origin.source,
            {
                **record,
                "unix": round(epoch + moment.time, 3),
                "scales": [
                    {"seconds": seconds, "score": round(score, 4), "near": round(near, 3)}
                    for seconds, score, near in scales
                ],
            },
        )


class FrontDesk:
    """Answers the page for the daemon (edge/page/device.py). Called from the page's threads."""

    def __init__(
        self,
        config: Config,
        listeners: Callable[[], Sequence["Listener"]],
        health: Callable[[], Record],
        broker: Callable[[], Record],
        reload: Callable[[], None] | None,
    ) -> None:
        """listeners: those that are there when it is asked. broker: as `health`, of the connection alone."""
        self._config = config
        self._listeners = listeners
        self._health = health
        self._broker = broker
        self._reload = reload

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(source.name for source in self._config.sources)

    def health(self) -> Record:
        """Return how the device is."""
        return {**self._health(), "broker": self._broker()}

    def obey(self, source: str, command: Command) -> str:
        """Have a command done. Raises CommandError where it cannot be."""
        return next(each for each in self._listeners() if each.name == source).obey(command)

    def cards(self) -> Mapping[str, Record]:
        """Return what the detector of each source is."""
        return {each.name: each.card for each in self._listeners()}

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
