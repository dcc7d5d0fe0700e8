"""What one stream remembers: samples that no frame has used up yet, and the frames of the newest window.

A hop is 16 frames. The window of a network need not be a whole number of hops: the first hop after a reset is
shorter by `prime_frames`, so that hop number `window_hops` ends exactly where the first whole window ends.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.ear.frontend import Features, FrontendSettings, Samples

HOP_FRAMES: Final = 16


@dataclass(frozen=True)
class HopPlan:
    """How a stream is cut into hops for windows of `window_frames` frames."""

    frontend: FrontendSettings
    window_frames: int

    @property
    def prime_frames(self) -> int:
        """Frames that the first hop lacks; the model is primed with as many dummies."""
        return -self.window_frames % HOP_FRAMES

    @property
    def window_hops(self) -> int:
        """Hops until the window is full: hop `window_hops` (counted from 1) is the first that may be scored."""
        return (self.window_frames + self.prime_frames) // HOP_FRAMES

    @property
    def window_samples(self) -> int:
        """Samples that one window spans: 153,600 (9.6 s) for 299 frames."""
        return self.frontend.samples_for(self.window_frames)

    @property
    def window_seconds(self) -> float:
        """How much sound one window spans."""
        return self.window_samples / self.frontend.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples from one hop to the next: 8192 (0.512 s)."""
        return HOP_FRAMES * self.frontend.hop_samples

    @property
    def hop_seconds(self) -> float:
        """Time from one hop to the next."""
        return self.hop_samples / self.frontend.sample_rate_hz


class Ring:
    """A bounded buffer of samples, cut into hops. It is as large as it ever had to be: of live sound, two hops."""

    def __init__(self, plan: HopPlan, *, max_hops: int = 32) -> None:
        """Hold samples for at most `max_hops` hops at once."""
        self.plan = plan
        self.max_hops = max_hops
        self._most_samples = plan.frontend.samples_for(HOP_FRAMES * (max_hops + 1))
        self._samples: Samples = np.empty(min(self._most_samples, 2 * plan.hop_samples), np.float32)
        self._n_samples = 0
        self._hops_read = 0

    def reset(self) -> None:
        """Forget everything: what comes next is not connected to what came before."""
        self._n_samples = 0
        self._hops_read = 0

    @property
    def hops_read(self) -> int:
        """Hops handed out since the last reset."""
        return self._hops_read

    @property
    def room(self) -> int:
        """Samples that may be written before the next read."""
        return self._most_samples - self._n_samples

    def write(self, samples: Samples) -> None:
        """Append samples, shape (T,). Raises ValueError if there is no room: read first."""
        if samples.size > self.room:
            raise ValueError(
                f"{samples.size} samples: expected at most {self.room}, which is what the ring has room for"
            )
        if self._n_samples + samples.size > self._samples.size:
            self._grow(self._n_samples + samples.size)
        self._samples[self._n_samples : self._n_samples + samples.size] = samples
        self._n_samples += samples.size

    def read(self) -> Samples:
        """Return the samples of all whole hops that are there, shape (T,), with the overlap their frames need.

        Empty if there is not one. The samples are a copy, and no longer in the ring but for the overlap of the
        next frame.
        """
        plan = self.plan
        missing_frames = plan.prime_frames if self._hops_read == 0 else 0
        n_frames = plan.frontend.frames_in(self._n_samples)
        n_hops = min((n_frames + missing_frames) // HOP_FRAMES, self.max_hops)
        if n_hops == 0:
            return self._samples[:0]

        n_frames = n_hops * HOP_FRAMES - missing_frames
        hops = self._samples[: plan.frontend.samples_for(n_frames)].copy()
        used = n_frames * plan.frontend.hop_samples
        self._samples[: self._n_samples - used] = self._samples[used : self._n_samples].copy()
        self._n_samples -= used
        self._hops_read += n_hops
        return hops

    def _grow(self, n_samples: int) -> None:
        larger = np.empty(min(self._most_samples, max(n_samples, 2 * self._samples.size)), np.float32)
        larger[: self._n_samples] = self._samples[: self._n_samples]
        self._samples = larger


class FrameRing:
    """The frames of the window that ends with the newest hop, the newest at the right end of one block of memory.

    It stays where it is: blocks that grow hop by hop, of many sources in turn, leave a heap full of holes.
    """

    def __init__(self, plan: HopPlan) -> None:
        self._n_frames = plan.window_frames
        self._frames: Features = np.zeros((plan.frontend.n_mels, plan.window_frames + HOP_FRAMES), np.float32)
        self._n_heard = 0

    def reset(self) -> None:
        """Forget everything."""
        self._n_heard = 0

    def remember(self, frames: Features) -> list[Features | None]:
        """Append the frames of the newest hops, (M, F); return the window that ends with each hop, oldest first.

        A window is (M, window_frames), a view, which holds until the next call; None where it is not full yet.
        """
        n_new = frames.shape[1]
        n_hops = -(-n_new // HOP_FRAMES)
        if (missing := self._n_frames + n_new - self._frames.shape[1]) > 0:
            self._frames = np.pad(self._frames, ((0, 0), (missing, 0)))
        # All rows in one go, which needs no second block: what moves from row to row is written over.
        flat = self._frames.reshape(-1)
        flat[:-n_new] = flat[n_new:]
        self._frames[:, -n_new:] = frames
        self._n_heard += n_new
        ends = [self._frames.shape[1] - HOP_FRAMES * i for i in reversed(range(n_hops))]
        first = self._frames.shape[1] - self._n_heard + self._n_frames
        return [self._frames[:, end - self._n_frames : end] if end >= first else None for end in ends]
