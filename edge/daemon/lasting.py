"""The life of a source: opened, heard out, lost, waited for, opened again. How it sounds is not its business."""

import random
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Literal

from edge.config import FolderSettings, SourceSettings, StdinSettings
from edge.errors import SourceError
from edge.judge import Reason
from edge.source import Block, Microphone, Source, wait_for_change

RETRY_SECONDS: Final = (1.0, 30.0)
"""The shortest and the longest wait before a lost source is opened again; it doubles in between, and ends early when a
card comes or goes."""


LOOK_SECONDS: Final = 5.0
"""How often a folder is asked for new recordings: a file that comes has not to grow for as long, anyway."""


@dataclass(frozen=True)
class Lost:
    """Nothing more is heard, until a block comes that starts anew. `why`: in the words of an episode that this ends.

    status: `waiting` where nothing is wrong, and more will come
    """

    reason: str
    why: Reason
    status: Literal["lost", "waiting"] = "lost"


class LastingSource:
    """A source that is opened again for ever. It remembers the one that is open, or was last.

    `heard` is for the listening thread; `close` and `microphone` may be called from any.
    """

    def __init__(self, settings: SourceSettings, open_source: Callable[[], Source], stop: threading.Event) -> None:
        """Open nothing. stop: set when nothing more is to be heard."""
        self._settings = settings
        self._open = open_source
        self._stop = stop
        self._source: Source | None = None

    def heard(self) -> Generator[Block | Lost, None, None]:
        """Yield blocks, and a `Lost` after each stretch of them, until stopped.

        It ends by itself after a source that has come to its end, and with standard input, which is there only once.
        """
        wait_seconds = RETRY_SECONDS[0]
        while not self._stop.is_set():
            fault = None
            source = self._source = self._open()
            try:
                for block in source.blocks():
                    if self._stop.is_set():
                        break
                    wait_seconds = RETRY_SECONDS[0]
                    yield block
            except SourceError as error:
                fault = str(error)
            finally:
                source.close()

            stopped = self._stop.is_set()
            if fault is None and not stopped and self._waits_for_more:
                yield Lost("for the next recording", "source_lost", "waiting")
                if not self._stop.wait(LOOK_SECONDS):
                    continue
                stopped = True
            yield Lost("shutting down", "shutdown") if stopped else Lost(fault or "the sound has ended", "source_lost")
            if fault is None or isinstance(self._settings, StdinSettings):
                return
            wait_seconds = self._wait(wait_seconds)

    @property
    def _waits_for_more(self) -> bool:
        return isinstance(self._settings, FolderSettings) and self._settings.watch == "new"

    def close(self) -> None:
        """Wake the source if it waits for sound, so that `heard` can end."""
        if self._source is not None:
            self._source.close()

    @property
    def microphone(self) -> Microphone | None:
        """The microphone, if it is one and was opened: it counts what it lost."""
        return self._source if isinstance(self._source, Microphone) else None

    def _wait(self, seconds: float) -> float:
        """Wait for about so long, or until a card comes or goes; return how long to wait if it is still not there."""
        shortest_seconds, longest_seconds = RETRY_SECONDS
        if wait_for_change(min(seconds * random.uniform(1, 1.5), longest_seconds), self._stop):
            self._stop.wait(shortest_seconds)  # udev has to give a card that came to our group first
            return shortest_seconds
        return min(2 * seconds, longest_seconds)
