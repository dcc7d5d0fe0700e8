"""A daemon, and the one after it: on SIGHUP the configuration is read anew, or the old one goes on with the reason."""

import logging
import threading
import time
from collections.abc import Callable

from edge.config import Config
from edge.daemon.daemon import Daemon
from edge.daemon.notify import READY, notify, reloading
from edge.daemon.payloads import Record
from edge.errors import EarshotError

log = logging.getLogger(__name__)


class Service:
    """Runs a daemon until it is told to stop, and replaces it when it is told to reload."""

    def __init__(
        self,
        read: Callable[[], Config],
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        """Read the configuration by `read`, and verify every detector. Raises EarshotError for what does not fit."""
        self._read = read
        self._on_record = on_record
        self._reload = threading.Event()
        self._daemon = Daemon(read(), on_record, self.reload)
        self._following: Daemon | None = None
        self._stopped = False

    def stop(self) -> None:
        """Ask `run` to return. May be called from a signal handler."""
        self._stopped = True
        self._daemon.stop()

    def reload(self) -> None:
        """Ask for the configuration to be read anew. May be called from a signal handler."""
        self._reload.set()

    def run(self, seconds: float | None = None) -> None:
        """Listen until `stop`, for `seconds` at most, or until every source has ended."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            self._daemon.run(None if until is None else until - time.monotonic(), on_tick=self._look)
            if self._following is None:
                return
            self._daemon, self._following = self._following, None
            if self._stopped:  # asked after the exchange: a `stop` that comes later reaches the new one
                return
            log.info("the new configuration is in force")

    def _look(self) -> None:
        """Make the next daemon while this one listens on: one that cannot be made costs nothing but a line."""
        if not self._reload.is_set() or self._following is not None:
            return
        self._reload.clear()
        reloading()
        try:
            self._following = Daemon(self._read(), self._on_record, self.reload)
        except EarshotError as error:
            log.warning("the configuration stays as it was: %s", error)
            notify(READY, f"STATUS=the configuration stays as it was: {error}")
        else:
            self._daemon.stop()
