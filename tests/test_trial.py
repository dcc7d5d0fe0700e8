"""Detectors tried in a process of their own: what a folder does there it does to nobody."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge import detector as detectors
from edge.detector import Trials, trial, verify
from edge.detector.child import twin
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
        "from edge.detector import trying\nverify = trying.verify\n"
        "def counted(detector, played):\n"
        f"    open({str(tried)!r}, 'a').write('x')\n    verify(detector, played)\n"
        "trying.verify = counted\ntrying.main()"
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
        "from edge.detector import trying\n"
        "tried = trying._tried\n"
        "def strange(path, *rest):\n"
        f"    if path.name == {hostile.name!r}:\n        {before}\n"
        "    return tried(path, *rest)\n"
        "trying._tried = strange\ntrying.main()"
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
        "from edge.detector import trying\n"
        "trying.verify = lambda *_: bytearray(8 << 30)\n"  # a graph may ask for as much as it likes
        "trying.main()"
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


def in_a_process_of_one_thread(code: str) -> str:
    """Return what it prints. Here there may be others' threads."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    ).stdout


KILL = "os.kill(twin.pid, 9); twin.wait()"


@pytest.mark.parametrize(
    ("before", "started"),
    [
        ("", False),
        (KILL, True),
        ("trials.begin([folder]); twin.wait()", False),  # it has answered and ended before anybody listens
        (f"{KILL}; trials.begin([folder])", True),
        ("trials.begin([folder / 'other'])", True),  # the configuration was changed meanwhile
        ("trials.begin([folder, folder])", False),
    ],
)
def test_the_first_child_of_a_start_is_a_twin_unless_it_has_died_or_was_asked_something_else(
    folder: Path, before: str, started: bool
) -> None:
    code = f"""
import os, threading
from pathlib import Path
from edge.detector import Trials, trial
trial.started = lambda command, started=trial.started: print("started") or started(command)
trials, folder = Trials(early=True), Path({str(folder)!r})
twin = trials._early
{before}
threading.Thread(target=lambda: print(*trials.open([folder])), name="preparing").start()
"""
    assert in_a_process_of_one_thread(code) == ("started\n" if started else "") + f"{folder}\n"


@pytest.mark.parametrize("begin", ["", "trials.begin([folder]); trials._early.wait()"])
def test_a_folder_that_ends_a_twin_ends_nobody_else(folder: Path, begin: str) -> None:
    code = f"""
import os
from pathlib import Path
from edge.detector import Trials, trial, trying
from edge.errors import DetectorError
trying.verify = lambda *_: os.abort()
trials, folder = Trials(early=True), Path({str(folder)!r})
{begin}
try:
    trials.open([folder])
except DetectorError as error:
    print(error)
"""
    assert "ended the process that tried it (signal 6)" in in_a_process_of_one_thread(code)


def test_a_twin_has_no_file_of_its_parent_and_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    code = f"""
import os
file = open({str(tmp_path / "open")!r})
from edge.detector.child import twin
def main():
    links = ["/proc/self/fd/" + name for name in os.listdir("/proc/self/fd")]
    print([os.readlink(link) for link in links if os.path.lexists(link)])  # that of the listing is gone
    import sys
    sys.stdout.flush()
    sys.stdin.read()
own = twin(main)
print(own.pid)
print(own.stdout.readline().decode())
"""
    pid, files = in_a_process_of_one_thread(code).strip().split("\n", 1)
    assert str(tmp_path) not in files
    assert files.count("pipe:") == 2
    give_up = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_there_is_no_twin_of_a_process_of_many_threads() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert twin(lambda: None) is None
    finally:
        ended.set()
        thread.join()
