"""The microphone source on real PortAudio, which hears a microphone made of software (PulseAudio's pipe-source).

    apt-get install -y --no-install-recommends libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils

PortAudio looks for devices once, when it is loaded: each test listens in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

RATE_HZ = 48_000

LISTENER = """
import json, logging, sys
from edge.errors import SourceError
from edge.source import Microphone

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
settings = json.loads(sys.argv[1])
n_wanted = settings.pop("n_wanted")
microphone = Microphone(**settings)
n_heard = 0
try:
    for block in microphone.blocks():
        n_heard += block.samples.size
        sys.stdout.buffer.write(block.samples.tobytes())
        print(block.start_sample, block.time, block.starts_anew, block.recording, sep="|", file=sys.stderr)
        if n_heard >= n_wanted:
            microphone.close()
except SourceError as error:
    sys.exit(f"SourceError: {error}")
"""


class VirtualMicrophone:
    """A sound server of its own, in a folder of its own, whose only input is a named pipe: two channels, 48 kHz."""

    def __init__(self, folder: Path) -> None:
        self.pipe = folder / "microphone"
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PULSE_SERVER": f"unix:{folder}/server"}
        self.server = subprocess.Popen(
            [
                *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"),
                *("--disable-shm=yes", f"--load=module-native-protocol-unix socket={folder}/server auth-anonymous=1"),
                f"--load=module-pipe-source source_name=mic file={self.pipe} format=s16le rate={RATE_HZ} channels=2",
            ],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )

    def wait_until_ready(self) -> None:
        give_up = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > give_up or self.server.poll() is not None:
                pytest.skip("PulseAudio does not start here")
            time.sleep(0.02)

    def _answers(self) -> bool:
        command = ["pactl", "list", "short", "sources"]
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return "mic" in answer.stdout

    def play(self, samples: NDArray[np.int16], stop: threading.Event) -> None:
        """Feed samples, shape (n, 2), at the pace they are heard at, then silence until `stop`."""
        step = RATE_HZ // 50
        due = time.monotonic()
        with suppress(BrokenPipeError), self.pipe.open("wb", buffering=0) as pipe:
            at = 0
            while not stop.is_set():
                piece = samples[at : at + step] if at < len(samples) else np.zeros((step, 2), np.int16)
                pipe.write(piece.tobytes())
                at += step
                due += step / RATE_HZ
                stop.wait(max(0.0, due - time.monotonic()))


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    missing = [name for name in ("pulseaudio", "pactl") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    try:
        import sounddevice  # noqa: F401 # only whether PortAudio is there
    except OSError as error:
        pytest.skip(str(error))

    folder = Path(tempfile.mkdtemp(prefix="mic-"))  # short: the path of a socket has at most 107 bytes
    virtual = VirtualMicrophone(folder)
    try:
        virtual.wait_until_ready()
        yield virtual
    finally:
        virtual.server.kill()
        virtual.server.wait()
        shutil.rmtree(folder)


@contextmanager
def playing(microphone: VirtualMicrophone, samples: NDArray[np.int16]) -> Iterator[None]:
    stop = threading.Event()
    # A daemon: when nobody listens the pipe fills up, and writing to it waits until the server is gone.
    feeder = threading.Thread(target=microphone.play, args=(samples, stop), daemon=True)
    feeder.start()
    try:
        yield
    finally:
        stop.set()
        feeder.join(1)


def listen(microphone: VirtualMicrophone, **settings: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", LISTENER, json.dumps(settings)]
    return subprocess.Popen(
        command,
        env=microphone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def test_one_channel_of_the_default_microphone_is_heard_at_16_khz_as_it_was_played(
    microphone: VirtualMicrophone,
) -> None:
    seconds = np.arange(2 * RATE_HZ) / RATE_HZ
    left, right = 0.5 * np.sin(2 * np.pi * 440 * seconds), 0.25 * np.sin(2 * np.pi * 1000 * seconds)
    played = (np.stack([left, right], axis=1) * 2**15).astype(np.int16)
    began = time.time()
    with playing(microphone, played):
        listener = listen(microphone, channel=1, rate_hz=RATE_HZ, n_wanted=24_000, timeout_seconds=20)
        heard_bytes, talk = listener.communicate(timeout=60)

    assert listener.returncode == 0, talk.decode()
    heard = np.frombuffer(heard_bytes, np.float32)
    lines = [line.split("|") for line in talk.decode().splitlines() if line.count("|") == 3]
    assert "48000 Hz 2 ch -> 16000 Hz ch 1" in talk.decode()
    assert [line[2] for line in lines] == ["True"] + ["False"] * (len(lines) - 1)
    assert float(lines[-1][1]) - float(lines[0][1]) == pytest.approx(int(lines[-1][0]) / 16_000)
    assert began - 1 < float(lines[0][1]) < time.time()

    # From wherever the listener came in: a tone of 1 kHz at 0.25, and nothing of the other channel's 440 Hz.
    spectrum = np.abs(np.fft.rfft(heard[4000:20_000])) / 8000
    assert spectrum[1000] == pytest.approx(0.25, rel=0.01)
    assert spectrum[440] < 1e-3


def test_a_microphone_that_gives_nothing_is_an_error_in_time(microphone: VirtualMicrophone) -> None:
    began = time.monotonic()
    listener = listen(microphone, n_wanted=1, timeout_seconds=1)  # nobody feeds it: no callback, no sign
    _, talk = listener.communicate(timeout=60)

    assert "SourceError: default: no sound for 1 s; unplugged, or its driver hangs" in talk.decode()
    assert time.monotonic() - began < 20


def test_a_sound_server_that_dies_is_an_error_at_once(microphone: VirtualMicrophone) -> None:
    with playing(microphone, np.zeros((RATE_HZ, 2), np.int16)):
        listener = listen(microphone, n_wanted=10**9, timeout_seconds=30)
        assert listener.stderr is not None
        assert any(b"|" in line for line in iter(listener.stderr.readline, b"")), "no block came"
        microphone.server.kill()
        began = time.monotonic()
        _, talk = listener.communicate(timeout=60)

    assert "SourceError: default: the stream has ended; unplugged?" in talk.decode()
    assert time.monotonic() - began < 10


def test_an_unknown_name_lists_what_is_there(microphone: VirtualMicrophone) -> None:
    listener = listen(microphone, device="USB PnP", n_wanted=1)
    _, talk = listener.communicate(timeout=60)

    assert 'SourceError: input "USB PnP": ' in talk.decode()
    assert "Inputs that are there: " in talk.decode()
    assert "default" in talk.decode().split("there: ")[1]
