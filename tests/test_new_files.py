"""A folder that a recorder drops files into: each new one once, when it is complete."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError
from edge.source import FolderSource, NewFiles
from edge.source.folder import SETTLED_SECONDS

WriteWav = Callable[..., Path]
SOUND = np.full(1600, 0.1, np.float32)


class Watched:
    """A life that looks into a folder; `kept` is what the next one is told."""

    def __init__(self, folder: Path, since_ns: int | None = None) -> None:
        self.folder = folder
        self.now = 0.0
        self.kept: list[int] = []
        self.files = NewFiles(lambda: self.now, since_ns=since_ns, keep=self.kept.append)
        self.look()

    def look(self) -> list[str]:
        return [path.name for path in self.files.look(self.folder)]

    def heard(self) -> list[str]:
        source = FolderSource(self.folder, only_new=self.files)
        return [Path(block.recording).name for block in source.blocks() if block.starts_anew]


@pytest.fixture
def watched(write_wav: WriteWav, tmp_path: Path) -> Watched:
    write_wav("old.wav", SOUND)
    return Watched(tmp_path)


def test_what_was_there_is_left_alone_and_what_comes_is_heard_once(watched: Watched, write_wav: WriteWav) -> None:
    assert watched.heard() == []
    write_wav("new.wav", SOUND)
    assert watched.heard() == []  # it may still grow
    watched.now += SETTLED_SECONDS
    assert watched.heard() == ["new.wav"]
    watched.now += SETTLED_SECONDS
    assert watched.heard() == []


def test_a_file_that_grows_is_waited_for(watched: Watched, write_wav: WriteWav) -> None:
    for seconds in range(1, 10):
        write_wav("new.wav", np.tile(SOUND, seconds))
        assert watched.look() == []
        watched.now += SETTLED_SECONDS - 1
    watched.now += SETTLED_SECONDS
    assert watched.look() == ["new.wav"]


def test_a_file_that_was_of_no_use_is_tried_again_when_it_has_changed(watched: Watched, write_wav: WriteWav) -> None:
    content = write_wav("new.wav", SOUND).read_bytes()
    (watched.folder / "new.wav").write_bytes(content[:-100])
    watched.look()
    watched.now += SETTLED_SECONDS
    assert watched.heard() == []
    (watched.folder / "new.wav").write_bytes(content)
    watched.look()
    watched.now += SETTLED_SECONDS
    assert watched.heard() == ["new.wav"]


def test_files_that_come_back_with_their_disk_are_not_new(watched: Watched, tmp_path: Path) -> None:
    away = tmp_path.parent / "away.wav"
    (tmp_path / "old.wav").rename(away)
    assert watched.look() == []
    away.rename(tmp_path / "old.wav")
    watched.look()
    watched.now += SETTLED_SECONDS
    assert watched.look() == []


def test_a_folder_that_is_away_is_named(watched: Watched) -> None:
    with pytest.raises(SourceError, match="nowhere: expected a folder"):
        watched.files.look(watched.folder / "nowhere")
    (watched.folder / "old.wav").unlink()
    assert watched.look() == []  # an empty one is no error: nothing has come yet


def test_what_came_while_nobody_looked_is_heard_by_the_next_life(watched: Watched, write_wav: WriteWav) -> None:
    while not later_than(watched.kept[-1], write_wav("while_it_was_off.wav", SOUND)):
        pass  # the clock of a file system ticks in milliseconds
    second = Watched(watched.folder, since_ns=watched.kept[-1])
    assert second.heard() == []  # it may still grow
    second.now += SETTLED_SECONDS
    assert second.heard() == ["while_it_was_off.wav"]

    third = Watched(watched.folder, since_ns=second.kept[-1])
    third.now += SETTLED_SECONDS
    assert third.heard() == []


def test_a_kill_loses_none_of_those_that_wait(watched: Watched, write_wav: WriteWav) -> None:
    first = write_wav("b.wav", SOUND)
    while not later_than(first.stat().st_ctime_ns, write_wav("a.wav", SOUND)):
        pass
    watched.look()
    watched.now += SETTLED_SECONDS
    assert watched.look() == ["a.wav", "b.wav"]
    watched.files.heard(watched.folder / "a.wav")  # came last
    assert not later_than(watched.kept[-1], watched.folder / "old.wav")
    assert later_than(watched.kept[-1], first)
    watched.files.heard(first)
    assert not later_than(watched.kept[-1], first)


def later_than(came_ns: int, path: Path) -> bool:
    return path.stat().st_ctime_ns > came_ns


def test_what_is_interrupted_is_heard_again(watched: Watched, write_wav: WriteWav) -> None:
    write_wav("new.wav", np.tile(SOUND, 10))
    watched.look()
    watched.now += SETTLED_SECONDS
    source = FolderSource(watched.folder, only_new=watched.files)
    next(source.blocks())
    source.close()
    assert watched.heard() == ["new.wav"]
