"""Words for systemd, sd_notify(3), whose protocol is a datagram and declared stable; and when to say we are alive.

The daemon says them itself, from its own process: the unit has NotifyAccess=main, so nobody else is listened to.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

_START_SECONDS: Final = 60.0
"""By when the next word follows, on a computer that is very busy."""

_SEND_SECONDS: Final = 1.0
"""A manager that does not empty its socket must not hold us up."""


def notify(*assignments: str) -> bool:
    """Tell the service manager, for example `notify(READY, "STATUS=2 sources")`; nothing happens where there is none.

    Each is one line: a line break within becomes a space, so that no text from outside can say READY.
    Returns whether it was told. Never raises for a manager that does not listen: sound matters more.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    message = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SEND_SECONDS)
            # A leading @ stands for the abstract namespace.
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(message.encode())
    except OSError:
        return False
    return True


def reloading() -> bool:
    """Tell the service manager that the configuration is being read anew; `notify(READY)` ends it.

    The time is for managers that compare it with that of their request (Type=notify-reload, systemd 253).
    """
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def starting() -> bool:
    """Tell the service manager that we are being made ready yet, whatever its TimeoutStartSec: of so many detectors."""
    return notify(f"EXTEND_TIMEOUT_USEC={round(1e6 * _START_SECONDS)}", "STATUS=trying the detectors")


def watchdog_seconds() -> float | None:
    """Return how long the service manager waits for `ALIVE` before it kills us; None if it does not watch us."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    # sd_watchdog_enabled(3): a child that has inherited the variables is not meant.
    if not (microseconds.isascii() and microseconds.isdigit()) or (pid is not None and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None


@dataclass(frozen=True)
class Progress:
    """How far one source has come, counted since the daemon started.

    frames  samples heard
    hops    windows judged: scored, or found to be unfit for it
    heard   whether sound should be coming: false for a source that is waited for, missing or ended
    judged  whether it should be judged: false while the window is still filling
    """

    frames: int
    hops: int
    heard: bool = True
    judged: bool = True


class Watchdog:
    """When `ALIVE` may be said: only if every source that should be heard was heard, and judged, since the last time.

    A timer would only prove that a timer runs. A microphone that is missing is a fact about the microphone: to restart
    us would not bring it back, so it holds nothing up.
    """

    def __init__(self, limit_seconds: float, now: float) -> None:
        """limit_seconds: `watchdog_seconds()`. now, here and below: `time.monotonic()`, in seconds."""
        # sd_watchdog_enabled(3) recommends half of the time.
        self._interval_seconds = limit_seconds / 2
        # The first is due at once: after a reload nobody knows how long ago the last one was.
        self._last_seconds = now - self._interval_seconds
        self._last: dict[str, Progress] = {}

    def due(self, now: float, sources: Mapping[str, Progress]) -> bool:
        """Return whether to say `ALIVE` now; it then counts as said.

        sources: each by its name. After half of the limit it is true as soon as nobody stands still; ask a few times a
        second, so that one that is slow once is not shot for it.
        """
        if now - self._last_seconds < self._interval_seconds or self.stuck(sources):
            return False
        self._last_seconds, self._last = now, dict(sources)
        return True

    def stuck(self, sources: Mapping[str, Progress]) -> tuple[str, ...]:
        """Return the names of those that stand still since the last `ALIVE` and should not: for the log."""
        return tuple(name for name, progress in sources.items() if not self._moved(name, progress))

    def _moved(self, name: str, now: Progress) -> bool:
        # Unequal rather than more: after a reload a source may begin to count anew.
        before = self._last.get(name, Progress(0, 0))
        if not now.heard:
            return True
        return now.frames != before.frames and (not now.judged or now.hops != before.hops)
