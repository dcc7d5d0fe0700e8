"""A year's folder through the whole line: each file has a finite score or is named with a reason, and nothing stops."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge import detector as detectors
from edge.demo.broker import DemoBroker
from edge.detector.archive import readings_of, score_file
from edge.detector.line import Line
from edge.errors import EarshotError, SourceError, shown
from tests import damage
from tests.conftest import COMMAND, DEMO, Ran, run_process
from tests.damage import KINDS, Damage, damaged_inputs

DETECTOR = detectors.read(DEMO / "detector")
WINDOW_SECONDS = DETECTOR.plan.window_samples / 16_000
TOO_SHORT = {"silence", "too-short"}
LOUD = {"a-little-over"}
"""A steady tone at full scale: a file of it has a score, a microphone that gives it is clipping."""

NOT_FOUND = {"folder", "vanished"}
"""Kinds that no folder lists: one is looked into, the other is gone."""


@pytest.fixture(scope="module")
def damages(tmp_path_factory: pytest.TempPathFactory) -> list[Damage]:
    """The 200 inputs, those with sound a little longer than one window."""
    with pytest.MonkeyPatch.context() as patch:
        short_tone = damage.tone
        patch.setattr(damage, "tone", lambda rng, **more: short_tone(rng, **{**more, "seconds": WINDOW_SECONDS + 0.1}))
        return damaged_inputs(tmp_path_factory.mktemp("damage"))


def folder_of(damages: list[Damage]) -> Path:
    return damages[0].path.parent


def listed(damages: list[Damage]) -> list[Damage]:
    return [each for each in damages if each.kind not in NOT_FOUND]


def refused(path: Path, told: str) -> bool:
    """Whether `told`, from standard error, says that `path` was skipped and why; Python spells odd bytes there."""
    name = re.escape(f"{shown(path)}: ".encode(errors="backslashreplace").decode())
    return re.search(rf"^(\S+Z )?(skipped|no score)[^:\n]*: {name}\S", told, re.MULTILINE) is not None


def check_each(damages: list[Damage], scores: dict[str, list[float]], told: str) -> None:
    """One of two for each file: finite scores, or its name and a reason on stderr."""
    for each in listed(damages):
        has_scores = bool(scores.get(shown(each.path)))
        assert all(math.isfinite(score) for score in scores.get(shown(each.path), []))
        if each.expected == "refused" or each.kind in TOO_SHORT:
            assert not has_scores, each
        elif each.expected == "accepted":
            assert has_scores, each
        assert refused(each.path, told) != has_scores, each
    assert "Traceback" not in told


# --- From the archive ---


def test_score_of_a_damaged_folder(damages: list[Damage], tmp_path: Path) -> None:
    output = tmp_path / "scores.csv"
    ran = run_process([*COMMAND, "score", folder_of(damages), "--detector", DETECTOR.path, "--output", output])

    assert ran.code == 1
    _, *rows = csv.reader(output.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True))
    scores = {path: [float(score)] for path, _, score, *_ in rows if score}
    assert all(score or note for _, _, score, _, _, note in rows)
    check_each(damages, scores, ran.stderr)
    assert f"{len(listed(damages)) - len(scores)} of {len(listed(damages))} files have no score" in ran.stderr


def test_replay_of_a_damaged_folder(damages: list[Damage]) -> None:
    ran = run_process([*COMMAND, "replay", folder_of(damages), "--detector", DETECTOR.path, "--json"])
    assert ran.code == 1

    heard: dict[str, list[float]] = {}
    for record in records_of(ran):
        heard.setdefault(record["path"], []).append(record["score"])
    for each in listed(damages):
        assert all(math.isfinite(score) for score in heard.get(str(each.path), []))
        # What came before the damage was reached has gone out; that there is damage has to be said all the same.
        if each.expected == "refused":
            assert refused(each.path, ran.stderr), each
        if each.expected == "accepted" and each.kind not in TOO_SHORT:
            assert heard[str(each.path)], each
            assert not refused(each.path, ran.stderr), each
    assert "Traceback" not in ran.stderr


def test_replay_for_people_names_every_file(damages: list[Damage]) -> None:
    odd = [each.path for each in damages if each.kind == "odd-name"]
    ran = run_process([*COMMAND, "replay", *odd, "--detector", DETECTOR.path])
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.count(" windows, highest score ") == len(odd)


def records_of(ran: Ran) -> Iterator[dict[str, Any]]:
    for line in ran.stdout.splitlines():
        record = json.loads(line, parse_constant=_refuse_constant)
        if record["type"] == "reading":
            yield record


def _refuse_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("kind", list(KINDS))
def test_nothing_escapes_but_what_we_say(damages: list[Damage], kind: str) -> None:
    """Asked for by name, as no folder would list some of them."""
    line = Line(DETECTOR, DETECTOR.section(None))
    ours = [each for each in damages if each.kind == kind]
    assert len(ours) >= 3
    for each in ours[:2] if ours[0].expected == "accepted" else ours:
        outcome = score_or_reason(line, each.path)
        if isinstance(outcome, str):
            assert outcome.startswith(f"{shown(each.path)}: ")
            assert each.expected != "accepted" or kind in TOO_SHORT
        else:
            assert each.expected != "refused"
            assert all(math.isfinite(score) for score in outcome)


def score_or_reason(line: Line, path: Path) -> list[float] | str:
    try:
        return list(score_file(line, path).values())
    except EarshotError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["nan", "cut", "garbage"])
def test_damage_after_the_first_window_takes_the_score_with_it(
    tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    """A file has a score only if it was read to its end; its readings up to the damage have gone out by then."""
    path = tmp_path / ("late.wav" if kind == "nan" else "late.flac")
    samples = damage.tone(rng, seconds=2 * WINDOW_SECONDS)
    if kind == "nan":
        samples[-1] = np.nan
    damage.write(path, samples, subtype="FLOAT" if kind == "nan" else "PCM_16")
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[:-1000])
    if kind == "garbage":
        path.write_bytes(content[:-1000] + rng.bytes(500) + content[-500:])

    line = Line(DETECTOR, DETECTOR.section(None))
    readings = readings_of(line, path, block_samples=1600)
    assert math.isfinite(next(readings).scores["fused"])
    with pytest.raises(SourceError, match=path.name):
        list(readings)
    with pytest.raises(SourceError, match=path.name):
        score_file(line, path)


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0, 1.0])
def test_silence_has_no_score(write_wav: Callable[..., Path], value: float) -> None:
    path = write_wav("dead.wav", np.full(200_000, value, np.float32))
    line = Line(DETECTOR, DETECTOR.section(None))
    with pytest.raises(EarshotError, match=r"dead\.wav: silent or stuck"):
        score_file(line, path)
    readings = list(readings_of(line, path))
    assert readings
    assert not any(reading.scores for reading in readings)


def test_a_line_that_met_damage_scores_the_next_file_as_if_it_had_not(damages: list[Damage]) -> None:
    def path_of(kind: str) -> Path:
        return next(each.path for each in damages if each.kind == kind)

    good = path_of("16-khz")
    used, fresh = (Line(DETECTOR, DETECTOR.section(None)) for _ in range(2))
    for kind in ("nan", "garbage", "hole", "too-short"):
        with pytest.raises(EarshotError):
            score_file(used, path_of(kind))
    assert score_file(used, good) == score_file(fresh, good)


# --- From the daemon ---


def test_the_daemon_hears_a_damaged_folder_out(damages: list[Damage], tmp_path: Path) -> None:
    published: list[tuple[str, bytes]] = []
    config, folder = tmp_path / "config.yaml", folder_of(damages)
    with DemoBroker() as broker:
        subscriber = paho.Client(CallbackAPIVersion.VERSION2, "subscriber")
        subscriber.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        subscriber.on_message = lambda _client, _data, message: published.append(
            (message.topic, bytes(message.payload))
        )
        subscriber.connect(broker.host, broker.port)
        subscriber.loop_start()
        # The broker of the demo does not speak MQTT 5, and the run is over before the second attempt.
        config.write_text(
            "node: hall\n"
            "sources:\n"
            f"  - {{name: pump, type: folder, path: {folder}, realtime: false, detector: {DETECTOR.path}}}\n"
            f"mqtt: {{host: {broker.host}, port: {broker.port}, state_seconds: 0.5, protocol: '3.1.1'}}\n"
        )
        ran = run_process([*COMMAND, "run", "--config", config, "--json"])
        subscriber.disconnect()
        subscriber.loop_stop()

    assert ran.code == 0
    assert "Traceback" not in ran.stderr
    assert "pump: degraded (clipping" in ran.stderr
    windows: dict[str, list[int]] = {}
    for record in records_of(ran):
        windows.setdefault(record["recording"], []).append(record["end_sample"])
    for each in listed(damages):
        if each.expected == "refused":
            assert refused(each.path, ran.stderr), each
        if each.kind in LOUD:
            assert str(each.path) not in windows, each
        elif each.expected == "accepted" and each.kind not in TOO_SHORT:
            # One window, its own: no window reaches from one file into the next.
            assert windows[str(each.path)] == [DETECTOR.plan.window_samples], each
            assert not refused(each.path, ran.stderr), each

    states = [
        json.loads(payload, parse_constant=_refuse_constant) for topic, payload in published if topic.endswith("/state")
    ]
    assert any(state["status"] == "listening" and state["score"] > 0 for state in states)
    assert states[-1]["status"] == "lost"
    assert all(state["status"] == "listening" or state["score"] is None for state in states)
