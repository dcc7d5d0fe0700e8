"""What people ask of a source: answered with what is true, done at once or not at all."""

import pytest

from edge.daemon.asked import EXPIRE_SECONDS, MOST_ASKED, Asked
from edge.daemon.happening import Standing
from edge.voice import Acknowledge, Command, CommandError, Shelve, Threshold

LISTENING = Standing("listening")


class Room:
    """A room whose clock stands until the test moves it."""

    def __init__(self, own_threshold: float = 2.0) -> None:
        self.now = 1000.0
        self.given_up: list[tuple[Command, str]] = []
        self.asked = Asked(
            "pump",
            lambda: own_threshold,
            480.0,
            lambda command, why: self.given_up.append((command, why)),
            lambda: self.now,
        )

    def done(self) -> list[Command]:
        return list(self.asked.take())


@pytest.mark.parametrize("status", ["waiting", "lost"])
def test_a_source_that_is_not_heard_refuses_with_what_is_true(status: str) -> None:
    room = Room()
    standing = Standing(status, "no such card")  # type: ignore[arg-type]  # one of its words
    with pytest.raises(CommandError, match=rf"^pump is {status} \(no such card\): nothing is done, expected a source"):
        room.asked.ask(Shelve(30), None, standing)
    assert room.done() == []


def test_what_is_asked_is_done_with_the_next_sound() -> None:
    room = Room()
    assert room.asked.ask(Shelve(30), None, LISTENING) == "no episode opens for 30 min"
    assert room.asked.ask(Acknowledge(), "e1", Standing("degraded", "clipping")) == "e1 is known of"
    assert room.done() == [Shelve(30), Acknowledge()]
    assert room.done() == []


def test_what_is_too_old_is_not_done_and_that_is_said() -> None:
    room = Room()
    room.asked.ask(Shelve(30), None, LISTENING)
    room.now += EXPIRE_SECONDS + 1
    room.asked.ask(Shelve(0), None, LISTENING)
    assert room.done() == [Shelve(0)]
    assert room.given_up == [(Shelve(30), "not done: pump was not heard for 10 s")]


def test_what_waits_when_the_source_is_lost_is_not_done_and_that_is_said() -> None:
    room = Room()
    room.asked.ask(Threshold(5), None, LISTENING)
    room.asked.drop(Standing("lost", "unplugged"))
    assert room.given_up == [(Threshold(5), "not done: pump is lost (unplugged)")]
    assert (room.done(), room.asked.threshold) == ([], None)


def test_a_threshold_that_silences_ends_as_shelving_does() -> None:
    room = Room()
    assert (
        room.asked.ask(Threshold(1e9), None, LISTENING) == "the threshold is 1e+09 for 480 min, or until the next start"
    )
    assert room.done() == [Threshold(1e9)]
    assert room.asked.threshold == 1e9
    room.now += 480 * 60 - 1
    assert room.done() == []
    room.now += 1
    assert room.done() == [Threshold(None)]
    assert room.done() == []


def test_a_lower_threshold_stays() -> None:
    room = Room()
    assert room.asked.ask(Threshold(1.5), None, LISTENING) == "the threshold is 1.5 until the next start"
    assert room.done() == [Threshold(1.5)]
    room.now += 1e6
    assert (room.done(), room.asked.threshold) == ([], 1.5)


def test_they_are_bounded() -> None:
    room = Room()
    for _ in range(MOST_ASKED):
        room.asked.ask(Shelve(1), None, LISTENING)
    with pytest.raises(CommandError, match="more than 100 commands"):
        room.asked.ask(Shelve(1), None, LISTENING)
