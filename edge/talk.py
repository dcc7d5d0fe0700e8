"""Talk that holds nobody up: lines for a pipe or a terminal that may not be read for hours.

A log that is written where it is thought of stops whoever thinks: a journald that hangs, or a terminal after Ctrl-S,
would stop the listening thread, and the end on SIGTERM with it. Here a thread of its own writes, and what it cannot get
rid of is dropped and counted. What it is given is lines; it knows nothing of their meaning.
"""

import atexit
import os
import queue
import threading
from typing import Final

MOST_LINES: Final = 1000
"""That may wait: some minutes of a bad day."""

END_SECONDS: Final = 1.0
"""How long the end of the process waits for the last lines."""


class Talk:
    """Something to write text to, as far as `logging` asks, that never waits. Any thread may write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(MOST_LINES)
        self._n_lost = 0
        threading.Thread(target=self._work, name="talk", daemon=True).start()
        atexit.register(self.wait)

    def write(self, text: str) -> None:
        """Take a line, or lose and count it."""
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._n_lost += 1

    def flush(self) -> None:
        """Nothing: who waits for it would wait for the reader."""

    def _work(self) -> None:
        while True:
            self._say(self._lines.get())
            if self._n_lost and self._lines.qsize() < MOST_LINES // 2:
                lost, self._n_lost = self._n_lost, 0
                self._say(f"{lost} lines of the log were lost: nobody read them\n")
            self._lines.task_done()

    def _say(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # nobody is there any more
            pass

    def wait(self, seconds: float = END_SECONDS) -> None:
        """Let the last lines be written, for so long at most."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)
