"""So many threads hear at once, and no more: the others wait outside, in the order in which they came.

A hundred threads that all want the interpreter wake each other every few milliseconds, and spend more on that than on
hearing; whoever wants a moment of it besides, to say that we are alive or to make the next daemon, waits behind all.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

AT_ONCE: Final = 2
"""One holds the interpreter, another is in a library that lets go of it."""

MOST_SECONDS: Final = 1.0
"""Where nobody has come out for so long, who is in there hangs: their turn is another's then. A computer that is merely
busy lets somebody out all the time, however long the others wait."""


class Turns:
    """Hands out turns. Any number of threads may ask for one at a time each."""

    def __init__(self, at_once: int = AT_ONCE, most_seconds: float = MOST_SECONDS) -> None:
        """most_seconds: after which a turn is taken that nobody gives."""
        self._lock = threading.Lock()
        self._at_once = self._free = at_once
        self._waiting: deque[threading.Lock] = deque()
        self._most_seconds = most_seconds
        self._moved = time.monotonic()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it for as long as the context lasts."""
        self._wait()
        try:
            yield
        finally:
            self._give()

    def _wait(self) -> None:
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        while not called.acquire(timeout=self._most_seconds):
            with self._lock:
                hangs = time.monotonic() - self._moved > self._most_seconds
                if hangs and called in self._waiting:  # it may have been called just now
                    self._waiting.remove(called)
                    self._moved = time.monotonic()  # the next takes another
                    return

    def _give(self) -> None:
        """Give the turn to who has waited longest."""
        with self._lock:
            self._moved = time.monotonic()
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free = min(self._free + 1, self._at_once)
