"""What the listeners of one daemon share: whom they tell, and where what they hear is kept."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from edge.config import Config
from edge.daemon.trends import Trends
from edge.daemon.turns import Turns
from edge.memory import ClipStore, History, Notes
from edge.voice import Command, Notifier, Publisher

CLOSE_SECONDS: Final = 4.0
"""For the last minutes, and the last clips, at the end; systemd waits 15 s for all of us."""


@dataclass(frozen=True)
class Shared:
    """Each has a thread of its own, so that who listens waits for none of them. What is None was not asked for.

    trends  how each source changes over weeks
    notes   what the judges have learnt
    stop    set when all is to end
    turns   by which the listening threads take turns to hear
    """

    publisher: Publisher
    notifier: Notifier | None
    clips: ClipStore | None
    history: History | None
    trends: Trends
    notes: Notes
    stop: threading.Event
    turns: Turns = field(default_factory=Turns)

    @classmethod
    def of(cls, config: Config, on_command: Callable[[str, Command], str | None]) -> Self:
        """Open nothing. on_command: who obeys what is said over MQTT to a source, and says what will be done."""
        state = config.state_path
        clips = ClipStore(config.evidence, state / "evidence") if state else None
        publisher = Publisher(
            config.mqtt,
            node=config.node_name,
            sources=[source.name for source in config.sources],
            state_path=state,
            on_command=on_command,
            pictures=clips is not None and config.evidence.privacy != "off",
            notebook=Notes(state / "announced" if state else None),
        )
        history = None
        if state and config.memory.days:
            floor = config.evidence.min_free_megabytes
            history = History(config.memory, state / "history", min_free_megabytes=floor)
        trends = Trends(history.folder if history else None)
        if history is not None:
            history.call_after_writing(trends.look)
        return cls(
            publisher=publisher,
            notifier=Notifier(config.notify, config.node_name, state) if config.notify.url else None,
            clips=clips,
            history=history,
            trends=trends,
            notes=Notes(state / "learnt" if state else None),
            stop=threading.Event(),
        )

    def start(self) -> None:
        """Begin to tell and to keep."""
        for each in (self.publisher, self.notifier, self.clips, self.history):
            if each is not None:
                each.start()

    def close_memory(self) -> None:
        """Write down what is not yet written, as far as the disk takes it in time."""
        until = time.monotonic() + CLOSE_SECONDS
        for each in (self.notes, self.history, self.clips):
            if each is not None:
                each.close(max(0.0, until - time.monotonic()))

    def close_voice(self) -> None:
        """Say what is not yet said."""
        self.publisher.close()
        if self.notifier is not None:
            self.notifier.close()
