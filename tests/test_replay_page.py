"""What a person is shown of a replay: alarms on their time line, and those of another setting."""

import re
from pathlib import Path

from edge.commands.replay_page import page_of
from edge.commands.replayed import Alarm, Replayed, summary, thinned


def alarm(opened: float, closed: float) -> Alarm:
    return Alarm(opened, closed, 3.0, "a new tone at 3 kHz", [(2900.0, 3100.0, 9.0)])


def replayed(name: str, start: float, *alarms: Alarm, others: list[Alarm] | None = None) -> Replayed:
    return Replayed(Path(name), start, "its name", 600.0, 1.5, [(10.0, 1.0), (20.0, 2.0)], alarms, others=others)


def test_alarms_gained_and_lost_are_those_that_no_alarm_of_the_other_lies_beside() -> None:
    one = replayed("a.wav", 0.0, alarm(100, 110), alarm(300, 310), others=[alarm(120, 125), alarm(500, 520)])
    assert [each.opened for each in one.lost] == [300]
    assert [each.opened for each in one.gained] == [500]
    lines = summary([one, replayed("b.wav", 600.0)])
    assert all(len(line) < 80 for line in lines)
    assert lines[-1] == "by the other setting 2: 1 gained, 1 lost"


def test_the_page_is_one_file_that_loads_nothing_and_believes_no_name() -> None:
    evil = replayed('<script>alert("x")</script>.wav', 0.0, alarm(100, 110))
    page = page_of([evil, replayed("quiet.wav", 7200.0)], "pump & <co>", lambda *_: b"\x89PNG")
    assert "<script" not in page
    assert "pump &amp; &lt;co&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "1970-01-01T00:01:40" in page
    assert "a new tone at 3 kHz; 2900-3100 Hz +9 dB" in page
    assert page.count("<img ") == 1
    assert "quiet.wav" not in page  # nothing is to be said of it


def test_a_curve_keeps_its_highest_points() -> None:
    scores = [(float(i), 9.0 if i == 777 else 1.0) for i in range(10_000)]
    assert (777.0, 9.0) in thinned(scores)
    assert len(thinned(scores)) <= 300
