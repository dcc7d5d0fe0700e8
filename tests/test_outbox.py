"""The outbox without a broker: what it keeps, what it drops, and disks and databases that are not as they should be."""

import json
import logging
import os
import random
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.config.settings import OutboxSettings
from edge.voice import shadow
from edge.voice.backlog import Backlog, News
from edge.voice.database import Database
from edge.voice.episodes import MOST_EPISODES
from edge.voice.outbox import FILE_NAME, STALLED, Outbox
from edge.voice.salvage import MOST_SET_ASIDE
from edge.voice.scribe import PATIENCE_SECONDS
from edge.voice.shadow import GATHER_SECONDS, RETRY_SECONDS
from edge.voice.waiting import Cause
from tests.real.mosquitto import SOAK, wait_until

TOPIC = "earshot/hall/pump/event"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def opened(folder: Path | None, clock: Callable[[], float] | None = None, **limits: float) -> Outbox:
    box = Outbox(OutboxSettings.model_validate(limits), folder, clock or time.monotonic)
    box.open()
    return box


def event(episode: str, kind: str = "opened", **more: object) -> dict[str, Any]:
    return {"id": episode, "kind": kind, "delayed": False, **more}


def waiting(box: Outbox) -> list[str]:
    """Return `<id> <kind>` of what waits, oldest first."""
    found, number = [], 0
    while (each := box.after(number)) is not None:
        number = each.number
        payload = json.loads(each.text)
        found.append(f"{payload['id']} {payload['kind']}")
    return found


def killed(box_folder: Path, copy: Path) -> Path:
    """Return a copy of the files as they are: what a killed process leaves behind, while ours holds the lock."""
    return Path(shutil.copytree(box_folder, copy))


# --- What is kept ---


def test_what_is_held_is_looked_up_under_the_lock() -> None:
    backlog = Backlog(OutboxSettings(), time.monotonic, shadowed=False)

    class Held(set[int]):
        def __contains__(self, number: object) -> bool:
            assert backlog._lock.locked()
            return super().__contains__(number)

    backlog._held = Held()
    number = backlog.put("a", {"kind": "opened", "id": "1"}, None, held=True)
    assert backlog.after(0) is None
    backlog.let_go(number)
    assert backlog.after(0) is not None


def test_what_was_put_is_on_disk_when_put_returns(tmp_path: Path) -> None:
    box = opened(tmp_path / "state")
    for number in range(20):
        box.put(TOPIC, event(f"e{number}", "opened" if number % 2 else "closed"))
        left = opened(killed(tmp_path / "state", tmp_path / f"copy-{number}"))

        assert waiting(left) == waiting(box)
        assert len(left) == number + 1
        left.close()
    assert (box.on_disk, box.problem, box.set_aside, box.dropped) == (True, None, 0, 0)
    box.close()


def test_numbers_and_order_survive_a_restart(tmp_path: Path) -> None:
    box = opened(tmp_path)
    for number in range(5):
        box.put(TOPIC, event(f"e{number}"))
    box.remove(1)
    box.remove(3)
    box.close()

    box = opened(tmp_path)
    box.put(TOPIC, event("new"))
    assert waiting(box) == ["e1 opened", "e3 opened", "e4 opened", "new opened"]
    assert [each.number for n in (0, 2, 4, 5) if (each := box.after(n))] == [2, 4, 5, 6]
    assert box.after(6) is None
    box.close()


def test_the_connection_of_an_event_is_known_in_this_run_only(tmp_path: Path) -> None:
    connection = object()
    box = opened(tmp_path)
    box.put(TOPIC, event("e"), connection)
    assert (found := box.after(0)) is not None
    assert found.born is connection
    box.close()

    box = opened(tmp_path)
    assert (found := box.after(0)) is not None
    assert found.born is None
    box.close()


def test_acknowledged_events_are_deleted_together(tmp_path: Path) -> None:
    clock = Clock()
    box = opened(tmp_path / "state", clock)
    for number in range(1, 51):
        box.put(TOPIC, event(f"e{number}", "updated"))
    written = box.bytes_written
    for number in range(1, 51):
        box.remove(number)
        box.flush()
    assert len(box) == 0
    assert box.bytes_written == written
    before = opened(killed(tmp_path / "state", tmp_path / "before"))
    assert len(before) == 50  # sent again after a kill: the same id, kind and time
    before.close()

    clock.seconds += GATHER_SECONDS
    box.flush()
    assert written < box.bytes_written < written + 100_000
    after = opened(killed(tmp_path / "state", tmp_path / "after"))
    assert len(after) == 0
    after.close()
    assert box.flush() is None
    box.close()


def test_a_flush_says_when_the_next_is_due(tmp_path: Path) -> None:
    clock = Clock()
    box = opened(tmp_path, clock)
    assert box.flush() is None
    box.put(TOPIC, event("e", "updated"))
    assert box.flush() is None  # an update is not worth a wait for the card
    box.remove(1)
    assert box.flush() == GATHER_SECONDS
    clock.seconds += GATHER_SECONDS
    assert box.flush() is None
    box.close()


def test_what_opens_or_closes_is_asked_on_to_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    clock = Clock()
    box = opened(tmp_path, clock)
    box.put(TOPIC, event("e"))
    assert synced == []
    assert box.flush() == GATHER_SECONDS
    clock.seconds += GATHER_SECONDS
    box.flush()
    assert synced == [f"{FILE_NAME}-wal"]
    box.close()


def test_many_threads_may_put_and_remove(tmp_path: Path) -> None:
    box = opened(tmp_path)

    def work(name: int) -> None:
        for number in range(40):
            box.put(TOPIC, event(f"{name}-{number}"))
            if (oldest := box.after(0)) is not None:  # another thread may still be at committing it
                box.remove(oldest.number)
            box.flush()

    def put_first() -> None:
        for number in range(10):
            box.put(TOPIC, event(f"first-{number}"))

    put_first()
    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(box) >= 10
    names = waiting(box)
    box.close()

    box = opened(tmp_path)
    assert waiting(box) == names
    box.close()


def test_without_a_state_directory_nothing_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    box = opened(None)
    box.put(TOPIC, event("e"))
    box.remove(1)
    box.put(TOPIC, event("f"))

    assert (len(box), box.on_disk, box.problem, box.bytes_written) == (1, False, "there is no state directory", 0)
    assert box.flush() is None
    assert caplog.text.count("no state directory") == 1
    box.close()


def test_a_payload_that_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    box = opened(tmp_path)
    with pytest.raises(ValueError, match="Out of range"):
        box.put(TOPIC, event("e", score=float("nan")))
    with pytest.raises(TypeError):
        box.put(TOPIC, event("e", score={1}))
    assert len(box) == 0
    assert box.orphans() == []
    box.close()


# --- Bounds ---


def test_updates_are_dropped_before_what_opens_and_closes(caplog: pytest.LogCaptureFixture) -> None:
    box = opened(None, max_events=4)
    for name, kind in [("a", "opened"), ("a", "updated"), ("a", "closed"), ("b", "opened"), ("b", "updated")]:
        box.put(TOPIC, event(name, kind))
    assert waiting(box) == ["a opened", "a closed", "b opened", "b updated"]
    box.put(TOPIC, event("b", "closed"))
    assert waiting(box) == ["a opened", "a closed", "b opened", "b closed"]
    box.put(TOPIC, event("c", "updated"))  # nothing is worth less than itself
    assert waiting(box) == ["a opened", "a closed", "b opened", "b closed"]
    box.put(TOPIC, event("c", "closed"))
    assert waiting(box) == ["a closed", "b opened", "b closed", "c closed"]

    assert box.dropped == 4
    assert caplog.text.count("the least worth are dropped") == 1


def test_bytes_are_bounded(tmp_path: Path) -> None:
    box = opened(tmp_path, max_megabytes=0.01)
    for number in range(30):
        box.put(TOPIC, event(f"e{number}", text="x" * 900))
    assert len(box) == 10
    assert box.dropped == 20
    box.put(TOPIC, event("large", text="x" * 10_000))
    assert (len(box), box.dropped) == (0, 31)
    box.close()


def test_too_old_events_are_dropped_by_running_time(tmp_path: Path) -> None:
    clock = Clock()
    box = opened(tmp_path, clock, max_days=1)
    box.put(TOPIC, event("old"))
    clock.seconds += 80_000
    box.put(TOPIC, event("young"))
    box.close()

    clock.seconds = 5.0  # a reboot: the monotonic clock begins anew
    box = opened(tmp_path, clock, max_days=1)
    clock.seconds += 6_000
    box.put(TOPIC, event("new"))
    assert waiting(box) == ["old opened", "young opened", "new opened"]
    clock.seconds += 1_000
    box.put(TOPIC, event("newer"))
    assert waiting(box) == ["young opened", "new opened", "newer opened"]
    assert box.dropped == 1
    box.close()


def test_a_smaller_limit_holds_for_what_is_found(tmp_path: Path) -> None:
    box = opened(tmp_path)
    for number in range(10):
        box.put(TOPIC, event(f"e{number}"))
    box.close()

    box = opened(tmp_path, max_events=3)
    assert waiting(box) == ["e7 opened", "e8 opened", "e9 opened"]
    box.close()


def test_the_log_of_the_database_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "WAL_BYTES", 100_000)
    box = opened(tmp_path, max_events=50)
    largest = 0
    for _ in range(300):
        box.put(TOPIC, event("e", text="x" * 900))
        largest = max(largest, (tmp_path / f"{FILE_NAME}-wal").stat().st_size)
    assert 50_000 < largest < 450_000
    assert (tmp_path / FILE_NAME).stat().st_size < 300_000
    box.close()


def test_bytes_written_is_what_the_process_wrote(tmp_path: Path) -> None:
    def written() -> int:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(fields["wchar"])  # what was given to write(2) and its like, by all threads

    before = written()
    box = opened(tmp_path)
    for number in range(600):
        box.put(TOPIC, event(f"e{number}", "updated", text="x" * 900))
        if number > 10:
            box.remove(number - 10)
    box.close()
    true = written() - before

    assert 0.9 * true < box.bytes_written < 1.3 * true


# --- Episodes that were open ---


def test_an_episode_that_was_open_when_the_process_was_killed_is_an_orphan(tmp_path: Path) -> None:
    box = opened(tmp_path / "state")
    box.put(TOPIC, event("closed", "opened"))
    box.put(TOPIC, event("closed", "closed"))
    box.put(TOPIC, event("open", "opened", time=1))
    box.put(TOPIC, event("open", "updated", time=2))
    for number in range(1, 5):
        box.remove(number)
    assert box.orphans() == []

    left = opened(killed(tmp_path / "state", tmp_path / "copy"))
    ((topic, payload),) = left.orphans()
    assert topic == TOPIC
    assert payload == event("open", "updated", time=2)
    assert left.orphans() == []
    left.close()  # nobody has said that it is closed: it is found again

    left = opened(tmp_path / "copy")
    assert len(left.orphans()) == 1
    left.put(TOPIC, event("open", "closed"))
    left.close()
    left = opened(tmp_path / "copy")
    assert left.orphans() == []
    left.close()
    box.close()


def test_open_episodes_are_bounded(tmp_path: Path) -> None:
    box = opened(tmp_path / "state", max_events=1)
    for number in range(MOST_EPISODES + 3):
        box.put(TOPIC, event(f"e{number}"))
    box.close()

    box = opened(tmp_path / "state")
    found = {payload["id"] for _, payload in box.orphans()}
    assert found == {f"e{number}" for number in range(3, MOST_EPISODES + 3)}
    box.close()


# --- Databases that are not as they should be ---


def filled(folder: Path) -> Path:
    """Write a database with events and an open episode, whole and closed; return its file."""
    box = opened(folder)
    for number in range(50):
        box.put(TOPIC, event(f"e{number}", text="x" * 500))
    box.close()
    return folder / FILE_NAME


def edited(file: Path, *statements: str) -> None:
    database = sqlite3.connect(file, isolation_level=None)
    for statement in statements:
        database.execute(statement)
    database.close()


def another_database(file: Path) -> None:
    file.unlink()
    edited(file, "CREATE TABLE birds (name TEXT)", "INSERT INTO birds VALUES ('wren')")


def a_wrong_free_list(file: Path) -> None:
    """Every row can be read; the next that is written might not be."""
    edited(file, "DELETE FROM event")
    content = bytearray(file.read_bytes())
    assert content[39] > 0  # https://sqlite.org/fileformat.html: the number of free pages, and where the first is
    content[32:40] = b"\0\0\0\2\0\0\0\1"
    file.write_bytes(content)


def as_a_directory(file: Path) -> None:
    file.unlink()
    (file / "something").mkdir(parents=True)


def as_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "random bytes": lambda file: file.write_bytes(random.Random(1).randbytes(20_000)),
    "random bytes behind the header": lambda file: file.write_bytes(
        file.read_bytes()[:100] + random.Random(1).randbytes(30_000)
    ),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:9_000]),
    "truncated to its header": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "text": lambda file: file.write_text("not a database\n" * 100),
    "another's database": another_database,
    "a later version": lambda file: edited(file, "PRAGMA user_version=4"),
    "a table gone": lambda file: edited(file, "DROP TABLE episode"),
    "a table changed": lambda file: edited(file, "ALTER TABLE event ADD COLUMN more"),
    "a trigger": lambda file: edited(
        file, "CREATE TRIGGER no BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'no'); END"
    ),
    "a wrong free list": a_wrong_free_list,
    "a directory": as_a_directory,
    "a pipe": as_a_pipe,
    "a log that is a directory": lambda file: Path(f"{file}-wal").mkdir(),
    "a topic with wildcards": lambda file: edited(file, "UPDATE event SET topic='#' WHERE number=3"),
    "a payload that is no text": lambda file: edited(file, "UPDATE event SET payload=x'ff00' WHERE number=3"),
    "a payload that is no UTF-8": lambda file: edited(
        file, "UPDATE event SET payload=CAST(x'22ff22' AS TEXT) WHERE number=3"
    ),
    "a payload that is no JSON": lambda file: edited(file, "UPDATE event SET payload='{' WHERE number=3"),
    "a payload that is no object": lambda file: edited(file, "UPDATE event SET payload='[]' WHERE number=3"),
    "a payload with NaN": lambda file: edited(file, """UPDATE event SET payload='{"a":NaN}' WHERE number=3"""),
    "a payload that nests deep": lambda file: edited(
        file, f"""UPDATE event SET payload='{{"a":{"[" * 100_000}{"]" * 100_000}}}' WHERE number=3"""
    ),
    "a number below 1": lambda file: edited(file, "UPDATE event SET number=-5 WHERE number=3"),
    "the largest number": lambda file: edited(file, f"UPDATE event SET number={2**63 - 1} WHERE number=3"),
    "a time that is none": lambda file: edited(file, "UPDATE event SET created='noon' WHERE number=3"),
    "an infinite time": lambda file: edited(file, "UPDATE event SET created=9e999 WHERE number=3"),
    "an episode's payload": lambda file: edited(file, "UPDATE episode SET payload='x' WHERE id='e3'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_database_is_put_aside_and_a_new_one_begun(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = filled(tmp_path)
    DAMAGE[name](file)
    caplog.clear()

    box = opened(tmp_path)
    assert (len(box), box.orphans(), box.problem, box.set_aside) == (0, [], None, 1)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said.startswith(f"outbox: {file}: ")
    assert said.endswith(f"put aside as {FILE_NAME}.corrupt-1, a new one is begun")
    assert Path(f"{file}.corrupt-1").exists()
    box.put(TOPIC, event("new"))
    box.close()

    box = opened(tmp_path)
    assert (waiting(box), box.set_aside) == (["new opened"], 0)
    box.close()


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    box = opened(tmp_path)
    assert box.set_aside == 0
    box.put(TOPIC, event("new"))
    assert box.on_disk
    box.close()


@pytest.mark.parametrize("content", [b"\0" * 40_000, random.Random(1).randbytes(40_000), b"\x37\x7f\x06\x82"])
def test_a_damaged_log_is_put_aside_and_the_database_kept(content: bytes, tmp_path: Path) -> None:
    file = filled(tmp_path)
    Path(f"{file}-wal").write_bytes(content)
    box = opened(tmp_path)
    assert (len(box), box.set_aside, box.problem) == (50, 1, None)
    assert Path(f"{file}.corrupt-1-wal").read_bytes() == content
    assert not Path(f"{file}.corrupt-1").exists()
    box.close()


def test_databases_put_aside_are_bounded(tmp_path: Path) -> None:
    for number in range(1, 8):
        (tmp_path / FILE_NAME).write_text(f"damage {number}")
        opened(tmp_path).close()
    kept = sorted(tmp_path.glob(f"{FILE_NAME}.corrupt-*"))
    assert len(kept) == MOST_SET_ASIDE
    assert [each.read_text() for each in kept] == ["damage 5", "damage 6", "damage 7"]


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes_raise_nothing_and_invent_nothing(seed: int, tmp_path: Path) -> None:
    """50 files a factor and seed, damaged at random places, the log of a killed process among them."""
    chance = random.Random(seed)
    box = opened(tmp_path / "state")
    for number in range(50):
        box.put(TOPIC, event(f"e{number}", text="x" * 500))
        if number == 25:
            box.close()
    sound = waiting(box)
    for number in range(25 * SOAK):
        folder = killed(tmp_path / "state", tmp_path / f"copy-{number}")
        file = folder / chance.choice([FILE_NAME, f"{FILE_NAME}-wal"])
        content = bytearray(file.read_bytes())
        for _ in range(chance.choice([1, 10, 1000])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])

        damaged = opened(folder)
        for orphan in damaged.orphans():
            damaged.put(orphan.topic, {**orphan.payload, "kind": "closed"})
        damaged.put(TOPIC, event("new"))
        assert damaged.problem in (None, STALLED)  # on a busy machine
        assert "new opened" in waiting(damaged)
        damaged.close()
        again = opened(folder)
        assert waiting(again) == waiting(damaged)
        assert again.set_aside == 0
        again.close()
        shutil.rmtree(folder)
    assert waiting(box) == sound
    box.close()


# --- What happens to the files while we run ---


def test_a_database_that_is_removed_is_written_anew(tmp_path: Path) -> None:
    box = opened(tmp_path)
    box.put(TOPIC, event("a"))
    for file in tmp_path.iterdir():
        file.unlink()
    box.put(TOPIC, event("b"))
    assert box.on_disk
    box.close()

    box = opened(tmp_path)
    assert waiting(box) == ["a opened", "b opened"]
    assert len(box.orphans()) == 2
    box.close()


def test_a_database_that_turns_out_damaged_loses_nothing_that_memory_has(tmp_path: Path) -> None:
    box = opened(tmp_path)
    box.put(TOPIC, event("a"))
    box.close()
    (tmp_path / FILE_NAME).write_bytes(random.Random(1).randbytes(20_000))
    box.put(TOPIC, event("b"))
    assert (box.set_aside, box.problem) == (1, None)
    box.close()

    box = opened(tmp_path)
    assert waiting(box) == ["a opened", "b opened"]
    box.close()


def test_two_daemons_do_not_share_a_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    first = opened(tmp_path, clock)
    first.put(TOPIC, event("a"))
    second = opened(tmp_path, clock)
    for name in "bcd":
        second.put(TOPIC, event(name))
    assert (second.problem, second.on_disk, second.set_aside) == ("another process has it open", False, 0)
    assert waiting(second) == ["b opened", "c opened", "d opened"]
    assert caplog.text.count("events are kept in memory") == 1
    first.close()

    assert second.flush() == RETRY_SECONDS
    second.remove(1)
    clock.seconds += RETRY_SECONDS
    second.flush()
    assert (second.problem, second.on_disk) == (None, True)
    assert waiting(second) == ["c opened", "d opened", "a opened"]  # behind what has been said already
    assert [payload["id"] for _, payload in second.orphans()] == ["a"]
    left = opened(killed(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy"))
    assert waiting(left) == waiting(second)
    left.close()
    second.close()


def test_a_state_directory_that_is_a_file_is_a_state(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    box = opened(tmp_path / "state")
    box.put(TOPIC, event("a"))
    assert box.problem is not None
    assert len(box) == 1
    box.close()


def test_no_event_is_said_before_it_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between would leave an episode open that the next run knows nothing of, and cannot close."""
    box = opened(tmp_path / "state")
    offered = []
    commit = Database.commit

    def watched_commit(database: Database, news: News) -> None:
        offered.append(box.after(0))
        commit(database, news)

    monkeypatch.setattr(Database, "commit", watched_commit)
    box.put(TOPIC, event("a"))
    assert offered == [None]
    assert box.after(0) is not None
    box.close()


# --- A disk that stalls ---


def test_nobody_who_puts_waits_for_a_disk_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An fsync of half a minute is a card's housekeeping: it costs the first one his patience, and nobody an event."""
    asked, ends = threading.Event(), threading.Event()

    def stalled_fsync(descriptor: int) -> None:
        asked.set()
        assert ends.wait(60)

    monkeypatch.setattr(os, "fsync", stalled_fsync)
    monkeypatch.setattr(shadow, "GATHER_SECONDS", 0.05)
    box = opened(tmp_path / "state")
    box.put(TOPIC, event("first"))
    assert asked.wait(20)
    took = []
    for number in range(50):
        start = time.monotonic()
        box.put(TOPIC, event(f"e{number}"))
        took.append(time.monotonic() - start)
    assert max(took[1:]) < PATIENCE_SECONDS / 2
    assert took[0] < 2 * PATIENCE_SECONDS
    assert (len(box), box.on_disk, box.problem) == (51, False, "the disk does not keep up")
    box.remove(1)  # and what the publisher does waits as little
    assert box.after(0) is not None

    ends.set()
    wait_until(lambda: box.on_disk and box.problem is None, "it keeps up again")
    left = opened(killed(tmp_path / "state", tmp_path / "copy"))
    assert len(waiting(left)) >= 50
    left.close()
    box.close()


def test_a_disk_that_stalls_at_the_start_does_not_hold_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(filled(tmp_path).parent).close()
    ends = threading.Event()
    read = Database.read

    def stalled_read(database: Database) -> Any:  # noqa: ANN401
        assert ends.wait(60)
        return read(database)

    monkeypatch.setattr(Database, "read", stalled_read)
    told = threading.Event()
    box = Outbox(OutboxSettings(), tmp_path, written=told.set)
    monkeypatch.setattr("edge.voice.outbox.OPEN_SECONDS", 0.1)
    start = time.monotonic()
    box.open()
    box.put(TOPIC, event("new"))
    assert time.monotonic() - start < 2
    ends.set()
    assert told.wait(20)
    wait_until(lambda: len(box) == 51, "what was there is taken in")
    assert waiting(box)[0] == "new opened"
    assert len(box.orphans()) == 50
    box.close()


# --- What is set aside ---


def test_what_is_set_aside_outlives_the_process_and_can_be_taken_back(tmp_path: Path) -> None:
    box = opened(tmp_path)
    for name in "abc":
        box.put(TOPIC, event(name))
    box.set_aside_event(2, Cause.HUNG_UP, "the broker hung up at it")
    assert (waiting(box), len(box.dead)) == (["a opened", "c opened"], 1)
    box.close()

    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        found = database.execute("SELECT number, cause, reason, n_tries FROM dead").fetchall()
        assert found == [(2, "hung_up", "the broker hung up at it", 0)]
    database.close()
    box = opened(tmp_path)
    assert (waiting(box), len(box.dead)) == (["a opened", "c opened"], 1)
    box.take_back(2)
    assert (waiting(box), len(box.dead)) == (["a opened", "b opened", "c opened"], 0)
    box.close()
    box = opened(tmp_path)
    assert (waiting(box), len(box.dead)) == (["a opened", "b opened", "c opened"], 0)
    box.close()


DEAD_OF_2 = (
    "DROP TABLE dead",
    "CREATE TABLE dead (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload TEXT NOT NULL, created REAL NOT NULL, "
    "reason TEXT NOT NULL)",
    "INSERT INTO dead SELECT *, 'why' FROM event WHERE number = 7",
    "DELETE FROM event WHERE number = 7",
    "INSERT INTO event SELECT 99, topic, payload, created FROM event WHERE number = 1",
    "PRAGMA user_version=2",
)


@pytest.mark.parametrize("before", [("DROP TABLE dead", "PRAGMA user_version=1"), DEAD_OF_2])
def test_a_database_of_a_version_before_is_read_and_made_new(before: tuple[str, ...], tmp_path: Path) -> None:
    file = filled(tmp_path)
    edited(file, *before)
    box = opened(tmp_path)
    assert (len(box), box.set_aside, box.problem) == (50, 0, None)
    found = [(each.event.number, each.cause, each.reason, each.n_tries) for each in box.dead]
    assert found == ([(7, Cause.HUNG_UP, "why", 0)] if before is DEAD_OF_2 else [])
    for dead in box.dead:
        box.remove(dead.event.number)
    assert box.dead == ()
    box.set_aside_event(1, Cause.REFUSED, "why not")
    box.close()
    box = opened(tmp_path)
    assert (len(box), len(box.dead)) == (49, 1)
    box.close()


@pytest.mark.parametrize("before", [None, 0o644])
def test_nobody_else_may_read_what_waits(before: int | None, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        if before is not None:
            filled(tmp_path / "state").chmod(before)
        box = opened(tmp_path / "state")
        box.put(TOPIC, event("e"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "state").iterdir()}
        box.close()
    finally:
        os.umask(old)
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) & 0o007 == 0
