"""Primitives of synthesis: named randomness, waves that turn with a shaft, shaped noise, things that are struck.

Pure functions at 16 kHz. They know nothing of machines.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from edge.ear import FrontendSettings, Samples

Curve = NDArray[np.float64]
"""A slow quantity in time, shape (T,): a phase in turns, a speed in Hz."""

SAMPLE_RATE_HZ: Final = FrontendSettings().sample_rate_hz
HIGHEST_LINE_HZ: Final = 7_600.0
"""Lines above are left out: a few per cent more speed would fold them back at 8 kHz."""

TABLE_SAMPLES: Final = 8_192
"""Points of one turn. Between them we interpolate: at order 200 the error lies 50 dB below the line."""


@dataclass(frozen=True)
class Dice:
    """Randomness with a name: what one name draws never depends on what any other name drew, or when.

    This is what keeps a clip the same clip when more machines, sections or clips are made beside it.
    """

    names: tuple[str, ...]
    passage: int | None = None
    """Which one of a recording that is made in passages; None: it is made in one piece."""

    def of(self, *names: object) -> "Dice":
        """Return the dice of something that belongs to this."""
        return Dice((*self.names, *map(str, names)), self.passage)

    def stream(self, *names: object) -> np.random.Generator:
        """Return a fresh generator; the same names give the same numbers."""
        # SHA-256 and not hash(): Python's hash of a string changes with every process.
        digest = hashlib.sha256("\0".join(self.of(*names).names).encode()).digest()
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(int.from_bytes(digest))))

    def streams(self, *names: object) -> tuple[np.random.Generator, np.random.Generator]:
        """Return fresh generators of what is drawn once for a recording, and of what goes on through it.

        In one piece both are the same one; in passages the second is another in each.
        """
        once = self.stream(*names)
        return once, once if self.passage is None else self.stream(*names, "passage", self.passage)


@dataclass(frozen=True)
class Spectrum:
    """The shape of a noise: `levels_db` at `points_hz`, straight lines between them over log frequency."""

    points_hz: tuple[float, ...]
    levels_db: tuple[float, ...]

    def gains(self, frequencies_hz: NDArray[np.floating]) -> Samples:
        """Return amplitudes at frequencies >= 0, same shape, float32; beyond the ends the last level holds."""
        octaves = np.log2(np.maximum(frequencies_hz, 1.0))
        return decibels(np.interp(octaves, np.log2(self.points_hz), self.levels_db)).astype(np.float32)


@dataclass(frozen=True)
class Wave:
    """Everything that repeats with a shaft: lines at whole orders, lists of one length.

    A blade or a tooth is a higher order, and what modulates it once a turn is two orders beside it, so that one turn
    holds the lot: speed may wander as it likes and the lines stay in step.
    """

    orders: NDArray[np.int64]
    amplitudes: NDArray[np.float64]
    phases: NDArray[np.float64]

    def turn(self, gains: NDArray[np.float64] | float = 1.0) -> Samples:
        """Return one turn, shape (TABLE_SAMPLES,), each line times its gain; a line of 1 is a cosine of amplitude 1."""
        bins = np.zeros(TABLE_SAMPLES // 2 + 1, dtype=np.complex128)
        np.add.at(bins, self.orders, self.amplitudes * gains * np.exp(1j * self.phases) * TABLE_SAMPLES / 2)
        return np.fft.irfft(bins).astype(np.float32)


def decibels(level_db: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the amplitude of a level: 20 dB is 10."""
    return np.asarray(np.power(10.0, np.asarray(level_db) / 20.0))


def gain(level_db: float) -> np.float32:
    """Return the amplitude of a level, for sound that shall stay float32."""
    return np.float32(decibels(level_db))


def rms(samples: Samples) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def samples_in(seconds: float) -> int:
    """Return the whole number of samples that lasts `seconds`."""
    return round(seconds * SAMPLE_RATE_HZ)


def wander(rng: np.random.Generator, n_samples: int, *, seconds: float) -> Curve:
    """Return a curve of mean 0 and deviation about 1, shape (T,), that takes about `seconds` to change its mind."""
    n_points = int(n_samples / SAMPLE_RATE_HZ / seconds) + 2
    points = rng.standard_normal(n_points)
    return np.interp(np.arange(n_samples) / SAMPLE_RATE_HZ / seconds, np.arange(n_points), points)


def turns_of(speed_hz: Curve) -> Curve:
    """Return how far something has turned at every sample, shape (T,), in turns, never falling."""
    return np.cumsum(speed_hz) / SAMPLE_RATE_HZ


def spin(turn: Samples, turns: Curve) -> Samples:
    """Return the sound of one `turn` repeated along `turns`, shape (T,), float32."""
    position = (turns - np.floor(turns)) * TABLE_SAMPLES
    index = position.astype(np.int32)
    rest = (position - index).astype(np.float32)
    closed = np.append(turn, turn[:1])
    # A position may round up to the end of the table; the point there is the first one again.
    index = np.minimum(index, TABLE_SAMPLES - 1)
    return closed[index] + rest * (closed[index + 1] - closed[index])


def noise(rng: np.random.Generator, n_samples: int, spectrum: Spectrum) -> Samples:
    """Return Gaussian noise of that shape and an RMS of 1 (over many draws), shape (T,), float32."""
    n_fft = scipy.fft.next_fast_len(n_samples, real=True)
    gains = spectrum.gains(np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ))
    gains[0] = 0.0  # a microphone hears no constant pressure
    gains *= np.sqrt(n_fft * n_fft / (4 * np.sum(np.square(gains, dtype=np.float64))))
    pairs = rng.standard_normal(2 * gains.size, dtype=np.float32).view(np.complex64)
    shaped: Samples = scipy.fft.irfft(pairs * gains, n_fft)
    return shaped[:n_samples]


def ringing(hz: float, *, decay_seconds: float, phase: float = -np.pi / 2) -> Samples:
    """Return a mode struck once: a cosine that falls by 8.7 dB every `decay_seconds`, unit energy, float32."""
    seconds = np.arange(samples_in(7 * decay_seconds) + 1) / SAMPLE_RATE_HZ
    return unit_energy(np.exp(-seconds / decay_seconds) * np.cos(2 * np.pi * hz * seconds + phase))


def unit_energy(kernel: NDArray[np.floating]) -> Samples:
    """Return `kernel` scaled so that its squares add up to 1: a strike of amplitude a then has the energy a * a."""
    scaled: Samples = (kernel / np.sqrt(np.sum(np.square(kernel)))).astype(np.float32)
    return scaled


def cosine(turns: Curve) -> Samples:
    """Return the cosine of an angle in turns, shape (T,), float32."""
    # The whole turns go before float32 comes: it has no digits for both.
    wave: Samples = np.cos(2 * np.pi * (turns % 1.0).astype(np.float32))
    return wave


def layered(layers: list[Samples]) -> Samples:
    """Return the sum of sounds that start together, as long as the longest."""
    total = np.zeros(max(layer.size for layer in layers), dtype=np.float32)
    for layer in layers:
        total[: layer.size] += layer
    return total


def crossings(turns: Curve, *, order: float, offset: float = 0.0) -> NDArray[np.int64]:
    """Return the samples, from 0 to T - 1, at which `order * turns - offset` passes a whole number, shape (K,)."""
    first, last = np.ceil(order * turns[[0, -1]] - offset)
    passed = (np.arange(first, last) + offset) / order
    return np.minimum(np.searchsorted(turns, passed), turns.size - 1).astype(np.int64)


def struck(n_samples: int, at: NDArray[np.int64], amplitudes: NDArray[np.floating], kernel: Samples) -> Samples:
    """Return `kernel` started at each sample of `at`, shape (T,), float32; what falls outside is lost.

    at, amplitudes: shape (K,).
    """
    sound = np.zeros(n_samples + kernel.size, dtype=np.float32)
    for start, amplitude in zip(at.tolist(), amplitudes.astype(np.float32), strict=True):
        if 0 <= start < n_samples:
            sound[start : start + kernel.size] += amplitude * kernel
    return sound[:n_samples]
