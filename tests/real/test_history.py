"""The memory of a process that is killed at any moment, of a daemon too, and what it writes to a real disk.

EARSHOT_SOAK=100 is the long version; the daemon's needs mosquitto.
"""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge.memory.books import read_books
from edge.memory.charts import series
from edge.memory.history import BATCH_MINUTES
from edge.memory.minute import MINUTES_A_DAY
from tests.conftest import DEMO, environment
from tests.real.daemon import Earshot
from tests.real.mosquitto import Mosquitto, wait_until
from tests.test_history import ABOUT, diary, history, minutes_of

ROOT = DEMO.parents[1]
N_KILLS = int(os.environ.get("EARSHOT_SOAK", "5"))
MOST_SECONDS = 1.5
MOST_BYTES_A_DAY = 6_000_000

LIFE = """
import sys
from pathlib import Path
from tests.test_history import diary, history, minutes_of

memory = history(Path(sys.argv[1]))
own = diary(memory)
memory.start()
for minute in range(100_000):
    minutes_of(own, 1, first=minute)
    print(minute, flush=True)
    while len(own.waiting) >= 15:  # a minute takes a minute, and no disk that much
        pass
"""


@pytest.mark.timeout(60 + 20 * N_KILLS)
def test_killed_at_any_moment_it_loses_the_batch_that_was_not_written(tmp_path: Path) -> None:
    """A process that remembers minutes as fast as it can, in lives that end anywhere: at a start, or amid a write."""
    chance, n_before, n_heard = random.Random(0), 0, 0
    for _ in range(N_KILLS):
        command = [sys.executable, "-c", LIFE, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()) as life:
            assert life.stdout is not None
            killer = threading.Timer(chance.uniform(0, MOST_SECONDS), life.kill)
            said = 0
            for _line in life.stdout:
                said += 1
                if killer.ident is None:
                    killer.start()
            killer.join()
        found = series(read_books(tmp_path, "pump"), ("score",))
        newest = int(found["number"][-1]) if found["number"].size else 0
        assert found["number"].tolist() == list(range(newest - found["number"].size + 1, newest + 1))
        own = found["score"][-(newest - n_before) :] if newest > n_before else found["score"][:0]
        assert own.tolist() == [1 + i % 1000 for i in range(newest - n_before)]  # a whole row, and the right one
        assert newest - n_before >= said - BATCH_MINUTES
        n_before, n_heard = newest, n_heard + said
    print(f"{N_KILLS} kills, {n_heard} minutes heard, {n_before} kept")
    assert n_before > N_KILLS * BATCH_MINUTES


@pytest.mark.timeout(200)
def test_a_daemon_that_is_killed_has_what_it_heard_at_the_next_start(tmp_path: Path) -> None:
    folder, source = tmp_path / "state" / "history", f"type: folder, path: {DEMO / 'recordings'}, realtime: false"
    more = {"STATE_DIRECTORY": str(tmp_path / "state")}
    with Mosquitto(tmp_path) as broker:
        with Earshot(tmp_path, f"{source}, loop: true", broker, more=more) as earshot:
            wait_until(lambda: len(_scores(folder)) >= BATCH_MINUTES, "a batch is written", seconds=150)
            earshot.process.kill()
        before = _scores(folder)
        with Earshot(tmp_path, source, broker, more=more) as earshot:  # to its end, which is less than a batch
            assert earshot.process.wait(60) == 0
        after = _scores(folder)
    assert after[: len(before)] == before
    assert len(before) < len(after) < len(before) + BATCH_MINUTES
    assert 0.3 < min(after) <= max(after) < 30
    assert "Traceback" not in earshot.log()


def _scores(folder: Path) -> list[float]:
    scores: list[float] = series(read_books(folder, "pump"), ("score",))["score"].tolist()
    return scores


def test_a_day_of_minutes_writes_no_more_than_a_card_can_bear(tmp_path: Path) -> None:
    """By the kernel's count of the pages that a process made it write."""
    before = _written_bytes()
    (tmp_path / "probe").write_bytes(bytes(100_000))
    if _written_bytes() - before < 100_000:
        pytest.skip("this disk is memory: nothing is written to it")
    memory = history(tmp_path / "history")
    own = diary(memory, about=ABOUT)
    memory.start()
    before = _written_bytes()
    for batch in range(MINUTES_A_DAY // BATCH_MINUTES):
        minutes_of(own, BATCH_MINUTES, start=1000 + 900.0 * batch)
        while own.waiting:
            time.sleep(0.002)
        os.sync()  # the kernel's half a minute is over: what is written next to it is another write
    assert memory.close(10)
    written = _written_bytes() - before
    print(f"{written / 1e6:.2f} MB written, {memory.written_bytes / 1e6:.2f} of them rows")
    assert memory.written_bytes < written < MOST_BYTES_A_DAY


def _written_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])
