"""What a source's sound is worth, moment by moment: drop-outs, recordings that are too short, folders that are waited
for, times that have not come yet."""

import json
import os
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge import detector as detectors
from edge.clock import rfc3339
from edge.config import Config, load
from edge.daemon import openers
from edge.daemon.happening import Happening, Moment, Standing
from edge.daemon.hearing import Hearing
from edge.daemon.lasting import LastingSource, Lost
from edge.judge import Event
from edge.memory import Notes
from edge.source import Block, NewFiles, read_samples
from edge.source.block import Stretch
from tests.conftest import COMMAND, DEMO, Ran, environment, run_process

WriteWav = Callable[..., Path]
Sound = NDArray[np.float32]

DETECTOR = detectors.read(DEMO / "detector")
HOP_SECONDS = DETECTOR.plan.hop_seconds
WINDOW_SECONDS = DETECTOR.plan.window_samples / 16_000


@pytest.fixture(scope="module")
def sound() -> Sound:
    """Forty seconds of the machine while it is well."""
    healthy = read_samples(next((DEMO / "recordings").glob("*.flac")))[: 16_000 * 14]
    return np.tile(healthy, 3)[: 16_000 * 40]


def config_of(folder: Path, source: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(f"sources: [{{name: pump, detector: {DEMO / 'detector'}, {source}}}]\nmqtt: {{host: 127.0.0.1}}\n")
    return load(path)


def hearing_of(config: Config) -> Hearing:
    return Hearing(config.sources[0], DETECTOR, DETECTOR.section(None), config)


def blocks(samples: Sound, name: str = "a microphone") -> Iterator[Block]:
    stretch = Stretch(name, start_time=1000.0)
    for start in range(0, samples.size, 1600):
        yield stretch.block(samples[start : start + 1600])


def scored_at(hearing: Hearing, heard: Iterator[Block]) -> list[float]:
    """Return when windows with a score ended, seconds from the beginning."""
    times = []
    for block in heard:
        happened = hearing.begin(block) if block.starts_anew else []
        happened += hearing.hear(block)
        times += [each.time - 1000 for each in happened if isinstance(each, Moment) and each.score is not None]
    return times


def test_a_further_source_takes_little_memory(sound: Sound, tmp_path: Path) -> None:
    config = config_of(tmp_path, "type: stdin")
    scored_at(hearing_of(config), blocks(sound))  # what all share is paid for by the first
    tracemalloc.start()
    try:
        further = hearing_of(config)
        assert scored_at(further, blocks(sound))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 0.8e6  # 0.22 MB of it are sound, 0.16 MB frames


@pytest.mark.parametrize("gap_seconds", [0.4, 2.0])
def test_only_the_windows_that_hold_a_gap_are_lost(sound: Sound, tmp_path: Path, gap_seconds: float) -> None:
    config = config_of(tmp_path, "type: microphone")
    holed = sound.copy()
    holed[16_000 * 12 : 16_000 * 12 + round(16_000 * gap_seconds)] = 0
    whole, came = (scored_at(hearing_of(config), blocks(each)) for each in (sound, holed))

    frame = 2 * 1024 / 16_000
    may_be_lost = [end for end in whole if 12 < end < 12 + gap_seconds + WINDOW_SECONDS + frame]
    must_come = [end for end in whole if end not in may_be_lost]
    assert set(must_come) <= set(came)
    assert not [end for end in came if 12 + 0.5 + HOP_SECONDS < end < 12 + WINDOW_SECONDS]


def test_recordings_shorter_than_a_window_are_said(sound: Sound, write_wav: WriteWav, tmp_path: Path) -> None:
    folder = write_wav("in/1.wav", sound[:80_000]).parent
    write_wav("in/2.wav", sound[:80_000])
    config = config_of(tmp_path, f"type: folder, path: {folder}, realtime: false")
    hearing, standings = hearing_of(config), list[Standing]()
    for block in openers(config.sources)["pump"]().blocks():
        happened = hearing.begin(block) if block.starts_anew else []
        standings += [each for each in happened if isinstance(each, Standing)]
        hearing.hear(block)
    assert standings == [Standing("filling"), Standing("degraded", "recordings shorter than 9.6 s")]
    (_, lost, _) = [None, *hearing.lose(Lost("the sound has ended", "source_lost"))]
    assert lost == Standing("lost", "the sound has ended; recordings shorter than 9.6 s")
    (_, lost, _) = [None, *hearing.lose(Lost("shutting down", "shutdown"))]
    assert lost == Standing("lost", "shutting down")


def test_a_folder_is_waited_for_and_never_lost(sound: Sound, write_wav: WriteWav, tmp_path: Path) -> None:
    folder = write_wav("in/old.wav", sound[:1600]).parent
    config = config_of(tmp_path, f"type: folder, path: {folder}, realtime: false, watch: new")
    stop = threading.Event()
    source = LastingSource(config.sources[0], openers(config.sources)["pump"], stop)
    heard = source.heard()

    waiting = Lost("for the next recording", "source_lost", "waiting")
    assert next(heard) == waiting
    threading.Timer(0.2, stop.set).start()
    assert list(heard) == [Lost("shutting down", "shutdown")]


def test_a_reload_goes_on_where_the_folder_was(write_wav: WriteWav, tmp_path: Path) -> None:
    folder = write_wav("in/old.wav", np.full(1600, 0.1, np.float32)).parent
    config = config_of(tmp_path, f"type: folder, path: {folder}, watch: new")
    first, second = (openers(config.sources)["pump"]() for _ in range(2))
    assert isinstance(first.only_new, NewFiles)  # type: ignore[attr-defined]  # a folder
    assert first.only_new is second.only_new  # type: ignore[attr-defined]


def test_a_restart_hears_what_came_while_it_was_down(
    write_wav: WriteWav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_wav("in/old.wav", np.full(1600, 0.1, np.float32)).parent
    config = config_of(tmp_path, f"type: folder, path: {folder}, watch: new")

    def started() -> NewFiles:
        monkeypatch.setattr("edge.daemon.opening._HEARD", {})
        notes = Notes(tmp_path / "heard")
        files = openers(config.sources, notes)["pump"]().only_new  # type: ignore[attr-defined]  # a folder
        assert isinstance(files, NewFiles)
        files.look(folder)
        notes.close(60)
        return files

    started()
    time.sleep(0.02)  # twice the tick of the clock of a file system
    write_wav("in/new.wav", np.full(1600, 0.1, np.float32))
    assert [path.name for path in started()._growing] == ["new.wav"]


@pytest.mark.parametrize("end", ["loop: true, watch: new", "watch: sometimes"])
def test_a_watch_that_makes_no_sense_is_refused(tmp_path: Path, end: str) -> None:
    with pytest.raises(Exception, match=r"watch"):
        config_of(tmp_path, f"type: folder, path: ., {end}")


# --- A machine that nobody has taught ---


def heard_of(tmp_path: Path, source: str, *sounds: Sound) -> list[Happening]:
    config = config_of(tmp_path, source)
    hearing = Hearing(config.sources[0], DETECTOR, DETECTOR.section(None), config)
    return [each for block in blocks(np.concatenate(sounds)) for each in hearing.hear(block)]


@pytest.fixture(scope="module")
def strange() -> Sound:
    """White noise, 20 dB louder than the example: for minutes, and its level is no reason to distrust the sensor."""
    return np.clip(np.random.default_rng(0).normal(0, 0.2, 16_000 * 60 * 3), -1, 1).astype(np.float32)


def test_a_machine_that_nobody_has_taught_has_scores_and_no_alarm(tmp_path: Path, strange: Sound) -> None:
    happened = heard_of(tmp_path, "type: microphone", strange)
    moments = [each for each in happened if isinstance(each, Moment) and each.reading is not None]
    assert {type(each) for each in happened} == {Standing, Moment}
    assert {each.status for each in happened if isinstance(each, Standing)} == {"untaught"}
    assert min(each.score or 0 for each in moments) > 3 * moments[0].threshold
    assert {(each.evidence, each.provisional) for each in moments} == {(0.0, None)}


def test_what_sounds_like_the_example_is_judged_by_it(tmp_path: Path, sound: Sound) -> None:
    """The healthy pump through any source, then a fault of it."""
    fault = read_samples(next((DEMO / "clips").rglob("*anomaly*")))
    happened = heard_of(tmp_path, "type: microphone", sound, *[fault] * 6)
    assert {each.status for each in happened if isinstance(each, Standing)} == {"listening"}
    assert [each.kind for each in happened if isinstance(each, Event)][:1] == ["opened"]


@pytest.mark.parametrize("source", ["type: stdin", "type: folder, path: .", "type: folder, path: ., watch: new"])
def test_what_is_played_or_piped_is_judged_whatever_it_is(tmp_path: Path, source: str, strange: Sound) -> None:
    happened = heard_of(tmp_path, source, strange)
    assert "untaught" not in {each.status for each in happened if isinstance(each, Standing)}
    assert any(isinstance(each, Event) for each in happened)


# --- The daemon itself ---


def run(config: Path, stdin: bytes = b"") -> Ran:
    return run_process([*COMMAND, "run", "--config", config, "--json"], stdin=stdin)


def test_nothing_is_told_of_the_future_though_a_pipe_is_read_at_once(sound: Sound, tmp_path: Path) -> None:
    config_of(tmp_path, "type: stdin")
    loud = np.random.default_rng(0).normal(0, 0.2, 16_000 * 60)
    ran = run(tmp_path / "config.yaml", (np.clip(loud, -1, 1) * 32_767).astype("<i2").tobytes())
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {record["type"] for record in records} == {"reading", "event"}
    assert max(record["time"] for record in records) <= rfc3339(time.time())
    # The sound itself keeps its own pace: a minute of it is one episode.
    assert next(record for record in records if record.get("kind") == "closed")["duration_s"] > 40


def test_a_recording_that_is_not_played_has_its_own_time(write_wav: WriteWav, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 16_000 * 20).astype(np.float32)
    folder = write_wav("in/20230515_142300.wav", noise).parent
    config_of(tmp_path, f"type: folder, path: {folder}, realtime: false")
    ran = run(tmp_path / "config.yaml")
    assert {json.loads(line)["time"][:15] for line in ran.stdout.splitlines()} == {"2023-05-15T14:2"}


def test_a_source_that_hears_otherwise_than_its_detector_did_is_told(tmp_path: Path, write_wav: WriteWav) -> None:
    card = DETECTOR.card.model_copy(update={"training": {**DETECTOR.card.training, "channel": 1, "gain_db": 6.0}})
    made = detectors.write(
        tmp_path / "made",
        card,
        DETECTOR.sections,
        model=DETECTOR.path / "model.onnx",
        golden=DETECTOR.path / "golden.flac",
        model_card="# made\n",
    )
    folder = write_wav("in/1.wav", np.full(1600, 0.1, np.float32)).parent
    config = tmp_path / "config.yaml"
    config.write_text(
        f"sources: [{{name: pump, detector: {made.path}, type: folder, path: {folder}}}]\n"
        "mqtt: {host: 127.0.0.1, port: 1}\n"
    )
    words = "made from channel 1, gain +6 dB, and hears channel 0 now"
    assert f"pump: {made.path}: {words}" in run(config).stderr
    checked = run_process([*COMMAND, "check", "--config", config, "--listen", "0"]).stdout
    assert words in checked


def test_check_doubts_recordings_that_cannot_be_judged(tmp_path: Path, write_wav: WriteWav) -> None:
    folder = write_wav("in/1.wav", np.full(80_000, 0.1, np.float32)).parent
    config_of(tmp_path, f"type: folder, path: {folder}")
    checked = run_process([*COMMAND, "check", "--config", tmp_path / "config.yaml", "--listen", "0"]).stdout
    assert "shorter than a window of 9.6 s, the longest of 1 5.00 s: none of them can be judged" in checked


def test_a_stderr_that_nobody_reads_stops_nothing(sound: Sound, tmp_path: Path) -> None:
    """A pipe that is full from the start: the daemon hears its sound out, and ends on its own."""
    config_of(tmp_path, "type: stdin")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, bytes(4096)):
            pass
    os.set_blocking(writing, True)
    samples = (sound * 32_767).astype("<i2").tobytes()
    command = [*COMMAND, "run", "--config", str(tmp_path / "config.yaml"), "--json"]
    done = subprocess.run(
        command, input=samples, stdout=subprocess.PIPE, stderr=writing, env=environment(), timeout=120, check=False
    )
    os.close(reading)
    os.close(writing)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + int((40 - WINDOW_SECONDS) / HOP_SECONDS)


@pytest.mark.parametrize(
    ("source", "learns"), [("type: folder, path: .", True), ("type: folder, path: ., loop: true", False)]
)
def test_what_is_heard_over_and_over_teaches_nothing(tmp_path: Path, source: str, *, learns: bool) -> None:
    assert (hearing_of(config_of(tmp_path, source)).judge.learnt is not None) == learns
