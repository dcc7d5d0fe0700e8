"""Why it sounds wrong: what the newest sound has that the machine's ordinary sound has not. Pure.

    Portrait    ten seconds of sound, as they are looked at: bands, lines, and how each part of the spectrum pulses
    Usual       what is ordinary: bands from enrolment, and a portrait of this run's own past, once there is one
    cause_of    both beside each other

Frames of 64 ms tell which bands moved. Whether that is a tone or a hiss is a question of lines, 2 Hz apart; whether it
knocks, and how often, of the envelope, 500 values a second: a bearing knocks a hundred times a second, which no frame
shows. The line of a shaft may rise by ten decibels and its band, which is full of other things, by one: so below 200 Hz
lines are looked at a quarter as wide. What is not clearly one of these is unknown, and said to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.ear import FloatArray, Frontend, Samples, band_levels, band_statistics

CauseKind = Literal["tone", "impacts", "modulation", "broadband", "level", "unknown"]

PORTRAIT_SECONDS: Final = 6.0
"""What is looked at: more costs more than it tells."""

LINE_SAMPLES: Final = 8192
"""Lines 1.95 Hz apart."""

SHAFT_SAMPLES: Final = 32_768
SHAFT_HZ: Final = (10.0, 200.0)
"""Where a shaft has its line, up to 12,000 turns a minute: 0.49 Hz apart. What is many times as
fast swerves with its speed as many times as far: so narrow a line does not hold it."""

ENVELOPE_SAMPLES: Final = 128
ENVELOPE_HOP: Final = 32
"""500 values a second, each of 8 ms."""

PARTS_HZ: Final = (0, 500, 1000, 1500, 2000, 3000, 4000, 5500, 8000)
"""Edges of the parts of the spectrum whose envelopes are looked at."""

RATES_HZ: Final = (0.4, 200.0)
"""How often a second something may come again."""


REMEMBERED: Final = 8
"""Portraits that make up the past."""

FORGOTTEN_DB: Final = 0.5
"""How much less each further portrait makes of the loudest that a shaft was: gusts and other machines come again."""


@dataclass(frozen=True)
class Portrait:
    """Some seconds of sound.

    level     (M,), `band_levels` of the mel bands, dB; spread: (M,), deviation of each over time, dB
    lines     (4097,), mean power at each multiple of 1.95 Hz, dB
    shaft     (L,), mean power about each multiple of 0.49 Hz up to 216 Hz, dB: three neighbours, which hold a line; of
              several portraits the loudest; unrest: (L,), deviation of each over time, dB
    pulse     (8, R), how deep the envelope of each part swings at each rate, 0 to about 2; `rates_hz` are the rates
    peaks     (8,), kurtosis of each envelope: about 3 of noise, tens of blows
    """

    level: FloatArray
    spread: FloatArray
    lines: FloatArray
    shaft: FloatArray
    unrest: FloatArray
    pulse: FloatArray
    peaks: FloatArray
    rates_hz: FloatArray

    def joined(self, before: "Portrait | None", n: int) -> "Portrait":
        """Return the mean of this one and n - 1 earlier ones, which `before` is; the oldest are forgotten."""
        if before is None or before.pulse.shape != self.pulse.shape:
            return self
        share = np.float32(1 / min(n, REMEMBERED))
        both = ((each.name, getattr(before, each.name), getattr(self, each.name)) for each in fields(self))
        mean = {name: (1 - share) * old + share * new for name, old, new in both}
        return Portrait(**{**mean, "shaft": np.maximum(self.shaft, before.shaft - FORGOTTEN_DB)})


def portrait(samples: Samples, frontend: Frontend) -> Portrait:
    """Return the portrait of the newest `PORTRAIT_SECONDS` of samples, (T,). Raises ValueError below one second."""
    rate_hz = frontend.settings.sample_rate_hz
    samples = samples[-int(PORTRAIT_SECONDS * rate_hz) :]
    if samples.size < rate_hz:
        raise ValueError(f"{samples.size} samples: expected at least {rate_hz}")
    bands = band_statistics(frontend(samples))
    pulse, peaks, rates_hz = _pulse(samples, rate_hz)
    lines = _decibels(_power(samples, LINE_SAMPLES, LINE_SAMPLES // 2).mean(axis=0))
    return Portrait(band_levels(bands), bands[1], lines, *_shaft(samples, rate_hz), pulse, peaks, rates_hz)


def _shaft(samples: Samples, rate_hz: int) -> tuple[FloatArray, FloatArray]:
    n = round(SHAFT_HZ[1] * SHAFT_SAMPLES / rate_hz) + BESIDE + 1
    power = _power(samples, SHAFT_SAMPLES, SHAFT_SAMPLES // 4)[:, : n + 1]
    power[:, 1:-1] = power[:, :-2] + power[:, 1:-1] + power[:, 2:]
    power = power[:, :n]
    return _decibels(power.mean(axis=0)), _decibels(power).std(axis=0)


def _power(samples: Samples, length: int, hop: int) -> FloatArray:
    """Return the power of each of n frames that long at each of their frequencies, (n, length // 2 + 1)."""
    frames = _cut(samples, min(length, samples.size), hop)
    spectrum = np.fft.rfft(frames * np.hanning(frames.shape[1]).astype(np.float32), length)
    return np.asarray(np.square(spectrum.real) + np.square(spectrum.imag), np.float32)


def _decibels(power: FloatArray) -> FloatArray:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), np.float32)


def _pulse(samples: Samples, rate_hz: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    frames = _cut(samples, ENVELOPE_SAMPLES, ENVELOPE_HOP)
    spectrum = np.fft.rfft(frames * np.hanning(ENVELOPE_SAMPLES).astype(np.float32))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    edges = np.round(np.array(PARTS_HZ) * ENVELOPE_SAMPLES / rate_hz).astype(int)
    envelopes = np.stack([power[:, a:b].sum(axis=1) for a, b in pairwise(edges)])
    envelopes /= np.maximum(envelopes.mean(axis=1, keepdims=True), 1e-12)
    off = envelopes - 1
    peaks = np.mean(off**4, axis=1) / np.maximum(np.square(np.mean(off**2, axis=1)), 1e-12)
    n = off.shape[1]
    depth = 2 * np.abs(np.fft.rfft(off * np.hanning(n).astype(np.float32))) / (n / 2)
    rates = np.fft.rfftfreq(n, ENVELOPE_HOP / rate_hz)
    heard = rates <= RATES_HZ[1]
    return depth[:, heard].astype(np.float32), peaks.astype(np.float32), rates[heard].astype(np.float32)


def _cut(samples: Samples, length: int, hop: int) -> Samples:
    samples = np.ascontiguousarray(samples, np.float32)
    step, n = samples.itemsize, (samples.size - length) // hop + 1
    return np.ndarray((n, length), samples.dtype, samples, strides=(hop * step, step))


@dataclass(frozen=True)
class Usual:
    """What is ordinary.

    level     (M,), `band_levels` of enrolment, dB, and `habit`, (M,), how much each varies from recording to recording
    past      this run's own past, as far as it was ordinary; None where too little was heard yet
    """

    level: FloatArray
    habit: FloatArray
    past: Portrait | None = None


@dataclass(frozen=True)
class Cause:
    """What it is, as far as can be told.

    kind        unknown: it cannot be told
    hz_lo, hz_hi  where; of a tone both are its frequency; of a level, and of what is unknown, all that is heard
    delta_db    against what is ordinary there
    per_second  how often it comes, if it comes and goes; None if it does not, or nobody can tell
    new         of a tone, whether it is one that was not there before; None of all else, or where nobody knows
    """

    kind: CauseKind
    hz_lo: float
    hz_hi: float
    delta_db: float
    per_second: float | None = None
    new: bool | None = None


MOVED_DB: Final = 2.0
HABITS: Final = 3.0
"""A band has moved by more than both: so many dB, and so many times what it does from recording to recording. Beside
the run's own past only the dB count."""

WHOLE_DB: Final = 1.5
WHOLE_SPREAD_DB: Final = 3.0
"""Louder or quieter as a whole: by so much in the middle, and the 10th and 90th of a hundred bands no farther apart."""

GAP_BANDS: Final = 2
NARROW_BANDS: Final = 6
"""Bands beside each other are one place, small gaps or not. Up to so many one line may be all of it."""

LINE_DB: Final = 7.0
GROWN_DB: Final = 4.0
"""By how much a new line stands out from what is beside it, and has grown."""
BESIDE: Final = 32
LINE_REACH: Final = 4
"""In lines: what counts as beside, and how far a machine's speed may have moved a line that was there."""

SHAFT_DB: Final = 15.0
"""By how much the line of a shaft has to stand out and to have grown, both together: chance seldom does both."""
SHAFT_DRIFT: Final = 0.05
"""By what part of its speed a shaft may have become faster or slower, as under load."""
SHAFT_UNREST_DB: Final = 2.5
"""What turns is steadier than this over the seconds of a portrait; wind, rumble and what only passes by are not."""

SAME_HZ: Final = 2.0
"""A line no farther away is the one that was there."""

MOSTLY: Final = 0.8
PARTLY: Final = 0.2
"""Of the power that was added in a place, what is in its new lines: of a tone nearly all, of fast blows some, of noise
next to nothing, however many lines chance has made stand out."""

FLOOR_DB: Final = 1.5
WIDE_BANDS: Final = 9
"""Noise fills what lies between the lines, too, so much and over so many bands, where the lines themselves drown it."""

STEADY: Final = 100.0
DROWNS_DB: Final = 6.0
"""Noise has envelopes less peaked than this, also over a machine that strikes. What is more so and so much louder than
all that was there is blows, though nobody can count them; what is no louder may be the machine's own."""

WIDE: Final = 1.5
LOWEST_HZ: Final = 100.0
"""Where nobody knows the past, noise is at least so many times as high as it is low, or it may be anything."""

CYCLES: Final = 4.0
"""What swings has to do so more slowly than it sounds: lines beside each other beat."""

NEAR: Final = 1.25
FAMILY: Final = 3
LEAST_SPACING_HZ: Final = 15.0
"""A tone is alone, up to a quarter of its frequency on either side; three lines equally far apart are of blows."""

SWING: Final = 0.2
SWING_STANDS_OUT: Final = 15.0
SWING_GROWN: Final = 3.0
"""Of an envelope that comes and goes: its depth; how many times that of other rates it is, and how many its past."""
UNKNOWN_PAST: Final = 1.7
"""Where nobody knows the past, depth and stand-out have to be so many times as much: healthy gears beat, too."""

TRAIN_STANDS_OUT: Final = 4.5
BETWEEN: Final = 1.5
"""The same of slow blows, whose first four multiples all have to; and so many times what is half way between those."""

SLOW_PER_SECOND: Final = 15.0
PEAKED: Final = 1.5
SWELLS_DB: Final = 3.0
"""A swing that is slower, whose envelope is hardly more peaked than before, and that makes nothing much louder, is a
modulation and no blow."""


def cause_of(now: Portrait, usual: Usual, frontend: Frontend) -> Cause:
    """Return what the newest sound has that ordinary sound has not."""
    edges, past = frontend.band_edges_hz, usual.past
    delta = now.level - (usual.level if past is None else past.level)
    low, middle, high = np.quantile(delta, [0.1, 0.5, 0.9])
    whole = (float(edges[0]), float(edges[-1]))
    if abs(middle) >= WHOLE_DB and high - low <= WHOLE_SPREAD_DB:
        return Cause("level", *whole, round(float(middle), 1))

    moved = MOVED_DB if past is not None else np.maximum(MOVED_DB, HABITS * usual.habit)
    noise = _risen_floor(now, past, edges)
    risen = _places((delta > moved) | (noise > 0), np.maximum(np.maximum(delta - moved, noise), 0))
    swings = _swings(now, past)
    turns = _line_of_a_shaft(now, past)
    if not risen:
        if turns is not None:
            return _tone(turns)
        fallen = _places(delta < -moved, -delta)
        return _without_a_rise(swings, fallen, delta, edges, now, past) or Cause("unknown", *whole, 0.0)
    place = risen[0]
    where = (float(edges[place.start]), float(edges[place.stop + 1]))
    louder = round(float(delta[place].mean()), 1)
    rate = _rate_in(swings, where, now)
    lines = _new_lines(now, past, where)
    tonal = _share_of(lines, where, now, past)
    own = [line for line in lines if where[0] <= line.hz <= where[1]][:1]
    if place.stop - place.start <= NARROW_BANDS and _share_of(own, where, now, past) >= MOSTLY:
        line = turns if turns is not None and abs(turns.hz - own[0].hz) <= SAME_HZ else own[0]
        return _tone(line, float(delta[place].max()), rate if rate is not None and rate <= SLOW_PER_SECOND else None)
    if turns is not None and turns.new is False and turns.grown_db > delta[place].max():
        return _tone(turns)
    if rate is not None:
        swells = louder <= SWELLS_DB and _swells(swings, where, now, past)
        return Cause("modulation" if swells else "impacts", *where, louder, rate)
    every_hz = _spacing(lines) if past is not None and tonal >= PARTLY else None
    if every_hz is not None:
        return Cause("impacts", *where, louder, every_hz)
    fills = tonal < PARTLY and np.count_nonzero(noise[place]) >= WIDE_BANDS
    is_steady = _is_steady(now, where)
    if fills and not is_steady and louder >= DROWNS_DB:
        return Cause("impacts", *where, louder)
    if (fills and is_steady) if past is not None else _is_wide(where):
        return Cause("broadband", *where, louder)
    return Cause("unknown", *whole, 0.0) if turns is None else _tone(turns)


def _risen_floor(now: Portrait, past: Portrait | None, edges: NDArray[np.float64]) -> FloatArray:
    """Return by how much more than `FLOOR_DB` what lies between the lines has risen in each band, (M,), dB.

    Zero where it has not, or in fewer than `WIDE_BANDS`, or where nobody knows the past.
    """
    risen = np.zeros(edges.size - 2, np.float32)
    if past is None:
        return risen
    at = np.minimum(np.round(edges[1:-1] / PARTS_HZ[-1] * (now.lines.size - 1)).astype(int), now.lines.size - 1)
    grown = (_floor(now.lines) - _floor(past.lines))[at] - FLOOR_DB
    for place in _places(grown > 0, grown):
        if place.stop - place.start >= WIDE_BANDS:
            risen[place] = np.maximum(grown[place], 0)
    return risen


def _share_of(lines: "Sequence[_Line]", where: tuple[float, float], now: Portrait, past: Portrait | None) -> float:
    """Return what of the power added in a place is in these lines, 0 to 1; of all power where nobody knows the past."""
    power = np.power(10, now.lines / 10)
    added = power if past is None else np.maximum(power - np.power(10, past.lines / 10), 0)
    hz = PARTS_HZ[-1] / (now.lines.size - 1) * np.arange(now.lines.size)
    within = (hz >= where[0]) & (hz <= where[1])
    is_line = np.zeros(hz.size, np.bool_)
    for line in lines:
        is_line |= np.abs(hz - line.hz) <= (LINE_REACH + 0.5) * hz[1]
    return float(added[within & is_line].sum() / max(added[within].sum(), 1e-12))


def _is_steady(now: Portrait, where: tuple[float, float]) -> bool:
    """Whether what is heard in a place is no matter of single moments."""
    parts = [i for i, (low, high) in enumerate(pairwise(PARTS_HZ)) if low < where[1] and high > where[0]]
    return float(np.median(now.peaks[parts])) < STEADY


def _swells(swings: "Sequence[_Swing]", where: tuple[float, float], now: Portrait, past: Portrait | None) -> bool:
    """Whether what comes and goes in a place does so slowly and smoothly, as no blow does."""
    strongest = _strongest_in(swings, where)
    if strongest is None or past is None or strongest.rate > SLOW_PER_SECOND:
        return False
    return bool(now.peaks[strongest.part] < PEAKED * past.peaks[strongest.part])


def _without_a_rise(
    swings: "Sequence[_Swing]",
    fallen: Sequence[slice],
    delta: FloatArray,
    edges: NDArray[np.float64],
    now: Portrait,
    past: Portrait | None,
) -> Cause | None:
    """Return what it is where no band is louder: something is missing, or comes and goes at the same mean level."""
    if past is not None and (strong := [swing for swing in swings if swing.rate <= SLOW_PER_SECOND]):
        part = max(strong, key=lambda swing: swing.stands_out).part
        if now.peaks[part] < PEAKED * past.peaks[part]:
            where = (float(PARTS_HZ[part]), float(PARTS_HZ[part + 1]))
            return Cause("modulation", *where, 0.0, _rate_in(swings, where, now))
    if fallen:
        where = (float(edges[fallen[0].start]), float(edges[fallen[0].stop + 1]))
        if _is_wide(where):
            return Cause("broadband", *where, round(float(delta[fallen[0]].mean()), 1))
    return None


def _is_wide(where: tuple[float, float]) -> bool:
    return where[1] >= WIDE * max(where[0], LOWEST_HZ)


def _places(moved: NDArray[np.bool_], by: FloatArray) -> list[slice]:
    """Return the stretches of bands that moved, (M,), the one that moved most first; small gaps are closed."""
    at = np.flatnonzero(moved)
    if not at.size:
        return []
    cuts = np.flatnonzero(np.diff(at) > GAP_BANDS + 1) + 1
    places = [slice(int(part[0]), int(part[-1]) + 1) for part in np.split(at, cuts)]
    return sorted(places, key=lambda place: -float(by[place].sum()))


@dataclass(frozen=True)
class _Line:
    """One line of a spectrum.

    stands_out  from what lies between the lines, dB; grown_db: over the loudest that was near it before, if known
    new         whether none was there before; None where something was, or nobody knows
    """

    hz: float
    db: float
    stands_out: float
    grown_db: float
    new: bool | None


def _tone(line: _Line, band_db: float | None = None, per_second: float | None = None) -> Cause:
    """Return the tone that a line is: as much louder as its band, if that tells it; one that was there, as the line."""
    louder = line.grown_db if band_db is None or line.new is False else band_db
    return Cause("tone", line.hz, line.hz, round(louder, 1), per_second, line.new)


def _line_of_a_shaft(now: Portrait, past: Portrait | None) -> _Line | None:
    """Return the line of a shaft that has grown most, however little its band has; None if none has."""
    if past is None:
        return None
    step_hz = PARTS_HZ[-1] / (SHAFT_SAMPLES // 2)
    found = _grown_lines(now.shaft, past.shaft, step_hz, *SHAFT_HZ, SHAFT_DRIFT)
    clear = [line for line in found if line.stands_out + line.grown_db > SHAFT_DB]
    clear = [line for line in clear if now.unrest[round(line.hz / step_hz)] < SHAFT_UNREST_DB]
    return max(clear, key=lambda line: line.grown_db, default=None)


def _new_lines(now: Portrait, past: Portrait | None, where: tuple[float, float]) -> list[_Line]:
    """Return the lines that were not there before, in a place and beside it, the loudest first.

    Where nobody knows what was there before: the loudest of the place itself, if there is one.
    """
    reach = NEAR if past is not None else 1.0
    before = None if past is None else past.lines
    found = _grown_lines(now.lines, before, PARTS_HZ[-1] / (now.lines.size - 1), where[0] / reach, where[1] * reach)
    found.sort(key=lambda line: -line.db)
    return found if past is not None else found[:1]


def _grown_lines(
    lines: FloatArray, past: FloatArray | None, step_hz: float, low_hz: float, high_hz: float, drift: float = 0.0
) -> list[_Line]:
    """Return the lines between two frequencies that stand out, and have grown if `past` is known; (n,) both, dB.

    drift: what part of its frequency a line that was there may have moved by, where that is more than `LINE_REACH`.
    """
    hz, stands_out = step_hz * np.arange(lines.size), lines - _floor(lines)
    top = (stands_out > LINE_DB) & (lines >= _around(lines, 3).max(axis=1)) & (hz >= low_hz) & (hz <= high_hz)
    top[[0, -1]] = False
    stood_out = None if past is None else _around(past - _floor(past), round(SAME_HZ / step_hz)).max(axis=1)
    found = []
    for i in np.flatnonzero(top):
        reach, grown, new = max(LINE_REACH, round(drift * i)), 0.0, None
        if past is not None and stood_out is not None:
            grown = float(lines[i] - past[max(i - reach, 0) : i + reach + 1].max())
            if grown <= GROWN_DB:
                continue
            new = _is_new(float(stood_out[i]))
        at_hz = round(float(step_hz * (i + _off_centre(lines[i - 1 : i + 2]))), 1)
        found.append(_Line(at_hz, float(lines[i]), float(stands_out[i]), grown, new))
    return found


def _is_new(stood_out: float) -> bool | None:
    return False if stood_out > LINE_DB else True if stood_out < GROWN_DB else None


def _floor(lines: FloatArray) -> FloatArray:
    """Return what lies between the lines, (n,), dB."""
    return np.asarray(np.median(_around(lines, BESIDE), axis=1), np.float32)


def _around(lines: FloatArray, reach: int) -> FloatArray:
    """Return of each line those beside it, (n, 2 reach + 1)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(lines, reach, mode="edge"), 2 * reach + 1)


def _off_centre(three: FloatArray) -> float:
    """Return how far beside the middle line the top of a parabola through three lines is, -0.5 to 0.5."""
    left, top, right = (float(x) for x in three)
    curve = left - 2 * top + right
    return min(max(0.5 * (left - right) / curve, -0.5), 0.5) if curve < 0 else 0.0


def _spacing(lines: Sequence[_Line]) -> float | None:
    """Return how far apart lines are that are alike far apart, Hz: what knocks so often has them; None if they are not.

    Two neighbours of the loudest have to fit.
    """
    if len(lines) < FAMILY:
        return None
    distances = sorted(abs(line.hz - lines[0].hz) for line in lines[1:])
    for every in distances:
        fits = [d for d in distances if abs(d / every - round(d / every)) * every <= LINE_REACH and d <= 6.5 * every]
        if every >= LEAST_SPACING_HZ and len(fits) >= FAMILY - 1:
            return round(every, 1)
    return None


@dataclass(frozen=True)
class _Swing:
    """The envelope of a part of the spectrum comes and goes at a rate, and did not before."""

    part: int
    rate: float
    stands_out: float


def _swings(now: Portrait, past: Portrait | None) -> list[_Swing]:
    harder = 1.0 if past is not None else UNKNOWN_PAST
    found = []
    for part, depth in enumerate(now.pulse):
        stands_out = depth / max(float(np.median(depth)), 1e-6)
        new = (now.rates_hz >= RATES_HZ[0]) & (depth >= SWING * harder)
        if past is not None and past.pulse.shape == now.pulse.shape:
            new &= depth >= SWING_GROWN * _around(past.pulse[part], 2).max(axis=1)
        swing = _clear(part, new & (stands_out >= SWING_STANDS_OUT * harder), stands_out, now)
        found.append(swing or _train(part, new, stands_out / harder, now))
    return [swing for swing in found if swing is not None]


def _clear(part: int, new: NDArray[np.bool_], stands_out: FloatArray, now: Portrait) -> _Swing | None:
    if not new.any():
        return None
    i = int(np.where(new, stands_out, 0).argmax())
    return _Swing(part, float(now.rates_hz[i]), float(stands_out[i]))


def _train(part: int, new: NDArray[np.bool_], stands_out: FloatArray, now: Portrait) -> _Swing | None:
    """Return the slowest rate whose multiples are all there: few blows, no two alike, stand out less, but so."""
    near = _around(stands_out, 1).max(axis=1)
    n = int(np.searchsorted(now.rates_hz, SLOW_PER_SECOND))
    least = np.min([near[: n * times : times] for times in (1, 2, 3, 4)], axis=0)
    between = np.max([near[half * np.arange(n) // 2] for half in (3, 5)], axis=0)
    train = new[:n] & (least >= TRAIN_STANDS_OUT) & (least >= BETWEEN * between)
    if not train.any():
        return None
    i = int(np.flatnonzero(train & (least >= 0.8 * least[train].max()))[0])
    return _Swing(part, float(now.rates_hz[i]), float(least[i]))


def _strongest_in(swings: Sequence[_Swing], where: tuple[float, float]) -> _Swing | None:
    near = [swing for swing in swings if PARTS_HZ[swing.part] < where[1] and PARTS_HZ[swing.part + 1] > where[0]]
    near = [swing for swing in near if swing.rate <= where[0] / CYCLES]
    return max(near, key=lambda swing: swing.stands_out, default=None)


def _rate_in(swings: Sequence[_Swing], where: tuple[float, float], now: Portrait) -> float | None:
    """Return how often a second it comes in a place, as its slowest strong harmonic has it; None if it does not."""
    strongest = _strongest_in(swings, where)
    if strongest is None:
        return None
    depth, step = now.pulse[strongest.part], float(now.rates_hz[1])
    middle = float(np.median(depth))
    for times in range(6, 1, -1):
        i = round(strongest.rate / times / step)
        own = float(depth[max(1, i - 1) : i + 2].max())
        if i * step >= RATES_HZ[0] and own >= SUBHARMONIC * depth.max() and own >= SUBHARMONIC_STANDS_OUT * middle:
            return round(strongest.rate / times, 1)
    return round(strongest.rate, 1)


SUBHARMONIC: Final = 0.3
SUBHARMONIC_STANDS_OUT: Final = 8.0
"""A slower rate is the true one if its depth is so much of the strongest, and so many times that of others."""
