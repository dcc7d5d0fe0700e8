"""One recording: a machine, perhaps a fault, the room, the hall, and a microphone with its gain set once.

Pure: nothing is written here, and the same arguments give the same samples.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import scipy.signal

from edge.ear import Samples
from trainer.simulator.faults import FAULTS
from trainer.simulator.machines import KINDS, Domain, Individual, OperatingPoint, healthy, individual, move
from trainer.simulator.sound import SAMPLE_RATE_HZ, Dice, gain, rms, samples_in
from trainer.simulator.surroundings import SNR_DB, Background, background, hall_sound, room_response

LEVEL_DBFS: Final = (-31.0, -25.0)
"""RMS of a healthy machine at the microphone in its source domain."""

FADE_SECONDS: Final = 3.0
"""How long the fault of an episode takes to come and to go."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Which individual is heard, where, and in which recording: `name` sets it apart from all others made there.

    passage: which part of a recording that is too long to be held. Parts share what is drawn once for a recording, and
    all that moves in it is drawn anew in each. None: the recording is made in one piece, and is another one.
    """

    machine: str
    section: int
    domain: Domain
    name: str
    seed: int
    passage: int | None = None

    @property
    def dice(self) -> Dice:
        """What this recording draws from."""
        return Dice((str(self.seed),), self.passage).of(self.machine, self.section, self.domain, "recording", self.name)

    @property
    def individual(self) -> Individual:
        """The machine. Raises ValueError if there is no such type."""
        return machine_of(self.machine, self.section, self.seed)

    @property
    def operating_point(self) -> OperatingPoint:
        """How it is run in this recording."""
        points = self.individual.points[self.domain]
        return points[self.dice.stream("point").integers(len(points))]


def clip(scene: Scene, *, seconds: float, fault: str | None = None, severity: float = 0.0) -> Samples:
    """Return one recording, shape (T,), float32, always within (-1, 1); the same scene is the same clip.

    fault, severity: one of the machine's faults, and how bad it is, from 0 to 1 throughout.
    Raises ValueError if there is no such machine or it has no such fault.
    """
    return _recorded(scene, fault, np.full(samples_in(seconds), severity, dtype=np.float32))


def episode(
    machine: str,
    section: int,
    *,
    fault: str,
    start_seconds: float,
    end_seconds: float,
    seconds: float,
    seed: int,
    severity: float = 1.0,
) -> Samples:
    """Return one unbroken recording in which a fault comes and goes, shape (T,), float32, always within (-1, 1).

    It is the individual of the clips, in its source domain. The fault sets in at `start_seconds`, has its full
    `severity` FADE_SECONDS later, and is gone at `end_seconds`; before and after, the machine is healthy.
    Raises ValueError if there is no such machine, it has no such fault, or the times are not in order.
    """
    if not 0 <= start_seconds < end_seconds <= seconds:
        raise ValueError(
            f"an episode from {start_seconds:g} to {end_seconds:g} s of {seconds:g} s: "
            "expected 0 <= start_seconds < end_seconds <= seconds"
        )
    scene = Scene(machine=machine, section=section, domain="source", name=f"episode_{fault}", seed=seed)
    now = np.arange(samples_in(seconds)) / SAMPLE_RATE_HZ
    faded = np.clip(np.minimum(now - start_seconds, end_seconds - now) / FADE_SECONDS, 0, 1)
    return _recorded(scene, fault, (severity * faded).astype(np.float32))


@lru_cache(maxsize=64)
def machine_of(machine: str, section: int, seed: int) -> Individual:
    """Return the individual that is that section. Raises ValueError if there is no such machine."""
    if machine not in KINDS:
        raise ValueError(f"machine {machine!r}: expected one of {', '.join(KINDS)}")
    return individual(machine, section, Dice((str(seed),)))


def _recorded(scene: Scene, fault: str | None, severity: Samples) -> Samples:
    machine = scene.individual
    if fault is not None and fault not in machine.kind.faults:
        raise ValueError(f"fault {fault!r} of a {machine.name}: expected one of {', '.join(machine.kind.faults)}")

    motion = move(machine, scene.operating_point, scene.dice, seconds=severity.size / SAMPLE_RATE_HZ)
    casing = healthy(machine, motion)
    if fault is not None:
        casing = casing + FAULTS[fault](machine, motion, severity)

    place = (scene.machine, scene.section, scene.domain, scene.seed)
    response, hall = _surroundings(*place)
    background_gain = np.float32(_loudness(*place)) * gain(-_snr_db(machine, scene.domain))
    heard = _through(response, casing * motion.nearness)
    heard += background_gain * hall_sound(hall, scene.dice, severity.size)
    return _microphone(heard * _microphone_gain(scene.machine, scene.section, scene.seed))


@lru_cache(maxsize=64)
def _surroundings(machine: str, section: int, domain: Domain, seed: int) -> tuple[Samples, Background]:
    dice = Dice((str(seed),))
    return room_response(dice, machine, section, domain), background(dice, machine, section, domain)


@lru_cache(maxsize=64)
def _loudness(machine: str, section: int, domain: Domain, seed: int) -> float:
    """RMS of the healthy machine at the microphone, its gain at 1, over a few seconds at its first operating point."""
    one = machine_of(machine, section, seed)
    motion = move(one, one.points[domain][0], one.dice.of("loudness", domain), seconds=8.0)
    response, _ = _surroundings(machine, section, domain, seed)
    return rms(_through(response, healthy(one, motion) * motion.nearness))


@lru_cache(maxsize=64)
def _microphone_gain(machine: str, section: int, seed: int) -> np.float32:
    """The microphone's gain: set once, by a person, in the source domain, and the same ever after."""
    level_dbfs = machine_of(machine, section, seed).dice.stream("gain").uniform(*LEVEL_DBFS)
    return gain(level_dbfs) / np.float32(_loudness(machine, section, "source", seed))


def _snr_db(machine: Individual, domain: Domain) -> float:
    return float(machine.dice.stream("snr", domain).uniform(*SNR_DB[domain]))


def _through(response: Samples, sound: Samples) -> Samples:
    heard: Samples = scipy.signal.oaconvolve(sound, response)[: sound.size]
    return heard


def _microphone(pressure: Samples) -> Samples:
    """Straight up to half of full scale, then ever less, and never at full scale: nothing is clipped."""
    over = np.abs(pressure) - np.float32(0.5)
    if over.max() <= 0:
        return pressure
    soft = np.float32(0.5) + np.float32(0.49) * np.tanh(over / np.float32(0.49))
    return np.where(over > 0, np.copysign(soft, pressure), pressure).astype(np.float32)
