"""The two clocks. Inside the process everything is `time.monotonic()`, which nobody can set; UTC is for messages alone.

A Raspberry Pi has no clock of its own that outlives a power cut: at boot it believes what it believed last, and jumps
when it hears from a time server. So what was heard keeps its monotonic time until the moment it is told to somebody.
"""

import ctypes
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512
"""More than any kernel's `struct timex`; all zero, it asks and sets nothing."""

_TIMESYNC: Final = Path("/run/systemd/timesync")


def utc(monotonic_seconds: float) -> float:
    """Return the UNIX time of an instant of `time.monotonic()`, by what the clock on the wall says now."""
    return time.time() - time.monotonic() + monotonic_seconds


def utc_of_sound(monotonic_seconds: float) -> float:
    """Return the UNIX time at which something was heard: never later than now, however fast it came from a pipe."""
    return min(utc(monotonic_seconds), time.time())


def rfc3339(unix_seconds: float) -> str:
    """Return a time as `2026-11-23T21:45:00.123Z`."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def synced() -> bool | None:
    """Whether a time server has set the clock since the boot; None where nobody can tell.

    The kernel knows (adjtimex(2), which asks for no rights unless a sandbox forbids it), whoever disciplines it; else
    systemd-timesyncd leaves a file.
    """
    try:
        state = _libc().adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):  # no Linux
        state = -1
    if state >= 0:
        return bool(state != _TIME_ERROR)
    return (_TIMESYNC / "synchronized").exists() if _TIMESYNC.is_dir() else None


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
