"""Turns: so many at once, in the order in which they came, and nobody waits for one that hangs."""

import threading
import time
from contextlib import ExitStack

import pytest

from edge.daemon.turns import Turns

SOON = 10.0


def wait_until_waiting(turns: Turns, n: int) -> None:
    """Return once so many wait for a turn."""
    moment = threading.Event()
    while len(turns._waiting) < n:
        moment.wait(0.001)


def test_no_more_than_so_many_hear_at_once_and_all_come_to_their_turn() -> None:
    turns, inside, most, heard, lock = Turns(2, SOON), 0, 0, 0, threading.Lock()

    def hear() -> None:
        nonlocal inside, most, heard
        for _ in range(50):
            with turns.turn():
                with lock:
                    inside += 1
                    most = max(most, inside)
                threading.Event().wait(0.0001)
                with lock:
                    inside -= 1
                    heard += 1

    threads = [threading.Thread(target=hear) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert (most, heard) == (2, 20 * 50)


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(1, SOON), list[int]()

    def hear(i: int) -> None:
        with turns.turn():
            order.append(i)

    threads = [threading.Thread(target=hear, args=(i,)) for i in range(5)]
    with turns.turn():
        for i, thread in enumerate(threads):
            thread.start()
            wait_until_waiting(turns, i + 1)
    for thread in threads:
        thread.join(SOON)
    assert order == [0, 1, 2, 3, 4]


def test_one_that_hangs_in_its_turn_holds_up_the_next_one_and_no_other() -> None:
    turns = Turns(1, most_seconds=0.5)
    begun = time.monotonic()
    with ExitStack() as hangs:
        hangs.enter_context(turns.turn())
        for _ in range(20):
            with turns.turn():
                pass
    assert time.monotonic() - begun < 20 * 0.5
    assert turns._free == 1  # as many as before, though more were given back


def test_a_busy_computer_on_which_all_wait_for_long_lets_no_more_in_at_once() -> None:
    turns, inside, most = Turns(1, most_seconds=1.5), 0, 0

    def hear() -> None:
        nonlocal inside, most
        with turns.turn():
            inside += 1
            most = max(most, inside)
            time.sleep(0.25)
            inside -= 1

    threads = [threading.Thread(target=hear) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert most == 1


def test_a_turn_that_fails_is_given_back() -> None:
    turns = Turns(1, SOON)
    with pytest.raises(ZeroDivisionError), turns.turn():
        raise ZeroDivisionError
    with turns.turn():
        pass
