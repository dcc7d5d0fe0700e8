"""What people ask of a source over MQTT, kept until its next sound: the thread that hears it does it."""

import queue
from collections.abc import Iterator
from typing import Final

from edge.voice import Acknowledge, Command, CommandError, Shelve, Threshold

MOST_ASKED: Final = 100
"""Commands that may wait for the next sound: a source may be lost for days."""


class Asked:
    """The commands that wait for one source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._waiting: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def ask(self, command: Command, episode: str | None) -> str:
        """Take a command; return what will be done before the next sound. May be called from any thread.

        episode: id of the one that is open now. Raises CommandError where it cannot be done.
        """
        answer = answer_to(command, episode)
        if self._waiting.qsize() >= MOST_ASKED:
            raise CommandError(f"got more than {MOST_ASKED} commands since {self._source} was heard: expected fewer")
        self._waiting.put(command)
        return answer

    def take(self) -> Iterator[Command]:
        """Yield what waits, the oldest first: for the listening thread."""
        while not self._waiting.empty():
            yield self._waiting.get()


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
