"""`earshot evaluate --compare`: peers on the same clips, in one table, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge.errors import EarshotError
from tests.conftest import Ran
from trainer.dataset import Clip
from trainer.peers.peer import Peer, PeerScores
from trainer.simulator.dataset import Plan, write


@dataclass(frozen=True)
class Listener(Peer):
    """A peer of a test: it knows how loud a clip's name is, and counts how often it was asked."""

    about: ClassVar[str] = "for a test"
    default_score: ClassVar[str] = "loudness"
    asked: ClassVar[list[int]] = []

    name: str = "listener"
    quality: float = 3.0

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        assert folder.is_dir()
        assert all(clip.label is None for clip in test)
        assert all(clip.split == "train" for clip in train)
        self.asked.append(seed)
        rng = np.random.default_rng([seed, len(self.name)])
        loud = {clip.path: float(rng.normal()) + self.quality * ("anomaly" in clip.path.name) for clip in test}
        return PeerScores({path: {"loudness": value} for path, value in loud.items()})


@dataclass(frozen=True)
class Deaf(Peer):
    """A peer that cannot: the others are compared all the same."""

    about: ClassVar[str] = "for a test"
    default_score: ClassVar[str] = "none"

    name: str = "deaf"

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        raise EarshotError(f"{folder}, {seed}: {len(train)} and {len(test)} clips are not for me")


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("factory") / "data"
    write(folder, Plan(machines=("fan", "pump"), sections=1, train_source=4, train_target=1, test=4))
    return folder


def test_peers_are_compared_in_one_table_and_only_once(
    factory: Path, tmp_path: Path, earshot: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = {peer.name: peer for peer in (Listener(), Listener("half-asleep", 0.3), Deaf())}
    monkeypatch.setattr("trainer.peers.all_peers", lambda _export: peers)
    Listener.asked.clear()
    arguments = ["evaluate", factory, "--compare", "--seeds", "0,1", "--output", tmp_path / "out"]

    ran = earshot(*arguments)
    assert ran.code == 0, ran.stderr
    assert Listener.asked == [0, 1, 0, 1]
    assert "deaf, seed 0: not compared: " in ran.stderr
    head, *rows = ran.stdout.splitlines()
    assert [word for word in ("fan", "pump", "mean", "h-mean", "seeds") if word not in head] == []
    assert rows[0].startswith("* listener")
    assert rows[1].startswith("  half-asleep")
    assert "listener is better, in points, than half-asleep" in ran.stdout
    assert (tmp_path / "out" / "peers" / "listener-seed1").is_dir()
    teams = sorted(path.name for path in (tmp_path / "out" / "challenge" / "teams").iterdir())
    assert teams == ["half-asleep-seed0", "half-asleep-seed1", "listener-seed0", "listener-seed1"]

    again = earshot(*arguments)
    assert again.stdout == ran.stdout
    assert Listener.asked == [0, 1, 0, 1]


def test_wrong_data_is_refused_before_a_peer_is_trained(
    factory: Path, tmp_path: Path, earshot: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.peers.all_peers", lambda _export: {"listener": Listener()})
    Listener.asked.clear()
    data = tmp_path / "data" / "fan"
    for split in ("train", "test"):
        (data / split).mkdir(parents=True)
        for file in (factory / "fan" / split).iterdir():
            (data / split / file.name).symlink_to(file)
    twin = next((data / "train").iterdir())
    (data / "test" / "section_00_source_test_normal_0099.flac").symlink_to(twin.resolve())
    ran = earshot("evaluate", tmp_path / "data", "--compare", "--output", tmp_path / "out")
    assert ran.code == 1
    assert "section_00_source_test_normal_0099" in ran.stderr
    assert Listener.asked == []
