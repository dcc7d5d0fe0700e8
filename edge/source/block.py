"""What a source gives: a block of samples that knows where and when it began."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 16_000
"""What every block comes at, whatever the file, pipe or card had."""

BLOCK_SECONDS: Final = 0.256
"""What a source gives at once, at its pace: half a hop. Each block of a card wakes two processes and four threads, and
with 0.1 s that was a third of what they cost; a hundred sources wake each other."""

BLOCK_SAMPLES: Final = round(BLOCK_SECONDS * SAMPLE_RATE_HZ)


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Block:
    """Mono samples, shape (n,), n >= 1, float32; full scale is [-1, 1].

    Samples may reach a little beyond full scale: float recordings do, and so does resampling near a clipped peak.
    They are not clipped, for that would add harmonics that nobody heard.

    start_sample  position of the first sample in this stretch of sound, in samples of 16 kHz; 0 where it starts anew
    time          capture time of the first sample by `time.monotonic()`: start of the stretch + start_sample / 16000
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


DRIFT_SECONDS: Final = 600.0
"""How slowly a stretch follows its card: what a block is late by is made good over ten minutes, so that the jitter of a
driver, tens of milliseconds, moves nothing, and a crystal 100 ppm off, 9 s a day, is 60 ms out."""

MOST_DRIFT: Final = 1e-3
"""No crystal is worse: what is off by more, after a stall that lost nothing, is caught up with at this rate."""


class Stretch:
    """Stamps the blocks of one unbroken stretch of sound: by counting samples, and a card's count is no clock's.

    Where each block comes with the time at which it was captured, the stretch follows slowly; else it only counts.
    """

    def __init__(self, recording: str, *, start_time: float) -> None:
        """start_time: capture time of the first sample, by `time.monotonic()`."""
        self.recording = recording
        self.start_time = start_time
        self.n_samples = 0

    @property
    def end_time(self) -> float:
        """Capture time of the sample that would come next."""
        return self.start_time + self.n_samples / SAMPLE_RATE_HZ

    def block(self, samples: Samples, captured_at: float | None = None) -> Block:
        """Return the next block; `samples` must not be empty. captured_at: when its first one was, as far as known."""
        start, seconds = self.n_samples, samples.size / SAMPLE_RATE_HZ
        if captured_at is not None:
            late_seconds = captured_at - self.end_time
            most = MOST_DRIFT * seconds
            self.start_time += min(max(late_seconds * seconds / DRIFT_SECONDS, -most), most)
        block = Block(samples, start, self.end_time, self.recording, starts_anew=start == 0)
        self.n_samples += samples.size
        return block
