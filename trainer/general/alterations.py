"""What faults do to a sound, as far as it can be done to any recording. Pure: samples and dice in, samples out.

A network that has to tell a recording from the same recording with a tone, a hiss or a modulation in it learns filters
for what tells two states of a machine apart. Levels are relative to the recording's own in the bands that are touched.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.ear import Samples

RATE_HZ: Final = 16_000
FRAME_SAMPLES: Final = 1024

Waveform = NDArray[np.float64]
Alteration = Callable[[Waveform, np.random.Generator], Waveform]


def alter(samples: Samples, kind: str, rng: np.random.Generator) -> Samples:
    """Return a recording, mono at 16 kHz, shape (T,), float32, altered in one of `ALTERATIONS`, within [-1, 1].

    `pitch` changes the length, by up to a fifth. What is too loud for [-1, 1] is turned down as a whole.
    """
    altered = ALTERATIONS[kind](samples.astype(np.float64), rng)
    return np.asarray(altered / max(1.0, float(np.abs(altered).max())), np.float32)


def _tone(x: Waveform, rng: np.random.Generator) -> Waveform:
    """A tone with up to two harmonics that wavers: a bearing, a belt, a mains hum."""
    seconds = np.arange(x.size) / RATE_HZ
    first_hz = _log_uniform(rng, 80, 5000)
    y = x
    for harmonic in range(1, int(rng.integers(1, 4)) + 1):
        hz = harmonic * first_hz
        if hz > 7600:
            break
        power = _power(x, hz / 1.09, hz * 1.09) * _from_db(rng.uniform(0, 14))
        wavering = rng.uniform(0, 2) * np.sin(2 * np.pi * rng.uniform(0.1, 2) * seconds)
        y = y + np.sqrt(2 * power) * np.sin(2 * np.pi * hz * seconds + rng.uniform(0, 2 * np.pi) + wavering)
    return y


def _hiss(x: Waveform, rng: np.random.Generator) -> Waveform:
    """Noise of a band: a leak, cavitation."""
    centre_hz, octaves = _log_uniform(rng, 300, 6500), rng.uniform(0.25, 1)
    band = _bell(x.size, centre_hz, octaves)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(x.size)) * band, x.size)
    power = _power(x, centre_hz * 2**-octaves, centre_hz * 2**octaves) * _from_db(rng.uniform(-3, 9))
    return x + _at_power(noise, power)


def _impacts(x: Waveform, rng: np.random.Generator) -> Waveform:
    """Knocks that ring: a chipped tooth, something loose."""
    per_second, centre_hz = _log_uniform(rng, 1, 32), _log_uniform(rng, 400, 6500)
    decay_seconds = 10 ** rng.uniform(-2.3, -1.2)
    seconds = x.size / RATE_HZ
    at = np.cumsum(rng.normal(1 / per_second, 0.03 / per_second, int(seconds * per_second) + 3))
    at = at[(at > 0) & (at < seconds)]
    knocks = np.zeros(x.size)
    knocks[(at * RATE_HZ).astype(int)] = rng.uniform(0.6, 1.2, at.size)
    ringing = np.arange(int(5 * decay_seconds * RATE_HZ)) / RATE_HZ
    ring = np.exp(-ringing / decay_seconds) * np.sin(2 * np.pi * centre_hz * ringing + rng.uniform(0, 2 * np.pi))
    power = _power(x, centre_hz / 2, 2 * centre_hz) * _from_db(rng.uniform(-4, 8))
    n = x.size + ring.size
    return x + _at_power(np.fft.irfft(np.fft.rfft(knocks, n) * np.fft.rfft(ring, n), n)[: x.size], power)


def _modulation(x: Waveform, rng: np.random.Generator) -> Waveform:
    """A rise and fall, of everything or of a band: imbalance, a load that comes and goes."""
    seconds = np.arange(x.size) / RATE_HZ
    phase = 2 * np.pi * _log_uniform(rng, 0.5, 20) * seconds + rng.uniform(0, 2 * np.pi)
    gain = 1 + rng.uniform(0.25, 0.85) * np.sin(phase)
    if rng.random() < 0.5:
        return np.asarray(x * gain)
    band = np.fft.irfft(np.fft.rfft(x) * _bell(x.size, _log_uniform(rng, 200, 6000), 0.7), x.size)
    return x + band * (gain - 1)


def _band_gain(x: Waveform, rng: np.random.Generator) -> Waveform:
    """One or two bands louder or softer: a cover that is off, a filter that is full."""
    db = np.zeros(x.size // 2 + 1)
    for _ in range(int(rng.integers(1, 3))):
        sign = rng.choice([-1, 1])
        db += sign * rng.uniform(4, 12) * _bell(x.size, _log_uniform(rng, 100, 7000), rng.uniform(0.15, 0.8))
    return np.asarray(np.fft.irfft(np.fft.rfft(x) * 10 ** (db / 20), x.size))


def _pitch(x: Waveform, rng: np.random.Generator) -> Waveform:
    """Faster or slower by up to three semitones, half of them unsteadily: another speed, a slipping belt."""
    speed = 2 ** (rng.choice([-1, 1]) * rng.uniform(0.4, 3) / 12)
    wow = rng.uniform(0, 0.01) * (rng.random() < 0.5)
    seconds = np.arange(x.size) / RATE_HZ
    at = np.cumsum(speed * (1 + wow * np.sin(2 * np.pi * rng.uniform(0.5, 8) * seconds)))
    return np.asarray(np.interp(at[at < x.size - 1], np.arange(x.size), x))


ALTERATIONS: Final[Mapping[str, Alteration]] = {
    "tone": _tone,
    "hiss": _hiss,
    "impacts": _impacts,
    "modulation": _modulation,
    "band_gain": _band_gain,
    "pitch": _pitch,
}


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _from_db(db: float) -> float:
    return float(10 ** (db / 10))


def _power(x: Waveform, low_hz: float, high_hz: float) -> float:
    """Return the mean power of a band of a recording, at least 1e-12."""
    x = np.resize(x, max(x.size, FRAME_SAMPLES))
    window = np.hanning(FRAME_SAMPLES)
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME_SAMPLES)[:: FRAME_SAMPLES // 2] * window
    spectrum = np.square(np.abs(np.fft.rfft(frames))).mean(0) / (np.square(window).sum() * FRAME_SAMPLES / 2)
    hz = np.fft.rfftfreq(FRAME_SAMPLES, 1 / RATE_HZ)
    bin_hz = RATE_HZ / FRAME_SAMPLES
    return max(float(spectrum[(hz >= low_hz) & (hz <= max(high_hz, low_hz + bin_hz))].sum()), 1e-12)


def _at_power(x: Waveform, power: float) -> Waveform:
    return np.asarray(x * np.sqrt(power) / max(float(x.std()), 1e-9))


def _bell(n_samples: int, centre_hz: float, octaves: float) -> Waveform:
    """Return a gain of 1 at the centre, of each frequency of a real spectrum of so many samples."""
    hz = np.maximum(np.fft.rfftfreq(n_samples, 1 / RATE_HZ), 1.0)
    return np.asarray(np.exp(-0.5 * np.square(np.log2(hz / centre_hz) / octaves)))
