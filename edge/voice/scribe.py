"""The thread that writes down what waits, so that nobody else ever waits for the disk longer than he has patience.

Who puts an event waits for its commit, which takes a fraction of a millisecond: a process killed after that loses
nothing. A card that stalls for seconds (its own housekeeping, an fsync) costs the first one his patience, once, and the
others nothing, until it keeps up again. The thread sleeps until it is asked, or reminded.
"""

import threading
from collections.abc import Callable
from typing import Final

from edge.voice.shadow import Reminder, Shadow

PATIENCE_SECONDS: Final = 0.25
"""How long an event may wait for its commit: half a hop."""

OPEN_SECONDS: Final = 5.0
"""For what an earlier run has left; after that it is taken in when it comes."""

CLOSE_SECONDS: Final = 5.0

SHORTEST_SLEEP_SECONDS: Final = 0.02


class Scribe:
    """What was asked of the disk and what of it is done, and whether the disk keeps up.

    Any thread may call any method. `_changed` guards it, and is never held while the disk is asked.
    """

    def __init__(self, shadow: Shadow, reminder: Reminder, written: Callable[[], None]) -> None:
        """Start nothing before it is asked. written: called in the thread, after each writing."""
        self._shadow = shadow
        self._reminder = reminder
        self._written = written
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._keeps_up = True
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def keeps_up(self) -> bool:
        """Whether what was put is written at once."""
        return self._keeps_up

    def save(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Have written what is new; return when it is, or when patience ends, or at once where it did or is none."""
        with self._changed:
            self._ask()
            asked = self._asked
            if self._keeps_up and patience_seconds:
                self._keeps_up = self._changed.wait_for(lambda: self._done >= asked, patience_seconds)

    def look(self) -> None:
        """Have the reminder looked at: it is due at another time."""
        with self._changed:
            if self._thread is not None:
                self._changed.notify_all()

    def close(self) -> None:
        """Write what has gathered and close the files, within `CLOSE_SECONDS`; `save` would open them again."""
        with self._changed:
            self._closing = True
            self._ask()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)

    def _ask(self) -> None:
        self._asked += 1
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._asked == self._done and self._sleep_seconds() != 0:
                    self._changed.wait(self._sleep_seconds())
                asked, closing = self._asked, self._closing
                is_asked = asked != self._done
            if closing:
                self._shadow.close()
            else:
                if is_asked:
                    self._shadow.save()
                self._shadow.flush()
            with self._changed:
                self._done, self._keeps_up = asked, True
                self._changed.notify_all()
                if closing:
                    self._closing, self._thread = False, None
            self._written()
            if closing:
                return

    def _sleep_seconds(self) -> float | None:
        left_seconds = self._reminder.seconds_left()
        return None if left_seconds is None else left_seconds and max(SHORTEST_SLEEP_SECONDS, left_seconds)
