"""What people ask of a source over MQTT, kept until its next sound: the thread that hears it does it.

The next sound is half a second away, or the source is lost and the command is refused: what was asked of a source that
is silent must not happen days later, when nobody remembers it.
"""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Final

from edge.daemon.happening import Standing
from edge.voice import Acknowledge, Command, CommandError, Shelve, Threshold

MOST_ASKED: Final = 100
"""Commands that may wait for the next sound."""

EXPIRE_SECONDS: Final = 10.0
"""A command that was not done by then is not done at all."""


class Asked:
    """The commands that wait for one source, and the threshold that one of them has set, and until when.

    A threshold above the source's own silences it, so it is limited in time as shelving is.
    """

    def __init__(
        self,
        source: str,
        own_threshold: Callable[[], float],
        most_minutes: float,
        gave_up: Callable[[Command, str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """own_threshold: of the source, which falls as it learns. May be called from any thread.

        gave_up: given a command that will not be done after all, and why; in the listening thread."""
        self._source = source
        self._own_threshold = own_threshold
        self._most_minutes = most_minutes
        self._gave_up = gave_up
        self._now = now
        self._waiting: queue.SimpleQueue[tuple[float, Command]] = queue.SimpleQueue()
        self._threshold: float | None = None
        self._reverts_at: float | None = None

    @property
    def threshold(self) -> float | None:
        """The threshold that was asked for and is in force; None: the source's own."""
        return self._threshold

    def ask(self, command: Command, episode: str | None, standing: Standing) -> str:
        """Take a command; return what will be done before the next sound. May be called from any thread.

        episode: id of the one that is open now. Raises CommandError where it cannot be done.
        """
        if not standing.hears:
            raise CommandError(f"{self._source} is {standing}: nothing is done, expected a source that is heard")
        answer = answer_to(command, episode)
        if isinstance(command, Threshold) and command.value is not None and command.value > self._own_threshold():
            answer = f"the threshold is {command.value:g} for {self._most_minutes:g} min, or until the next start"
        if self._waiting.qsize() >= MOST_ASKED:
            raise CommandError(f"got more than {MOST_ASKED} commands since {self._source} was heard: expected fewer")
        self._waiting.put((self._now() + EXPIRE_SECONDS, command))
        return answer

    def take(self) -> Iterator[Command]:
        """Yield what waits and is not too old, the oldest first: for the listening thread, with each sound."""
        while not self._waiting.empty():
            expires_at, command = self._waiting.get()
            if self._now() > expires_at:
                self._gave_up(command, f"not done: {self._source} was not heard for {EXPIRE_SECONDS:g} s")
                continue
            self._remember(command)
            yield command
        if self._reverts_at is not None and self._now() >= self._reverts_at:
            self._threshold = self._reverts_at = None
            yield Threshold(None)

    def drop(self, standing: Standing) -> None:
        """The source is lost: what waits is not done."""
        while not self._waiting.empty():
            _, command = self._waiting.get()
            self._gave_up(command, f"not done: {self._source} is {standing}")

    def _remember(self, command: Command) -> None:
        if isinstance(command, Threshold):
            self._threshold = command.value
            silences = command.value is not None and command.value > self._own_threshold()
            self._reverts_at = self._now() + 60 * self._most_minutes if silences else None


def answer_to(command: Command, episode: str | None) -> str:
    """Return in words what a command will do while `episode` is open. Raises CommandError if it means another."""
    match command:
        case Acknowledge(meant):
            if episode is None or meant not in (None, episode):
                raise CommandError(f"acknowledge: got {meant or 'the open one'}, but open is {episode or 'none'}")
            return f"{episode} is known of"
        case Shelve(minutes):
            return f"no episode opens for {minutes:g} min" if minutes else "episodes open again"
        case Threshold(value):
            return f"the threshold is {'the configured one' if value is None else f'{value:g}'} until the next start"
