"""By which evidence, and how far it has come: in payloads, and in the words of the log, of replay and of the demo."""

import json
import logging
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge import detector as detectors
from edge.commands.replay import _Replay
from edge.config.settings import EventSettings
from edge.daemon import payloads
from edge.daemon.happening import Moment, Standing
from edge.daemon.payloads import Origin
from edge.daemon.telling import Telling
from edge.demo.subscriber import _in_words
from edge.judge import Event, Provisional
from edge.judge.event import Basis
from edge.source import Pickup
from edge.voice.words import evidence_in_words, provisional_in_words
from tests.conftest import DEMO
from tests.test_publisher import SCHEMAS, silent

DETECTOR = detectors.read(DEMO / "detector")
ORIGIN = Origin("hall", "pump", DETECTOR, DETECTOR.section(None))
MOMENT = Moment(12.0, 0.1, 60.0, 4.25, None, None, None, 0.4321, Provisional(3.2, 48.0), None, 2.5)
BASIS = Basis(60.0, "recently", 0.000123456)
OPENED = Event("0" * 32, "opened", 12.0, 2.5, 2.5, 4.25, 0.0, BASIS)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (9.6, "in the newest window"),
        (20, "for the last 20 seconds"),
        (60, "for the last minute"),
        (90, "for the last 90 seconds"),
        (600, "for the last 10 minutes"),
        (3600, "for the last hour"),
        (7200, "for the last 2 hours"),
    ],
)
def test_how_long(seconds: float, words: str) -> None:
    assert evidence_in_words(seconds, "enrolment") == f"{words}, against its enrolment"
    assert evidence_in_words(seconds, "recently") == f"{words}, against what it has sounded like so far"


def test_provisional() -> None:
    assert provisional_in_words(3.21, 48.0) == "provisional, 3.2 of 48 h"
    assert provisional_in_words(0.0, 9.6) == "provisional, 0.0 of 9.6 h"


def state(moment: Moment = MOMENT) -> dict[str, Any]:
    return payloads.state_of(ORIGIN, Standing("listening"), moment, epoch=0.0)


def event() -> dict[str, Any]:
    return payloads.event_of(ORIGIN, OPENED, epoch=0.0, clip=None, clock_synced=None)


def health(provisional: Provisional | None) -> dict[str, Any]:
    return payloads.health_of(
        "hall",
        unix_seconds=0.0,
        uptime_seconds=1.0,
        clock_synced=True,
        sources={"pump": Standing("listening")},
        commanded={},
        epoch=0.0,
        judging={"pump": (0.4321, provisional)},
        defects={},
        mqtt={"queued": 0, "dropped": 0},
        clips={"state": "off", "bytes": 0, "lost": 0},
        drift={"pump": {"score": {"per_week": 0.02, "low": 0.01, "high": 0.03, "days": 40}}},
    )


def test_payloads_are_those_of_the_schemas() -> None:
    known = Moment(12.0, 0.1, 60.0, 4.25, None, None, None)
    for name, payload in (
        ("state", state()),
        ("state", state(known)),
        ("event", event()),
        ("health", health(None)),
        ("health", health(Provisional(3.2, 48.0))),
    ):
        jsonschema.validate(payload, SCHEMAS[name])
    assert event()["evidence"] == {"seconds": 60.0, "against": "recently", "probability": 0.000123}
    assert (state()["evidence"], state()["provisional"]) == (0.432, {"hours": 3.2, "of": 48.0})
    assert (state(known)["evidence"], state(known)["provisional"]) == (0.0, None)
    assert health(None)["judging"] == {"pump": {"evidence": 0.432, "provisional": None}}


def test_a_subscriber_reads_them_in_words() -> None:
    shown = {**state(), "level_dbfs": -25.0}
    assert _in_words("state", json.dumps(shown).encode()).endswith("-25 dBFS, provisional, 3.2 of 48 h")
    assert "scores 2.50 for the last minute, against what it has sounded" in _in_words(
        "event", json.dumps(event()).encode()
    )
    before = {key: value for key, value in event().items() if key != "evidence"}  # of a device not yet upgraded
    assert _in_words("event", json.dumps(before).encode()) == "*** episode opened: pump scores 2.50"


def test_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    publisher = silent()
    telling = Telling(ORIGIN, publisher, None, state_seconds=60.0, stop=threading.Event(), on_record=None)
    with caplog.at_level(logging.INFO):
        for provisional in (MOMENT.provisional, Provisional(3.3, 48.0), None, None):
            telling.tell(Moment(12.0, 0.1, 60.0, 4.25, None, None, None, 0.0, provisional))
        telling.tell(OPENED)
    publisher.close()
    said = [record.getMessage() for record in caplog.records if record.name == "edge.daemon.telling"]
    assert said == [
        "pump: provisional, 3.2 of 48 h",
        "pump: known well enough",
        "pump: episode opened: score 2.50 (threshold 4.25), for the last minute, "
        "against what it has sounded like so far",
    ]


def test_replay_says_it_and_learns_nothing(capsys: pytest.CaptureFixture[str], demo_recording: Path) -> None:
    replay = _Replay(demo_recording, DETECTOR, DETECTOR.section(None), EventSettings(), as_json=False)
    replay.run(Pickup(), 16_000)
    said = capsys.readouterr().out
    assert ", against " in said
    assert "of 48 h)" in said
    assert replay._judge.learnt is None
