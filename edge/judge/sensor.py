"""Whether the sensor can be trusted, from its sound alone. Pure: no I/O, no clock; samples and levels in, a reason out.

The state of the sensor is not the state of the machine. What is looked for is what no machine does:

    silent, stuck    one value, for longer than any room is quiet
    clipping         far more samples at full scale than the loudest fault puts there
    offset           a mean far from zero: a broken bias
    level            most bands moved together, for minutes: the gain was moved, or the microphone muted or covered
    pace             sound comes at a rate that is not the one it is said to have

The rule of the level must leave faults alone. A fault raises some bands more than others, so a rise counts only if the
shape of the spectrum stays: all bands by about as much, as a gain does. No fault makes most bands much quieter, so what
is lower counts in any shape: that of a covered microphone is far from flat. Nothing here can tell a covered microphone
from a machine that stands still: the reason says only what is known, how far the level is from calibration.
"""

from collections import deque
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import SAMPLE_RATE_HZ, SensorSettings

FloatArray = NDArray[np.float32]

CHUNK_SAMPLES: Final = SAMPLE_RATE_HZ // 10
"""What is looked at in one piece, 0.1 s: blocks of any size give the same verdicts."""

DEAD_CHUNKS: Final = 3
"""0.3 s of one value; edge/ear/ear.py throws a window away for a quarter of a second."""

ONE_VALUE: Final = 0.5 / 32_768
"""Peak to peak: half a step of 16 bits. The noise of the quietest microphones is some steps."""

SILENT: Final = 1e-3
"""One value so near to zero is the silence of a mute; an offset as small is that of a converter."""

FULL_SCALE: Final = 0.99
"""Not 1: converters stop a little before it, and what was clipped and then resampled ripples about it."""

AVERAGE_CHUNKS: Final = 50
"""Clipping and offset are means over 5 s: a hammer blow is neither."""

COMMON_SHARE: Final = 0.7
"""Of the bands: what most bands did. More would miss a covered microphone, which lets the lowest through."""

MOST_SPREAD_DB: Final = 8.0
"""How far apart a rise may leave the bands (10th to 90th percentile) and still be a gain. A gain itself leaves them
together, ordinary sound scatters by 3 to 10 dB, faults that raise most bands do by 20 to 40."""

DEVIATIONS: Final = 3.0
"""A machine or a room whose level varies by itself from clip to clip may move that much further."""

LEVEL_SECONDS: Final = 60.0
"""Levels are judged by their means over a minute, in which weather and visitors come and go."""

PACE_SECONDS: Final = 30.0
PACE_SEGMENTS: Final = 2
PACE_TOLERANCE: Final = 0.01
RATES_HZ: Final = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
"""What sound cards run at. One of them passed off as another comes too fast or too slow by exactly their ratio; a
computer that does not keep up does not, for a minute and to one per cent."""


class SensorHealth:
    """The verdict on one source. Use it from one thread."""

    def __init__(
        self,
        settings: SensorSettings,
        normal_level_db: FloatArray | None = None,
        deviation_db: FloatArray | None = None,
    ) -> None:
        """Take what calibration heard, from `SectionStatistics`; without it there is nothing to hold levels against.

        normal_level_db: ordinary band levels of each domain, (n_domains, M), or (M,); deviation_db: (M,).
        """
        self._settings = settings
        self._normal_db = None if normal_level_db is None else np.atleast_2d(normal_level_db)
        self._own_deviation_db = 0.0 if deviation_db is None else float(np.median(deviation_db))
        self.reset()

    def reset(self) -> None:
        """The source was opened anew: forget what was heard before, and trust it."""
        self._rest: FloatArray = np.empty(0, np.float32)
        self._heard_samples = 0
        self._dead_chunks = 0
        self._clipped_and_mean: deque[tuple[int, float]] = deque(maxlen=AVERAGE_CHUNKS)
        self._kind = ""
        self._reason: str | None = None
        self._good_chunks = 0

        self._level_sum: FloatArray | None = None
        self._n_levels = 0
        self._levels_since = 0
        self._shifted_minutes = 0
        self._level_reason: str | None = None
        self._pace = _Pace()

    @property
    def is_dead(self) -> bool:
        """Whether what it hears is one value, or was lately: a fault that windows show by themselves."""
        return self._kind in ("silent", "stuck")

    def hear(self, samples: FloatArray, arrived: float | None = None) -> str | None:
        """Take a block, (n,), float32 at 16 kHz; return why the sensor cannot be trusted, or None.

        A reason keeps its words while it lasts, and is gone after `recovery_seconds` without one.
        arrived: when the block came, by `time.monotonic()`; only of live sound, whose pace says its true rate.
        """
        self._heard_samples += samples.size
        held = np.concatenate([self._rest, samples]) if self._rest.size else samples
        n_whole = held.size - held.size % CHUNK_SAMPLES
        if n_whole:
            self._hear_chunks(held[:n_whole].reshape(-1, CHUNK_SAMPLES))
        self._rest = held[n_whole:].copy()
        pace = None if arrived is None else self._pace.hear(samples.size, arrived)
        return self._reason or pace

    def level(self, band_level_db: FloatArray) -> str | None:
        """Take the band levels of a window, (M,), dB; return why they cannot be those of this machine, or None.

        They say so after `level_minutes`, and that it is over after one minute: go on reading levels meanwhile.
        """
        if self._normal_db is None or self._settings.level_db is None:
            return None
        if self._level_sum is None:
            self._levels_since, self._level_sum, self._n_levels = self._heard_samples, np.zeros_like(band_level_db), 0
        self._level_sum += band_level_db
        self._n_levels += 1
        if self._heard_samples - self._levels_since >= LEVEL_SECONDS * SAMPLE_RATE_HZ:
            self._judge_minute(self._level_sum / np.float32(self._n_levels), self._normal_db, self._settings.level_db)
            self._level_sum = None
        return self._level_reason

    def _hear_chunks(self, chunks: FloatArray) -> None:
        lows, highs, means = chunks.min(axis=1).tolist(), chunks.max(axis=1).tolist(), chunks.mean(axis=1).tolist()
        for chunk, low, high, mean in zip(chunks, lows, highs, means, strict=True):
            loud = max(-low, high) >= FULL_SCALE
            self._hear_chunk(low, high, mean, int(np.count_nonzero(np.abs(chunk) >= FULL_SCALE)) if loud else 0)

    def _hear_chunk(self, low: float, high: float, mean: float, clipped: int) -> None:
        if high - low < ONE_VALUE:
            self._dead_chunks += 1
            self._clipped_and_mean.clear()
        else:
            self._dead_chunks = 0
            self._clipped_and_mean.append((clipped, mean))

        fault = self._fault(value=(low + high) / 2)
        if fault is not None:
            self._good_chunks = 0
            if fault[0] != self._kind:
                self._kind, self._reason = fault
        elif self._reason is not None and self._dead_chunks == 0:
            self._good_chunks += 1
            if self._good_chunks * CHUNK_SAMPLES >= self._settings.recovery_seconds * SAMPLE_RATE_HZ:
                self._kind, self._reason = "", None

    def _fault(self, value: float) -> tuple[str, str] | None:
        """Return the kind of fault and its words. value: the middle of the newest chunk."""
        if self._dead_chunks >= DEAD_CHUNKS:
            return ("silent", "silent") if abs(value) < SILENT else ("stuck", f"stuck at {value:.3g}")
        if len(self._clipped_and_mean) < AVERAGE_CHUNKS:
            return None

        # What is at fault has to become clearly better: half the limit.
        clipped, means = zip(*self._clipped_and_mean, strict=True)
        share = sum(clipped) / (CHUNK_SAMPLES * AVERAGE_CHUNKS)
        if share >= self._settings.clipping * (0.5 if self._kind == "clipping" else 1):
            return "clipping", f"clipping {100 * share:.0f} %"
        offset = sum(means) / AVERAGE_CHUNKS
        if abs(offset) >= self._settings.offset * (0.5 if self._kind == "offset" else 1):
            return "offset", f"offset {offset:.2g}"
        return None

    def _judge_minute(self, level_db: FloatArray, normal_db: FloatArray, limit_db: float) -> None:
        shifts = [common_shift(level_db - normal, limit_db, self._own_deviation_db) for normal in normal_db]
        shift = min(shifts, key=abs)
        same_way = shift * self._shifted_minutes > 0
        self._shifted_minutes = int(np.sign(shift)) + (self._shifted_minutes if same_way else 0)
        if shift == 0:
            self._level_reason = None
        elif abs(self._shifted_minutes) >= self._settings.level_minutes and self._level_reason is None:
            way = "above" if shift > 0 else "below"
            self._level_reason = f"level {abs(shift):.0f} dB {way} calibration"


def common_shift(delta_db: FloatArray, limit_db: float, deviation_db: float = 0.0) -> float:
    """Return by how many dB the bands moved together (their median), or 0 if they did not or not by as much.

    delta_db: what each band is above its ordinary level, (M,). deviation_db: how much an ordinary band varies.
    """
    most = max(limit_db, DEVIATIONS * deviation_db)
    lowest, low, middle, high, highest = np.quantile(delta_db, [0.1, 1 - COMMON_SHARE, 0.5, COMMON_SHARE, 0.9])
    fell = high <= -most
    rose = low >= most and highest - lowest <= max(MOST_SPREAD_DB, DEVIATIONS * deviation_db)
    return float(middle) if fell or rose else 0.0


class _Pace:
    """How fast live sound comes, in segments of half a minute."""

    def __init__(self) -> None:
        self._from: float | None = None
        self._n_samples = 0
        self._wrong: deque[float] = deque(maxlen=PACE_SEGMENTS)
        self._reason: str | None = None

    def hear(self, n_samples: int, arrived: float) -> str | None:
        """Take so many samples that came at `arrived`, s; return what is wrong with their rate, or None."""
        if self._from is None:  # the first came in some time that nobody saw begin
            self._from = arrived
            return self._reason
        self._n_samples += n_samples
        if arrived - self._from >= PACE_SECONDS:
            self._judge(self._n_samples / SAMPLE_RATE_HZ / (arrived - self._from))
            self._from, self._n_samples = arrived, 0
        return self._reason

    def _judge(self, pace: float) -> None:
        wrong = next((a / b for a, b in permutations(RATES_HZ, 2) if abs(pace * b / a - 1) < PACE_TOLERANCE), None)
        if wrong is None:
            self._wrong.clear()
            self._reason = None
            return
        self._wrong.append(wrong)
        if len(self._wrong) == PACE_SEGMENTS and len(set(self._wrong)) == 1 and self._reason is None:
            self._reason = f"comes {wrong:.3g} times as fast as its rate says"
