"""Batches on disk: whole or not there, of one thing, and never more than they may be."""

import os
from pathlib import Path

import numpy as np
import pytest

from edge.memory import Batches, EpisodeNumbers

WHOSE = {"name": "pump"}


def batch(i: int) -> dict[str, np.ndarray]:
    return {"x": np.full((10, 3), i, np.float16), "n": np.array([i])}


def test_every_cut_leaves_the_batches_before_it_and_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    for i in range(3):
        Batches(path, WHOSE, most_bytes=100_000).append(batch(i))
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        own = Batches(path, WHOSE, most_bytes=100_000)
        before = [int(each["n"][0]) for each in own.read()]
        assert before == list(range(len(before)))
        own.append(batch(9))
        assert [int(each["n"][0]) for each in own.read()] == [*before, 9]


def test_a_flipped_bit_ends_it_there_and_another_owner_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    own = Batches(path, WHOSE, most_bytes=100_000)
    own.append(batch(1))
    own.append(batch(2))
    damaged = bytearray(path.read_bytes())
    damaged[-20] ^= 1
    path.write_bytes(damaged)
    assert [int(each["n"][0]) for each in own.read()] == [1]
    assert Batches(path, {"name": "fan"}, most_bytes=100_000).read() == []
    assert not path.exists()


def test_it_does_not_grow_beyond_its_bound(tmp_path: Path) -> None:
    own = Batches(tmp_path / "kept", WHOSE, most_bytes=1000)
    own.append(batch(1))
    with pytest.raises(OSError, match="more than 1000 bytes"):
        own.append(batch(2))
    assert len(own.read()) == 1


@pytest.mark.parametrize("damaged", [b"", b"hello", b"PK\3\4 and no more", b"PK\5\6" + bytes(18)])
def test_numbers_of_an_episode_that_are_damaged_are_not_used(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "pump").mkdir()
    (tmp_path / "pump" / "e1.npz").write_bytes(damaged)
    assert dict(EpisodeNumbers(tmp_path).read("pump", ["e1"]).get("e1", {})) == {}


def test_a_pipe_in_the_place_of_numbers_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "pump").mkdir()
    os.mkfifo(tmp_path / "pump" / "e1.npz")
    assert EpisodeNumbers(tmp_path).read("pump", ["e1"]) == {}
