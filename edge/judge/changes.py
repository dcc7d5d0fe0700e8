"""Known changes, laid over the frames of a machine's own normal sound: what a fault would have sounded like. Pure.

    tone        a steady sine
    hiss        an octave of noise
    impacts     blows at a rate, each a short decay of noise
    modulation  an octave whose level swings up and down at a rate
    level       everything louder

What is added is made as sound, once, and goes through the frontend itself: so it is spread over the bands, and scatters
from frame to frame, as it would in a recording. Its strength is in dB above the machine's own mean power in the bands
where it is; that of a modulation is how far it swings to either side.

Two sounds in one band add up in power only on average. In a frame they interfere: |a + b|^2 = |a|^2 + |b|^2 +
2 |a| |b| cos(phase) in each spectral line, and the more lines a band has, the less of that is left of it. Without it, a
band of one line would seem steadier than it is, and by up to 1.3 dB louder in the mean of its logarithm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge.ear import POWER_FLOOR, Features, Frontend, Samples

Kind = Literal["tone", "hiss", "impacts", "modulation", "level"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DoubleArray = NDArray[np.float64]

TONES_HZ: Final = (130.0, 310.0, 740.0, 1_500.0, 2_900.0, 5_700.0)
OCTAVES_HZ: Final = (177.0, 354.0, 707.0, 1_414.0, 2_828.0, 5_657.0)
"""Middles of the octaves of noise, and of those that swing."""

IMPACTS_PER_SECOND: Final = (1.0, 4.0, 16.0)
IMPACTS_HZ: Final = (1_000.0, 4_000.0)
"""Middles of the two octaves that a blow excites."""

IMPACT_DECAY_SECONDS: Final = 0.005

SWINGS_PER_SECOND: Final = (0.5, 2.0, 6.0)
"""A frame lasts 64 ms: what is faster than this is not seen as a modulation."""

SUB_FRAMES: Final = 16
"""Moments of a frame at which a gain that changes is looked at."""


@dataclass(frozen=True)
class Place:
    """Which change, and where: its lowest and highest frequency, and how often a second, if it comes and goes."""

    kind: Kind
    low_hz: float
    high_hz: float
    per_second: float = 0.0


def places(f_min_hz: float, f_max_hz: float) -> list[Place]:
    """Return where changes are laid, of all kinds: all that lies within what a frontend hears."""
    octaves = [(hz / 2**0.5, hz * 2**0.5) for hz in OCTAVES_HZ]
    found = [
        *(Place("tone", hz, hz) for hz in TONES_HZ),
        *(Place("hiss", *octave) for octave in octaves),
        *(Place("impacts", hz / 2, 2 * hz, rate) for rate in IMPACTS_PER_SECOND for hz in IMPACTS_HZ),
        *(Place("modulation", *octave, SWINGS_PER_SECOND[i % 3]) for i, octave in enumerate(octaves)),
    ]
    heard = [place for place in found if f_min_hz <= place.low_hz and place.high_hz <= f_max_hz * 1.01]
    return [*heard, Place("level", f_min_hz, f_max_hz)]


def added_sound(place: Place, n_samples: int, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return what is added there, (n_samples,), of any amplitude. Raises ValueError if nothing is added."""
    seconds = np.arange(n_samples) / sample_rate_hz
    if place.kind == "tone":
        sound = np.sin(2 * np.pi * (place.low_hz * seconds + rng.random()))
    elif place.kind == "hiss":
        sound = band_of(rng.standard_normal(n_samples), place, sample_rate_hz)
    elif place.kind == "impacts":
        since = (seconds + rng.random() / place.per_second) % (1 / place.per_second)
        blows = np.exp(-since / IMPACT_DECAY_SECONDS) * rng.standard_normal(n_samples)
        sound = band_of(blows, place, sample_rate_hz)
    else:
        raise ValueError(f"{place.kind}: expected a change that adds sound: tone, hiss or impacts")
    return sound.astype(np.float32)


def band_of(sound: DoubleArray | Samples, place: Place, sample_rate_hz: int) -> DoubleArray:
    """Return what of a sound, (T,), lies between the frequencies of a place."""
    n = 1 << (sound.size - 1).bit_length()  # a length with a large prime in it takes ten times as long
    spectrum = np.fft.rfft(sound, n)
    hz = np.fft.rfftfreq(n, 1 / sample_rate_hz)
    spectrum[(hz < place.low_hz) | (hz > place.high_hz)] = 0
    filtered: DoubleArray = np.fft.irfft(spectrum, n)[: sound.size]
    return filtered


@dataclass(frozen=True)
class Changes:
    """Lays changes over frames of one machine.

    own_power  (M,), its mean power in each band, of normal sound
    n_frames   that a change lasts, at most
    """

    frontend: Frontend
    own_power: DoubleArray
    n_frames: int
    seed: int = 0

    @classmethod
    def of(cls, frontend: Frontend, pieces: Sequence[Features], n_frames: int) -> "Changes":
        """Take the machine's own power from pieces of its normal frames, (M, F) each, one or more."""
        power = np.concatenate([power_of(frames) for frames in pieces], axis=1)
        return cls(frontend, np.mean(power, axis=1), n_frames)

    def at(self, place: Place) -> "Change":
        """Return the change there: frames (M, F <= n_frames), dB, and a strength, dB, to frames."""
        if place.kind == "level":
            return _louder
        if place.kind == "modulation":
            return _Swing(self._bands(place), place.per_second, self.frontend)
        rng = np.random.default_rng([self.seed, int(place.low_hz), int(place.per_second)])
        settings = self.frontend.settings
        sound = added_sound(place, settings.samples_for(self.n_frames), settings.sample_rate_hz, rng)
        power = power_of(self.frontend(sound)) * (1 / self.gain(place, sound))
        phase = 2 * np.pi * rng.random(power.shape)
        return _Added(power, 2 * np.sqrt(self.interference)[:, np.newaxis] * np.cos(phase))

    def gain(self, place: Place, sound: Samples) -> float:
        """Return how many times more power a sound, (T,), has there than the machine itself."""
        edges = self.frontend.band_edges_hz
        bands, width = self._bands(place), edges[2:] - edges[:-2]  # a triangle has unit area: its power is a density
        added = power_of(self.frontend(sound)).mean(axis=1)
        return float((added * width)[bands].sum() / (self.own_power * width)[bands].sum())

    @cached_property
    def interference(self) -> DoubleArray:
        """One by the number of lines that a band is worth, (M,): how much the power of white noise scatters in it."""
        settings = self.frontend.settings
        noise = np.random.default_rng(self.seed).standard_normal(settings.samples_for(2048))
        power = power_of(self.frontend(noise.astype(np.float32)))
        return np.asarray(np.minimum(power.var(axis=1) / np.square(power.mean(axis=1)), 1.0))

    def _bands(self, place: Place) -> NDArray[np.bool_]:
        """Return the bands whose middle lies there, (M,); of a tone the nearest."""
        middles = self.frontend.band_edges_hz[1:-1]
        within = (middles >= place.low_hz) & (middles <= place.high_hz)
        within[np.abs(middles - place.low_hz).argmin()] |= not within.any()
        return within


Change = Callable[[Features, float], Features]


def power_of(frames: Features) -> DoubleArray:
    """Return frames, dB, as power."""
    return np.power(10.0, frames.astype(np.float64) / 10)


def _louder(frames: Features, strength_db: float) -> Features:
    return frames + np.float32(strength_db)


@dataclass(frozen=True)
class _Added:
    """Sound of this power at 0 dB, (M, F), and how it interferes, (M, F), -2 to 2."""

    power: DoubleArray
    interference: DoubleArray

    def __call__(self, frames: Features, strength_db: float) -> Features:
        n = frames.shape[1]
        own, added = power_of(frames), self.power[:, :n] * 10 ** (strength_db / 10)
        return _as_frames(own + added + self.interference[:, :n] * np.sqrt(own * added))


@dataclass(frozen=True)
class _Swing:
    bands: NDArray[np.bool_]
    per_second: float
    frontend: Frontend

    def __call__(self, frames: Features, strength_db: float) -> Features:
        settings = self.frontend.settings
        within = (np.arange(SUB_FRAMES) + 0.5) / SUB_FRAMES
        starts = np.arange(frames.shape[1]) * settings.hop_samples / settings.frame_samples
        seconds = (starts[:, np.newaxis] + within) * settings.frame_samples / settings.sample_rate_hz
        weight = np.sin(np.pi * within) ** 4  # the Hann window, squared
        power = 10 ** (strength_db * np.sin(2 * np.pi * self.per_second * seconds) / 10)
        gain_db = 10 * np.log10(power @ weight / weight.sum())
        return (frames + np.where(self.bands[:, np.newaxis], gain_db, 0)).astype(np.float32)


def _as_frames(power: DoubleArray) -> Features:
    return (10 * np.log10(np.maximum(power, POWER_FLOOR))).astype(np.float32)
