"""A machine that starts and stops: what its windows hold of both states is let pass, and nothing else is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.judge import Passage, pairs_of

N_MELS = 128
WINDOW_HOPS = 19
MOST_HOPS = 29


@pytest.fixture
def states(rng: np.random.Generator) -> NDArray[np.float32]:
    """Running, and 15 dB below it idle, of another colour."""
    running = rng.normal(-50, 6, N_MELS)
    return np.stack([running, running - 15 + rng.normal(0, 4, N_MELS)]).astype(np.float32)


@pytest.fixture
def passage(states: NDArray[np.float32]) -> Passage:
    return Passage(states, np.full(N_MELS, 0.3, np.float32), [(0, 1)], window_hops=WINDOW_HOPS)


def between(states: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A window of which a share is of the running machine: its mean levels in dB are those of both in these parts."""
    mixed = share * states[0] + (1 - share) * states[1] + rng.normal(0, 0.5, N_MELS)
    return np.asarray(mixed, np.float32)


def test_pairs_are_those_that_were_found_at_enrolment() -> None:
    assert pairs_of(("source", "idle", "winter", "winter-idle", "normal-0123")) == [(0, 1), (2, 3)]
    assert pairs_of(("source", "winter")) == []
    assert pairs_of(()) == []


def test_a_stop_and_a_start_are_let_pass(
    passage: Passage, states: NDArray[np.float32], rng: np.random.Generator
) -> None:
    shares = [1.0] * 5 + np.linspace(1, 0, WINDOW_HOPS + 1).tolist() + [0.0] * 5
    for course in (shares, shares[::-1]):
        passed = [passage.hear(between(states, share, rng)) for share in course]
        assert passed == [False] * 7 + [True] * 18 + [False] * 5  # two before it is known, and two after


def test_the_first_window_of_a_passage_says_so(
    passage: Passage, states: NDArray[np.float32], rng: np.random.Generator
) -> None:
    begins = []
    for share in (1.0, 0.95, 0.85, 0.8, 0.0, 0.0):
        passage.hear(between(states, share, rng))
        begins.append(passage.begins)
    assert begins == [False, False, True, False, False, False]


def test_states_that_vary_by_more_than_they_are_apart_are_judged_throughout(
    states: NDArray[np.float32], rng: np.random.Generator
) -> None:
    wide = Passage(states, np.full(N_MELS, 4.0, np.float32), [(0, 1)], window_hops=WINDOW_HOPS)
    assert not any(wide.hear(between(states, share, rng)) for share in (1.0, 0.7, 0.5, 0.3, 0.0))


def test_what_stays_between_both_is_judged_after_a_window_and_a_half_until_it_is_of_a_state_again(
    passage: Passage, states: NDArray[np.float32], rng: np.random.Generator
) -> None:
    passed = [passage.hear(between(states, 0.5, rng)) for _ in range(100)]
    assert sum(passed) == MOST_HOPS
    assert passed == sorted(passed, reverse=True)
    assert not passage.hear(between(states, 1.0, rng))
    assert passage.hear(between(states, 0.6, rng))


def test_a_fault_lies_beside_the_way_and_is_judged_at_once(
    passage: Passage, states: NDArray[np.float32], rng: np.random.Generator
) -> None:
    loud, tone = between(states, 1.0, rng) + 12, between(states, 1.0, rng)
    tone[40:44] += 30
    hiss = between(states, 0.5, rng)
    hiss[64:] += 20
    assert [passage.hear(each) for each in (loud, tone, hiss)] == [False, False, False]
