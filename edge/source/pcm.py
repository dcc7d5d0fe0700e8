"""Raw samples from a pipe: `arecord -t raw -f S16_LE -r 48000 -c 2 | earshot run`."""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Literal

import numpy as np

from edge.errors import SourceError
from edge.source.block import BLOCK_SAMPLES, SAMPLE_RATE_HZ, Block, Samples, Stretch
from edge.source.channels import OtherChannels
from edge.source.convert import NOTHING, Resampler, fault_in, fault_of_rate, log_conversion

log = logging.getLogger(__name__)

SampleFormat = Literal["s16le", "s24le", "s32le", "f32le"]

SAMPLE_BYTES: Final[dict[SampleFormat, int]] = {"s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}

DEAD_SECONDS: Final = 5.0
"""After so much of one value at the beginning it is said which other channel has sound."""

_EXPECTED: Final = "expected samples: `arecord -t raw ... | earshot run`"

_CONTAINERS: Final = {b"RIFF": "WAV", b"RF64": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg"}
_POLL_SECONDS: Final = 0.2


def decode(data: bytes, *, sample_format: SampleFormat, channels: int, channel: int) -> Samples:
    """Return one channel of whole interleaved frames, shape (n,), float32; full scale is [-1, 1]."""
    width = SAMPLE_BYTES[sample_format]
    samples = np.frombuffer(data, np.uint8).reshape(-1, channels, width)[:, channel]
    if sample_format == "f32le":
        return np.ascontiguousarray(samples).view("<f4")[:, 0].astype(np.float32)

    # Into the upper bytes of 32 bits, so that one scale serves every width.
    upper = np.zeros((len(samples), 4), np.uint8)
    upper[:, 4 - width :] = samples
    return upper.view("<i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)


class PcmStream:
    """Interleaved samples without a header, as they come: a live pipe is passed on at once, in blocks of any size.

    After a stall `blocks()` may be called again: it goes on with the next frame, and starts anew.
    """

    def __init__(
        self,
        stream: BinaryIO | None,
        *,
        rate_hz: int = SAMPLE_RATE_HZ,
        channels: int = 1,
        channel: int = 0,
        sample_format: SampleFormat = "s16le",
        gain_db: float = 0.0,
        block_samples: int = BLOCK_SAMPLES,
        timeout_seconds: float = 10.0,
        name: str = "stdin",
        held: bytes = b"",
    ) -> None:
        """Read nothing yet.

        gain_db          by how much it is made louder, as for recordings
        stream           read by its file descriptor if it has one, past any buffer: nobody else may have read from it;
                         None: it was closed before Python began, and its descriptor may be any file's by now
        block_samples    the most a block has, about, in samples of 16 kHz
        timeout_seconds  how long nothing may come: a pipe that is open and silent hears no machine
        held             what another `PcmStream` has read of a frame that was not whole yet, when it was closed
        Raises ValueError for settings that fit no stream.
        """
        if not 0 <= channel < channels:
            raise ValueError(f"channel {channel} of {channels}: expected 0 <= channel < channels")
        if fault := fault_of_rate(rate_hz):
            raise ValueError(fault)
        self.rate_hz = rate_hz
        self.channels = channels
        self.channel = channel
        self.sample_format = sample_format
        self._factor = np.float32(10 ** (gain_db / 20))
        self.timeout_seconds = timeout_seconds
        self.name = name
        self._stream = stream
        self._frame_bytes = SAMPLE_BYTES[sample_format] * channels
        self._read_bytes = self._frame_bytes * max(1, block_samples * rate_hz // SAMPLE_RATE_HZ)
        self.held = held  # what came of a frame that is not whole yet
        self._begun = bool(held)
        self._closed = threading.Event()

    def blocks(self) -> Iterator[Block]:
        """Yield what comes until the stream ends; its first sample was captured just before it came.

        Raises SourceError if the stream is closed or a terminal, begins like a WAV file, gives nothing at all or
        nothing for `timeout_seconds`, or holds what no sound can hold.
        """
        log_conversion(self.name, self.rate_hz, self.channels, self.channel)
        resample = Resampler(self.rate_hz)
        stretch = None
        for samples in self._samples():
            stretch = stretch or Stretch(self.name, start_time=time.monotonic() - samples.size / self.rate_hz)
            converted = resample(samples)
            if converted.size:
                yield stretch.block(converted)

        rest = resample.flush() if stretch else NOTHING
        if stretch and rest.size:
            yield stretch.block(rest)

    def close(self) -> None:
        """End `blocks()` within a fifth of a second, though nothing comes. The stream itself stays open."""
        self._closed.set()

    def _samples(self) -> Iterator[Samples]:
        """Yield the samples of one channel, checked, a piece for every read that completed a frame."""
        n_before = 0
        others = OtherChannels(self.channels, self.channel)
        for data in self._whole_frames():
            if others.are_asked and n_before < DEAD_SECONDS * self.rate_hz:
                others.hear(self._every_channel(data))
                n_after = n_before + len(data) // self._frame_bytes
                if n_after >= DEAD_SECONDS * self.rate_hz and (elsewhere := others.in_words()):
                    log.warning("%s: %s", self.name, elsewhere)
            samples = decode(data, sample_format=self.sample_format, channels=self.channels, channel=self.channel)
            if self._factor != 1:
                samples *= self._factor
            if fault := fault_in(samples):
                at = n_before + fault[0]
                raise SourceError(f"{self.name}: sample {at} (at {at / self.rate_hz:.3f} s) {fault[1]}")
            yield samples
            n_before += samples.size

    def _every_channel(self, data: bytes) -> Samples:
        every = range(self.channels)
        return np.stack(
            [decode(data, sample_format=self.sample_format, channels=len(every), channel=i) for i in every], 1
        )

    def _whole_frames(self) -> Iterator[bytes]:
        read = self._reader()
        while piece := read():
            data = self.held + piece
            self.held = data
            if not self._begun and len(data) < 4:
                continue
            self._check_beginning(data)

            n_whole = len(data) - len(data) % self._frame_bytes
            self.held = data[n_whole:]
            if n_whole:
                yield data[:n_whole]

        self._check_end()

    def _check_beginning(self, data: bytes) -> None:
        container = None if self._begun else _CONTAINERS.get(data[:4])
        if container:
            raise SourceError(
                f"{self.name}: begins like a {container} file, expected raw {self.sample_format} samples: "
                "with arecord, add `-t raw`"
            )
        self._begun = True

    def _check_end(self) -> None:
        if self._closed.is_set():
            return
        if self.held:
            log.warning(
                "%s: ended within a frame: %d byte(s) of %d left over", self.name, len(self.held), self._frame_bytes
            )
        if not self._begun:
            raise SourceError(f"{self.name}: ended before any sound came")

    def _reader(self) -> Callable[[], bytes]:
        """Return a function that gives what is there, waiting for a first byte only; b"" at the end."""
        stream = self._stream
        if stream is None:
            raise SourceError(f"{self.name}: is closed, {_EXPECTED}")
        try:
            descriptor = stream.fileno()
        except OSError:  # it lives in memory
            return lambda: b"" if self._closed.is_set() else stream.read(self._read_bytes)
        if stream.isatty():
            raise SourceError(f"{self.name}: is a terminal, {_EXPECTED}")
        return lambda: self._read_when_ready(descriptor)

    def _read_when_ready(self, descriptor: int) -> bytes:
        poll = select.poll()  # unlike select(), good for descriptors of 1024 and more
        poll.register(descriptor, select.POLLIN)
        give_up = time.monotonic() + self.timeout_seconds
        while not self._closed.is_set():
            if poll.poll(_POLL_SECONDS * 1000):
                try:
                    return os.read(descriptor, self._read_bytes)
                except OSError as error:
                    raise SourceError(f"{self.name}: {error.strerror}") from error
            if time.monotonic() > give_up:
                raise SourceError(f"{self.name}: nothing came for {self.timeout_seconds:g} s")
        return b""
