"""The sensor's health: what no machine does is named, what machines do is not."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from edge.config.settings import SensorSettings
from edge.detector.naming import parse_name
from edge.ear.bands import band_levels, band_statistics
from edge.ear.frontend import Frontend, FrontendSettings
from edge.judge.sensor import FULL_SCALE, SensorHealth
from edge.source import find_audio, read_samples
from tests.conftest import REAL_DATA, needs_real_data

Sound = NDArray[np.float32]

SECOND = 16_000
RECOVERY_SECONDS = 5


def noise(seconds: float, rms: float = 0.1, seed: int = 0) -> Sound:
    return np.random.default_rng(seed).normal(0, rms, int(seconds * SECOND)).astype(np.float32)


def constant(seconds: float, value: float = 0.0) -> Sound:
    return np.full(int(seconds * SECOND), value, np.float32)


def in_blocks(samples: Sound, size: int = 1600) -> Iterator[Sound]:
    for start in range(0, samples.size, size):
        yield samples[start : start + size]


def verdicts(sensor: SensorHealth, samples: Sound, size: int = 1600) -> list[str | None]:
    return [sensor.hear(block) for block in in_blocks(samples, size)]


@pytest.fixture
def sensor() -> SensorHealth:
    return SensorHealth(SensorSettings(recovery_seconds=RECOVERY_SECONDS))


@pytest.mark.parametrize(
    ("dead", "words"),
    [(constant(2), "silent"), (constant(2, 0.5), "stuck at 0.5"), (constant(2, -1), "stuck at -1")],
    ids=["zero", "half", "rail"],
)
@pytest.mark.parametrize("size", [1, 441, 1600, 50_000])
def test_one_value_is_named_within_half_a_second(sensor: SensorHealth, dead: Sound, words: str, size: int) -> None:
    assert not any(verdicts(sensor, noise(3.03), size))
    until_half = dead[: SECOND // 2]
    assert verdicts(sensor, until_half, size)[-1] == words


def test_the_rounding_of_a_quiet_room_is_no_silence(sensor: SensorHealth) -> None:
    quiet = np.round(noise(30, rms=0.6 / 32_768) * 32_768) / np.float32(32_768)
    assert not any(verdicts(sensor, quiet))


def test_a_dropout_shorter_than_a_quarter_of_a_second_is_left_to_the_window(sensor: SensorHealth) -> None:
    assert not any(verdicts(sensor, np.concatenate([noise(1), constant(0.2), noise(1)])))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_it_is_trusted_again_after_good_sound_and_not_before(sensor: SensorHealth, value: float) -> None:
    verdicts(sensor, constant(10, value))
    good = verdicts(sensor, noise(RECOVERY_SECONDS + 1))
    assert good.index(None) * 0.1 == pytest.approx(RECOVERY_SECONDS, abs=0.2)


def test_sound_that_stutters_is_not_trusted_in_between(sensor: SensorHealth) -> None:
    stutter = np.concatenate([constant(1), noise(2)] * 5)
    assert all(verdicts(sensor, stutter)[5:])


def test_a_reason_keeps_its_words_while_it_lasts(sensor: SensorHealth) -> None:
    rising = noise(60) * np.linspace(5, 30, 60 * SECOND, dtype=np.float32)
    reasons = set(verdicts(sensor, np.clip(rising, -1, 1))) - {None}
    assert len(reasons) == 1


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_clipping_is_named_also_after_resampling(sensor: SensorHealth, rate_hz: int) -> None:
    """The sound of a machine, all of it below 2 kHz, too loud for the card. Of 61 % clipped, 42 % are found then."""
    loud = np.clip(soxr.resample(np.random.default_rng(0).normal(0, 2, 8 * 4000), 4000, rate_hz), -1, 1)
    reason = verdicts(sensor, soxr.resample(loud, rate_hz, SECOND).astype(np.float32))[-1]
    assert reason is not None
    assert reason.startswith("clipping ")
    assert 100 * (np.abs(loud) >= FULL_SCALE).mean() == pytest.approx(float(reason.split()[1]), abs=25)


def test_blows_that_clip_are_no_fault_of_the_sensor(sensor: SensorHealth) -> None:
    """A press: each second, a tenth of a second at full scale."""
    blow = np.concatenate([noise(0.1, rms=5), noise(0.9)])
    assert not any(verdicts(sensor, np.clip(np.tile(blow, 20), -1, 1)))


@pytest.mark.parametrize(("offset", "words"), [(0.05, None), (-0.05, None), (0.2, "offset 0.2"), (-0.2, "offset -0.2")])
def test_an_offset_is_named_and_a_small_one_is_not(sensor: SensorHealth, offset: float, words: str | None) -> None:
    assert verdicts(sensor, noise(10) + np.float32(offset))[-1] == words


def test_a_slow_wave_is_no_offset(sensor: SensorHealth) -> None:
    t = np.arange(30 * SECOND) / SECOND
    assert not any(verdicts(sensor, (0.8 * np.sin(2 * np.pi * t)).astype(np.float32)))


def test_opened_anew_it_is_trusted_at_once(sensor: SensorHealth) -> None:
    verdicts(sensor, constant(10))
    sensor.reset()
    assert sensor.hear(noise(1)) is None


# --- The pace ---


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (1.0, None),
        (1.0005, None),  # a crystal
        (0.7, None),  # a computer that does not keep up
        (30.0, None),  # a file through a pipe
        (3.0, "comes 3 times as fast as its rate says"),
        (44_100 / 48_000, "comes 0.919 times as fast as its rate says"),
        (1 / 3, "comes 0.333 times as fast as its rate says"),
    ],
)
def test_a_rate_passed_off_as_another_shows_in_the_pace(
    sensor: SensorHealth, rng: np.random.Generator, pace: float, words: str | None
) -> None:
    block, arrived, reason = noise(1), 0.0, None
    while arrived < 100:
        reason = sensor.hear(block, arrived + rng.uniform(0, 0.05))  # the jitter of a driver
        arrived += 1 / pace
    assert reason == words


def test_sound_that_is_not_live_has_no_pace(sensor: SensorHealth) -> None:
    assert not any(sensor.hear(noise(1)) for _ in range(200))


# --- The level ---

NORMAL_DB = -40 - 20 * np.linspace(0, 1, 128, dtype=np.float32)


def level_after(
    minutes: float, delta_db: NDArray[np.float64] | float, sensor: SensorHealth | None = None
) -> str | None:
    """What is said after so many minutes with these differences from ordinary levels."""
    sensor = sensor or SensorHealth(SensorSettings(), NORMAL_DB)
    second, reason = noise(1), None
    for _ in range(int(60 * minutes)):
        sensor.hear(second)
        reason = sensor.level((NORMAL_DB + delta_db).astype(np.float32))
    return reason


@pytest.mark.parametrize(
    ("delta_db", "words"),
    [(20.0, "level 20 dB above calibration"), (-22.0, "level 22 dB below calibration"), (6.0, None), (-6.0, None)],
)
def test_a_moved_gain_is_named_after_minutes(delta_db: float, words: str | None) -> None:
    assert level_after(2.5, delta_db) is None
    assert level_after(4.5, delta_db) == words


def test_a_covered_microphone_lets_the_lowest_through() -> None:
    assert level_after(4.5, np.minimum(0, 10 - np.linspace(0, 80, 128))) is not None


def test_a_fault_in_some_bands_is_none_of_the_sensor() -> None:
    assert level_after(10, np.where(np.arange(128) > 64, 30.0, 0.0)) is None


def test_a_fault_in_nearly_all_bands_is_told_by_its_shape() -> None:
    assert level_after(10, 10 + np.linspace(0, 30, 128)) is None


def test_the_level_is_well_again_after_a_minute() -> None:
    sensor = SensorHealth(SensorSettings(), NORMAL_DB)
    assert level_after(5, -20.0, sensor) is not None
    assert level_after(2.1, 0.0, sensor) is None


def test_a_gain_that_swings_never_is_off_for_minutes() -> None:
    sensor = SensorHealth(SensorSettings(), NORMAL_DB)
    assert not any(level_after(1, delta, sensor) for delta in [20.0, -20.0] * 5)


def test_what_one_domain_calls_normal_is() -> None:
    sensor = SensorHealth(SensorSettings(), np.stack([NORMAL_DB - 20, NORMAL_DB]))
    assert level_after(5, 0.0, sensor) is None
    assert level_after(5, -40.0, sensor) == "level 20 dB below calibration"


def test_a_machine_that_varies_by_itself_may_vary_more() -> None:
    sensor = SensorHealth(SensorSettings(), NORMAL_DB, np.full(128, 8, np.float32))
    assert level_after(5, -20.0, sensor) is None
    assert level_after(5, -30.0, sensor) is not None


@pytest.mark.parametrize(
    "sensor",
    [SensorHealth(SensorSettings()), SensorHealth(SensorSettings(level_db=None), NORMAL_DB)],
    ids=["no calibration", "switched off"],
)
def test_without_a_level_to_hold_it_against_any_is_right(sensor: SensorHealth) -> None:
    assert level_after(5, -40.0, sensor) is None


# --- Real recordings: three quadcopters in the weather, a fan; their faults are theirs and not the sensor's ---

Change = Callable[[Sound], Sound]


def at_16_bits(samples: NDArray[np.floating[Any]]) -> Sound:
    return np.asarray(np.clip(np.rint(samples * 32_768), -32_768, 32_767) / 32_768, np.float32)


AS_IS: Change = lambda sound: sound  # noqa: E731
LOUDER: Change = lambda sound: at_16_bits(10 * sound)  # noqa: E731
QUIETER: Change = lambda sound: at_16_bits(sound / 10)  # noqa: E731


class Recorded:
    """The clips of one section, and what its sensor says of minutes of them."""

    def __init__(self, machine: str, section: str) -> None:
        clips = [clip for clip in find_audio(REAL_DATA / machine) if f"section_{section}" in clip.name]
        self.clips = {label: [c for c in clips if _is(c, label)] for label in ("train", "normal", "anomaly")}
        self._frontend = Frontend(FrontendSettings())
        levels = np.array([self._levels(read_samples(clip)) for clip in self.clips["train"]])
        self._calibration = levels.mean(0), levels.std(0)

    def reasons(self, label: str, change: Change, minutes: int = 10) -> set[str]:
        """The distinct reasons given while so many minutes of shuffled clips are heard."""
        sensor = SensorHealth(SensorSettings(), *self._calibration)
        said: set[str | None] = set()
        for samples in islice(self._shuffled(label, change), 6 * minutes):
            said |= {*verdicts(sensor, samples), sensor.level(self._levels(samples))}
        return {reason for reason in said if reason}

    def _shuffled(self, label: str, change: Change) -> Iterable[Sound]:
        rng = np.random.default_rng(0)
        while True:
            for index in rng.permutation(len(self.clips[label])):
                yield change(read_samples(self.clips[label][index]))

    def _levels(self, samples: Sound) -> Sound:
        return band_levels(band_statistics(self._frontend(samples[:153_600])))


def _is(clip: Path, label: str) -> bool:
    named = parse_name(clip)
    return named is not None and label == ("train" if named.split == "train" else named.label)


SECTIONS = [("uav", "00"), ("uav", "01"), ("uav", "02"), ("fan", "00")]


@pytest.fixture(scope="module", params=SECTIONS, ids="/".join)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(*request.param)


@needs_real_data
@pytest.mark.parametrize("label", ["normal", "anomaly"])
def test_real_sound_healthy_or_not_is_to_be_trusted(recorded: Recorded, label: str) -> None:
    """The blade that clips 9 % of the samples among it, and faults that raise half the bands by 19 dB and more."""
    assert recorded.reasons(label, AS_IS) == set()


@needs_real_data
@pytest.mark.parametrize("change", [LOUDER, QUIETER], ids=["+20 dB", "-20 dB"])
def test_the_same_recordings_20_db_off_are_not(recorded: Recorded, change: Change) -> None:
    assert recorded.reasons("normal", change)
