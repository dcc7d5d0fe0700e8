"""The command as a person or a script calls it: what is data, what is talk, and the exit code."""

import csv
import errno
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

from edge import cli
from edge import detector as detectors
from edge.cli import earshot as earshot_group
from edge.commands.options import open_output
from edge.errors import EarshotError, shown
from edge.judge.scorer import ScoreName
from edge.source import Pickup, read_samples
from tests.conftest import COMMAND, DEMO, Ran, environment, run_process

Earshot = Callable[..., Ran]
WriteWav = Callable[..., Path]

HEADER = "path,section,score,threshold,decision,note"
DETECTOR = detectors.read(DEMO / "detector")
WINDOW = DETECTOR.plan.window_samples
COMMANDS = ["run", "replay", "score", "enroll", "check", "forget", "bench", "simulate", "train", "export"]
COMMANDS += ["evaluate", "reproduce", "report"]
TRAIN_EXTRA = ["torch", "onnx", "onnxscript", "sklearn", "scipy", "tqdm"]


@pytest.fixture(scope="session")
def sound(demo_recording: Path) -> NDArray[np.float32]:
    """The shipped machine while it is well, as 16-bit integers would have it."""
    return read_samples(demo_recording)[: WINDOW + 3 * DETECTOR.plan.hop_samples]


@pytest.fixture
def clip(sound: NDArray[np.float32], write_wav: WriteWav) -> Path:
    """One window of it."""
    return write_wav("well.wav", sound[:WINDOW])


@pytest.fixture
def noise(rng: np.random.Generator, write_wav: WriteWav) -> Path:
    """What no machine sounds like."""
    return write_wav("noise.wav", rng.normal(0, 0.2, WINDOW).astype(np.float32))


@pytest.fixture
def folder(clip: Path, noise: Path) -> Path:
    assert clip.parent == noise.parent
    return clip.parent


def rows_of(text: str) -> list[dict[str, str]]:
    header, *_ = text.splitlines()
    assert header == HEADER
    return list(csv.DictReader(text.splitlines()))


def records_of(stdout: str, kind: str = "reading") -> list[dict[str, Any]]:
    records = [json.loads(line) for line in stdout.splitlines()]
    return [record for record in records if record["type"] == kind]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- score ---


def test_a_row_a_file(folder: Path, demo_detector: Path, earshot: Earshot) -> None:
    ran = earshot("score", folder, "--detector", demo_detector, "--output", folder / "scores.csv")

    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")
    noise, well = rows_of((folder / "scores.csv").read_text())
    section = DETECTOR.section(None).card
    assert [Path(noise["path"]), Path(well["path"])] == [folder / "noise.wav", folder / "well.wav"]
    assert {noise["section"], well["section"]} == {section.name}
    threshold = section.thresholds[DETECTOR.card.score]
    for row, decision in ((noise, "anomaly"), (well, "normal")):
        assert float(row["threshold"]) == pytest.approx(threshold, rel=1e-6)
        assert (float(row["score"]) > threshold) == (decision == "anomaly")
        assert row["decision"] == decision


def test_the_score_of_a_file_is_the_mean_over_its_windows(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    path = write_wav("long.wav", sound)
    (row,) = rows_of(earshot("score", path, "--detector", demo_detector, "--output", "-").stdout)
    readings = records_of(earshot("replay", path, "--detector", demo_detector, "--json").stdout)
    assert len(readings) == 4
    assert float(row["score"]) == pytest.approx(np.mean([reading["score"] for reading in readings]), rel=1e-5)


@pytest.mark.parametrize("name", ["texture", "bands"])
def test_another_score_has_a_threshold_of_its_own(
    clip: Path, demo_detector: Path, earshot: Earshot, name: ScoreName
) -> None:
    (row,) = rows_of(earshot("score", clip, "--detector", demo_detector, "--score", name, "--output", "-").stdout)
    assert float(row["threshold"]) == pytest.approx(DETECTOR.section(None).card.thresholds[name], rel=1e-6)


def test_the_section_is_that_of_the_name(
    clip: Path, write_wav: WriteWav, sound: NDArray[np.float32], three_sections: Path, earshot: Earshot
) -> None:
    names = ["pump/test/section_01_target_test_anomaly_0000_speed_3.wav", "fan/normal_id_00_00000000.wav"]
    paths = [write_wav(name, sound[:WINDOW]) for name in names]
    rows = rows_of(earshot("score", *paths, "--detector", three_sections, "--output", "-").stdout)
    assert [(row["section"], float(row["threshold"])) for row in rows] == [("pump/01", 2.0), ("fan/00", 3.0)]

    rows = rows_of(
        earshot("score", *paths, "--section", "pump/00", "--detector", three_sections, "--output", "-").stdout
    )
    assert [(row["section"], float(row["threshold"])) for row in rows] == [("pump/00", 1.0)] * 2

    ran = earshot("score", clip, "--detector", three_sections, "--output", "-")
    assert (ran.code, ran.stdout) == (1, HEADER + "\n")
    assert f"{clip}: no section in its name" in ran.stderr
    assert "pump/00, pump/01, fan/00" in ran.stderr


def test_a_file_that_can_be_read_has_a_row_and_one_without_a_score_its_reason(
    folder: Path, sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    (folder / "a-text.wav").write_text("hello")
    write_wav("b-short.wav", sound[:16_000])
    write_wav("c-dead.wav", np.zeros(WINDOW, np.float32))
    ran = earshot("score", folder, "--detector", demo_detector, "--output", folder / "scores.csv")

    assert (ran.code, ran.stdout) == (1, "")
    assert "3 of 5 files have no score" in ran.stderr
    reasons = {"b-short": "1.00 s, too short to say anything of a machine", "c-dead": "silent or stuck"}
    for name, reason in {"a-text": "begins with", **reasons}.items():
        (line,) = [line for line in ran.stderr.splitlines() if name in line]
        assert str(folder / f"{name}.wav") in line
        assert reason in line
    rows = {Path(row["path"]).stem: row for row in rows_of((folder / "scores.csv").read_text())}
    assert list(rows) == ["b-short", "c-dead", "noise", "well"]
    for name, reason in reasons.items():
        assert (rows[name]["score"], rows[name]["decision"], rows[name]["note"]) == ("", "", reason)
    assert rows["well"]["note"] == ""


@pytest.mark.parametrize(
    ("start", "seconds", "note"),
    [
        (4.0, 0.4, "0.40 s of one value left out: judged by the other 9.60 s"),
        (
            2.0,
            5.0,
            "5.00 s of one value left out: judged by the other 5.00 s, shorter than a window of 9.6 s and so rep",
        ),
        (0.0, 0.5, "0.50 s of one value left out: judged by the other 9.50 s"),
    ],
)
def test_a_recording_with_a_drop_out_is_judged_by_the_rest_of_it(
    sound: NDArray[np.float32],
    write_wav: WriteWav,
    demo_detector: Path,
    earshot: Earshot,
    start: float,
    seconds: float,
    note: str,
) -> None:
    """Real clips of machine tools have 0.4 s of digital zeros in 10 s: no whole window without them."""
    holed = sound[:160_000].copy()
    holed[round(start * 16_000) : round((start + seconds) * 16_000)] = 0
    whole, path = write_wav("whole.wav", sound[:160_000]), write_wav("holed.wav", holed)
    ran = earshot("score", whole, path, "--detector", demo_detector, "--output", "-")

    expected, row = rows_of(ran.stdout)
    assert (ran.code, row["decision"], expected["note"]) == (0, "normal", "")
    assert row["note"].startswith(note)
    assert float(row["score"]) == pytest.approx(float(expected["score"]), abs=0.25)


def test_windows_with_a_drop_out_are_left_out_where_there_are_others(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    holed = sound.copy()
    holed[:8000] = 0
    path = write_wav("holed.wav", holed)
    readings = records_of(earshot("replay", path, "--detector", demo_detector, "--json").stdout)
    (row,) = rows_of(earshot("score", path, "--detector", demo_detector, "--output", "-").stdout)
    assert row["note"] == "1 of 4 windows left out: silent or stuck"
    assert [reading["score"] is None for reading in readings] == [True, False, False, False]
    assert float(row["score"]) == pytest.approx(np.mean([r["score"] for r in readings[1:]]), rel=1e-5)


def test_a_short_recording_is_repeated_and_says_so(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    path = write_wav("short.wav", sound[:80_000])
    (row,) = rows_of(earshot("score", path, "--detector", demo_detector, "--output", "-").stdout)
    assert row["note"] == "judged by its 5.00 s, shorter than a window of 9.6 s and so repeated"
    assert row["decision"] == "normal"
    ran = earshot("replay", path, "--detector", demo_detector)
    assert ran.code == 1
    assert f"{path}: 0 windows to judge: 5.00 s is shorter than a window of 9.6 s" in ran.stderr


def test_a_mean_off_zero_is_taken_out_and_says_so(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    well, off = write_wav("well.wav", sound[:WINDOW]), write_wav("off.wav", sound[:WINDOW] + np.float32(0.5))
    ran = earshot("score", well, off, "--detector", demo_detector, "--output", "-")
    expected, row = rows_of(ran.stdout)
    assert (row["decision"], expected["note"]) == ("normal", "")
    assert float(row["score"]) == pytest.approx(float(expected["score"]), abs=0.05)
    assert row["note"] == "its mean, +0.5 of full scale off zero, was taken out: a broken bias?"
    assert row["note"] in earshot("replay", off, "--detector", demo_detector).stderr


def test_a_clip_in_which_the_mean_moves_has_a_reason_and_no_score(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    stepped = sound[:WINDOW] + np.where(np.arange(WINDOW) < WINDOW // 3, 0, 0.3).astype(np.float32)
    ran = earshot("score", write_wav("stepped.wav", stepped), "--detector", demo_detector, "--output", "-")
    (row,) = rows_of(ran.stdout)
    assert (ran.code, row["score"]) == (1, "")
    assert row["note"].endswith("; offset moved")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_standard_input_that_is_closed_is_no_sound(command: str, tmp_path: Path, demo_detector: Path) -> None:
    config = tmp_path / "config.yaml"
    source = f"{{name: pipe, type: stdin, detector: {demo_detector}}}"
    config.write_text(f"sources: [{source}]\nmqtt: {{host: 127.0.0.1, port: 1}}\n")
    ran = run_process(["/bin/sh", "-c", 'exec "$@" <&-', "-", *COMMAND, command, "--config", config])
    assert "stdin: is closed, expected samples" in ran.stderr + ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_dead_channel_says_where_the_sound_is(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    path = write_wav("both.wav", np.stack([np.zeros(WINDOW, np.float32), sound[:WINDOW]], axis=1))
    (row,) = rows_of(earshot("score", path, "--detector", demo_detector, "--output", "-").stdout)
    heard = r"channel 0 is one value throughout; channel 1 has sound at -2\d dBFS"
    assert re.search(heard, row["note"])
    ran = earshot("replay", path, "--detector", demo_detector)
    assert ran.code == 1
    assert re.search(f"0 windows to judge: 1 were left out: silent or stuck; {heard}", ran.stderr)


def test_a_header_that_is_wrong_is_in_the_note(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    path = write_wav("stale.wav", sound)
    (expected,) = rows_of(earshot("score", path, "--detector", demo_detector, "--output", "-").stdout)
    content = bytearray(path.read_bytes())
    content[40:44] = (2 * WINDOW).to_bytes(4, "little")
    path.write_bytes(content)
    (row,) = rows_of(earshot("score", path, "--detector", demo_detector, "--output", "-").stdout)
    assert row["score"] == expected["score"]
    assert row["note"].startswith(f"its header promises {2 * WINDOW} bytes of sound, {2 * sound.size} are there")


@pytest.mark.parametrize(
    ("name", "told"), [("=cmd.wav", "'=cmd.wav"), ("+1.wav", "'+1.wav"), ("@a.wav", "'@a.wav"), ("a-1.wav", "a-1.wav")]
)
def test_no_name_is_a_formula(
    clip: Path, demo_detector: Path, monkeypatch: pytest.MonkeyPatch, earshot: Earshot, name: str, told: str
) -> None:
    clip.rename(clip.with_name(name))
    monkeypatch.chdir(clip.parent)
    (row,) = rows_of(earshot("score", name, "--detector", demo_detector, "--output", "-").stdout)
    assert row["path"] == told


def test_no_name_steers_a_terminal(clip: Path, demo_detector: Path, earshot: Earshot) -> None:
    path = clip.rename(clip.with_name("\x1b[2J\x9b2J\n<3>a.wav"))
    told = str(clip.with_name(r"\x1b[2J\x9b2J\n<3>a.wav"))
    assert f"\n{told}: 1 windows" in earshot("replay", path, "--detector", demo_detector).stdout
    path.write_text("no sound")
    ran = earshot("score", path, "--detector", demo_detector, "--output", "-")
    assert f"skipped: {told}: begins with" in ran.stderr
    assert "\x1b" not in ran.stderr + ran.stdout


# --- Where it goes ---


def run_shell(line: str) -> Ran:
    earshot = shlex.join(COMMAND)
    return run_process(["sh", "-c", line.replace("EARSHOT", earshot)])


@pytest.mark.parametrize(("where", "why"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")])
def test_a_stdout_that_is_closed_or_full_is_one_line(clip: Path, demo_detector: Path, where: str, why: str) -> None:
    for command in (f"score {clip} --output -", f"replay {clip}", f"replay {clip} --json", "bench --streams 1"):
        ran = run_shell(f"EARSHOT {command} --detector {demo_detector} {where}")
        assert (ran.code, ran.stderr) == (1, f"earshot: stdout: cannot be written: {why}\n"), command


def test_a_reader_of_stdout_that_leaves_ends_it_without_a_word(clip: Path, demo_detector: Path) -> None:
    ran = run_shell(f"(EARSHOT replay {clip} --json --detector {demo_detector}; echo $? >&2) | :")
    assert ran.stderr == "1\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the system refused something: No space left on device"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "the system refused something: Broken pipe"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "None"), "None: No such file or directory"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, b"None"), "a -> None: Invalid link"),
        (OSError("no words of the system's"), "the system refused something: no words of the system's"),
        (PermissionError(errno.EACCES, "Permission denied", "/a\x1b"), r"/a\x1b: Permission denied"),
    ],
)
def test_only_what_was_written_to_stdout_is_said_to_be_stdouts(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def fails() -> None:
        print("data")
        raise error

    monkeypatch.setattr(cli._Commands, "get_command", lambda *_: fails)
    monkeypatch.setattr(sys, "argv", ["earshot", "fails"])
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (1, "data\n")
    assert err.startswith(f"earshot: {told}")
    assert len(err.splitlines()) == 1
    assert "stdout" not in err


def test_what_fails_while_a_table_is_written_is_not_the_tables(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("old")
    with pytest.raises(ConnectionResetError), open_output(table) as stream:  # noqa: PT012  both have to be inside
        stream.write("half")
        raise ConnectionResetError("of something else")
    assert (table.read_text(), [*tmp_path.iterdir()]) == ("old", [table])
    full = r"^/dev/full: cannot be written: No space left on device$"
    with pytest.raises(EarshotError, match=full), open_output(Path("/dev/full")) as stream:
        stream.write("data")


def test_where_a_report_goes_is_looked_at_before_hours_are_replayed(
    clip: Path, demo_detector: Path, earshot: Earshot
) -> None:
    ran = earshot("replay", clip, "--detector", demo_detector, "--report", clip.parent)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.endswith(f"{clip.parent}: cannot be written: Is a directory\n")
    ran = earshot("replay", clip, "--detector", demo_detector, "--report", clip.parent / "nowhere" / "x.html")
    assert (ran.code, ran.stdout) == (1, "")


def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        with open_output(pipe) as stream:
            stream.write("new")
        assert reader.communicate(timeout=60)[0] == "new"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with open_output(Path("/dev/null")) as stream:
        stream.write("new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_link_stays_a_link_and_a_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    there, link = tmp_path / "there" / "scores.csv", tmp_path / "link.csv"
    there.parent.mkdir()
    there.write_text("old")
    there.chmod(0o640)
    if os.getuid() == 0:
        os.chown(there, 1234, 1235)
    before = there.stat()
    link.symlink_to(there)
    with open_output(link) as stream:
        stream.write("new")

    assert (link.is_symlink(), there.read_text()) == (True, "new")
    assert (there.stat().st_mode, there.stat().st_uid, there.stat().st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "there" / "made.csv")
    with open_output(tmp_path / "dangling.csv") as stream:
        stream.write("new")
    assert (tmp_path / "there" / "made.csv").read_text() == "new"


def test_sigterm_leaves_nothing_half_written(tmp_path: Path, demo_detector: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03d}.flac").symlink_to(next((DEMO / "recordings").glob("*.flac")))
    output = tmp_path / "out" / "scores.csv"
    output.parent.mkdir()
    command: list[str | Path] = [*COMMAND, "score", tmp_path, "--detector", demo_detector, "--output", output]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) as process:
        while not list(output.parent.iterdir()):
            assert process.poll() is None
            time.sleep(0.01)
        while process.poll() is None:  # a library's callback may swallow the first, as it does a Ctrl-C
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=5)
    assert process.returncode == 143
    assert list(output.parent.iterdir()) == []


# --- What is learned ---


def test_what_is_called_a_fault_or_a_test_is_not_learned(
    normal_sound: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    one = (normal_sound / "00.wav").read_bytes()
    for name in ("pump_anomaly_1.wav", "test/1.wav", "supplemental/1.wav", "section_00_source_test_normal_0001.wav"):
        (normal_sound / name).parent.mkdir(exist_ok=True)
        (normal_sound / name).write_bytes(one)
    ran = enrolled(earshot, normal_sound, demo_detector, tmp_path / "compressor")
    assert ran.code == 0
    assert "from 12 windows of normal sound" in ran.stdout
    assert ran.stderr.count("left out: ") == 4
    options = ["--from", normal_sound, "--detector", demo_detector, "--output", tmp_path / "all", "--all"]
    assert "from 16 windows" in earshot("enroll", "compressor", *options).stdout


def test_several_machines_are_not_learned_as_one(
    normal_sound: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    for number, path in enumerate(sorted(normal_sound.iterdir())):
        path.rename(path.with_name(f"section_0{number % 2}_source_train_normal_{number:04d}.wav"))
    ran = enrolled(earshot, normal_sound, demo_detector, tmp_path / "compressor")
    assert ran.code == 1
    assert f"{normal_sound}: normal/section 00, normal/section 01: expected the recordings of one" in ran.stderr


# --- The channel, the gain ---


def test_a_detector_remembers_its_channel_and_gain(
    normal_sound: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    """The machine is on channel 1, as floats of another full scale; channel 0 has what hums beside it."""
    time = np.arange(WINDOW) / 16_000
    both = tmp_path / "both"
    for path in normal_sound.iterdir():
        beside = 0.1 * np.sin(2 * np.pi * 3000 * time)
        frames = 100 * np.stack([beside, soundfile.read(path, dtype="float32")[0]], axis=1)
        (both / "x").parent.mkdir(exist_ok=True)
        soundfile.write(both / path.name, frames, 16_000, subtype="FLOAT")
    output, options = tmp_path / "compressor", ["--channel", "1", "--gain-db", "-40"]
    ran = earshot("enroll", "compressor", "--from", both, "--detector", demo_detector, "--output", output, *options)
    assert ran.code == 0
    assert detectors.read(output).pickup == Pickup(1, -40.0)

    for command in (["score", "--output", "-"], ["replay"]):
        ran = earshot(*command, normal_sound, "--detector", output)
        assert "made from channel 1, gain -40 dB, and hears channel 0 now: expected the same" in ran.stderr
    ran = earshot("score", both, "--detector", output, *options, "--output", "-")
    assert (ran.code, ran.stderr.count("made from")) == (0, 0)
    assert max(float(row["score"]) for row in rows_of(ran.stdout)) < 1.5
    assert detectors.read(demo_detector).pickup == Pickup()


@pytest.mark.parametrize("name", [b"\xff \n.wav", b'a,b "c".wav'])
@pytest.mark.parametrize("output", ["-", "scores.csv"])
def test_any_name_comes_back_from_the_table(
    clip: Path, tmp_path: Path, demo_detector: Path, name: bytes, output: str
) -> None:
    path = clip.rename(clip.with_name(name.decode(errors="surrogateescape")))
    output = output if output == "-" else str(tmp_path / output)
    ran = run_process([*COMMAND, "score", path, "--detector", demo_detector, "--output", output])

    assert (ran.code, ran.stderr) == (0, "")
    text = ran.stdout if output == "-" else Path(output).read_text(encoding="utf-8", errors="surrogateescape")
    _, row = csv.reader(text.splitlines(keepends=True))
    assert row[0] == shown(path)


def test_a_channel_that_is_not_there(clip: Path, demo_detector: Path, earshot: Earshot) -> None:
    ran = earshot("score", clip, "--channel", "1", "--detector", demo_detector, "--output", "-")
    assert ran.code == 1
    assert f"{clip}: has 1 channel(s), there is no channel 1" in ran.stderr


def test_the_channel_that_was_asked_for(
    sound: NDArray[np.float32], clip: Path, write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    both = write_wav("both.wav", np.stack([np.zeros(WINDOW, np.float32), sound[:WINDOW]], axis=1))
    (expected,) = rows_of(earshot("score", clip, "--detector", demo_detector, "--output", "-").stdout)
    (came,) = rows_of(earshot("score", both, "--channel", "1", "--detector", demo_detector, "--output", "-").stdout)
    assert came["score"] == expected["score"]


@pytest.mark.parametrize("command", ["score", "replay"])
def test_what_is_not_there_is_named(
    clip: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot, command: str
) -> None:
    output = ["--output", "-"] if command == "score" else []
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.mkdir()

    for paths, detector, expected in (
        ([clip], nowhere, f"{nowhere}: not a detector folder"),
        ([clip], empty, f"{empty / 'detector.json'}: No such file or directory"),
        ([nowhere], demo_detector, f"{nowhere}: No such file or directory"),
        ([empty], demo_detector, f"{empty}: holds no recordings"),
        ([clip, "--section", "zeppelin/07"], demo_detector, "zeppelin/07 is not there"),
    ):
        ran = earshot(command, *paths, "--detector", detector, *output)
        assert ran.code == 1
        assert expected in ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_command_that_is_called_wrongly_is_told_so(earshot: Earshot) -> None:
    for arguments in (["score"], ["zeppelin"], ["replay", "x.wav"], ["run", "--no-such-option"]):
        ran = earshot(*arguments)
        assert (ran.code, ran.stdout) == (2, "")
        assert "Error" in ran.stderr


def test_an_output_that_cannot_be_written_is_named(clip: Path, demo_detector: Path, earshot: Earshot) -> None:
    output = clip.parent / "nowhere" / "scores.csv"
    ran = earshot("score", clip, "--detector", demo_detector, "--output", output)
    assert ran.code == 1
    assert f"{output}: cannot be written: No such file or directory" in ran.stderr


def test_an_output_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")

    def stop_halfway(error: BaseException) -> None:
        with open_output(path) as stream:
            stream.write("new")
            stream.flush()
            assert path.read_text() == "old"
            raise error

    for error in (EarshotError("no"), KeyboardInterrupt(), ValueError("a defect")):
        with pytest.raises(type(error)):
            stop_halfway(error)
        assert path.read_text() == "old"
    with open_output(path) as stream:
        stream.write("new")

    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


# --- replay, and the same sound live ---


@pytest.mark.parametrize("block_samples", [160, 1000, 48_000])
def test_replay_in_any_blocks(
    sound: NDArray[np.float32], write_wav: WriteWav, demo_detector: Path, earshot: Earshot, block_samples: int
) -> None:
    path = write_wav("long.wav", sound)
    arguments = ["replay", path, "--detector", demo_detector, "--json"]
    expected = records_of(earshot(*arguments).stdout)
    ran = earshot(*arguments, "--block-samples", str(block_samples))

    assert ran.code == 0
    came = records_of(ran.stdout)
    assert len(came) == 4
    assert [record["end_sample"] for record in came] == [record["end_sample"] for record in expected]
    for key in ("score", "level_dbfs"):
        assert [record[key] for record in came] == pytest.approx([record[key] for record in expected], rel=1e-5)


def test_replay_of_one_window_is_its_score(folder: Path, demo_detector: Path, earshot: Earshot) -> None:
    rows = rows_of(earshot("score", folder, "--detector", demo_detector, "--output", "-").stdout)
    readings = records_of(earshot("replay", folder, "--detector", demo_detector, "--json").stdout)
    assert [record["path"] for record in readings] == [row["path"] for row in rows]
    assert [record["score"] for record in readings] == pytest.approx([float(row["score"]) for row in rows], rel=1e-5)


def test_live_is_replay(
    sound: NDArray[np.float32], write_wav: WriteWav, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    """The same samples through the daemon's standard input, with nobody where the broker should be."""
    path = write_wav("long.wav", sound)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"sources: [{{name: pipe, type: stdin, detector: {demo_detector}}}]\n"
        f"mqtt: {{host: 127.0.0.1, port: {free_port()}}}\n"
    )
    samples = np.round(read_samples(path) * 32_768).astype("<i2")
    ran = run_process([*COMMAND, "run", "--config", config, "--json"], stdin=samples.tobytes())

    assert ran.code == 0
    came = records_of(ran.stdout)
    expected = records_of(earshot("replay", path, "--detector", demo_detector, "--json").stdout)
    assert [record["end_sample"] for record in came] == [record["end_sample"] for record in expected]
    for key in ("score", "threshold", "level_dbfs"):
        assert [record[key] for record in came] == pytest.approx([record[key] for record in expected], rel=1e-5)
    assert {record["source"] for record in came} == {"pipe"}


def test_replay_tells_of_episodes(
    rng: np.random.Generator, write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    path = write_wav("noise.wav", rng.normal(0, 0.2, 2 * WINDOW).astype(np.float32))
    events = records_of(earshot("replay", path, "--detector", demo_detector, "--json").stdout, "event")
    assert [event["kind"] for event in events][:: len(events) - 1] == ["opened", "closed"]
    assert events[-1]["reason"] == "source_lost"
    assert len({event["id"] for event in events}) == 1
    assert events[0]["bands"]

    ran = earshot("replay", path, "--detector", demo_detector)
    assert f"{path}: " in ran.stdout
    assert "opened: score" in ran.stdout
    assert "19 windows, highest score" in ran.stdout.splitlines()[-1]


def test_replay_takes_the_event_settings_of_a_configuration(
    clip: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"sources: [{{name: pump, type: folder, path: ., detector: {demo_detector}}}]\n"
        "event: {threshold: 0.0, on_delay: {windows: 1, of: 1}}\n"
    )
    ran = earshot("replay", clip, "--detector", demo_detector, "--config", config, "--json")
    assert [event["kind"] for event in records_of(ran.stdout, "event")] == ["opened", "closed"]


# --- enroll ---


@pytest.fixture
def normal_sound(tmp_path: Path, rng: np.random.Generator, write_wav: WriteWav) -> Path:
    """Twelve windows of a machine that the detector has never heard: a hum of two tones in noise."""
    time = np.arange(WINDOW) / 16_000
    for number in range(12):
        tones = 0.1 * np.sin(2 * np.pi * 440 * time) + 0.05 * np.sin(2 * np.pi * 1760 * time + number)
        hum = (tones + rng.normal(0, 0.01, WINDOW)).astype(np.float32)
        write_wav(f"normal/{number:02d}.wav", hum)
    return tmp_path / "normal"


def enrolled(earshot: Earshot, folder: Path, base: Path, output: Path) -> Ran:
    return earshot("enroll", "compressor", "--from", folder, "--detector", base, "--output", output)


def test_a_machine_is_enrolled_and_judged(
    normal_sound: Path, tmp_path: Path, noise: Path, demo_detector: Path, earshot: Earshot
) -> None:
    output = tmp_path / "compressor"
    ran = enrolled(earshot, normal_sound, demo_detector, output)

    assert ran.code == 0
    assert f"{output}: compressor/00 from 12 windows of normal sound" in ran.stdout
    assert stat_mode(output) == 0o755
    rows = rows_of(earshot("score", normal_sound, noise, "--detector", output, "--output", "-").stdout)
    assert {row["section"] for row in rows} == {"compressor/00"}
    assert [row["decision"] for row in rows] == [*["normal"] * 12, "anomaly"]
    threshold = detectors.read(output).section("compressor/00").card.thresholds["fused"]
    assert float(rows[0]["threshold"]) == pytest.approx(threshold, rel=1e-6)


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_too_little_sound_is_refused_with_numbers(
    normal_sound: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    for number in range(3, 12):
        (normal_sound / f"{number:02d}.wav").unlink()
    ran = enrolled(earshot, normal_sound, demo_detector, tmp_path / "compressor")

    assert (ran.code, ran.stdout) == (1, "")
    assert "compressor: 3 windows of normal sound: expected at least 10 of 9.6 s each" in ran.stderr
    assert not (tmp_path / "compressor").exists()


def test_what_cannot_be_learned_from_is_named_and_left_out(
    normal_sound: Path, tmp_path: Path, write_wav: WriteWav, demo_detector: Path, earshot: Earshot
) -> None:
    write_wav("normal/silent.wav", np.zeros(WINDOW, np.float32))
    (normal_sound / "text.wav").write_text("hello")
    ran = enrolled(earshot, normal_sound, demo_detector, tmp_path / "compressor")
    assert ran.code == 0
    assert "from 12 windows" in ran.stdout
    assert f"{normal_sound / 'silent.wav'}: silent or stuck" in ran.stderr
    assert f"{normal_sound / 'text.wav'}: begins with" in ran.stderr


def test_an_enrolled_machine_is_replaced_whole_or_not_at_all(
    normal_sound: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot
) -> None:
    output = tmp_path / "detectors" / "compressor"
    assert enrolled(earshot, normal_sound, demo_detector, output).code == 0
    first = detectors.read(output)

    (normal_sound / "11.wav").unlink()
    assert enrolled(earshot, normal_sound, demo_detector, output).code == 0
    second = detectors.read(output)
    assert (first.card.sections[0].windows, second.card.sections[0].windows) == (12, 11)

    shutil.rmtree(normal_sound)
    assert enrolled(earshot, normal_sound, demo_detector, output).code == 1
    assert detectors.read(output).sha256 == second.sha256
    assert sorted(output.parent.iterdir()) == [output, output.with_name("compressor.old")]


def test_enrolling_over_something_else_is_refused(normal_sound: Path, demo_detector: Path, earshot: Earshot) -> None:
    ran = enrolled(earshot, normal_sound, demo_detector, normal_sound)
    assert ran.code == 1
    assert f"{normal_sound}: exists and is no detector folder" in ran.stderr
    assert "00.wav" not in ran.stderr  # before anything was heard: that may take half an hour
    assert (normal_sound / "00.wav").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "my pump"])
def test_a_name_that_no_configuration_could_hold_is_refused(
    normal_sound: Path, tmp_path: Path, demo_detector: Path, earshot: Earshot, name: str
) -> None:
    ran = earshot("enroll", name, "--from", normal_sound, "--detector", demo_detector, "--output", tmp_path / "new")
    assert ran.code in (1, 2)
    assert not (tmp_path / "new").exists()


def test_enrolling_needs_no_torch(normal_sound: Path, tmp_path: Path, demo_detector: Path) -> None:
    code = "import sys\nfrom edge.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    options: list[str | Path] = ["--from", normal_sound, "--detector", demo_detector, "--output", tmp_path / "new"]
    ran = run_process([sys.executable, "-c", code, "enroll", "compressor", *options])
    assert ran.code == 0
    assert not {name.split(".")[0] for name in ran.stderr.split()} & {*TRAIN_EXTRA, "trainer", "export"}


# --- Configurations, bench, help ---


@pytest.fixture
def config(tmp_path: Path, clip: Path, demo_detector: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"sources: [{{name: pump, type: folder, path: ., detector: {demo_detector}}}]\n")
    return path


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_configuration_is_told_of_every_mistake(config: Path, earshot: Earshot, command: str) -> None:
    config.write_text(
        "sources:\n"
        "  - {name: a pump, type: folder, path: ., detector: ., colour: blue}\n"
        "mqtt:\n"
        "  port: 99999\n"
        "event: {change_rate: 1.0}\n"
    )
    ran = earshot(command, "--config", config)

    assert (ran.code, ran.stdout) == (78, "")
    for line, key in ((2, "name"), (2, "colour"), (4, "mqtt.port"), (5, "event.change_rate")):
        assert any(f"{config}:{line}:" in told and key in told for told in ran.stderr.splitlines()), key


def test_a_configuration_that_is_not_there(tmp_path: Path, earshot: Earshot) -> None:
    ran = earshot("check", "--config", tmp_path / "nowhere.yaml")
    assert ran.code == 78
    assert str(tmp_path / "nowhere.yaml") in ran.stderr


def test_a_section_that_the_detector_lacks_stops_the_daemon(config: Path, earshot: Earshot) -> None:
    text = config.read_text().replace("name: pump", "name: pump, section: zeppelin/07")
    config.write_text(text + f"mqtt: {{host: 127.0.0.1, port: {free_port()}}}\n")
    ran = earshot("run", "--config", config)
    assert ran.code == 1
    assert "zeppelin/07 is not there: expected one of" in ran.stderr


def test_bench_in_json(demo_detector: Path, earshot: Earshot) -> None:
    ran = earshot("bench", "--detector", demo_detector, "--streams", "2", "--json")
    assert (ran.code, ran.stderr) == (0, "")
    result = json.loads(ran.stdout)
    assert {"hop_ms", "streams_per_core", "model_ms_a_stream_of_1", "model_ms_a_stream_of_2"} <= result.keys()
    assert all(value >= 0 for value in result.values())


def test_a_threshold_cannot_be_of_two_promises(earshot: Earshot, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    both = ["--false-alarm-rate", "0.05", "--false-alarms-per-week", "1"]
    ran = earshot("export", tmp_path / "run", "--output", tmp_path / "detector", *both)
    assert ran.code == 2
    assert "--false-alarm-rate and --false-alarms-per-week" in ran.stderr


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(earshot_group, ["--help"])
    assert shown.exit_code == 0
    assert listed(shown.stdout) == COMMANDS
    assert "..." not in shown.stdout.partition("Commands:")[2]  # no summary is cut


def listed(help_text: str) -> list[str]:
    _, _, commands = help_text.partition("Commands:\n")
    return [line.split()[0] for line in commands.splitlines() if line.startswith("  ") and line[2] != " "]


@pytest.fixture
def without_the_train_extra() -> list[str]:
    """The command where torch and the rest are not installed: what `import` finds of them is None."""
    code = f"import sys; sys.modules.update(dict.fromkeys({TRAIN_EXTRA})); from edge.cli import main; main()"
    return [sys.executable, "-c", code]


def test_help_needs_no_torch(without_the_train_extra: list[str]) -> None:
    ran = run_process([*without_the_train_extra, "--help"])
    assert (ran.code, ran.stderr) == (0, "")
    assert listed(ran.stdout) == COMMANDS


@pytest.mark.parametrize("arguments", [["train", "data", "--output", "run"], ["export", "--help"], ["evaluate"]])
def test_a_command_that_lacks_a_package_says_how_to_get_it(
    without_the_train_extra: list[str], arguments: list[str]
) -> None:
    ran = run_process([*without_the_train_extra, *arguments])
    assert (ran.code, ran.stdout) == (1, "")
    assert f"earshot {arguments[0]}: " in ran.stderr
    assert "pip install 'earshot[train]'" in ran.stderr
    assert "Traceback" not in ran.stderr
