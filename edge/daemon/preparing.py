"""The next daemon, made in a thread of its own while somebody else keeps the time.

To read a configuration, to try detectors and to ask for a port takes as long as it takes: a hundred detectors, a disk
that hangs, a folder from a stranger. Whoever waits looks in now and then, and can give it up.
"""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final

from edge.config import Config
from edge.daemon.daemon import Daemon
from edge.errors import EarshotError
from edge.voice import check_credentials, metrics

MOST_SECONDS: Final = 600.0
"""Whatever it waits for then does not come. A hundred detectors take a Raspberry Pi one of ten minutes."""


class Preparation:
    """A daemon that is being made. Its methods wait for nothing, but `wait`."""

    def __init__(self, make: Callable[[Callable[[], bool]], Daemon], most_seconds: float = MOST_SECONDS) -> None:
        """Begin. make: given a function that says whether nobody waits for the daemon any more."""
        self._give_up = time.monotonic() + most_seconds
        self._most_seconds = most_seconds
        self._cancelled = threading.Event()
        self._made: Future[Daemon] = Future()
        # A thread that hangs in a dead file system must not keep the process from its end.
        threading.Thread(target=self._run, args=(make,), name="preparing", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Wait until it is over, for so long at most."""
        wait([self._made], seconds)

    @property
    def is_over(self) -> bool:
        """Whether there is a result, of one kind or the other."""
        return self._made.done() or time.monotonic() > self._give_up

    def result(self) -> Daemon:
        """Return the daemon, once it is over. Raises what making it raised, and EarshotError if that takes too long."""
        if not self._made.done():
            self.cancel()
            raise EarshotError(f"not ready within {self._most_seconds:g} s: expected detectors on a disk that answers")
        return self._made.result()

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._cancelled.set()

    def _run(self, make: Callable[[Callable[[], bool]], Daemon]) -> None:
        try:
            self._made.set_result(make(self._cancelled.is_set))
        except Exception as error:  # for who asks for the result
            self._made.set_exception(error)


def foresee(config: Config, running: Config | None) -> None:
    """Ask for all that a daemon of `config` will ask for, while the one of `running` still holds what it holds.

    At a start, a port that is taken or a broker's password that is missing is a state, and passes: sound matters more.
    At a reload it is a reason to stay as we are. Raises EarshotError that names the key.
    """
    metrics.check(config.metrics)
    if running is None:
        return
    held = {running.metrics.port, running.page.port, None}
    for key, asked in (("metrics", config.metrics), ("page", config.page)):
        if asked.port is not None and asked.port not in held:
            expect_free(key, asked.host, asked.port)
    check_credentials(config.mqtt)


def expect_free(key: str, host: str, port: int) -> None:
    """Raise EarshotError if somebody else listens there already. key: whose `host` and `port` these are."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        socket.create_server(address, family=family).close()
    except OSError as error:
        raise EarshotError(f"{key}.host {host}, {key}.port {port}: {error.strerror or error}") from error
