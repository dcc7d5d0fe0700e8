"""The page of one daemon: made with what it shows, opened, closed. Nothing of the web is loaded before it is opened."""

import logging
from typing import TYPE_CHECKING

from edge.config import PageSettings
from edge.errors import EarshotError
from edge.memory import Episodes
from edge.page.access import address_of, password_of
from edge.page.choices import ChoiceFile
from edge.page.desk import Desk
from edge.page.device import Device, Record
from edge.page.feed import Feed
from edge.page.lines import Lines

if TYPE_CHECKING:
    from edge.page.server import Server


class Page:
    """What a browser sees of a daemon.

    feed  what the listening threads hand over; its methods wait for nobody
    """

    def __init__(
        self,
        settings: PageSettings,
        device: Device,
        episodes: Episodes,
        choices: ChoiceFile,
        *,
        finely: bool,
        most_minutes: float,
    ) -> None:
        """Open nothing. finely: as of `Feed`. most_minutes: the longest shelving that may be asked for."""
        self.feed = Feed(device.sources, finely=finely)
        self._settings = settings
        self._desk = Desk(device, self.feed, episodes, choices, Lines(), most_minutes)
        self._server: Server | None = None

    def record(self, record: Record) -> None:
        """Take what is told to who reads along (`earshot run --json`). From any thread; waits for nobody."""
        if record["type"] == "event":
            self._desk.episodes.hear(record)
            self.feed.event(record)

    def open(self) -> str:
        """Begin to answer; return the address. Raises EarshotError where that cannot be, and the reason."""
        settings = self._settings
        assert settings.port is not None, "a page without a port is not made"
        try:
            from edge.page.opening import serve  # starlette and uvicorn: not on every device
        except ImportError as error:
            raise EarshotError(f"{error.name} is not installed: pip install 'earshot[web]'") from error
        password = password_of(settings)
        logging.getLogger().addHandler(self._desk.lines)
        self._desk.episodes.recall()
        self._server, loop = serve(settings, self._desk, password)
        self.feed.open(loop)
        return address_of(settings)

    def close(self) -> None:
        """Answer no more."""
        self.feed.close()
        logging.getLogger().removeHandler(self._desk.lines)
        if self._server is not None:
            self._server.close()
