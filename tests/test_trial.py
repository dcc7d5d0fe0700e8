"""Detectors tried in a process of their own: what a folder does there it does to nobody."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge import detector as detectors
from edge import early
from edge.detector import Trials, trial, verify
from edge.ear import Model
from edge.errors import DetectorError
from tests.conftest import DEMO
from tests.strange import endless_loop, rehash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped detector."""
    shutil.copytree(DEMO / "detector", tmp_path / "pump")
    return tmp_path / "pump"


def copies(folder: Path, n: int) -> list[Path]:
    return [Path(shutil.copytree(folder, folder.with_name(f"copy{i}"))) for i in range(n)]


def change(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    card = json.loads((folder / "detector.json").read_text())
    change(card)
    (folder / "detector.json").write_text(json.dumps(card))


def test_the_same_bytes_are_tried_once_and_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = folder.with_name("tried")
    code = (
        "from edge.detector import trial\nverify = trial.verify\n"
        "def counted(detector, played):\n"
        f"    open({str(tried)!r}, 'a').write('x')\n    verify(detector, played)\n"
        "trial.verify = counted\ntrial.main()"
    )
    monkeypatch.setattr(trial, "_COMMAND", (*trial._COMMAND[:-1], code))
    trials, paths = Trials(), [folder, *copies(folder, 3), folder]
    opened = trials.open(paths)
    assert list(opened) == paths[:-1]
    assert [detector.path for detector in opened.values()] == paths[:-1]
    assert len({id(detector.model) for detector in opened.values()}) == 1
    again = trials.open(paths)
    assert tried.read_text() == "x"
    assert len({id(detector.sections) for each in (opened, again) for detector in each.values()}) == 1


def test_machines_of_one_network_share_it(folder: Path) -> None:
    (other,) = copies(folder, 1)
    change(other, lambda card: card.update(name="another"))
    first, second = Trials().open([folder, other]).values()
    assert first.model is second.model
    assert first.sha256 != second.sha256


def test_every_folder_that_fails_is_named(folder: Path) -> None:
    trials, (bad, missing) = Trials(), copies(folder, 2)
    change(bad, lambda card: card["golden"].update(scores=[1.0]))  # type: ignore[attr-defined]
    shutil.rmtree(missing)
    with pytest.raises(DetectorError) as refused:
        trials.open([bad, folder, missing])
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"{bad}: golden.flac scores [")
    assert second.startswith(f"{missing}: not a detector folder")


def test_a_graph_without_end_is_refused(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "model.onnx")
    model.graph.node.insert(0, endless_loop())
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    rehash(folder)
    with pytest.raises(DetectorError, match="'Loop' has a graph of its own: expected steps that neither repeat"):
        detectors.read(folder)


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("import time; time.sleep(60)", "was not tried within 1 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended the process that tried it (signal 11)"),
        ("import sys; sys.exit(3)", "ended the process that tried it (exit code 3)"),
        ("print('{\"sha'); import sys; sys.exit(0)", "confused the process that tried it"),
    ],
    ids=["hangs", "crashes", "ends", "stammers"],
)
def test_whatever_becomes_of_the_child_is_said_and_the_rest_is_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: str, told: str
) -> None:
    """The second of three folders does it; START_SECONDS is for a child that has just been started."""
    hostile, fine = copies(folder, 2)
    for i, each in enumerate([hostile, fine]):
        change(each, lambda card, i=i: card.update(name=f"n{i}"))  # type: ignore[misc]
    code = (
        "from edge.detector import trial\n"
        "tried = trial._tried\n"
        "def strange(path, *rest):\n"
        f"    if path.name == {hostile.name!r}:\n        {before}\n"
        "    return tried(path, *rest)\n"
        "trial._tried = strange\ntrial.main()"
    )
    monkeypatch.setattr(trial, "_COMMAND", (*trial._COMMAND[:-1], code))
    trials = Trials(seconds=1.0 if "sleep" in before else 30.0)
    if "sleep" in before:
        monkeypatch.setattr(trial, "START_SECONDS", 30.0)
    with pytest.raises(DetectorError) as refused:
        trials.open([folder, hostile, fine])
    assert str(refused.value).startswith(f"{hostile}: {told}")
    assert len(str(refused.value).splitlines()) == 1
    trials.open([folder, fine])


def test_memory_without_end_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from edge.detector import trial\n"
        "trial.verify = lambda *_: bytearray(8 << 30)\n"  # a graph may ask for as much as it likes
        "trial.main()"
    )
    monkeypatch.setattr(trial, "_COMMAND", (*trial._COMMAND[:-1], code))
    with pytest.raises(DetectorError, match="takes more memory than there is"):
        Trials().open([folder])


def test_who_does_not_wait_any_more_waits_no_longer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_COMMAND", (*trial._COMMAND[:-1], "import time; time.sleep(60)"))
    began = time.monotonic()
    with pytest.raises(DetectorError, match="given up"):
        Trials().open([folder], cancelled=lambda: time.monotonic() > began + 0.5)
    assert time.monotonic() - began < 10


def test_hours_of_a_golden_recording_are_not_unpacked(folder: Path) -> None:
    """Two megabytes of FLAC become gigabytes of samples."""
    with soundfile.SoundFile(folder / "golden.flac", "w", 16_000, 1, format="FLAC") as file:
        for _ in range(120):
            file.write(np.zeros(16_000 * 60))
    rehash(folder)
    assert (folder / "golden.flac").stat().st_size < 3_000_000
    began = time.process_time()
    with pytest.raises(DetectorError, match=r"golden\.flac: longer than 300 s"):
        verify(detectors.read(folder))
    assert time.process_time() - began < 10


def test_a_folder_that_is_exchanged_meanwhile_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = detectors.read

    def late(path: Path, models: MutableMapping[str, Model]) -> detectors.Detector:  # in this process alone
        change(path, lambda card: card.update(name="another"))
        return read(path, models)

    monkeypatch.setattr(trial, "read", late)
    with pytest.raises(DetectorError, match="changed while it was read"):
        Trials().open([folder])


def test_no_child_is_left(folder: Path) -> None:
    Trials().open([folder])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "trial" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_a_child_that_was_begun_early_is_the_one_that_is_asked_unless_it_has_died(folder: Path) -> None:
    early.begin(early.TRIAL)
    (begun,) = early._begun
    Trials().open([folder])
    assert begun.poll() is not None
    assert not early._begun

    early.begin(early.TRIAL)
    early._begun[0].kill()
    early._begun[0].wait()
    assert list(Trials().open([folder])) == [folder]


def test_a_child_that_nobody_asks_ends_with_its_parent() -> None:
    code = f"from edge import early; early.begin({early.TRIAL!r}); print(early._begun[0].pid)"
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    give_up = time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < give_up
        time.sleep(0.05)
