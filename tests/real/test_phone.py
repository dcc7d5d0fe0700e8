"""The daemon as a process of its own, and a phone: a fault is told within seconds, with its picture, and its end.

The server is ours (tests/test_notify.py); the broker is away, which must not matter.
"""

from pathlib import Path

from tests.conftest import DEMO
from tests.real.daemon import Earshot
from tests.real.mosquitto import Mosquitto, wait_until
from tests.test_notify import Phone, told

MINUTE = 60.0


def test_the_shipped_machine_goes_wrong_on_a_phone(tmp_path: Path) -> None:
    source = f"type: folder, path: {DEMO / 'recordings'}, realtime: false"
    with Phone() as phone:
        notify = f"notify: {{url: '{phone.url}', minimum_gap_minutes: 0, kinds: [opened, closed]}}\n"
        state = {"STATE_DIRECTORY": str(tmp_path / "state")}
        with Earshot(tmp_path, source, Mosquitto(tmp_path), event=notify, more=state) as earshot:
            assert earshot.process.wait(MINUTE) == 0
            wait_until(lambda: len(phone.asked) >= 2, f"an episode is told: {earshot.log()}")
    opened, closed, *_ = [title for title in told(phone) if "picture" not in title]
    assert opened == "pump sounds wrong"
    assert closed.startswith("pump")
    assert phone.asked[0].text.startswith("knocking between 4 kHz and 5.1 kHz")
    (picture, *_) = [asked for asked in phone.asked if "filename" in asked.headers]
    assert picture.body.startswith(b"\x89PNG")
    assert picture.headers["x-sequence-id"] == phone.asked[0].headers["x-sequence-id"]
    assert phone.url not in earshot.log()
