"""The daemon on a microphone that is taken away and given back: it scores again, and nothing was an anomaly.

EARSHOT_SOAK=50 is the long version: a cycle takes about 15 seconds, most of them to fill the window. Needs mosquitto
and the parts of tests/real/microphone.py.
"""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from edge.source import read_samples
from tests.conftest import DEMO
from tests.real.daemon import DETECTOR, END_SECONDS, PUMP, Earshot, events_of, states_of
from tests.real.microphone import SOAK, VirtualMicrophone
from tests.real.mosquitto import Listener, Mosquitto, wait_until

HEALTHY_SECONDS = 13
SCORES = {"listening", "untaught"}
"""A sound server's resampling is none of what the shipped pump was learnt from."""

WINDOW_PATIENCE_SECONDS = 60
"""A busy computer starts in ten seconds, and the window takes as long to fill."""

CYCLES = max(1, SOAK // 3) if SOAK <= 3 else SOAK


@pytest.mark.timeout(200 + 30 * CYCLES)
def test_taken_away_and_given_back_it_scores_again_and_nothing_is_an_anomaly(tmp_path: Path) -> None:
    healthy = read_samples(next((DEMO / "recordings").glob("*.flac")))[: HEALTHY_SECONDS * 16_000]
    frames = np.round(healthy * 32_767).astype(np.int16)[:, None]
    window_seconds = DETECTOR.plan.window_samples / DETECTOR.frontend.sample_rate_hz
    with (
        VirtualMicrophone(rate_hz=16_000) as virtual,
        Mosquitto(tmp_path) as broker,
        Listener(broker) as listener,
        Earshot(tmp_path, "type: microphone", broker, more=virtual.environment) as earshot,
    ):
        virtual.play(np.tile(frames, (20 + 2 * CYCLES, 1)))

        def status() -> str:
            return states_of(listener)[-1]["status"] if states_of(listener) else ""

        wait_until(lambda: status() in SCORES, "it scores", WINDOW_PATIENCE_SECONDS)
        took_seconds = []
        for _ in range(CYCLES):
            virtual.unplug()
            wait_until(lambda: status() == "lost", "it says that the microphone is lost")
            assert listener.last(f"{PUMP}/availability") == "offline"
            virtual.plug()
            began = time.monotonic()
            wait_until(lambda: status() == "filling", "sound comes again, and the window fills anew")
            wait_until(lambda: status() in SCORES, "it scores again", WINDOW_PATIENCE_SECONDS)
            took_seconds.append(time.monotonic() - began)
            assert listener.last(f"{PUMP}/availability") == "online"
        print(f"scoring again after {np.median(took_seconds):.1f} s, at most {max(took_seconds):.1f} s")

        assert min(took_seconds) > window_seconds  # nothing of before the gap is in a window
        assert events_of(listener) == []
        assert set(listener.payloads(f"{PUMP}/anomaly")) == {"OFF"}
        assert earshot.log().count("heard again, after a gap of") == CYCLES
        assert earshot.end() < END_SECONDS
        assert earshot.process.returncode == 0
    assert json.loads(str(listener.last("earshot/hall/health")))["sources"] == {"pump": "lost"}
    assert "Traceback" not in earshot.log()
