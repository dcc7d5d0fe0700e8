"""What each fault adds to the sound of a healthy machine.

A fault is a function of the machine, its motion and a severity, shape (T,), from 0 (healthy: it adds silence) to 1
(plain); amplitudes grow in proportion to it. It returns the sound to be added at the casing, shape (T,), float32. As
the healthy sound stays what it was, a clip with a fault and the same clip without it differ by the fault alone.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import scipy.signal

from edge.ear import Samples
from trainer.simulator.machines import Individual, Motion, flow_noise, rotation, strike_amplitude, strikes
from trainer.simulator.sound import (
    SAMPLE_RATE_HZ,
    Spectrum,
    cosine,
    crossings,
    decibels,
    gain,
    layered,
    noise,
    ringing,
    samples_in,
    struck,
    turns_of,
    unit_energy,
    wander,
)

Fault = Callable[[Individual, Motion, Samples], Samples]

FULL_LEVELS_DB: Final[dict[str, float]] = {
    "bearing": -7.0,
    "cavitation": -4.0,
    "belt": -8.0,
    "leak": -10.0,
    "chipped": -8.0,
}
"""RMS at severity 1, relative to the steady healthy sound at nominal speed."""

IMBALANCE_RISE_DB: Final = 12.0
"""By how much the line at once a turn rises at severity 1."""

STICKING_SECONDS: Final = 0.08
"""How late a valve moves at severity 1."""

REBOUND_SECONDS: Final = 0.06
"""From one strike on the seat to the next."""


def bearing(machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """A pit in the outer race: every ball that passes strikes it, and the casing rings at its resonance.

    The strikes come at BPFO with the slip of a cage (1 % of the spacing), harder when the shaft leans that way.
    """
    _, rng = motion.dice.streams("bearing")
    order = machine.bearing.outer_race_order
    at = crossings(motion.turns, order=order)
    spacing_samples = SAMPLE_RATE_HZ / (order * machine.shaft_hz * motion.speed_factor)
    lean = 1 + 0.5 * np.cos(2 * np.pi * motion.turns[at])
    hits = lean * rng.uniform(0.6, 1.4, at.size) * _amplitude("bearing", per_second=order * machine.shaft_hz)
    late = np.rint(rng.normal(0, 0.01 * spacing_samples, at.size)).astype(np.int64)
    resonance = ringing(machine.resonance_hz, decay_seconds=0.0012)
    above = np.float32(0.4) * ringing(1.6 * machine.resonance_hz, decay_seconds=0.0008)
    kernel = unit_energy(layered([resonance, above]))
    return struck(motion.n_samples, at + late, hits * severity[at], kernel) * motion.effort


def imbalance(machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """A mass off the axis: the line at once a turn rises by `imbalance_rise_db`, and the flow beats with it."""
    rise = (gain(IMBALANCE_RISE_DB) - 1) * rotation(machine, motion, highest_order=1)
    beat = cosine(motion.turns) * flow_noise(machine, motion)
    return severity * motion.effort * (rise + np.float32(0.5) * beat)


def imbalance_rise_db(severity: float) -> float:
    """Return by how many dB an imbalance of that severity raises the line at once a turn."""
    return float(20 * np.log10(1 + severity * (decibels(IMBALANCE_RISE_DB) - 1)))


def cavitation(_machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """Vapour bubbles that collapse: dense crackle from 1.5 kHz up, in surges, over a low rumble."""
    _, rng = motion.dice.streams("cavitation")
    collapses_per_second = 900
    surge = np.maximum(0.15, 1 + 0.7 * wander(rng, motion.n_samples, seconds=0.2)).astype(np.float32)

    bubbles = rng.random(motion.n_samples, dtype=np.float32) < np.float32(collapses_per_second / SAMPLE_RATE_HZ)
    pulses = np.zeros(motion.n_samples, dtype=np.float32)
    n_pulses = int(np.count_nonzero(bubbles))
    # Few bubbles are large: the crackle is in the tail of the exponential distribution.
    pulses[bubbles] = rng.exponential(1.0, n_pulses) * rng.choice((-1.0, 1.0), n_pulses)
    crackle: Samples = scipy.signal.lfilter(*_CRACKLE, pulses).astype(np.float32) * _CRACKLE_GAIN

    rumble = noise(rng, motion.n_samples, Spectrum((15, 40, 90, 200), (-20, 0, -4, -40)))
    return severity * gain(FULL_LEVELS_DB["cavitation"]) * surge * (crackle + np.float32(0.7) * rumble)


def belt(machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """A belt that rubs: once a turn of the belt it slips and squeals, a chirp that falls as it takes hold again."""
    _, rng = motion.dice.streams("belt")
    at = crossings(motion.turns, order=machine.belt_order)
    pitch_hz = machine.dice.stream("belt").uniform(1_700, 3_000)
    slips_per_second = machine.belt_order * machine.shaft_hz
    chirp = _chirp(pitch_hz, seconds=min(0.12, 0.5 / slips_per_second))
    amplitudes = _amplitude("belt", per_second=slips_per_second) * rng.uniform(0.3, 1.5, at.size)
    return struck(motion.n_samples, at, amplitudes * severity[at], chirp) * motion.effort


def leak(machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """Gas or liquid through a crack: a steady hiss above 4 kHz, 70 dB less below 2.5 kHz."""
    _, rng = motion.dice.streams("leak")
    hole_hz = machine.dice.stream("leak").uniform(4_600, 5_800)
    hiss = noise(rng, motion.n_samples, Spectrum((0.6 * hole_hz, hole_hz, 1.3 * hole_hz, 8_000), (-70, -4, 0, -2)))
    return severity * gain(FULL_LEVELS_DB["leak"]) * hiss


def chipped(machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """A tooth with a corner missing: once a turn the mesh knocks, and the housing answers."""
    _, rng = motion.dice.streams("chipped")
    at = crossings(motion.turns, order=1)
    modes = ((1.0, 1.0, 0.004), (2.3, 0.6, 0.002), (3.1, 0.3, 0.001))
    kernel = unit_energy(
        layered([np.float32(share) * ringing(k * machine.mesh_hz, decay_seconds=decay) for k, share, decay in modes])
    )
    amplitudes = _amplitude("chipped", per_second=machine.shaft_hz) * rng.uniform(0.7, 1.3, at.size)
    return struck(motion.n_samples, at, amplitudes * severity[at], kernel) * motion.effort


def sticking(machine: Individual, motion: Motion, severity: Samples) -> Samples:
    """A valve that sticks: it comes late, by up to 80 ms, and hits its seat twice.

    What it adds is the late click less the one that was due, and the rebound.
    """
    late_seconds = STICKING_SECONDS * severity.astype(np.float64)
    added = strikes(machine, motion, late_seconds=late_seconds) - strikes(machine, motion)
    _, rng = motion.dice.streams("sticking")
    for place, kernel in zip(machine.kind.strikes_at, machine.strikes, strict=True):
        due = crossings(motion.cycles, order=1, offset=place)
        stuck = severity[due]
        wait = STICKING_SECONDS * stuck + REBOUND_SECONDS * rng.uniform(0.8, 1.2, due.size)
        rebound = 0.7 * strike_amplitude(machine) * stuck
        added += struck(motion.n_samples, due + np.rint(wait * SAMPLE_RATE_HZ).astype(np.int64), rebound, kernel)
    return added


FAULTS: Final[dict[str, Fault]] = {
    fault.__name__: fault for fault in (bearing, imbalance, cavitation, belt, leak, chipped, sticking)
}

_CRACKLE: Final = scipy.signal.butter(2, (1_500, 7_000), btype="bandpass", fs=SAMPLE_RATE_HZ)
_CRACKLE_GAIN: Final = np.float32(3.6)
"""Brings the crackle to an RMS of about 1."""


def _amplitude(fault: str, *, per_second: float) -> float:
    """The amplitude of kernels of unit energy, so many a second, that gives `fault` its full level."""
    return float(decibels(FULL_LEVELS_DB[fault]) * np.sqrt(SAMPLE_RATE_HZ / per_second))


def _chirp(pitch_hz: float, *, seconds: float) -> Samples:
    """A squeal with one overtone that falls by a seventh of its pitch, unit energy."""
    n_samples = samples_in(seconds)
    turns = turns_of(pitch_hz * np.linspace(1.07, 0.93, n_samples))
    tone = np.sin(2 * np.pi * turns) + 0.4 * np.sin(4 * np.pi * turns)
    return unit_energy(tone * np.hanning(n_samples))
