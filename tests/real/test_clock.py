"""The clock on the wall is moved by an hour and by a year, both ways, while the daemon listens: nothing follows it.

Needs mosquitto and libfaketime, which moves the clock of one process and leaves `time.monotonic()` alone.
"""

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.real.daemon import DETECTOR, SOUND, events_of, listening, states_of, wait_for_event
from tests.real.mosquitto import Listener, Mosquitto, wait_until

JUMPS = {"an hour on": 3600, "an hour back": -3600, "a year on": 31_536_000, "a year back": -31_536_000}


def library() -> Path:
    """Return where libfaketime is. Skips where it is missing; in CI that is a failure instead."""
    found = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain("libfaketime is not installed: run scripts/install-test-parts")
    return found[0]


def test_a_jump_of_the_clock_changes_nothing_but_what_is_told(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    more = {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with (
        Mosquitto(tmp_path) as broker,
        Listener(broker) as listener,
        listening(tmp_path, broker, json_out=True, more=more) as earshot,
    ):
        opened = wait_for_event(listener, "opened")
        at = DETECTOR.plan.window_samples + 4 * DETECTOR.plan.hop_samples
        while earshot.reading()["end_sample"] != at - DETECTOR.plan.hop_samples:
            pass
        for seconds in JUMPS.values():
            time.sleep(0.6)  # more than state_seconds: this window tells a state too, and the last one has
            offset.write_text(f"{seconds:+d}")
            earshot.hear(SOUND[: DETECTOR.plan.hop_samples])
            reading = earshot.reading()
            assert reading["end_sample"] == at  # no gap, no reset
            at += DETECTOR.plan.hop_samples
            told = datetime.fromisoformat(reading["time"]).timestamp()
            assert told == pytest.approx(time.time() + seconds, abs=60)
        wait_until(lambda: _years(listener) >= {-1, 0, 1}, "states tell every time")
        assert [event["kind"] for event in events_of(listener)].count("opened") == 1
        assert {state["episode"] for state in states_of(listener) if state["episode"]} == {opened["id"]}
        assert all(0 <= state["lag_s"] < 60 for state in states_of(listener))
        assert earshot.end() < 5
        closed = wait_for_event(listener, "closed")
        assert (closed["id"], closed["reason"]) == (opened["id"], "shutdown")
        assert 0 < closed["duration_s"] < 60
        assert json.loads(str(listener.last("earshot/hall/health")))["uptime_s"] < 300


def _years(listener: Listener) -> set[int]:
    """How many years from now the states say it is."""
    now = datetime.now().astimezone()
    times = [datetime.fromisoformat(state["time"]) for state in states_of(listener)]
    return {round((told - now) / timedelta(days=365)) for told in times}
