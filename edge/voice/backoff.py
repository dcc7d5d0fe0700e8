"""How long to wait before the next attempt to connect. Pure bookkeeping: it neither waits nor connects."""

import logging
import random
from typing import Final

log = logging.getLogger(__name__)

SHORT_LIFE_SECONDS: Final = 5.0
"""A connection that ends sooner counts as a failed one: the wait goes on growing."""

SHORT_LIVES_OF_A_FIGHT: Final = 3


class Backoff:
    """The wait, and how many connections in a row were accepted and soon cut off. The publisher's thread owns it.

    The wait doubles from the shortest towards the longest, and up to half of it is added at random: a fleet does not
    come back to a restarted broker in one second. (paho's own waits have nothing random in them.)
    """

    def __init__(self, shortest_seconds: float, longest_seconds: float, client_id: str) -> None:
        self._shortest_seconds = shortest_seconds
        self._longest_seconds = longest_seconds
        self._client_id = client_id
        self._wait_seconds = shortest_seconds
        self._short_lives = 0

    def after(self, *, cut_off: bool, lived_seconds: float) -> float:
        """Return the seconds to wait after a connection, or an attempt at one, that went so.

        cut_off: whether it was accepted, and ended while nothing was said that might explain it.
        """
        if lived_seconds >= SHORT_LIFE_SECONDS:
            self._wait_seconds, self._short_lives = self._shortest_seconds, 0
        elif cut_off:
            self._short_lives += 1
            if self._short_lives == SHORT_LIVES_OF_A_FIGHT:
                self._warn_of_a_fight()
        seconds = self._wait_seconds * random.uniform(1, 1.5)
        self._wait_seconds = min(2 * self._wait_seconds, self._longest_seconds / 1.5)
        return seconds

    def _warn_of_a_fight(self) -> None:
        log.warning(
            "mqtt: accepted and cut off within %g s, %d times in a row: another client may use the same client_id, %s",
            SHORT_LIFE_SECONDS,
            SHORT_LIVES_OF_A_FIGHT,
            self._client_id,
        )
