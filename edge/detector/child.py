"""The process that tries detectors: a Python of its own, or a twin of this one, which has loaded all it needs already.

A twin costs a start nothing of the second that loading takes. It can be made only while this process has one thread:
what others held at that moment, a lock or half a list, would stay held in it for ever.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NoReturn

_LOOK_SECONDS: Final = 0.01


class Twin:
    """A fork of this process that does one thing and ends, with as much of `subprocess.Popen` as is asked of it.

    Its standard streams are pipes, and it has no other file. At the end of its parent it finds its input closed.
    """

    def __init__(self, main: Callable[[], None]) -> None:
        """Begin. main: what it does."""
        its_input, own_output = os.pipe()
        own_input, its_output = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _live(main, its_input, its_output)
        os.close(its_input)
        os.close(its_output)
        self.stdin: IO[bytes] = os.fdopen(own_output, "wb")
        self.stdout: IO[bytes] = os.fdopen(own_input, "rb")
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return how it has ended, as `Popen` says it; None while it lives."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return how it has ended, once it has. Raises TimeoutExpired."""
        if timeout is None and self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        give_up, pause = time.monotonic() + (timeout or 0.0), threading.Event()
        while (code := self.poll()) is None:
            if time.monotonic() > give_up:
                raise subprocess.TimeoutExpired("a twin", timeout or 0.0)
            pause.wait(_LOOK_SECONDS)  # not time.sleep, which libfaketime refuses: a test of the clock preloads it
        return code

    def kill(self) -> None:
        """End it, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


Child = subprocess.Popen[bytes] | Twin


def started(command: Sequence[str]) -> Child:
    """Return a process of its own, in a session of its own: what a terminal says is for its parent."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


def twin(main: Callable[[], None]) -> Twin | None:
    """Return a twin; None where there can be none."""
    tasks = Path("/proc/self/task")
    if threading.active_count() > 1 or not tasks.is_dir() or sum(1 for _ in tasks.iterdir()) > 1:
        return None
    return Twin(main)


def _live(main: Callable[[], None], its_input: int, its_output: int) -> NoReturn:
    code = 1
    with suppress(BaseException):  # nobody is left who could be told
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream, descriptor in enumerate((its_input, its_output, nowhere)):
            os.dup2(descriptor, stream)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdin = os.fdopen(0, encoding="utf-8")
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        main()
        sys.stdout.flush()
        code = 0
    os._exit(code)
