"""Sources: the same samples in any block, exact times, and no damage that is read over."""

import io
import logging
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import SourceError
from edge.source import SAMPLE_RATE_HZ, Block, FolderSource, PcmStream, Pickup, SampleFormat, Samples, find_audio
from edge.source import read_blocks as stream_blocks
from tests.damage import KINDS, Damage, damaged_inputs, tone

RNG = np.random.default_rng(7)


def read(path: Path, *, channel: int = 0, block_samples: int = 1600) -> Samples:
    return np.concatenate(list(stream_blocks(path, Pickup(channel), block_samples=block_samples)))


def write(path: Path, samples: object, rate_hz: int = 16_000, subtype: str = "PCM_16", fmt: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype=subtype, format=fmt)
    return path


def sine(hz: float, *, rate_hz: int, seconds: float = 1.0, level: float = 0.5) -> Samples:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


def joined(blocks: list[Block]) -> Samples:
    return np.concatenate([block.samples for block in blocks])


# --- One file ---


@pytest.fixture(scope="module")
def odd_rate_flac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Longer than one read of the decoder, so that the seams between reads are in it.
    return write(tmp_path_factory.mktemp("odd") / "a.flac", tone(RNG, rate_hz=44_100, seconds=3.3, channels=4), 44_100)


@given(block_samples=st.integers(1, 70_000))
@settings(max_examples=25, deadline=None)
def test_samples_do_not_depend_on_the_block_size(odd_rate_flac: Path, block_samples: int) -> None:
    blocks = list(stream_blocks(odd_rate_flac, Pickup(2), block_samples=block_samples))

    assert all(block.shape == (block_samples,) for block in blocks[:-1])
    assert 1 <= blocks[-1].size <= block_samples
    assert all(block.dtype == np.float32 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), read(odd_rate_flac, channel=2, block_samples=10**9))


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 17_777])
def test_a_tone_keeps_its_frequency_level_and_place(tmp_path: Path, rate_hz: int) -> None:
    samples = read(write(tmp_path / "a.wav", sine(3000, rate_hz=rate_hz), rate_hz, "FLOAT"))

    assert samples.size == SAMPLE_RATE_HZ
    middle = slice(2000, -2000)
    expected = sine(3000, rate_hz=SAMPLE_RATE_HZ)
    np.testing.assert_allclose(samples[middle], expected[middle], atol=1e-3)


def test_sound_above_half_the_rate_does_not_fold_back(tmp_path: Path) -> None:
    samples = read(write(tmp_path / "a.wav", sine(11_000, rate_hz=48_000), 48_000, "FLOAT"))

    assert np.abs(samples[2000:-2000]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "subtype", "container", "step"),
    [
        ("a.wav", "PCM_U8", "WAV", 2**-7),
        ("a.wav", "PCM_16", "WAV", 2**-15),
        ("a.wav", "PCM_24", "WAV", 2**-23),
        ("a.wav", "PCM_32", "WAV", 2**-23),  # no finer in float32
        ("a.wav", "FLOAT", "WAV", 2**-23),
        ("a.wav", "DOUBLE", "WAV", 2**-23),
        ("a.wav", "PCM_16", "WAVEX", 2**-15),
        ("a.wav", "PCM_24", "RF64", 2**-23),
        ("a.wav", "PCM_16", "W64", 2**-15),
        ("a.flac", "PCM_16", "FLAC", 2**-15),
        ("a.flac", "PCM_24", "FLAC", 2**-23),
        ("a.raw", "PCM_16", "WAV", 2**-15),  # soundfile goes by this name
    ],
)
def test_every_width_gives_the_same_samples(
    tmp_path: Path, name: str, subtype: str, container: str, step: float
) -> None:
    expected = tone(RNG)[:, 0]

    samples = read(write(tmp_path / name, expected, 16_000, subtype, container))

    np.testing.assert_allclose(samples, expected, atol=step, rtol=0)


def test_big_endian_wav_is_the_same_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(RNG), 16_000, subtype="PCM_16", endian="BIG")
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFX"

    assert read(tmp_path / "a.wav").size == 6400


def test_one_channel_is_taken_and_none_is_mixed_in(tmp_path: Path) -> None:
    channels = np.stack([np.full(1000, level) for level in (0.0, 0.25, -0.5)], axis=1)
    path = write(tmp_path / "a.wav", channels)

    assert [read(path, channel=channel)[500] for channel in range(3)] == [0.0, 0.25, -0.5]


@pytest.mark.parametrize("channel", [2, -1])
def test_a_channel_that_is_not_there_is_named(tmp_path: Path, channel: int) -> None:
    path = write(tmp_path / "a.wav", tone(RNG, channels=2))

    with pytest.raises(SourceError, match=rf"a\.wav: has 2 channel\(s\), there is no channel {channel}"):
        read(path, channel=channel)


def test_conversion_is_said_once_and_only_when_there_is_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read(write(tmp_path / "stereo.wav", tone(RNG, rate_hz=48_000, channels=2), 48_000), channel=1)
    read(write(tmp_path / "plain.wav", tone(RNG)))

    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/stereo.wav: 48000 Hz 2 ch -> 16000 Hz ch 1"
    ]


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF, 0x7FFF_F000])
def test_a_wav_whose_size_was_left_open_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    expected = read(write(tmp_path / "a.wav", tone(RNG)))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)

    np.testing.assert_array_equal(read(tmp_path / "a.wav"), expected)


def test_a_flac_from_a_pipe_that_knows_no_length_is_read_to_its_end(tmp_path: Path) -> None:
    expected = read(write(tmp_path / "a.flac", tone(RNG, seconds=2.0)))
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO: the total is the last 36 bits before the MD5
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)

    np.testing.assert_array_equal(read(tmp_path / "a.flac"), expected)


def test_chunks_around_the_samples_are_not_sound(tmp_path: Path) -> None:
    expected = read(write(tmp_path / "a.wav", tone(RNG)))
    content = (tmp_path / "a.wav").read_bytes()
    notes = b"LIST\x05\0\0\0notes\0"  # of odd size, hence padded
    (tmp_path / "a.wav").write_bytes(content[:36] + notes + content[36:] + notes)

    np.testing.assert_array_equal(read(tmp_path / "a.wav"), expected)
    (tmp_path / "a.wav").write_bytes(content[:36] + notes + content[36:-1])
    with pytest.raises(SourceError, match="cut off"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "subtype", "container"),
    [("a.wav", "PCM_16", "WAV"), ("a.wav", "PCM_24", "RF64"), ("a.wav", "FLOAT", "W64"), ("a.wav", "PCM_16", "WAVEX")],
)
def test_a_wav_that_is_cut_off_is_refused_before_its_first_block(
    tmp_path: Path, name: str, subtype: str, container: str
) -> None:
    path = write(tmp_path / name, tone(RNG, seconds=2.0), 16_000, subtype, container)
    path.write_bytes(path.read_bytes()[:-1])  # of a whole sample one byte is enough

    with pytest.raises(SourceError, match=r"a\.wav: cut off: its header promises \d+ bytes of sound, \d+ are there"):
        next(stream_blocks(path, block_samples=100))


def wav_of(*chunks: tuple[bytes, bytes], pad: bool = True) -> bytes:
    """Return a WAV of these chunks; pad: those of an odd length, as they should be."""
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (pad and len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def fmt(*, channels: int = 1, rate_hz: int = 16_000, frame_bytes: int = 2, bits: int = 16) -> tuple[bytes, bytes]:
    return b"fmt ", struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * frame_bytes % 2**32, frame_bytes, bits)


LITTLE = np.arange(-500, 500, dtype="<i2")
DATA = (b"data", LITTLE.tobytes())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (wav_of(fmt(bits=24, frame_bytes=4), DATA), "1 channel(s) of 24 bits are 3 bytes a frame, and it says 4"),
        (wav_of(fmt(channels=2), DATA), "2 channel(s) of 16 bits are 4 bytes a frame, and it says 2"),
        (wav_of(fmt(channels=0), DATA), "says 0 channel(s), 16000 Hz, 16 bits a sample"),
        (wav_of(fmt(bits=0), DATA), "says 1 channel(s), 16000 Hz, 0 bits a sample"),
        (wav_of(fmt(rate_hz=0), DATA), "says 1 channel(s), 0 Hz, 16 bits a sample"),
        (wav_of(fmt(rate_hz=4_000_000_000), DATA), "says 1 channel(s), 4000000000 Hz, 16 bits a sample"),
        (wav_of(fmt(), fmt(rate_hz=48_000), DATA), "says twice, and differently, what its samples are"),
        (wav_of(DATA, fmt()), "its samples come before it says what they are"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused_with_its_words(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(reason)):
        np.concatenate(list(stream_blocks(path, block_samples=4096)))


@pytest.mark.parametrize(
    "content",
    [
        wav_of(fmt(frame_bytes=0), DATA),
        wav_of(fmt(), fmt(), DATA),
        wav_of((b"note", b"abc"), fmt(), DATA, pad=False),
        wav_of(fmt(), (b"LIST", b"INFO1"), DATA, fmt(rate_hz=48_000), pad=False),
    ],
)
def test_a_header_whose_fault_leaves_no_doubt_is_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    np.testing.assert_array_equal(np.concatenate(list(stream_blocks(path, block_samples=4096))) * 32_768, LITTLE)


def test_samples_of_an_odd_length_that_are_not_padded_end_where_they_end(tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    samples = LITTLE[:333].astype("<i4") << 8
    packed = samples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    path.write_bytes(wav_of(fmt(bits=24, frame_bytes=3), (b"data", packed), (b"LIST", b"INFO"), pad=False))
    np.testing.assert_array_equal(np.concatenate(list(stream_blocks(path, block_samples=4096))) * 32_768, LITTLE[:333])


def test_a_flac_that_is_cut_off_never_comes_to_an_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(RNG, seconds=60.0))
    path.write_bytes(path.read_bytes()[:-2000])
    blocks = stream_blocks(path, block_samples=1600)

    assert next(blocks).size == 1600  # what is good is heard, for nobody can know yet
    with pytest.raises(SourceError, match=r"a\.flac"):
        list(blocks)


def test_a_flac_that_ends_between_two_frames_is_cut_off_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(RNG, seconds=1.0))
    content = bytearray(path.read_bytes())
    content[22:26] = (32_000).to_bytes(4, "big")  # the decoder has no complaint; only the length is wrong
    path.write_bytes(content)

    with pytest.raises(SourceError, match=r"a\.flac: cut off: its header promises 2\.000 s, it ends after 1\.000 s"):
        read(path)


def test_nan_is_found_where_it_is_and_only_in_the_channel_in_use(tmp_path: Path) -> None:
    samples = tone(RNG, seconds=1.0, channels=2)
    samples[12_000, 1] = np.nan
    path = write(tmp_path / "a.wav", samples, 16_000, "FLOAT")

    assert read(path, channel=0).size == 16_000
    with pytest.raises(SourceError, match=r"a\.wav: sample 12000 \(at 0\.750 s\) is not a number \(NaN\)"):
        read(path, channel=1)


def test_a_float_recording_may_overshoot_and_is_not_clipped(tmp_path: Path) -> None:
    samples = read(write(tmp_path / "a.wav", sine(440, rate_hz=16_000, level=2.0), 16_000, "FLOAT"))

    assert samples.max() == pytest.approx(2.0, abs=1e-3)


def test_integers_stored_as_floats_are_refused_with_their_value(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.full(1000, 12.0), 16_000, "FLOAT")

    with pytest.raises(SourceError, match=r"a\.wav: sample 0 \(at 0\.000 s\) is 12: expected \[-1, 1\]"):
        read(path)


@pytest.mark.parametrize(
    ("rate_hz", "reason"),
    [
        (8000, r"8000 Hz: there is nothing above 4 kHz in it, and the detector listens up to 8 kHz"),
        (15_999, r"15999 Hz: there is nothing above 7\.9995 kHz"),
        (768_001, r"768001 Hz: expected at most 768000 Hz"),
        (2_000_000_000, r"2000000000 Hz: expected at most"),
    ],
)
def test_a_rate_of_no_use_is_refused(tmp_path: Path, rate_hz: int, reason: str) -> None:
    path = write(tmp_path / "a.wav", tone(RNG))
    content = bytearray(path.read_bytes())
    content[24:28] = rate_hz.to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(SourceError, match=rf"a\.wav: {reason}"):
        read(path)


def test_one_frame_that_makes_no_sample_is_no_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.zeros(1), 48_000)

    with pytest.raises(SourceError, match=r"a\.wav: there is no sound in it"):
        read(path)


# --- Damage ---


@pytest.fixture(scope="module")
def damages(tmp_path_factory: pytest.TempPathFactory) -> list[Damage]:
    return damaged_inputs(tmp_path_factory.mktemp("damage"))


def outcome(path: Path) -> str:
    """Read `path` and return what became of it; any exception but SourceError, NaN or no end fails the test."""
    n_samples = 0
    refusal = None
    try:
        for block in stream_blocks(path, block_samples=1600):
            assert np.isfinite(block).all()
            assert np.abs(block).max() < 20
            n_samples += block.size
            assert n_samples < 10**7
    except SourceError as error:
        refusal = str(error)

    assert n_samples > 0 or refusal
    assert refusal is None or (refusal.startswith(f"{path}: ") and len(refusal) > len(f"{path}: ") + 10)
    return "refused" if refusal else "accepted"


def test_damage_of_every_kind_is_refused_and_nothing_good_is(damages: list[Damage]) -> None:
    assert len(damages) == 200
    assert {damage.kind for damage in damages} == set(KINDS)
    outcomes = [outcome(damage.path) for damage in damages]

    wrong = [
        (damage.path.name, damage.expected, came)
        for damage, came in zip(damages, outcomes, strict=True)
        if damage.expected not in (came, "either")
    ]
    assert wrong == []


def test_damaged_inputs_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for folder, seed in ((first, 1), (again, 1), (other, 2)):
        folder.mkdir()
        damaged_inputs(folder, seed=seed, count=60)

    def contents(folder: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    assert contents(first) == contents(again)
    assert contents(first) != contents(other)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "a.wav"


@given(
    kind=st.sampled_from(["WAV", "WAVEX", "RF64", "W64", "FLAC"]),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 3000),
)
@settings(max_examples=200, deadline=None)
def test_no_damaged_bytes_bring_anything_but_a_source_error(
    scratch: Path, kind: str, flips: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(_small_recording(kind))
    for position, value in flips:
        content[position % len(content)] = value
    scratch.write_bytes(content[: len(content) - cut])

    assert outcome(scratch) in {"refused", "accepted"}


def _small_recording(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(np.random.default_rng(0), seconds=0.1), 16_000, format=kind, subtype="PCM_16")
    return file.getvalue()


def test_a_folder_source_skips_what_is_refused_by_name(damages: list[Damage]) -> None:
    root = damages[0].path.parent
    skipped: dict[str, str] = {}
    source = FolderSource(root, on_skip=lambda path, reason: skipped.update({path.name: reason}))
    blocks = list(source.blocks())

    assert all(np.isfinite(block.samples).all() for block in blocks)
    heard = {Path(block.recording).name for block in blocks}
    listed = {path.name for path in find_audio(root)}
    for damage in (damage for damage in damages if damage.path.name in listed):
        if damage.expected == "accepted":
            assert damage.path.name in heard - set(skipped)
        if damage.expected == "refused":
            assert str(damage.path) in skipped[damage.path.name]


# --- Finding files ---


def test_files_come_sorted_in_any_case_and_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.FLAC", "a.Wav", "._a.wav", ".trash/x.wav", "notes.txt", "c.mp3", "d.wav.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert [str(path.relative_to(tmp_path)) for path in find_audio(tmp_path)] == ["a.Wav", "b/1.FLAC", "b/2.wav"]


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "recording", tone(RNG), fmt="WAV")

    assert find_audio(path) == [path]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "here" / "a.wav", tone(RNG))
    (tmp_path / "here" / "round").symlink_to(tmp_path)
    (tmp_path / "here" / "nowhere.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "linked").symlink_to(tmp_path / "here")

    assert [path.name for path in find_audio(tmp_path / "linked")] == ["a.wav", "nowhere.wav"]
    assert len(find_audio(tmp_path)) == 2


@pytest.mark.parametrize("name", ["missing", "empty", "a-link", "file/below"])
def test_no_recordings_is_an_error_that_names_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "a-link").symlink_to(tmp_path / "missing")

    with pytest.raises(SourceError, match=f"/{name}: "):
        find_audio(tmp_path / name)


# --- A folder as a source ---


class Clock:
    """A clock that goes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """1.flac of 0.5 s at 48 kHz, 2.wav of 0.25 s."""
    write(tmp_path / "pump" / "1.flac", tone(RNG, rate_hz=48_000, seconds=0.5), 48_000)
    write(tmp_path / "pump" / "2.wav", tone(RNG, seconds=0.25))
    return tmp_path / "pump"


def test_a_constructor_opens_nothing(tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "missing")

    with pytest.raises(SourceError, match="missing: No such file or directory"):
        next(source.blocks())


def test_blocks_follow_one_another_and_start_anew_at_each_file(recordings: Path) -> None:
    blocks = list(FolderSource(recordings, block_samples=3000, start_time=1_700_000_000.0).blocks())

    names = [Path(block.recording).name for block in blocks]
    assert names == ["1.flac"] * 3 + ["2.wav"] * 2
    assert [block.start_sample for block in blocks] == [0, 3000, 6000, 0, 3000]
    assert [block.starts_anew for block in blocks] == [True, False, False, True, False]
    offsets = [0, 3000, 6000, 8000, 11_000]
    assert [block.time for block in blocks] == [1_700_000_000 + offset / 16_000 for offset in offsets]
    np.testing.assert_array_equal(joined(blocks[:3]), read(recordings / "1.flac"))


def test_times_have_not_drifted_after_ten_thousand_ragged_blocks(recordings: Path) -> None:
    source = FolderSource(recordings, loop=True, block_samples=7, start_time=1_700_000_000.0)
    n_before = 0
    for block in islice(source.blocks(), 10_000):
        assert block.time == pytest.approx(1_700_000_000 + n_before / 16_000, abs=1e-6, rel=0)
        n_before += block.samples.size


def test_loop_begins_again_with_the_files_that_are_there_by_then(recordings: Path) -> None:
    blocks = FolderSource(recordings, loop=True, block_samples=100_000).blocks()
    first_pass = [Path(next(blocks).recording).name for _ in range(2)]
    write(recordings / "3.wav", tone(RNG))

    assert first_pass == ["1.flac", "2.wav"]
    assert [Path(next(blocks).recording).name for _ in range(4)] == ["1.flac", "2.wav", "3.wav", "1.flac"]


def test_a_loop_over_nothing_but_damage_ends_after_one_pass(tmp_path: Path) -> None:
    for name in ("a.wav", "b.flac"):
        (tmp_path / name).write_text("no sound")
    skipped: list[Path] = []
    source = FolderSource(tmp_path, loop=True, on_skip=lambda path, _reason: skipped.append(path))

    with pytest.raises(SourceError, match=r"none of its 2 recording\(s\) can be used"):
        list(source.blocks())
    assert [path.name for path in skipped] == ["a.wav", "b.flac"]


def test_a_bad_file_is_logged_and_the_next_starts_anew(recordings: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = tone(RNG, seconds=30.0)
    samples[-1] = np.nan
    write(recordings / "1a.wav", samples, 16_000, "FLOAT")

    blocks = list(FolderSource(recordings, block_samples=1600, start_time=0.0).blocks())

    assert "1a.wav: sample 479999" in caplog.text
    after = next(block for block in blocks if block.recording.endswith("2.wav"))
    assert after.starts_anew
    n_before = sum(block.samples.size for block in blocks[: blocks.index(after)])
    assert n_before > 8000  # the good beginning of 1a.wav went out, and takes its time
    assert after.time == n_before / 16_000


def test_close_ends_a_pass_over_what_is_of_no_use(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.wav").write_bytes(b"RIFF")
    skipped: list[Path] = []

    def on_skip(path: Path, _reason: str) -> None:
        skipped.append(path)
        source.close()

    source = FolderSource(tmp_path, on_skip=on_skip)
    assert list(source.blocks()) == []
    assert len(skipped) == 1


def test_ten_thousand_that_are_of_no_use_fill_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.wav").write_bytes(b"RIFF")
    for _ in range(3):  # as a source does that is lost, and opened again for ever
        with pytest.raises(SourceError, match="none of its 300"):
            list(FolderSource(tmp_path).blocks())
    (tmp_path / "007.wav").write_bytes(b"RIFFX")
    with pytest.raises(SourceError, match="none of its 300"):
        list(FolderSource(tmp_path).blocks())
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(said) == 202
    assert said[199].startswith(f"skipped after 0.0 s: {tmp_path}/199.wav: ")
    assert said[200] == f"{tmp_path}: 100 more recordings were skipped; log.level: debug names them"
    assert said[201].startswith(f"skipped after 0.0 s: {tmp_path}/007.wav: ")


@pytest.mark.parametrize("loop", [False, True])
def test_a_folder_that_vanishes_is_an_error_not_a_spin(
    recordings: Path, loop: bool, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = FolderSource(recordings, loop=loop).blocks()
    next(blocks)
    for file in recordings.iterdir():
        file.unlink()
    recordings.rmdir()

    with pytest.raises(SourceError, match="pump: vanished while it was read"):
        list(blocks)
    assert "2.wav: No such file or directory" in caplog.text


def test_realtime_hands_a_block_out_at_its_last_sample_and_does_not_drift(recordings: Path) -> None:
    clock = Clock()
    source = FolderSource(recordings, realtime=True, loop=True, monotonic=clock.monotonic, wait=clock.wait)
    n_samples = 0
    for block in islice(source.blocks(), 200):
        n_samples += block.samples.size
        assert clock.now == pytest.approx(1000 + n_samples / 16_000, abs=1e-9)
        clock.now += 0.03  # whoever scores takes a while, and the next wait is shorter


def test_realtime_catches_up_after_a_pause_without_waiting(recordings: Path) -> None:
    clock = Clock()
    source = FolderSource(recordings, realtime=True, block_samples=1600, monotonic=clock.monotonic, wait=clock.wait)
    blocks = source.blocks()
    next(blocks)
    clock.now += 10
    rest = list(blocks)

    assert len(rest) == 7
    assert clock.waits[1:] == [0.0] * 7


def test_not_realtime_never_waits(recordings: Path) -> None:
    clock = Clock()
    list(FolderSource(recordings, monotonic=clock.monotonic, wait=clock.wait).blocks())

    assert clock.waits == []


def test_close_ends_a_wait_at_once(recordings: Path) -> None:
    source = FolderSource(recordings, realtime=True, block_samples=10**9)
    write(recordings / "1.flac", np.zeros(16_000 * 60))  # a minute until its first block is due
    blocks: list[Block] = []
    thread = threading.Thread(target=lambda: blocks.extend(source.blocks()))
    thread.start()
    source.close()
    thread.join(10)

    assert not thread.is_alive()
    assert blocks == []


# --- Raw samples ---

FORMATS: dict[SampleFormat, tuple[Callable[[Samples], bytes], float]] = {
    "s16le": (lambda x: (x * 2**15).astype("<i2").tobytes(), 2**-15),
    "s24le": (lambda x: (x * 2**23).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), 2**-23),
    "s32le": (lambda x: (x * 2**31).astype(np.int64).astype("<i4").tobytes(), 2**-23),
    "f32le": (lambda x: x.astype("<f4").tobytes(), 0.0),
}


def interleaved(n_frames: int, channels: int) -> Samples:
    return tone(RNG, seconds=n_frames / 16_000, channels=channels).astype(np.float32)


@pytest.mark.parametrize("sample_format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_gives_the_same_samples(sample_format: SampleFormat, channels: int) -> None:
    samples = interleaved(5000, channels)
    encode, step = FORMATS[sample_format]
    stream = io.BytesIO(encode(samples.reshape(-1)))

    source = PcmStream(stream, channels=channels, channel=channels - 1, sample_format=sample_format)
    heard = joined(list(source.blocks()))

    np.testing.assert_allclose(heard, samples[:, -1], atol=step, rtol=0)


def test_the_extremes_of_every_width_are_full_scale() -> None:
    for sample_format, data in (
        ("s16le", b"\x00\x80\xff\x7f"),
        ("s24le", b"\x00\x00\x80\xff\xff\x7f"),
        ("s32le", b"\x00\x00\x00\x80\xff\xff\xff\x7f"),
    ):
        stream = io.BytesIO(data)
        (block,) = PcmStream(stream, sample_format=sample_format).blocks()  # type: ignore[arg-type] # a tuple of texts
        assert block.samples[0] == -1.0
        assert block.samples[1] == pytest.approx(1.0, abs=2**-15)


@pytest.fixture
def pipe() -> Iterator[tuple[io.BufferedReader, Callable[[bytes], None], Callable[[], None]]]:
    """A real pipe: its reading end, what writes into it, what ends it."""
    reading, writing = os.pipe()
    reader = os.fdopen(reading, "rb")
    writer = os.fdopen(writing, "wb", buffering=0)

    def write_all(data: bytes) -> None:
        while data:
            data = data[writer.write(data) :]

    yield reader, write_all, writer.close
    writer.close()
    reader.close()


Pipe = tuple[io.BufferedReader, Callable[[bytes], None], Callable[[], None]]


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_ragged_writes_give_the_same_stream_as_one_piece(pipe: Pipe, rate_hz: int) -> None:
    reader, write_all, end = pipe
    data = FORMATS["s24le"][0](interleaved(40_000, 2).reshape(-1))

    def feed() -> None:
        at, rng = 0, np.random.default_rng(3)
        while at < len(data):
            size = int(rng.choice([1, 2, 5, 7, 1000, 4097]))
            write_all(data[at : at + size])
            at += size
        end()

    thread = threading.Thread(target=feed)
    thread.start()
    piped = list(
        PcmStream(reader, rate_hz=rate_hz, channels=2, channel=1, sample_format="s24le", block_samples=1600).blocks()
    )
    thread.join()
    whole = PcmStream(
        io.BytesIO(data), rate_hz=rate_hz, channels=2, channel=1, sample_format="s24le", block_samples=10**9
    )

    np.testing.assert_array_equal(joined(piped), joined(list(whole.blocks())))
    assert joined(piped).size == round(40_000 * 16_000 / rate_hz)
    assert max(block.samples.size for block in piped) <= 1600 + 1600  # and what the resampler held back


def test_times_of_a_stream_are_counted_and_only_its_beginning_is_read_off_a_clock() -> None:
    source = PcmStream(io.BytesIO(bytes(2 * 48_000)), rate_hz=48_000, block_samples=777)
    blocks = list(source.blocks())

    starts = np.cumsum([0, *(block.samples.size for block in blocks)])
    assert [block.start_sample for block in blocks] == list(starts[:-1])
    assert starts[-1] == 16_000
    assert [block.time for block in blocks] == [blocks[0].time + start / 16_000 for start in starts[:-1]]
    assert [block.starts_anew for block in blocks] == [True] + [False] * (len(blocks) - 1)
    assert {block.recording for block in blocks} == {"stdin"}


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 96_000])
def test_a_live_pipe_is_passed_on_within_a_tenth_of_a_second(pipe: Pipe, rate_hz: int) -> None:
    reader, write_all, _end = pipe
    blocks = PcmStream(reader, rate_hz=rate_hz, timeout_seconds=5).blocks()
    # No more is written: if a tenth of a second were not enough for a first block, `next` would raise.
    write_all(bytes(2 * round(0.1 * rate_hz)))

    assert next(blocks).samples.size > 0


def test_a_frame_cut_in_half_at_the_end_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    source = PcmStream(io.BytesIO(bytes(4 * 100 + 3)), channels=2)

    assert joined(list(source.blocks())).size == 100
    assert "stdin: ended within a frame: 3 byte(s) of 4 left over" in caplog.text


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0"])
def test_a_stream_that_ends_before_it_begins_is_an_error(data: bytes) -> None:
    with pytest.raises(SourceError, match="stdin: ended before any sound came"):
        list(PcmStream(io.BytesIO(data)).blocks())


@pytest.mark.parametrize("piece_bytes", [1, 3, 4096])
def test_a_wav_by_mistake_is_refused_by_its_beginning(pipe: Pipe, piece_bytes: int) -> None:
    reader, write_all, _end = pipe
    header = _small_recording("WAV")[:44]

    def feed() -> None:
        for at in range(0, len(header), piece_bytes):
            write_all(header[at : at + piece_bytes])

    thread = threading.Thread(target=feed)
    thread.start()
    with pytest.raises(SourceError, match=r"stdin: begins like a WAV file, expected raw s16le samples.*-t raw"):
        list(PcmStream(reader).blocks())
    thread.join()


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite"), (300.0, "is 300: expected")])
def test_a_value_that_is_no_sound_is_refused_with_its_position(value: float, words: str) -> None:
    samples = interleaved(5000, 1)[:, 0]
    samples[4000] = value
    source = PcmStream(io.BytesIO(samples.tobytes()), sample_format="f32le")

    with pytest.raises(SourceError, match=rf"stdin: sample 4000 \(at 0\.250 s\).*{words}"):
        list(source.blocks())


@pytest.mark.parametrize("dead", [0, 1])
def test_a_pipe_whose_channel_is_dead_is_told_of_the_one_with_sound(
    dead: int, caplog: pytest.LogCaptureFixture
) -> None:
    frames = np.zeros((7 * 16_000, 2), "<i2")
    frames[:, 1 - dead] = np.resize([2000, -2000], len(frames))
    for channel in (dead, 1 - dead):
        caplog.clear()
        stream = PcmStream(io.BytesIO(frames.tobytes()), channels=2, channel=channel)
        assert sum(block.samples.size for block in stream.blocks()) == len(frames)
        told = [record.message for record in caplog.records if "sound at" in record.message]
        words = f"stdin: channel {dead} is one value throughout; channel {1 - dead} has sound at -24 dBFS"
        assert told == ([words] if channel == dead else [])


def test_a_pipe_that_falls_silent_is_an_error_and_goes_on_afterwards_in_step(pipe: Pipe) -> None:
    reader, write_all, end = pipe
    source = PcmStream(reader, channels=2, channel=1, timeout_seconds=0.1)
    write_all(b"\x01\x00\x02\x00" * 10 + b"\x01\x00\x02")  # half a sample is missing
    with pytest.raises(SourceError, match=r"stdin: nothing came for 0\.1 s"):
        list(source.blocks())
    write_all(b"\x00" + b"\x01\x00\x02\x00" * 10)
    end()

    blocks = list(source.blocks())

    assert blocks[0].starts_anew
    assert set(joined(blocks) * 2**15) == {2.0}
    assert joined(blocks).size == 11


def test_close_ends_a_stream_that_gives_nothing(pipe: Pipe) -> None:
    reader, write_all, _end = pipe
    source = PcmStream(reader)
    write_all(bytes(200))
    blocks = source.blocks()
    next(blocks)
    source.close()

    assert list(blocks) == []


@pytest.mark.parametrize(
    ("rate_hz", "channels", "channel"), [(8000, 1, 0), (10**9, 1, 0), (16_000, 2, 2), (16_000, 1, -1), (16_000, 0, 0)]
)
def test_settings_that_fit_no_stream_are_refused_at_once(rate_hz: int, channels: int, channel: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        PcmStream(io.BytesIO(), rate_hz=rate_hz, channels=channels, channel=channel)
