"""Where the sound of windows can be had again, for who lays changes over it: recordings, or pieces kept in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.ear import Samples
from edge.source import AS_IT_IS, Pickup, read_blocks

BLOCK_SAMPLES: Final = 1 << 16

Cut = tuple[int, int, int]
"""Number of the stretch of sound, first sample, and the sample after the last."""


class Sound(Protocol):
    """Stretches of sound, by their numbers."""

    def holds(self, place: NDArray[np.int64], window_samples: int) -> NDArray[np.bool_]:
        """Say of windows, (n, 2), stretch and sample after the last, whether their sound can be had, (n,)."""

    def of(self, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, Samples]]:
        """Yield the sound of cuts that it holds, each stretch gone through once."""


@dataclass(frozen=True)
class Recordings:
    """Files: stretch i is the i-th."""

    paths: Sequence[Path]
    pickup: Pickup = AS_IT_IS

    def holds(self, place: NDArray[np.int64], window_samples: int) -> NDArray[np.bool_]:  # noqa: ARG002 # `Sound`'s
        """All of it is there."""
        return np.ones(len(place), np.bool_)

    def of(self, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, Samples]]:
        """Yield cuts as they are read; of hours, no more is held than the cut that is waited for."""
        for file in sorted({cut[0] for cut in cuts}):
            own = sorted(cut for cut in set(cuts) if cut[0] == file)
            held, position = np.zeros(0, np.float32), 0
            for block in read_blocks(
                self.paths[file], self.pickup, block_samples=BLOCK_SAMPLES, on_note=lambda _: None
            ):
                held = np.concatenate([held, block])
                while own and own[0][2] <= position + held.size:
                    cut = own.pop(0)
                    yield cut, held[cut[1] - position : cut[2] - position]
                keep = own[0][1] if own else position + held.size
                passed = min(max(keep - position, 0), held.size)
                held, position = held[passed:], position + passed


class Pieces:
    """Pieces of live sound, as 16-bit samples in memory and nowhere else: `MOST` of `seconds` each, spread over a time.

    They are gone with the process: sound that nobody asked to keep is written to no disk.
    """

    MOST: Final = 16

    def __init__(self, *, piece_samples: int, every_samples: int) -> None:
        """Keep a piece at the beginning of every so many samples that are heard."""
        self._piece_samples = piece_samples
        self._every_samples = max(every_samples, piece_samples)
        self._pieces: list[tuple[int, int, list[NDArray[np.int16]]]] = []
        self._room = 0
        self._due = 0

    def hear(self, stretch: int, start_sample: int, samples: Samples) -> None:
        """Take the next samples of a stretch; what is kept goes on, or begins, with them."""
        self._due -= samples.size
        if self._pieces and self._room > 0:
            number, start, own = self._pieces[-1]
            if number == stretch and start + sum(part.size for part in own) == start_sample:
                own.append(_as_int16(samples[: self._room]))
                self._room -= own[-1].size
                return
        if self._due <= 0 and len(self._pieces) < self.MOST:
            self._pieces.append((stretch, start_sample, [_as_int16(samples[: self._piece_samples])]))
            self._room = self._piece_samples - samples.size
            self._due = self._every_samples

    def holds(self, place: NDArray[np.int64], window_samples: int) -> NDArray[np.bool_]:
        """Say which windows lie within one piece."""
        held = np.zeros(len(place), np.bool_)
        for stretch, start, own in self._pieces:
            end = start + sum(part.size for part in own)
            held |= (place[:, 0] == stretch) & (place[:, 1] - window_samples >= start) & (place[:, 1] <= end)
        return held

    def of(self, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, Samples]]:
        """Yield cuts, each from the piece that it lies in."""
        for cut in cuts:
            for stretch, start, own in self._pieces:
                if stretch == cut[0] and start <= cut[1] and cut[2] <= start + sum(part.size for part in own):
                    samples = np.concatenate(own)[cut[1] - start : cut[2] - start]
                    yield cut, samples.astype(np.float32) / np.float32(32_768)
                    break


def _as_int16(samples: Samples) -> NDArray[np.int16]:
    pcm: NDArray[np.int16] = np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16)
    return pcm
