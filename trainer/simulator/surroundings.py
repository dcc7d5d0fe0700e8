"""What lies between a machine and the microphone, and what else the microphone hears: a room, and a factory in it.

The room belongs to the section; where the microphone stands, and what runs nearby, belongs to the section and domain.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from edge.ear import Samples
from trainer.simulator.machines import KINDS, Domain, Range
from trainer.simulator.sound import (
    SAMPLE_RATE_HZ,
    Dice,
    Spectrum,
    Wave,
    decibels,
    gain,
    layered,
    noise,
    ringing,
    samples_in,
    spin,
    struck,
    turns_of,
    unit_energy,
    wander,
)

Point = NDArray[np.float64]
"""A place or an extent in metres, shape (3,)."""

METRES_PER_SECOND: Final = 343.0
"""Speed of sound at 20 degrees."""

MICROPHONE_METRES: Final[dict[Domain, Range]] = {"source": (0.4, 0.8), "target": (0.7, 1.4)}
SNR_DB: Final[dict[Domain, Range]] = {"source": (6.0, 12.0), "target": (3.0, 9.0)}
"""Healthy machine over the hall, RMS, both at the microphone."""
REVERBERATION_SECONDS: Final[Range] = (0.25, 0.7)

WALL_REFLECTION: Final = 0.7
"""Of the pressure, at one wall."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """The hall without the machine: air handling and traffic, other machines far off, and something dropped at times.

    Its parts together have an RMS of about 1.
    """

    hum: Spectrum
    neighbours: tuple[tuple[float, Wave], ...]
    """Shaft speed in Hz, and lines."""
    neighbours_db: float
    clanks: tuple[Samples, ...]
    """Kernels of unit energy."""
    clanks_per_second: float


def room_response(dice: Dice, machine: str, section: int, domain: Domain) -> Samples:
    """Return the impulse response from casing to microphone, shape (N,), float32; the direct sound is 1 at 1 m.

    Early reflections are the images of a shoebox, Allen and Berkley (1979), Image method for efficiently simulating
    small-room acoustics; after them comes Gaussian noise that falls by 60 dB in the reverberation time, high
    frequencies faster.
    """
    walls = dice.of("room", machine, section).stream("walls")
    size = np.array([walls.uniform(6, 14), walls.uniform(5, 10), walls.uniform(3, 6)])
    reverberation_seconds = walls.uniform(*REVERBERATION_SECONDS)
    source = size * walls.uniform(0.25, 0.75, 3) * (1, 1, 0.4)

    place = dice.of("room", machine, section, domain).stream("microphone")
    metres = place.uniform(*MICROPHONE_METRES[domain])
    away = place.standard_normal(3) * (1, 1, 0.3)
    microphone = np.clip(source + metres * away / np.linalg.norm(away), 0.1, size - 0.1)

    tail = _tail(place, size, reverberation_seconds)
    room = _images(size, source, microphone, n_samples=tail.size) + tail
    response: Samples = scipy.signal.fftconvolve(room, _body(dice.of("body", machine, section)))
    return response


def background(dice: Dice, machine: str, section: int, domain: Domain) -> Background:
    """Return what else is heard where that section stands: other machines, another hall, in each domain."""
    rng = dice.of("background", machine, section, domain).stream("hall")
    points_hz = (30.0, 120.0, 500.0, 2_000.0, 8_000.0)
    # Pink noise is 3 dB an octave less; a hall takes some more from the highs.
    pink_db = -rng.uniform(3.0, 5.0) * np.log2(np.array(points_hz) / 30.0)
    return Background(
        hum=Spectrum(points_hz, tuple(pink_db + rng.normal(0, 3, len(points_hz)))),
        neighbours=tuple(_neighbour(rng) for _ in range(2)),
        neighbours_db=rng.uniform(-12, -4),
        clanks=tuple(_clank(rng) for _ in range(3)),
        clanks_per_second=rng.uniform(0.02, 0.12),
    )


def hall_sound(hall: Background, dice: Dice, n_samples: int) -> Samples:
    """Return one stretch of the background, shape (T,), float32, RMS about 1."""
    once, rng = dice.streams("hall")
    today = Spectrum(
        hall.hum.points_hz, tuple(np.array(hall.hum.levels_db) + once.normal(0, 1.2, len(hall.hum.levels_db)))
    )
    swell = decibels(once.normal(0, 1.0) + 1.0 * wander(rng, n_samples, seconds=2.5)).astype(np.float32)
    sound = noise(rng, n_samples, today) * swell
    for shaft_hz, wave in hall.neighbours:
        speed_hz = shaft_hz * (1 + 0.002 * wander(rng, n_samples, seconds=2.0) + once.normal(0, 0.005))
        level = gain(hall.neighbours_db + once.normal(0, 2))
        sound += level * spin(wave.turn(), rng.uniform(0, 1) + turns_of(speed_hz))
    return sound + _clanking(hall, rng, n_samples)


def _images(size: Point, source: Point, microphone: Point, *, n_samples: int) -> Samples:
    """The direct sound and every image of up to two walls an axis: 1/r, late by r/c, weaker by each wall."""
    response = np.zeros(n_samples, dtype=np.float32)
    for cell in np.ndindex(3, 3, 3):
        for mirrored in np.ndindex(2, 2, 2):
            n, flip = np.array(cell) - 1, np.array(mirrored)
            image = 2 * n * size + np.where(flip, -source, source)
            bounces = int(np.sum(np.abs(2 * n - flip)))
            metres = float(np.linalg.norm(image - microphone))
            arrival = round(metres / METRES_PER_SECOND * SAMPLE_RATE_HZ)
            if bounces <= 2 and arrival < n_samples:
                response[arrival] += WALL_REFLECTION**bounces / metres
    return response


def _tail(rng: np.random.Generator, size: Point, reverberation_seconds: float) -> Samples:
    """The diffuse field: 16 pi / A over the direct sound at 1 m, with Sabine's A = 0.161 V / T (Kuttruff, Room
    acoustics)."""
    n_samples = samples_in(reverberation_seconds * 2 / 3)  # 40 dB down: below the background
    seconds = np.arange(n_samples) / SAMPLE_RATE_HZ
    fall = np.exp(-np.log(1_000) * seconds / reverberation_seconds).astype(np.float32)
    low = noise(rng, n_samples, Spectrum((60, 200, 1_500, 4_000), (-12, 0, 0, -24))) * fall
    high = noise(rng, n_samples, Spectrum((1_000, 3_000, 8_000), (-24, 0, -3))) * np.square(fall)
    tail = low + np.float32(0.6) * high
    tail[: samples_in(0.012)] = 0  # what comes first is in the images

    absorption = 0.161 * float(np.prod(size)) / reverberation_seconds
    return np.float32(np.sqrt(16 * np.pi / absorption)) * unit_energy(tail)


def _body(dice: Dice) -> Samples:
    """The casing passes sound on as it is, and colours it with a few modes of its own."""
    rng = dice.stream("modes")
    modes = [
        np.float32(rng.choice((-1, 1)) * rng.uniform(0.1, 0.25))
        * ringing(np.exp(rng.uniform(np.log(120), np.log(6_000))), decay_seconds=rng.uniform(0.001, 0.004))
        for _ in range(12)
    ]
    return layered([np.ones(1, dtype=np.float32), *modes])


def _neighbour(rng: np.random.Generator) -> tuple[float, Wave]:
    """A machine behind other machines: a steady shaft, its highs lost on the way; RMS 1."""
    shaft_hz = rng.uniform(*KINDS[rng.choice(("fan", "gearbox", "pump"))].shaft_rpm) / 60
    orders = np.arange(1, 40)
    amplitudes = decibels(-6 * np.log2(orders) + rng.normal(0, 5, orders.size))
    amplitudes /= np.sqrt(np.sum(np.square(amplitudes)) / 2)
    return shaft_hz, Wave(orders, amplitudes, rng.uniform(0, 2 * np.pi, orders.size))


def _clank(rng: np.random.Generator) -> Samples:
    """A piece of metal dropped across the hall: inharmonic modes, and an echo longer than they are; unit energy."""
    modes = [
        np.float32(rng.uniform(0.3, 1)) * ringing(rng.uniform(300, 3_500), decay_seconds=rng.uniform(0.02, 0.08))
        for _ in range(6)
    ]
    struck_once = layered(modes)
    n_echo = samples_in(0.5)
    echo = noise(rng, n_echo, Spectrum((200, 2_000, 8_000), (0, 0, -18)))
    echo *= np.exp(-np.arange(n_echo) / samples_in(0.12)).astype(np.float32)
    echo[0] += np.float32(20)
    return unit_energy(scipy.signal.fftconvolve(struck_once, echo))


def _clanking(hall: Background, rng: np.random.Generator, n_samples: int) -> Samples:
    n_clanks = rng.poisson(hall.clanks_per_second * n_samples / SAMPLE_RATE_HZ)
    sound = np.zeros(n_samples, dtype=np.float32)
    for kernel in (hall.clanks[i] for i in rng.integers(len(hall.clanks), size=n_clanks)):
        loudness = rng.uniform(0.3, 1.5) * np.sqrt(samples_in(0.3))
        sound += struck(n_samples, rng.integers(n_samples, size=1), np.array([loudness]), kernel)
    return sound
