"""The child process that holds one sound card, and dies of it where it must: `python capture.py SETTINGS`.

PortAudio may spin for ever when a card is pulled out (PortAudio/portaudio#1037), hang in `stop()`, die at an assertion,
and sees no card that came after it was loaded. In a process of its own, none of it is the daemon's trouble: who started
it watches the age of what it writes, and kills it. Started by its path, it loads sounddevice and nothing of ours, so
neither numpy nor the rest of `edge`: half the memory.

SETTINGS is a JSON object: `device` (a part of PortAudio's name, or null), `card` (ALSA's name, in its place: hw:1,0),
`channels` (those wanted, from 0), `rate_hz` (or null), `block_seconds`, `inbox_seconds`, `parent` (process id), `open`
(false: only say how it would be opened).

It writes one line of JSON: `name`, `rate_hz` and `channels` of what was opened; or `error`, `busy` and `inputs`, and
ends. Then frames until the stream ends: HEADER, and float32 samples in this machine's byte order, one wanted channel
after the other.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import struct
import sys
import time

# Hints of these are not evaluated: `typing` alone would cost half a megabyte.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType
    from typing import Any, BinaryIO, Final

HEADER: Final = struct.Struct("=dI?")
"""Capture time of the first sample (time.monotonic() of this machine), samples a channel, whether some were lost just
before it."""

LATENCY_SECONDS: Final = 0.2
"""What the driver may hold back: below this, USB cards on a Raspberry Pi lose samples."""

LOWEST_RATE_HZ: Final = 16_000
USUAL_RATE_HZ: Final = 48_000
"""Tried first: PortAudio says 44.1 kHz of every ALSA card that can do it, whose own rate, as a rule, is this one."""

OTHER_RATES_HZ: Final = (44_100, 16_000, 32_000, 96_000)
MOST_CARD_CHANNELS: Final = 8
"""A device that claims more is no card but a sound server, which makes up as many as it is asked for."""

DEVICE_UNAVAILABLE: Final = -9985  # paDeviceUnavailable of portaudio.h
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Refused(Exception):  # noqa: N818 # not an error of ours: an answer
    """No sound, and why.

    busy    another program holds the device
    inputs  PortAudio's names of what there is, where the name was the trouble
    """

    def __init__(self, reason: str, *, busy: bool = False, inputs: list[str] | None = None) -> None:
        super().__init__(reason)
        self.answer = {"error": reason, "busy": busy, "inputs": inputs}


class Opening:
    """What a device is opened with."""

    def __init__(self, index: int, name: str, rate_hz: int, channels: int) -> None:
        self.index = index
        self.name = name
        self.rate_hz = rate_hz
        self.channels = channels

    @property
    def answer(self) -> dict[str, Any]:
        return {"name": self.name, "rate_hz": self.rate_hz, "channels": self.channels}


def main() -> None:
    """Hold the card until the stream ends, the parent is gone or nobody reads."""
    settings = json.loads(sys.argv[1])
    _outlive_nobody(settings["parent"])
    pipe = _pipe_of_our_own()
    code = 1
    try:
        _capture(settings, pipe)
        code = 0
    finally:
        os._exit(code)  # not by the way of atexit: PortAudio's own end may hang


def _outlive_nobody(parent: int) -> None:
    # The daemon alone decides when to stop: systemd and Ctrl-C signal every process at once, and a card that goes
    # before the daemon knows would be reported as lost.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _pipe_of_our_own() -> BinaryIO:
    """Return standard output, and let whatever a library prints there go to stderr instead."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _say(pipe: BinaryIO, answer: dict[str, Any]) -> None:
    pipe.write(json.dumps(answer).encode() + b"\n")
    pipe.flush()


def _capture(settings: dict[str, Any], pipe: BinaryIO) -> None:
    wanted = settings["channels"]
    inbox = _Inbox(max(2, round(settings["inbox_seconds"] / settings["block_seconds"])))
    try:
        sounddevice = _portaudio()
        info = _find(sounddevice, settings["device"], settings["card"])
        opening = _opening(sounddevice, info, wanted, settings["rate_hz"])
        stream = _start(sounddevice, opening, inbox, settings["block_seconds"]) if settings["open"] else None
    except Refused as refused:
        _say(pipe, refused.answer)
        return
    except Exception as error:  # a defect of ours: our stderr goes nowhere, so the parent has to say it
        _say(pipe, Refused(f"{type(error).__name__}: {error}").answer)
        return

    _say(pipe, opening.answer)
    if stream is None:
        return
    for came, lost, data in inbox.pieces(settings["parent"]):
        samples = _planar(data, opening.channels, wanted)
        n_samples = len(samples) // (4 * len(wanted))
        # In one write, so that it wakes the reader once.
        pipe.write(HEADER.pack(came - n_samples / opening.rate_hz, n_samples, lost) + samples)
        pipe.flush()


# --- Which device, and how ---


def _portaudio() -> ModuleType:
    try:
        import sounddevice
    except (OSError, ImportError) as error:
        raise Refused(f"PortAudio is not installed ({error}): on Debian, `apt install libportaudio2`") from error
    return sounddevice  # type: ignore[no-any-return] # it ships no types


def _find(sounddevice: ModuleType, device: str | None, card: str | None) -> Any:  # noqa: ANN401 # it ships no types
    there = [info for info in sounddevice.query_devices() if info["max_input_channels"] > 0]
    inputs = [info["name"] for info in there]
    if card is not None:
        for info in there:
            if f"({card})" in info["name"]:
                return info
        raise Refused("PortAudio finds no input on it", inputs=inputs)
    try:
        return sounddevice.query_devices(device, "input")
    except (ValueError, sounddevice.PortAudioError) as error:
        raise Refused(str(error), inputs=inputs) from error


def _opening(
    sounddevice: ModuleType,
    info: Any,  # noqa: ANN401
    wanted: Sequence[int],
    rate_hz: int | None,
) -> Opening:
    most_channels = info["max_input_channels"]
    if max(wanted) >= most_channels:
        raise Refused(f"has {most_channels} channel(s), there is no channel {max(wanted)}; they count from 0")

    own_rate_hz = round(info["default_samplerate"])
    rates_hz = (rate_hz,) if rate_hz else dict.fromkeys((USUAL_RATE_HZ, own_rate_hz, *OTHER_RATES_HZ))
    why = ""
    for channels in _channel_counts(max(wanted) + 1, most_channels):
        for rate in rates_hz:
            if rate < LOWEST_RATE_HZ:
                continue
            try:
                sounddevice.check_input_settings(info["index"], channels=channels, dtype="float32", samplerate=rate)
            except sounddevice.PortAudioError as error:
                why = f"{rate} Hz, {channels} channel(s): {error}"
                if DEVICE_UNAVAILABLE in error.args:
                    raise Refused(why, busy=True) from error
            else:
                return Opening(info["index"], info["name"], rate, channels)
    raise Refused(f"cannot be opened, at last for this: {why or f'no rate of {LOWEST_RATE_HZ} Hz or more'}")


def _channel_counts(least: int, most: int) -> list[int]:
    """Return what to try, best first: all that a card has: asked for fewer, a driver in between may mix them."""
    best = most if most <= MOST_CARD_CHANNELS else max(2, least)
    return list(dict.fromkeys([best, least, most]))


# --- The stream ---


class _Inbox:
    """Between PortAudio's thread and ours: bounded; what does not fit is dropped and leaves a gap, never a delay."""

    def __init__(self, max_pieces: int) -> None:
        # Not a queue.Queue, which has locks made of Python: half of what this process costs.
        self._pieces: queue.SimpleQueue[tuple[float, bool, bytes] | None] = queue.SimpleQueue()
        self._max_pieces = max_pieces
        self._lost = False

    def put(self, frames: Any, _n_frames: int, _time: object, status: Any) -> None:  # noqa: ANN401 # of cffi
        """Take interleaved frames. Runs in PortAudio's thread: copies, and returns.

        PortAudio's own times are those of the clock on the wall in Debian's build: an NTP step moves them.
        """
        # > paInputOverflow: data prior to the first sample of the buffer was discarded (portaudio.h)
        lost = self._lost or bool(status.input_overflow)
        self._lost = self._pieces.qsize() >= self._max_pieces
        if not self._lost:
            self._pieces.put((time.monotonic(), lost, bytes(frames)))

    def end(self) -> None:
        """Note that the stream has ended. Runs in PortAudio's thread."""
        self._pieces.put(None)

    def pieces(self, parent: int) -> Iterator[tuple[float, bool, bytes]]:
        """Yield when it came, whether some was lost before, and interleaved frames, until the stream ends.

        Or until `parent` is gone.
        """
        while os.getppid() == parent:
            try:
                piece = self._pieces.get(timeout=1)
            except queue.Empty:
                continue
            if piece is None:
                return
            yield piece


def _start(sounddevice: ModuleType, opening: Opening, inbox: _Inbox, block_seconds: float) -> Any:  # noqa: ANN401
    try:
        stream = sounddevice.RawInputStream(
            device=opening.index,
            channels=opening.channels,
            samplerate=opening.rate_hz,
            dtype="float32",
            blocksize=max(1, round(opening.rate_hz * block_seconds)),
            latency=LATENCY_SECONDS,
            callback=inbox.put,
            finished_callback=inbox.end,
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        raise Refused(f"cannot be opened: {error}", busy=DEVICE_UNAVAILABLE in error.args) from error
    return stream


def _planar(data: bytes, n_channels: int, wanted: Sequence[int]) -> bytes:
    """Return the wanted channels of interleaved float32 frames, one after the other."""
    if n_channels == 1:
        return data
    samples = memoryview(data).cast("f")
    return b"".join(samples[channel::n_channels].tobytes() for channel in wanted)


if __name__ == "__main__":
    main()
