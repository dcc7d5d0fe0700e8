"""What a source gives: a block of samples that knows where and when it began."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 16_000
"""What every block comes at, whatever the file, pipe or card had."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Block:
    """Mono samples, shape (n,), n >= 1, float32; full scale is [-1, 1].

    Samples may reach a little beyond full scale: float recordings do, and so does resampling near a clipped peak.
    They are not clipped, for that would add harmonics that nobody heard.

    start_sample  position of the first sample in this stretch of sound, in samples of 16 kHz; 0 where it starts anew
    time          capture time of the first sample, UNIX seconds: the start of the stretch + start_sample / 16000
    recording     what a person calls this stretch: the path of the file, "stdin", the name of the device
    starts_anew   nothing connects it to the block before (the first one, a new file, a gap): reset every cache
    """

    samples: Samples
    start_sample: int
    time: float
    recording: str
    starts_anew: bool


class Source(Protocol):
    """Something that can be listened to."""

    def blocks(self) -> Iterator[Block]:
        """Open, and yield blocks until the sound ends or `close()` is called. Raises SourceError."""

    def close(self) -> None:
        """Let `blocks()` end soon, waiting or not. May be called from any thread, and more than once."""


class Stretch:
    """Stamps the blocks of one unbroken stretch of sound: by counting samples, never by looking at a clock."""

    def __init__(self, recording: str, *, start_time: float) -> None:
        """start_time: capture time of the first sample, UNIX seconds."""
        self.recording = recording
        self.start_time = start_time
        self.n_samples = 0

    @property
    def end_time(self) -> float:
        """Capture time of the sample that would come next, UNIX seconds."""
        return self.start_time + self.n_samples / SAMPLE_RATE_HZ

    def block(self, samples: Samples) -> Block:
        """Return the next block; `samples` must not be empty."""
        start = self.n_samples
        block = Block(samples, start, self.end_time, self.recording, starts_anew=start == 0)
        self.n_samples += samples.size
        return block
