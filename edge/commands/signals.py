"""What others ask of the process by signals, as bytes in a pipe.

Python runs a handler between two instructions of whatever the main thread does just then, with whatever locks it holds:
one that takes a lock itself may wait for ever, and fifty a second pile up on each other. So the handlers here do
nothing. Python's own C code writes the number of each signal into a pipe, and a thread reads it, free to wait.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class Signals:
    """SIGTERM and SIGINT: stop. SIGHUP: reload, or stop where there is a terminal, which is then gone.

    From `with` on none of them ends the process by itself; what comes before somebody is told waits. What was ignored
    when we were started, as by nohup(1), stays ignored.
    """

    def __enter__(self) -> Self:
        # Asked now: once the terminal is closed nobody can tell that there was one.
        self._has_terminal = _has_terminal()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._fd_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        asked = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        heard = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, _do_nothing) for number in heard}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, asked)  # edge/cli.py held one back
        return self

    def tell(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        """From now on call these, in a thread of their own."""
        words = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: stop if self._has_terminal else reload}
        threading.Thread(target=_read, args=(self._reading, words), name="signals", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            if number != signal.SIGHUP:  # a terminal that closes says it again at our very end
                signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        os.close(self._writing)  # the thread reads to the end, and closes the other


def _read(descriptor: int, words: dict[signal.Signals, Callable[[], None]]) -> None:
    while numbers := os.read(descriptor, 4096):
        for number in set(numbers):  # a hundred that wait are one
            if number in words:
                words[signal.Signals(number)]()
    os.close(descriptor)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler, without which the number would not be written."""


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
