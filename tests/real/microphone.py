"""A microphone made of software, heard by real PortAudio, and ways to break it.

Needs the Debian packages pulseaudio, pulseaudio-utils, libportaudio2 and libasound2-plugins, and a C compiler for the
faults of hardware.
"""

import ctypes.util
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.errors import SourceError
from edge.source import Block, Microphone
from tests.real.mosquitto import program, wait_until

Frames = NDArray[np.int16]

SOAK: Final = int(os.environ.get("EARSHOT_SOAK", "3"))
"""How often what is counted is done: a share of it by default, 50 times and more for a soak."""

STEP_SECONDS: Final = 0.02

_COMPILER_FLAGS: Final = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror")


def need_portaudio() -> None:
    """Skip where PortAudio, or its way to PulseAudio, is missing; in CI that is a failure instead."""
    if ctypes.util.find_library("portaudio") is None or not any(
        Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")
    ):
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain("libportaudio2 or libasound2-plugins is not installed: run scripts/install-test-parts")


class VirtualMicrophone:
    """A sound server of its own, in a folder of its own, whose only input is a named pipe.

    `environment` is what a process needs to hear it. It plays silence, at the pace of real time, until told otherwise.
    """

    def __init__(self, *, rate_hz: int = 16_000, channels: int = 1) -> None:
        """Start nothing yet."""
        need_portaudio()
        self.rate_hz = rate_hz
        self.channels = channels
        self.folder = Path(tempfile.mkdtemp(prefix="mic-"))  # short: the path of a socket has at most 107 bytes
        self.environment = {
            "XDG_RUNTIME_DIR": str(self.folder),
            "PULSE_SERVER": f"unix:{self.folder}/server",
            "PULSE_COOKIE": f"{self.folder}/cookie",
        }
        self._programs = program("pulseaudio"), program("pactl")
        self._server: subprocess.Popen[bytes] | None = None
        self._feeder = threading.Thread(target=self._feed, name="feeder")
        self._played = np.zeros((0, channels), np.int16)
        self._at = 0
        self._muted = threading.Event()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._feeder.join()
        if self._server is not None:
            self.kill()
        shutil.rmtree(self.folder)

    # --- What it hears ---

    def play(self, frames: Frames) -> None:
        """Let it hear frames, shape (n, channels), once, and then silence."""
        self._played, self._at = frames, 0

    def mute(self) -> None:
        """Give nothing at all, as a driver that hangs."""
        self._muted.set()

    # --- What befalls it ---

    def start(self) -> None:
        """Start the sound server, or start it again, with the microphone plugged in."""
        for left_behind in (self._pipe, self.folder / "server"):
            left_behind.unlink(missing_ok=True)
        self._server = server = subprocess.Popen(
            [
                *(self._programs[0], "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"),
                *(
                    "--disable-shm=yes",
                    f"--load=module-native-protocol-unix socket={self.folder}/server auth-anonymous=1",
                ),
            ],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def answers() -> bool:
            if server.poll() is not None:
                pytest.fail(f"pulseaudio ended with {server.returncode}")
            return self._control("info").returncode == 0

        wait_until(answers, "pulseaudio answers")
        self.plug()

    def kill(self) -> None:
        """Let the sound server die."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def freeze(self) -> None:
        """Let the sound server hang."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def plug(self) -> None:
        """Give the microphone (back)."""
        source = ["source_name=mic", f"file={self._pipe}", "format=s16le"]
        shape = [f"rate={self.rate_hz}", f"channels={self.channels}"]
        done = self._control("load-module", "module-pipe-source", *source, *shape)
        assert done.returncode == 0, done.stderr
        self._control("set-default-source", "mic")

    def unplug(self) -> None:
        """Take the microphone away; the sound server stays."""
        done = self._control("unload-module", "module-pipe-source")
        assert done.returncode == 0, done.stderr

    @property
    def _pipe(self) -> Path:
        return self.folder / "microphone"

    def _control(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            [self._programs[1], *command], env=environment, capture_output=True, text=True, check=False
        )

    def _feed(self) -> None:
        pipe = None
        held = b""  # what the pipe has had no room for
        due = time.monotonic()
        while not self._over.is_set():
            due = max(due + STEP_SECONDS, time.monotonic() - 1)  # after a pause, not all at once
            self._over.wait(due - time.monotonic())
            if self._muted.is_set():
                continue
            try:
                if pipe is None:
                    pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
                held = held or self._next_step()
                held = held[os.write(pipe, held) :]
            except BlockingIOError:
                pass  # nobody listens
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENXIO, errno.EPIPE):  # there is no microphone
                    raise
                if pipe is not None:
                    os.close(pipe)
                pipe, held = None, b""
        if pipe is not None:
            os.close(pipe)

    def _next_step(self) -> bytes:
        n_step = round(self.rate_hz * STEP_SECONDS)
        step = self._played[self._at : self._at + n_step]
        self._at += n_step
        return (step if len(step) else np.zeros((n_step, self.channels), np.int16)).tobytes()


class Faults:
    """The faults of hardware: tests/real/alsafault.c, compiled here. `environment` goes to who is to suffer them."""

    def __init__(self, folder: Path, *, rates_hz: str = "") -> None:
        """Compile it into `folder`. rates_hz: the only ones that the devices have, with commas between."""
        library = folder / "alsafault.so"
        source = Path(__file__).with_name("alsafault.c")
        done = subprocess.run(
            [program("cc"), *_COMPILER_FLAGS, "-o", str(library), str(source), "-ldl"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._file = folder / "fault"
        self._file.write_text("-")
        self.environment = {"LD_PRELOAD": str(library), "ALSAFAULT": str(self._file)}
        if rates_hz:
            self.environment["ALSAFAULT_RATES"] = rates_hz

    def set(self, fault: str) -> None:
        """Set the fault of this moment, `u`, `x` or `b`, or `-` for none."""
        with self._file.open("r+") as file:
            file.write(fault)


@contextmanager
def heard_here(*environments: dict[str, str]) -> Iterator[None]:
    """Let processes that this one starts hear the microphone, and suffer the faults, of these environments."""
    with pytest.MonkeyPatch.context() as patch:
        for environment in environments:
            for key, value in environment.items():
                patch.setenv(key, value)
        yield


def children(of: int | None = None) -> list[int]:
    """Return the processes that process `of` (default: this one) has started and not collected, zombies included."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            pid, _, rest = status.read_text().partition(" (")
            if int(rest.rpartition(") ")[2].split()[1]) == (of or os.getpid()):
                found.append(int(pid))
    return found


class Ear:
    """Listens in a thread and opens again whatever is lost, as the daemon does, only sooner."""

    def __init__(self, microphone: Microphone) -> None:
        self.microphone = microphone
        self.blocks: list[Block] = []
        self.errors: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                self.blocks.extend(iter(self.microphone.blocks()))
            except SourceError as error:
                self.errors.append(str(error))
                self._over.wait(0.2)

    def hears(self, n_more: int = 1) -> None:
        """Return when `n_more` blocks have come."""
        n = len(self.blocks) + n_more
        wait_until(lambda: len(self.blocks) >= n, f"{n_more} more block(s): {self.errors[-1:]}")

    def loses(self) -> str:
        """Return the error that comes next."""
        n = len(self.errors)
        wait_until(lambda: len(self.errors) > n, "an error")
        return self.errors[n]

    def __enter__(self) -> "Ear":
        self._thread.start()
        self.hears()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        while self._thread.is_alive():
            self.microphone.close()
            self._thread.join(0.1)
