"""Whether a microphone hears well enough to learn a machine by: some seconds of its sound in, words out. Pure.

    level       nothing but its own noise; or so loud that a fault would clip
    clipping    samples at full scale
    offset      a mean off zero
    hum         most of the sound is the mains and its multiples
    gain        all of the spectrum moved alike: an automatic gain control, or somebody at the slider

The state of the sensor while it is judged is `sensor`'s business, whose limits are wider: what is learnt once has to be
better than what may be heard now and then. A fault is not to be learnt from; an advice is a person's to follow.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import SAMPLE_RATE_HZ
from edge.ear import FloatArray, Samples
from edge.judge.sensor import FULL_SCALE, ONE_VALUE

NO_SOUND_DBFS: Final = -75.0
"""16-bit microphones have about -70 of their own noise; below this there is no machine in it."""

QUIET_DBFS: Final = -60.0
GOOD_DBFS: Final = -40.0
LOUD_DBFS: Final = -9.0
"""RMS. A machine has peaks 10 dB above that, and a fault comes on top."""

CLIPPED: Final = 1e-4
MUCH_CLIPPED: Final = 1e-2
"""Of the samples."""

OFFSET: Final = 0.01
LARGE_OFFSET: Final = 0.1
"""Of full scale; `sensor.offset` is the second."""

HUM_SHARE: Final = 0.8
HUM_HZ: Final = (50.0, 60.0)
HUM_LINES: Final = 12
HUM_WIDTH_HZ: Final = 1.0

GAIN_DB: Final = 3.0
GAIN_SPREAD_DB: Final = 1.5
"""Standard deviation of the bands around what all did. Machines change their spectrum; only a gain moves it whole."""

MUCH_GAIN_DB: Final = 6.0
"""Less may be a fan at two speeds."""

GAIN_PIECES: Final = 3


@dataclass(frozen=True)
class Advice:
    """Something about the sound, in words: what is wrong, and what to do.

    fault  whether nothing should be learnt from it
    """

    kind: str
    text: str
    fault: bool


def check_sound(samples: Samples) -> list[Advice]:
    """Return what is wrong with some seconds of mono sound, (T,), T >= 1; nothing if it is well."""
    if float(samples.max() - samples.min()) < ONE_VALUE:
        return [Advice("silent", "silent, one value throughout: is it on, and its channel the right one?", fault=True)]
    found = [_offset(samples), _clipping(samples), _level(samples), _hum(samples)]
    return [each for each in found if each is not None]


def gain_moved(level_db: FloatArray) -> Advice | None:
    """Say so if the gain moved between pieces of sound, whose band levels, dB, are (n, M); else None.

    A piece is long enough (some seconds) that noise moves a band by less than `GAIN_SPREAD_DB`, or bands are joined.
    """
    if len(level_db) < 2 * GAIN_PIECES:
        return None
    moved = level_db - np.median(level_db, axis=0)
    common = np.median(moved, axis=1)
    alike = np.std(moved - common[:, np.newaxis], axis=1) <= GAIN_SPREAD_DB
    shifted = alike & (np.abs(common) >= GAIN_DB)
    if shifted.sum() < GAIN_PIECES:
        return None
    swing_db = float(np.ptp(common[alike]))
    return Advice(
        "gain",
        f"its gain moves by {swing_db:.0f} dB, all of the spectrum alike: switch automatic gain control off "
        "(`alsamixer`, Auto Gain Control), and leave the slider alone",
        fault=swing_db >= MUCH_GAIN_DB,
    )


def _offset(samples: Samples) -> Advice | None:
    offset = float(samples.mean(dtype=np.float64))
    if abs(offset) < OFFSET:
        return None
    text = (
        f"its mean is {offset:+.2g} of full scale off zero: a broken bias, or a cheap sound card; try another cable, "
        "another input or another card"
    )
    return Advice("offset", text, fault=abs(offset) >= LARGE_OFFSET)


def _clipping(samples: Samples) -> Advice | None:
    share = float(np.mean(np.abs(samples) >= FULL_SCALE))
    if share < CLIPPED:
        return None
    text = f"{100 * share:.2g} % of the samples are at full scale: turn its gain down by 10 dB, or move it away"
    return Advice("clipping", text, fault=share >= MUCH_CLIPPED)


def _level(samples: Samples) -> Advice | None:
    level_dbfs = 10 * np.log10(max(float(np.var(samples, dtype=np.float64)), 1e-12))
    if level_dbfs < NO_SOUND_DBFS:
        text = f"{level_dbfs:.0f} dBFS: no more than its own noise; turn its gain up, or go nearer to the machine"
        return Advice("level", text, fault=True)
    if level_dbfs < QUIET_DBFS:
        text = (
            f"{level_dbfs:.0f} dBFS is faint: turn its gain up by {QUIET_DBFS + 20 - level_dbfs:.0f} dB, or go nearer"
        )
        return Advice("level", text, fault=False)
    if level_dbfs > LOUD_DBFS:
        text = f"{level_dbfs:.0f} dBFS is loud, a fault would clip: turn its gain down by 10 dB"
        return Advice("level", text, fault=False)
    return None


def _hum(samples: Samples) -> Advice | None:
    for mains_hz in HUM_HZ:
        share = _share_of_lines(samples, mains_hz)
        if share >= HUM_SHARE:
            text = (
                f"{100 * share:.0f} % of its power is mains hum, {mains_hz:g} Hz and multiples: if the machine does "
                "not hum so, another cable or another supply will help"
            )
            return Advice("hum", text, fault=False)
    return None


def _share_of_lines(samples: Samples, mains_hz: float) -> float:
    """Return which part of the power (without the offset) lies within `HUM_WIDTH_HZ` of the mains and its multiples."""
    if samples.size < 2 * SAMPLE_RATE_HZ:
        return 0.0  # lines are not told from noise in less
    power: NDArray[np.float64] = np.square(np.abs(np.fft.rfft((samples - samples.mean()) * np.hanning(samples.size))))
    hz = np.arange(power.size) * SAMPLE_RATE_HZ / samples.size
    off = np.abs(hz - mains_hz * np.round(hz / mains_hz))
    lines = (off <= HUM_WIDTH_HZ) & (hz > mains_hz / 2) & (hz < mains_hz * (HUM_LINES + 0.5))
    return float(power[lines].sum() / max(power.sum(), 1e-12))
