"""A sound card, through PortAudio: the callback copies, counts what was lost, and returns.

PortAudio cannot be trusted to say that a card is gone: after an unplug the stream stays `active`, no callback comes and
no error (PortAudio/portaudio#1037). So silence of the driver is measured here. It cannot always be closed either, and
it sees no card that came after its start: a process of its own for each microphone mends both, and is not this room's.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, NoReturn

import numpy as np

from edge.errors import SourceError
from edge.source.block import Block, Samples, Stretch
from edge.source.convert import Resampler, fault_in, fault_of_rate, log_conversion

log = logging.getLogger(__name__)

LATENCY_SECONDS: Final = 0.2
"""What the driver may hold back: below this, USB cards on a Raspberry Pi lose samples."""

INBOX_SECONDS: Final = 10.0
"""How far the reader may fall behind before samples are dropped."""

USUAL_RATES_HZ: Final = (48_000, 44_100, 16_000, 32_000, 96_000)
MOST_CARD_CHANNELS: Final = 8
"""A device that claims more is no card but a sound server, which makes up as many as it is asked for."""

CLOSE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Piece:
    """What one callback brought. `time`: UNIX seconds of the first sample, by the clock on the wall."""

    samples: Samples
    time: float
    after_gap: bool


class Inbox:
    """Between PortAudio's thread and ours: bounded; what does not fit is dropped and leaves a gap, never a delay."""

    def __init__(self, name: str, *, channel: int, rate_hz: int, max_pieces: int) -> None:
        self.name = name
        self.channel = channel
        self.rate_hz = rate_hz
        self.n_gaps = 0
        self._pieces: queue.Queue[Piece | None] = queue.Queue(max_pieces)
        self._lost = False
        self._closed = threading.Event()

    def put(self, frames: Samples, n_frames: int, _time: object, status: Any) -> None:  # noqa: ANN401 # CallbackFlags
        """Take `frames`, shape (n, channels), from PortAudio. Runs in its thread: copies, and returns."""
        # > paInputOverflow: data prior to the first sample of the buffer was discarded (portaudio.h)
        gap = self._lost or bool(status.input_overflow)
        piece = Piece(frames[:, self.channel].copy(), time.time() - n_frames / self.rate_hz, gap)
        try:
            self._pieces.put_nowait(piece)
        except queue.Full:
            self._lost = True
        else:
            self._lost = False
            self.n_gaps += gap

    def end(self) -> None:
        """Note that the stream has ended. Runs in PortAudio's thread."""
        with suppress(queue.Full):  # then nobody waits, and the silence will be noticed
            self._pieces.put_nowait(None)

    def close(self) -> None:
        """End `pieces()`, waiting or not."""
        self._closed.set()
        self.end()

    def pieces(self, *, timeout_seconds: float) -> Iterator[Piece]:
        """Yield what comes, until `close()`. Raises SourceError if the stream ends or nothing comes in time."""
        while True:
            try:
                piece = self._pieces.get(timeout=timeout_seconds)
            except queue.Empty:
                reason = f"no sound for {timeout_seconds:g} s; unplugged, or its driver hangs"
                raise SourceError(f"{self.name}: {reason}") from None
            if self._closed.is_set():
                return
            if piece is None:
                raise SourceError(f"{self.name}: the stream has ended; unplugged?")
            yield piece


def blocks_of(inbox: Inbox, *, timeout_seconds: float) -> Iterator[Block]:
    """Yield blocks of 16 kHz. Where samples were lost a new stretch begins, with a time of its own."""
    stretch = None
    for piece in inbox.pieces(timeout_seconds=timeout_seconds):
        if stretch is None or piece.after_gap:
            if stretch:
                log.warning("%s: samples were lost, gap no. %d", inbox.name, inbox.n_gaps)
            stretch = Stretch(inbox.name, start_time=piece.time)
            resample = Resampler(inbox.rate_hz)
        if fault := fault_in(piece.samples):
            raise SourceError(f"{inbox.name}: a sample {fault[1]}")
        samples = resample(piece.samples)
        if samples.size:
            yield stretch.block(samples)


@dataclass(frozen=True)
class _Opening:
    """What a device is opened with."""

    index: int
    name: str
    rate_hz: int
    channels: int


class Microphone:
    """One channel of one input device. After a SourceError `blocks()` may be called again."""

    def __init__(
        self,
        device: str | None = None,
        *,
        channel: int = 0,
        rate_hz: int | None = None,
        block_seconds: float = 0.1,
        timeout_seconds: float = 5.0,
    ) -> None:
        """Open nothing.

        device           its name, or a part of it that no other has; None: the default one
        channel          which one, counted from 0; never a mix of them
        rate_hz          None: the device's own, so that only we resample
        timeout_seconds  how long no frame may come before the device counts as lost
        """
        self.device = device
        self.channel = channel
        self.rate_hz = rate_hz
        self.block_seconds = block_seconds
        self.timeout_seconds = timeout_seconds
        self._inbox: Inbox | None = None
        self._closing: threading.Thread | None = None

    def blocks(self) -> Iterator[Block]:
        """Yield what the device hears until `close()`. Raises SourceError when it cannot be opened or falls silent.

        Where samples were lost a new stretch begins, with a time of its own.
        """
        if self._closing and self._closing.is_alive():
            # To open it a second time may end the process, at an assertion in pa_linux_alsa.c.
            raise SourceError(f"{self.device}: the driver has not let go of it; only a new process helps")

        sounddevice = _portaudio()
        opening = _find(sounddevice, self.device, channel=self.channel, rate_hz=self.rate_hz)
        log_conversion(opening.name, opening.rate_hz, opening.channels, self.channel)
        max_pieces = max(2, round(INBOX_SECONDS / self.block_seconds))
        inbox = Inbox(opening.name, channel=self.channel, rate_hz=opening.rate_hz, max_pieces=max_pieces)
        self._inbox = inbox
        stream = _start(sounddevice, opening, inbox, block_seconds=self.block_seconds)
        try:
            yield from blocks_of(inbox, timeout_seconds=self.timeout_seconds)
        finally:
            self._closing = _close(stream, opening.name)

    def close(self) -> None:
        """End `blocks()` at once, waiting or not; it may be called again."""
        if self._inbox:
            self._inbox.close()


def describe_input(device: str | None, *, channel: int = 0, rate_hz: int | None = None) -> str:
    """Return how an input would be opened, for a person; it is not opened.

    Raises SourceError that lists the inputs there are.
    """
    opening = _find(_portaudio(), device, channel=channel, rate_hz=rate_hz)
    return f"{opening.name}, {opening.rate_hz} Hz, {opening.channels} channel(s), channel {channel}"


def _portaudio() -> ModuleType:
    # Imported here, not above: it initialises PortAudio, which fails where there is none, takes 34 MB, and freezes the
    # list of devices at what is plugged in at that moment. Who only reads files needs none of it.
    try:
        import sounddevice
    except OSError as error:
        raise SourceError(f"PortAudio is not installed ({error}): on Debian, `apt install libportaudio2`") from error
    return sounddevice  # type: ignore[no-any-return] # it ships no types


def _find(sounddevice: ModuleType, device: str | None, *, channel: int, rate_hz: int | None) -> _Opening:
    try:
        info = sounddevice.query_devices(device, "input")
    except (ValueError, sounddevice.PortAudioError) as error:
        _refuse_device(sounddevice, device, str(error), error)

    most_channels = info["max_input_channels"]
    if channel >= most_channels:
        raise SourceError(f"{info['name']}: has {most_channels} channel(s), there is no channel {channel}")

    own_rate_hz = round(info["default_samplerate"])
    rates_hz = (rate_hz,) if rate_hz else (own_rate_hz, *USUAL_RATES_HZ)
    why = "no rate of 16000 Hz or more"
    for channels in _channel_counts(channel, most_channels):
        for rate in rates_hz:
            if fault := fault_of_rate(rate):
                why = fault
                continue
            try:
                sounddevice.check_input_settings(info["index"], channels=channels, dtype="float32", samplerate=rate)
            except sounddevice.PortAudioError as error:
                why = f"{rate} Hz, {channels} channel(s): {error}"
            else:
                return _Opening(info["index"], info["name"], rate, channels)
    raise SourceError(f"{info['name']}: cannot be opened, at last for this: {why}")


def _channel_counts(channel: int, most_channels: int) -> list[int]:
    """Return what to try, best first. All that a card has: asked for fewer, a driver in between may mix them."""
    best = most_channels if most_channels <= MOST_CARD_CHANNELS else max(2, channel + 1)
    return list(dict.fromkeys([best, channel + 1, most_channels]))


def _refuse_device(sounddevice: ModuleType, device: str | None, reason: str, cause: Exception) -> NoReturn:
    names = [info["name"] for info in sounddevice.query_devices() if info["max_input_channels"] > 0]
    what = "default input" if device is None else f'input "{device}"'
    there = "; ".join(names) if names else "none at all"
    raise SourceError(f"{what}: {reason}. Inputs that are there: {there}") from cause


def _start(sounddevice: ModuleType, opening: _Opening, inbox: Inbox, *, block_seconds: float) -> Any:  # noqa: ANN401 # sounddevice ships no types
    stream = None
    try:
        stream = sounddevice.InputStream(
            device=opening.index,
            channels=opening.channels,
            samplerate=opening.rate_hz,
            dtype=np.float32,
            blocksize=max(1, round(opening.rate_hz * block_seconds)),
            latency=LATENCY_SECONDS,
            callback=inbox.put,
            finished_callback=inbox.end,
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        if stream is not None:
            _close(stream, opening.name)
        raise SourceError(f"{opening.name}: cannot be opened: {error}") from error
    return stream


def _close(stream: Any, name: str) -> threading.Thread:  # noqa: ANN401 # sounddevice ships no types
    """Close in a thread, and wait for it a while only: on a device that hangs, `stop()` may never return."""

    def let_go() -> None:
        stream.abort(ignore_errors=True)
        stream.close(ignore_errors=True)

    thread = threading.Thread(target=let_go, name=f"close {name}", daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)
    if thread.is_alive():
        log.error("%s: the driver does not let go of it", name)
    return thread
