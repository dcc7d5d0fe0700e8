"""docs/sound.md, row by row: recordings as recorders, copies and power cuts leave them, each made here."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.errors import SourceError
from edge.source import Note, Pickup, Samples, read_blocks, seconds_in
from edge.source.pickup import SayOnce
from edge.source.riff import find_wav
from tests.damage import tone

Put = Callable[[bytes | bytearray], Path]

RNG = np.random.default_rng(11)
SECONDS = 2.0


def sound(seconds: float = SECONDS, channels: int = 1) -> Samples:
    """A machine's hum in noise, shape (T, channels), as 16 bits have it."""
    samples = tone(RNG, seconds=seconds, channels=channels)
    return (np.round(samples * 32_768) / 32_768).astype(np.float32)


def packed(samples: Samples, container: str, subtype: str = "PCM_16") -> bytearray:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=container, subtype=subtype)
    return bytearray(file.getvalue())


def read(path: Path, pickup: Pickup | None = None) -> tuple[Samples, list[Note]]:
    notes: list[Note] = []
    blocks = read_blocks(path, pickup or Pickup(), block_samples=1600, on_note=notes.append)
    return np.concatenate(list(blocks)), notes


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(content: bytes | bytearray) -> Path:
        path = tmp_path / "a.wav"
        path.write_bytes(content)
        return path

    return write


def with_size(content: bytearray, data_bytes: int, riff_bytes: int | None = None) -> bytearray:
    content[4:8] = (data_bytes + 36 if riff_bytes is None else riff_bytes).to_bytes(4, "little")
    content[40:44] = data_bytes.to_bytes(4, "little")
    return content


# --- Sizes that are wrong ---


@pytest.mark.parametrize("seconds", [0.5, 1.9])
def test_a_size_of_a_while_ago_is_not_believed(put: Put, seconds: float) -> None:
    """A recorder that loses its power leaves the sizes that it wrote last."""
    expected = sound()
    path = put(with_size(packed(expected, "WAV"), round(seconds * 32_000)))

    samples, (note,) = read(path)

    np.testing.assert_array_equal(samples, expected[:, 0])
    assert note == Note(
        "stale", f"its header promises {round(seconds * 32_000)} bytes of sound, 64000 are there: read to its end"
    )
    assert seconds_in(path) == SECONDS


def test_chunks_behind_the_sound_are_no_sound_that_the_header_forgot(put: Put) -> None:
    expected = sound()
    for behind in (
        b"LIST\x04\0\0\0INFO",
        b"LIST\xff\xff\0\0INFO",  # cut off itself
        b"Xyz1\x03\0\0\0abc\0bext\x02\0\0\0ab",
        b"TAG" + bytes(125),
        bytes(4096),
        b"\0",
        b"abc",
    ):
        samples, notes = read(put(packed(expected, "WAV") + behind))
        np.testing.assert_array_equal(samples, expected[:, 0])
        assert notes == []


@pytest.mark.parametrize("behind", [b"", b"LIST\x04\0\0\0INFO"])
def test_a_size_that_passed_4_gib_is_not_believed(tmp_path: Path, behind: bytes) -> None:
    """A hole stands for the first 4 GiB, so that the test needs no such disk."""
    rest = packed(sound(), "WAV")[44:]
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(with_size(packed(sound(), "WAV")[:44], len(rest)) + rest)
        file.write(b"\x11" * 1000)  # then the hole
        file.seek((1 << 32) + 44)
        file.write(rest + behind)

    with path.open("rb", buffering=0) as file:
        found = find_wav(file)
    assert found is not None
    assert found.stretches == ((44, (1 << 32) + len(rest)),)
    assert [note.kind for note in found.notes] == ["wrapped"]
    assert seconds_in(path) == ((1 << 32) + len(rest)) / 32_000


def test_every_data_chunk_is_heard(put: Put) -> None:
    first, second = sound(), sound(1.0)
    data = packed(second, "WAV")[44:]
    content = packed(first, "WAV") + b"LIST\x03\0\0\0abc\0" + b"data" + struct.pack("<I", len(data)) + data

    samples, (note,) = read(put(content))

    np.testing.assert_array_equal(samples, np.concatenate([first, second])[:, 0])
    assert note.text == "the sound is in 2 data chunks, which follow one another"
    with pytest.raises(SourceError, match=r"cut off: its header promises 96000 bytes of sound, 95000 are there"):
        read(put(content[:-1000]))


@pytest.mark.parametrize("too_much", [44, 36])
def test_a_size_that_counts_the_header_is_no_cut(put: Put, too_much: int) -> None:
    expected = sound()
    samples, (note,) = read(put(with_size(packed(expected, "WAV"), 64_000 + too_much)))

    np.testing.assert_array_equal(samples, expected[:, 0])
    assert note.kind == "counts header"


def test_bw64_is_rf64_by_another_name(put: Put) -> None:
    expected = sound()
    content = packed(expected, "RF64")
    content[:4] = b"BW64"

    samples, notes = read(put(content))

    np.testing.assert_array_equal(samples, expected[:, 0])
    assert notes == []


@pytest.mark.parametrize("size", [0, (1 << 64) - 1, 32_000])
def test_an_rf64_that_was_never_closed_is_read_to_its_end(put: Put, size: int) -> None:
    expected = sound()
    content = packed(expected, "RF64")
    at = content.index(b"ds64") + 8
    content[at + 8 : at + 16] = size.to_bytes(8, "little")

    samples, (note,) = read(put(content))

    np.testing.assert_array_equal(samples, expected[:, 0])
    assert note.kind == ("stale" if size == 32_000 else "open")


@pytest.mark.parametrize("size", [0, 24, 24 + 32_000, (1 << 64) - 1])
def test_a_wave64_is_read_to_its_end_too(put: Put, size: int) -> None:
    expected = sound()
    content = packed(expected, "W64")
    at = content.index(b"data") + 16
    content[at : at + 8] = size.to_bytes(8, "little")

    samples, _ = read(put(content))

    np.testing.assert_array_equal(samples, expected[:, 0])


def test_big_endian_samples_behind_a_stale_size(put: Put) -> None:
    file = io.BytesIO()
    expected = sound()
    soundfile.write(file, expected, 16_000, format="WAV", subtype="PCM_16", endian="BIG")
    content = bytearray(file.getvalue())
    assert content[:4] == b"RIFX"
    content[40:44] = (3200).to_bytes(4, "big")

    samples, (note,) = read(put(content))

    np.testing.assert_array_equal(samples, expected[:, 0])
    assert note.kind == "stale"


# --- FLAC ---


@pytest.mark.parametrize("behind", [b"\0", bytes(2), bytes(4096), bytes(3 << 20), b"TAG" + bytes(125)])
@pytest.mark.parametrize("tagged", [False, True])
def test_what_lies_behind_a_flac_is_no_damage(put: Put, behind: bytes, tagged: bool) -> None:
    expected = sound()
    before = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128) if tagged else b""

    samples, notes = read(put(before + packed(expected, "FLAC") + behind))

    np.testing.assert_array_equal(samples, expected[:, 0])
    # One or two zeros may as well be the check sum of its last frame.
    assert {note.kind for note in notes} <= {"behind"}
    assert notes or len(behind) <= 2


def test_a_flac_longer_than_its_head_says(put: Put) -> None:
    expected = sound()
    content = packed(expected, "FLAC")
    content[22:26] = (16_000).to_bytes(4, "big")

    samples, (note,) = read(put(content))

    np.testing.assert_array_equal(samples, expected[:, 0])
    assert note == Note("stale", "its header promises 1.000 s, 2.000 are there: read to its end")


def test_two_flacs_in_one_file_are_refused(put: Put) -> None:
    with pytest.raises(SourceError, match="damaged"):
        read(put(packed(sound(), "FLAC") + packed(sound(), "FLAC")))


# --- Cut off ---


@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "FLAC"])
def test_a_file_that_is_cut_off_can_be_salvaged(put: Put, container: str) -> None:
    expected = sound(4.0)[:, 0]
    content = packed(expected, container)
    path = put(content[: len(content) * 3 // 4])
    with pytest.raises(SourceError, match=r"a\.wav: .*"):
        read(path)

    samples, notes = read(path, Pickup(salvage=True))

    assert 2.5 * 16_000 < samples.size <= 3.0 * 16_000
    np.testing.assert_array_equal(samples, expected[: samples.size])
    assert [note.kind for note in notes] == ["cut off"]


def test_salvage_changes_nothing_of_a_good_file(put: Put) -> None:
    expected = sound()
    for container in ("WAV", "FLAC"):
        samples, notes = read(put(packed(expected, container)), Pickup(salvage=True))
        np.testing.assert_array_equal(samples, expected[:, 0])
        assert notes == []


# --- Gain, channels, other writers ---


def test_floats_of_another_full_scale_have_a_way_in(put: Put) -> None:
    expected = sound()[:, 0]
    path = put(packed(expected * 100, "WAV", "FLOAT"))
    with pytest.raises(SourceError, match=r"expected \[-1, 1\].*`--gain-db -\d+`"):
        read(path)

    samples, _ = read(path, Pickup(gain_db=-40))

    np.testing.assert_allclose(samples, expected, rtol=1e-5, atol=1e-7)


def test_a_dead_channel_is_told_of_the_one_with_sound(put: Put) -> None:
    level = 10 ** (-26 / 20) * np.sqrt(2)
    hum = level * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    both = np.stack([np.full(32_000, 0.01), hum], axis=1)
    path = put(packed(both.astype(np.float32), "WAV"))

    assert [note.text for note in read(path)[1]] == [
        "channel 0 is one value throughout; channel 1 has sound at -26 dBFS"
    ]
    assert read(path, Pickup(channel=1))[1] == []
    assert read(put(packed(np.zeros((32_000, 2), np.float32), "WAV")))[1] == []


@pytest.mark.parametrize("name", ["20230515_142300T.WAV", "24F31901603710F2_20230515_142300T.WAV"])
def test_an_audiomoth_that_left_out_silence_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(packed(sound(), "WAV"))
    with pytest.raises(SourceError, match=rf"{name}: an AudioMoth left out its quiet parts.*Expand AudioMoth Rec"):
        read(tmp_path / name)
    (tmp_path / name).rename(tmp_path / name.replace("T.", "."))
    assert read(tmp_path / name.replace("T.", "."))[1] == []


def test_the_note_of_a_kind_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    say = SayOnce()
    for name in ("a\x1b.wav", "b.wav"):
        say(name, Note("stale", "its header is wrong"))
    say("c.wav", Note("behind", "zeros behind the sound"))
    assert [record.getMessage() for record in caplog.records] == [
        r"a\x1b.wav: its header is wrong (said once; others may be alike)",
        "c.wav: zeros behind the sound (said once; others may be alike)",
    ]
