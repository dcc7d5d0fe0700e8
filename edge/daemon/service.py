"""A daemon, and the one after it: on SIGHUP the configuration is read anew, or the old one goes on with the reason.

Both are made the same way, aside (edge/daemon/preparing.py), while this thread listens to who wants to stop us, and
tells the service manager that we are alive.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from edge.config import Config
from edge.daemon.daemon import TICK_SECONDS, Daemon
from edge.daemon.in_force import learnt_detectors
from edge.daemon.notify import READY, STOPPING, notify, reloading, starting
from edge.daemon.payloads import Record
from edge.daemon.preparing import Preparation, foresee
from edge.detector import Trials
from edge.errors import EarshotError

log = logging.getLogger(__name__)


class Service:
    """Runs a daemon until it is told to stop, and replaces it when it is told to reload."""

    def __init__(
        self,
        read: Callable[[], Config],
        trials: Trials,
        on_record: Callable[[Record], None] | None = None,
        in_force: Callable[[Config], None] = lambda _: None,
    ) -> None:
        """Read nothing yet.

        read      returns the configuration; called in another thread
        trials    opens its detectors
        in_force  called with each configuration when its daemon begins
        """
        self._read = read
        self._on_record = on_record
        self._in_force = in_force
        self._trials = trials
        self._daemon: Daemon | None = None
        self._following: Daemon | None = None
        self._preparation: Preparation | None = None
        self._reload = threading.Event()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return. May be called from any thread, though not from a signal handler: it takes locks."""
        self._stopped.set()
        if self._daemon is not None:
            self._daemon.stop()

    def reload(self) -> None:
        """Ask for the configuration to be read anew, however often it is asked before that is done. As `stop`."""
        self._reload.set()

    def run(self, seconds: float | None = None) -> None:
        """Listen until `stop`, for `seconds` at most, or until every source has ended.

        Raises EarshotError for a configuration or a detector that does not fit, and what the last source failed by.
        """
        daemon = self._first()
        until = None if seconds is None else time.monotonic() + seconds
        try:
            while daemon is not None:
                self._daemon = daemon
                if self._stopped.is_set():  # asked after the exchange: a `stop` that comes later reaches the new one
                    notify(STOPPING)
                    return
                self._in_force(daemon.config)
                daemon.run(None if until is None else until - time.monotonic(), self._look, self._say_the_end)
                daemon, self._following = self._following, None
                if daemon is not None and not self._stopped.is_set():
                    log.info("the new configuration is in force")
        finally:
            if self._preparation is not None:
                self._preparation.cancel()

    def _first(self) -> Daemon | None:
        """Return the daemon to begin with; None if we are stopped before it is made."""
        preparation = Preparation(self._make)
        while not preparation.is_over:
            starting()
            preparation.wait(TICK_SECONDS / 10)
            if self._stopped.is_set():
                preparation.cancel()
                return None
        return preparation.result()

    def _make(self, cancelled: Callable[[], bool]) -> Daemon:
        config = self._read()
        detectors = self._trials.open([source.detector for source in config.sources], cancelled)
        learnt = learnt_detectors(config, detectors, partial(self._trials.open, cancelled=cancelled))
        daemon = Daemon(config, detectors, self._on_record, learnt=learnt, on_reload=self.reload)
        foresee(config, self._daemon.config if self._daemon else None)
        return daemon

    def _look(self) -> None:
        """Make the next daemon while this one listens on: one that cannot be made costs nothing but a line."""
        if self._preparation is None:
            if self._reload.is_set():
                self._reload.clear()
                reloading()
                self._preparation = Preparation(self._make)
        elif self._preparation.is_over:
            preparation, self._preparation = self._preparation, None
            self._exchange(preparation)

    def _exchange(self, preparation: Preparation) -> None:
        try:
            self._following = preparation.result()
        except EarshotError as error:
            self._stay(str(error))
        except Exception as error:
            log.exception("a defect of ours")
            self._stay(f"a defect of ours: {type(error).__name__}: {error}")
        else:
            if self._daemon is not None:
                self._daemon.stop()

    def _stay(self, reason: str) -> None:
        log.warning("the configuration stays as it was: %s", reason)
        notify(READY, f"STATUS=the configuration stays as it was: {reason}")

    def _say_the_end(self) -> None:
        """The daemon begins to end; whether we do, too."""
        if self._following is None or self._stopped.is_set():
            notify(STOPPING)
