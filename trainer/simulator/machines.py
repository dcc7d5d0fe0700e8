"""The seven machine types, an individual of each, how it moves and what it sounds like when it is well.

A `Kind` is a type of machine: ranges, out of which `individual` draws one that exists, with its own speeds, counts,
spectra and bearing. `move` sets it running, `healthy` is its sound at the casing. The tables are guesses of the right
size, made by ear and from textbooks, and no measurement of a real machine.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.ear import Samples
from trainer.simulator.sound import (
    HIGHEST_LINE_HZ,
    SAMPLE_RATE_HZ,
    Curve,
    Dice,
    Spectrum,
    Wave,
    cosine,
    crossings,
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

Domain = Literal["source", "target"]
Range = tuple[float, float]

DOMAINS: Final[tuple[Domain, ...]] = ("source", "target")
Setting = tuple[float, int]
"""Speed over nominal speed, and load in per cent."""

SETTINGS: Final[dict[Domain, tuple[tuple[Setting, ...], ...]]] = {
    "source": (((0.97, 50), (1.0, 60), (1.04, 75)),),
    "target": (((0.91, 30), (0.91, 40)), ((1.09, 85), (1.09, 95))),
}
"""How individuals are run; where there is a choice, each has one of the rows. The target is off the source's map."""

HIGHEST_SPEED_FACTOR: Final = 1.1
"""Of all settings."""

LEVEL_DEVIATION_DB: Final = 0.8
"""By how much a healthy machine's lines and flow noise differ from one clip to the next."""

JOINTS_PER_LAP: Final = 6
"""Rails in the circle of a train."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines with one origin: harmonics of `order`, each with `sidebands` neighbours a turn apart on either side."""

    order: tuple[int, int]
    harmonics: int
    level_db: float = 0.0
    fall_db_per_octave: float = 5.0
    sidebands: int = 0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the machines of one type have in common. Pairs are the lowest and the highest that an individual may have.

    Levels are relative to the steady sound as a whole, which has an RMS of about 1 at nominal speed.
    """

    shaft_rpm: Range
    drive: Literal["steady", "carriage", "valve", "train"] = "steady"
    cycles_per_minute: Range | None = None
    """Strokes of a valve or a carriage; then they, not the shaft, are what `spd` names."""
    lines: tuple[Lines, ...]
    second_shaft: tuple[int, int] | None = None
    """Teeth of the second wheel, which turns a shaft of its own."""
    tonal_db: float
    flow_db: float
    flow_hz: tuple[float, ...]
    flow_levels_db: tuple[float, ...]
    flow_depth: Range = (0.05, 0.2)
    strikes_at: tuple[float, ...] = ()
    """Where in a cycle something is struck."""
    strike_db: float = 0.0
    strike_hz: Range = (800.0, 5_000.0)
    hiss_share: float = 0.0
    faults: tuple[str, ...]


KINDS: Final[dict[str, Kind]] = {
    "fan": Kind(
        shaft_rpm=(1100, 1700),
        lines=(
            Lines(order=(1, 1), harmonics=12),
            Lines(order=(5, 9), harmonics=9, level_db=8, fall_db_per_octave=4, sidebands=1),
        ),
        tonal_db=-5,
        flow_db=-1.5,
        flow_hz=(40, 150, 400, 1000, 2500, 5000, 8000),
        flow_levels_db=(-6, 0, -3, -8, -15, -23, -32),
        faults=("imbalance", "bearing", "belt"),
    ),
    "gearbox": Kind(
        shaft_rpm=(1300, 1750),
        lines=(
            Lines(order=(1, 1), harmonics=14, level_db=-3),
            Lines(order=(19, 31), harmonics=6, level_db=6, fall_db_per_octave=3, sidebands=3),
        ),
        second_shaft=(33, 57),
        tonal_db=-1,
        flow_db=-7,
        flow_hz=(60, 300, 900, 2200, 4500, 8000),
        flow_levels_db=(-12, -6, 0, -4, -12, -24),
        faults=("chipped", "bearing", "imbalance"),
    ),
    "pump": Kind(
        shaft_rpm=(2750, 2980),
        lines=(
            Lines(order=(1, 1), harmonics=16),
            Lines(order=(5, 7), harmonics=10, level_db=5, sidebands=1),
        ),
        tonal_db=-3,
        flow_db=-3,
        flow_hz=(40, 200, 600, 1400, 3000, 6000, 8000),
        flow_levels_db=(-10, -4, 0, -3, -12, -20, -26),
        faults=("cavitation", "bearing", "leak"),
    ),
    "slider": Kind(
        shaft_rpm=(1800, 2900),
        drive="carriage",
        cycles_per_minute=(32, 56),
        lines=(
            Lines(order=(1, 1), harmonics=8),
            Lines(order=(12, 24), harmonics=5, level_db=3, sidebands=1),
        ),
        tonal_db=-4,
        flow_db=-2,
        flow_hz=(80, 400, 1200, 3000, 6000, 8000),
        flow_levels_db=(-14, -6, 0, -3, -12, -18),
        flow_depth=(0.1, 0.3),
        strikes_at=(0.4, 0.9),
        strike_db=-12,
        strike_hz=(200, 2_500),
        faults=("bearing", "belt"),
    ),
    "valve": Kind(
        shaft_rpm=(3000, 3000),  # the coil hums with the mains
        drive="valve",
        cycles_per_minute=(48, 96),
        lines=(Lines(order=(2, 2), harmonics=12, fall_db_per_octave=4),),
        tonal_db=-8,
        flow_db=-1,
        flow_hz=(100, 500, 1500, 3500, 6000, 8000),
        flow_levels_db=(-20, -12, -4, 0, -3, -8),
        strikes_at=(0.0, 0.5),
        strike_db=-4,
        strike_hz=(900, 5_500),
        hiss_share=0.5,
        faults=("sticking", "leak"),
    ),
    "ToyCar": Kind(
        shaft_rpm=(6000, 9000),
        lines=(
            Lines(order=(1, 1), harmonics=12),
            Lines(order=(8, 12), harmonics=6, level_db=4, fall_db_per_octave=3, sidebands=2),
        ),
        second_shaft=(34, 52),
        tonal_db=-2,
        flow_db=-4,
        flow_hz=(80, 300, 1000, 3000, 6000, 8000),
        flow_levels_db=(-8, -2, 0, -6, -12, -18),
        faults=("chipped", "bearing", "imbalance"),
    ),
    "ToyTrain": Kind(
        shaft_rpm=(4500, 6500),
        drive="train",
        lines=(
            Lines(order=(1, 1), harmonics=12),
            Lines(order=(9, 13), harmonics=6, level_db=3, fall_db_per_octave=4, sidebands=2),
        ),
        second_shaft=(36, 48),
        tonal_db=-3,
        flow_db=-3,
        flow_hz=(60, 250, 800, 2000, 5000, 8000),
        flow_levels_db=(-6, 0, -2, -6, -14, -22),
        strikes_at=(0.0, 0.22),  # two axles over one joint
        strike_db=-10,
        strike_hz=(500, 4_000),
        faults=("chipped", "bearing", "belt"),
    ),
}


@dataclass(frozen=True)
class Bearing:
    """A rolling bearing: what its geometry says about when the balls pass a damaged spot."""

    balls: int
    ball_mm: float
    pitch_mm: float
    contact_degrees: float

    @property
    def outer_race_order(self) -> float:
        """BPFO in shaft turns: n/2 * (1 - d/D * cos(phi)). Randall and Antoni (2011), Rolling element bearing
        diagnostics: a tutorial."""
        slope = self.ball_mm / self.pitch_mm * np.cos(np.radians(self.contact_degrees))
        return float(self.balls / 2 * (1 - slope))


@dataclass(frozen=True)
class OperatingPoint:
    """What a person has set: revolutions or strokes a minute, and the load."""

    per_minute: int
    load_percent: int

    @property
    def attributes(self) -> str:
        """The operating point as a file name carries it."""
        return f"spd_{self.per_minute}_ld_{self.load_percent}"

    @property
    def load(self) -> float:
        """The load in [0, 1]."""
        return self.load_percent / 100


@dataclass(frozen=True, kw_only=True)
class Individual:
    """One machine that exists: a section. Frequencies are those of nominal speed, orders count per shaft turn."""

    name: str
    dice: Dice
    shaft_hz: float
    cycle_hz: float
    """Strokes, or rail joints, a second; 0 where nothing cycles."""
    wave: Wave
    second_wave: Wave | None
    second_ratio: float
    flow: Spectrum
    flow_depth: float
    pass_order: int
    """Blades, vanes, teeth or poles: what passes so many times a turn."""
    strikes: tuple[Samples, ...]
    bearing: Bearing
    resonance_hz: float
    """Where the casing rings when something inside is hit."""
    mesh_hz: float
    """Where the housing rings when a tooth is hit."""
    belt_order: float
    points: dict[Domain, tuple[OperatingPoint, ...]]

    @property
    def kind(self) -> Kind:
        """The type it belongs to."""
        return KINDS[self.name]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One run of one machine, before it makes a sound. All curves have shape (T,)."""

    dice: Dice
    load: float
    speed_factor: float
    """Speed over nominal speed."""
    turns: Curve
    cycles: Curve
    effort: Samples
    """How hard it works, 0 to about 1: a carriage at rest is silent."""
    nearness: Samples
    """Amplitude from coming closer to the microphone and leaving again."""

    @property
    def n_samples(self) -> int:
        """T."""
        return int(self.turns.size)


def individual(name: str, section: int, dice: Dice) -> Individual:
    """Return the machine that is section `section` of type `name` in the world of `dice`.

    Raises KeyError if there is no such type.
    """
    kind = KINDS[name]
    own = dice.of(name, section)
    rng = own.stream("geometry")

    shaft_hz = rng.uniform(*kind.shaft_rpm) / 60
    cycle_hz = rng.uniform(*kind.cycles_per_minute) / 60 if kind.cycles_per_minute else 0.0
    if kind.drive == "train":
        cycle_hz = shaft_hz / rng.uniform(50, 75)
    orders = [int(rng.integers(*lines.order, endpoint=True)) for lines in kind.lines]
    second_teeth = int(rng.integers(*kind.second_shaft, endpoint=True)) if kind.second_shaft else 0
    bearing = Bearing(
        balls=int(rng.integers(7, 12)),
        ball_mm=float(rng.uniform(6, 9)),
        pitch_mm=float(rng.uniform(30, 40)),
        contact_degrees=float(rng.uniform(0, 15)),
    )

    return Individual(
        name=name,
        dice=own,
        shaft_hz=shaft_hz,
        cycle_hz=cycle_hz,
        wave=_wave(own.stream("wave"), kind, orders, shaft_hz),
        second_wave=_second_wave(own.stream("second"), second_teeth, shaft_hz) if second_teeth else None,
        second_ratio=orders[-1] / second_teeth if second_teeth else 1.0,
        flow=_flow(own.stream("flow"), kind),
        flow_depth=rng.uniform(*kind.flow_depth),
        pass_order=orders[-1],
        strikes=tuple(_strike(own.stream("strike", at), kind) for at in kind.strikes_at),
        bearing=bearing,
        resonance_hz=rng.uniform(2_000, 5_000),
        mesh_hz=rng.uniform(900, 2_600),
        belt_order=rng.uniform(0.2, 0.45),
        points={domain: _points(own, kind, domain, 60 * _nominal_hz(kind, shaft_hz, cycle_hz)) for domain in DOMAINS},
    )


def move(machine: Individual, point: OperatingPoint, dice: Dice, *, seconds: float) -> Motion:
    """Return one run of `machine` at `point`: the shaft with its slow wander and slip, and what depends on it."""
    n_samples = samples_in(seconds)
    once, rng = dice.streams("speed")
    factor = point.per_minute / 60 / _nominal_hz(machine.kind, machine.shaft_hz, machine.cycle_hz)
    wobble = 1 + 0.0015 * wander(rng, n_samples, seconds=1.5) + once.normal(0, 0.003)
    cycles = rng.uniform(0, 1) + turns_of(np.full(n_samples, machine.cycle_hz * factor) * wobble)
    effort = np.ones(n_samples, dtype=np.float32)
    nearness = np.ones(n_samples, dtype=np.float32)
    shaft_hz = machine.shaft_hz * factor * (1.012 - 0.02 * point.load) * wobble

    if machine.kind.drive == "carriage":
        effort = _carriage_speed(cycles)
        shaft_hz = shaft_hz * effort
    elif machine.kind.drive == "valve":
        effort = _valve_opening(cycles)
        shaft_hz = np.full(n_samples, machine.shaft_hz)  # the mains do not slow down
    elif machine.kind.drive == "train":
        nearness = _nearness(cycles / JOINTS_PER_LAP)

    return Motion(
        dice=dice,
        load=point.load,
        speed_factor=factor,
        turns=rng.uniform(0, 1) + turns_of(shaft_hz),
        cycles=cycles,
        effort=effort,
        nearness=nearness,
    )


def healthy(machine: Individual, motion: Motion) -> Samples:
    """Return the sound of `machine` when it is well, at its casing, shape (T,), float32, RMS about 1 at nominal speed.

    `nearness` is not in it: that belongs to the way, not to the casing.
    """
    return motion.effort * (rotation(machine, motion) + flow_noise(machine, motion)) + strikes(machine, motion)


def rotation(machine: Individual, motion: Motion, *, highest_order: int | None = None) -> Samples:
    """Return the lines of all shafts, shape (T,), float32; with `highest_order`, those of the first up to there."""
    sound = spin(_as_heard_today(machine.wave, motion.dice, highest_order), motion.turns)
    if machine.second_wave is not None and highest_order is None:
        sound += spin(_as_heard_today(machine.second_wave, motion.dice), machine.second_ratio * motion.turns)
    once, rng = motion.dice.streams("rotation")
    level_db = machine.kind.tonal_db + once.normal(0, LEVEL_DEVIATION_DB) + 8 * (motion.load - 0.6)
    level_db += 30 * np.log10(motion.speed_factor)
    return sound * decibels(level_db + 0.5 * wander(rng, motion.n_samples, seconds=2.0)).astype(np.float32)


def flow_noise(machine: Individual, motion: Motion) -> Samples:
    """Return the broadband noise of air, liquid or friction, pulsing a little with what drives it: (T,), float32."""
    once, rng = motion.dice.streams("flow")
    # Flow noise rises with the fifth power of speed: the fan laws.
    level_db = machine.kind.flow_db + once.normal(0, LEVEL_DEVIATION_DB) + 50 * np.log10(motion.speed_factor)
    points_hz = np.array(machine.flow.points_hz)
    today_db = np.array(machine.flow.levels_db) + once.normal(0, 0.7, points_hz.size)
    brighter_db = 2 * (motion.load - 0.6) * np.log2(points_hz / 1_000)
    hiss = noise(rng, motion.n_samples, Spectrum(machine.flow.points_hz, tuple(today_db + brighter_db)))
    pulse = 1 + np.float32(machine.flow_depth) * cosine(machine.pass_order * motion.turns)
    return gain(level_db) * pulse * hiss


def strikes(machine: Individual, motion: Motion, *, late_seconds: NDArray[np.float64] | float = 0.0) -> Samples:
    """Return what is struck once a cycle: clicks, end stops, rail joints, shape (T,), float32.

    late_seconds: how late, one value or one at every sample, shape (T,).
    """
    sound = np.zeros(motion.n_samples, dtype=np.float32)
    for place, kernel in zip(machine.kind.strikes_at, machine.strikes, strict=True):
        at = crossings(motion.cycles, order=1, offset=place)
        late = np.broadcast_to(late_seconds, motion.n_samples)[at]
        _, rng = motion.dice.streams("strike", place)
        amplitudes = strike_amplitude(machine) * decibels(rng.normal(0, 1.0, at.size))
        sound += struck(motion.n_samples, at + np.rint(late * SAMPLE_RATE_HZ).astype(np.int64), amplitudes, kernel)
    return sound


def strike_amplitude(machine: Individual) -> float:
    """Return the amplitude of a kernel of unit energy that gives all strikes together their level in the table."""
    strikes_per_second = machine.cycle_hz * len(machine.strikes)
    return float(decibels(machine.kind.strike_db) * np.sqrt(SAMPLE_RATE_HZ / strikes_per_second))


def _points(dice: Dice, kind: Kind, domain: Domain, nominal_per_minute: float) -> tuple[OperatingPoint, ...]:
    rows = SETTINGS[domain]
    row = rows[dice.stream("points", domain).integers(len(rows))]
    step = 1 if kind.cycles_per_minute else 10
    return tuple(OperatingPoint(step * round(factor * nominal_per_minute / step), load) for factor, load in row)


def _nominal_hz(kind: Kind, shaft_hz: float, cycle_hz: float) -> float:
    """What `spd` counts."""
    return cycle_hz if kind.cycles_per_minute else shaft_hz


def _wave(rng: np.random.Generator, kind: Kind, orders: list[int], shaft_hz: float) -> Wave:
    """All lines of the first shaft, together of an RMS of 1."""
    found: list[tuple[int, float]] = []
    for order, lines in zip(orders, kind.lines, strict=True):
        for harmonic in range(1, lines.harmonics + 1):
            level_db = lines.level_db - lines.fall_db_per_octave * np.log2(harmonic) + rng.normal(0, 3)
            found.append((order * harmonic, level_db))
            for k in range(1, lines.sidebands + 1):
                found += [(order * harmonic + side * k, level_db - 9 * k + rng.normal(0, 2)) for side in (-1, 1)]
    return _normalised(rng, found, shaft_hz)


def _second_wave(rng: np.random.Generator, teeth: int, shaft_hz: float) -> Wave:
    """The second shaft by itself: its harmonics, and sidebands of the mesh that both share, at a level of -8 dB."""
    found = [(k, -4.0 * np.log2(k) + rng.normal(0, 3)) for k in range(1, 9)]
    found += [(teeth + side * k, -4.0 - 6 * k + rng.normal(0, 2)) for k in (1, 2) for side in (-1, 1)]
    wave = _normalised(rng, found, shaft_hz)
    return Wave(wave.orders, wave.amplitudes * decibels(-8.0), wave.phases)


def _normalised(rng: np.random.Generator, lines_db: list[tuple[int, float]], shaft_hz: float) -> Wave:
    fastest_hz = shaft_hz * HIGHEST_SPEED_FACTOR
    audible = [(order, level) for order, level in lines_db if 0 < order * fastest_hz < HIGHEST_LINE_HZ]
    orders = np.array([order for order, _ in audible], dtype=np.int64)
    amplitudes = decibels(np.array([level for _, level in audible]))
    amplitudes /= np.sqrt(np.sum(np.square(amplitudes)) / 2)
    return Wave(orders, amplitudes, rng.uniform(0, 2 * np.pi, orders.size))


def _flow(rng: np.random.Generator, kind: Kind) -> Spectrum:
    hz = np.array(kind.flow_hz) * rng.uniform(0.85, 1.18, len(kind.flow_hz))
    return Spectrum(tuple(np.sort(hz)), tuple(np.array(kind.flow_levels_db) + rng.normal(0, 2, hz.size)))


def _strike(rng: np.random.Generator, kind: Kind) -> Samples:
    """A few modes of what is hit, and the air that escapes with it; unit energy."""
    modes = [
        np.float32(rng.uniform(0.4, 1)) * ringing(rng.uniform(*kind.strike_hz), decay_seconds=rng.uniform(0.004, 0.02))
        for _ in range(5)
    ]
    n_hiss = samples_in(0.25)
    fading = np.exp(-np.arange(n_hiss) / samples_in(0.05)).astype(np.float32)
    hiss = noise(rng, n_hiss, Spectrum((500, 2_000, 5_000, 8_000), (-24, -6, 0, -6))) * fading
    return unit_energy(layered([*modes, np.float32(kind.hiss_share) * unit_energy(hiss)]))


def _as_heard_today(wave: Wave, dice: Dice, highest_order: int | None = None) -> Samples:
    """One turn of the lines up to `highest_order`, each a little louder or softer than yesterday."""
    today_db = dice.stream("lines").normal(0, LEVEL_DEVIATION_DB, wave.orders.size)
    wanted = wave.orders <= (wave.orders.max() if highest_order is None else highest_order)
    return wave.turn(decibels(today_db) * wanted)


def _carriage_speed(cycles: Curve) -> Samples:
    """Out, rest, back, rest; full speed is 1."""
    knots = (0.0, 0.06, 0.34, 0.4, 0.5, 0.56, 0.84, 0.9, 1.0)
    speeds = (0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
    return np.interp(cycles % 1.0, knots, speeds).astype(np.float32)


def _valve_opening(cycles: Curve) -> Samples:
    """Open for the first half of a cycle, and never quite without flow; fully open is 1."""
    knots = (0.0, 0.02, 0.5, 0.53, 1.0)
    openings = (0.12, 1.0, 1.0, 0.12, 0.12)
    return np.interp(cycles % 1.0, knots, openings).astype(np.float32)


def _nearness(laps: Curve) -> Samples:
    """A circle past the microphone: the far side is three times as far as the near one."""
    distance = 2 - np.cos(2 * np.pi * laps)
    return (1.5 / distance).astype(np.float32)
