"""Commands that wait for their turn, and the answers to them; what they mean is read in `control`.

A few a second are obeyed; what comes faster is thrown away and counted, so that whoever floods these topics delays no
event. Retained commands are not obeyed: they would be anew at each connection.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import paho.mqtt.client as paho

from edge.voice.control import MOST_BYTES, MOST_MINUTES, Command, CommandError, parse, shown
from edge.voice.message import Message, as_json
from edge.voice.topics import Topics

log = logging.getLogger(__name__)

OnCommand = Callable[[str, Command], str | None]
"""Given a source and a command; returns what was done, in words, or None, or raises CommandError if it is not done."""

MOST_COMMANDS: Final = 32
"""Commands that may wait for their turn."""

MOST_NAME: Final = 64
"""Characters of a command's name that its result repeats."""

COMMAND_SECONDS: Final = 0.1
"""Between two commands: a person is slower, a flood is not."""


@dataclass(frozen=True)
class _Heard:
    """A command as it came."""

    source: str
    name: str
    payload: bytes


class Orders:
    """What was heard and is not obeyed yet, when the next may be, and the results that are not said yet.

    paho's thread hears, the publisher's obeys and answers. `changed` guards all of it, and is not held while a command
    is carried out.
    """

    def __init__(
        self,
        topics: Topics,
        on_command: OnCommand | None,
        changed: threading.Condition,
        *,
        most_minutes: float = MOST_MINUTES,
    ) -> None:
        """most_minutes: the longest shelving."""
        self.most_minutes = most_minutes
        self._topics = topics
        self._on_command = on_command
        self._changed = changed
        self._heard: deque[_Heard] = deque()
        self._dropped = 0
        self._ignored = 0
        self._next_at = 0.0
        self._results: deque[Message] = deque(maxlen=MOST_COMMANDS)

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to obey; else none need be heard."""
        return self._on_command is not None

    @property
    def waiting(self) -> bool:
        """Whether one waits for its turn."""
        return bool(self._heard)

    @property
    def dropped(self) -> int:
        """Commands thrown away since the start because they came too fast."""
        return self._dropped

    @property
    def ignored(self) -> int:
        """Messages below our command topics since the start that were none: retained, or of a source we do not have."""
        return self._ignored

    def begin(self) -> None:
        """Forget what came over an earlier connection, and what would have been answered there."""
        with self._changed:
            self._heard.clear()
            self._results.clear()

    def hear(self, message: paho.MQTTMessage) -> None:
        """Let a command wait for its turn. Whatever came, nothing may be raised here: it would end paho's thread."""
        try:
            named = self._topics.command_on(message.topic)
        except ValueError:  # another depth, or no UTF-8
            named = None
        if named is None or message.retain:
            self._ignore(named, retained=message.retain)
            return
        source, name = named
        with self._changed:
            if len(self._heard) < MOST_COMMANDS:
                self._heard.append(_Heard(source, name, bytes(message.payload[: MOST_BYTES + 1])))
                self._changed.notify_all()
                return
            self._dropped += 1
            first = self._dropped == 1
        log.log(logging.WARNING if first else logging.DEBUG, "mqtt: commands come too fast, some are thrown away")

    def _ignore(self, named: tuple[str, str] | None, *, retained: bool) -> None:
        """Count what is no command, and say so once: a broker may have thousands for us."""
        if named is None and not retained:
            return  # our own results come back here
        self._ignored += 1
        what = "a retained one" if retained else "another's"
        level = logging.INFO if self._ignored == 1 else logging.DEBUG
        log.log(level, "mqtt: command %s: %s is not obeyed", shown(named[1] if named else ""), what)

    def obey(self) -> float | None:
        """Carry out one command if it is its turn; return the seconds until the next one's, None if there is none."""
        with self._changed:
            if not self._heard:
                return None
            wait_seconds = self._next_at - time.monotonic()
            if wait_seconds > 0:
                return wait_seconds
            heard = self._heard.popleft()
            self._next_at = time.monotonic() + COMMAND_SECONDS
        ok, words = self._carry_out(heard)
        log.info("%s: command %s: %s", heard.source, shown(heard.name), words)
        self.answer(heard.source, heard.name, ok=ok, words=words)
        with self._changed:
            return COMMAND_SECONDS if self._heard else None

    def answer(self, source: str, command: str, *, ok: bool, words: str) -> None:
        """Have it said what became of a command."""
        result = {"schema": 1, "command": command[:MOST_NAME], "ok": ok, "message": words}
        topic = self._topics.of(source, "cmd/result")
        with self._changed:
            self._results.append(Message(topic, as_json(result), retain=False))
            self._changed.notify_all()

    def next_result(self, lets: Callable[[Message], bool]) -> Message | None:
        """Return what became of a command, and take it as said; None if there is nothing. lets: as in Retained."""
        with self._changed:
            while self._results:
                result = self._results.popleft()
                if lets(result):
                    return result
            return None

    def _carry_out(self, heard: _Heard) -> tuple[bool, str]:
        """Return whether it was done, and what a person should know about it."""
        assert self._on_command is not None
        try:
            return True, self._on_command(heard.source, parse(heard.name, heard.payload, self.most_minutes)) or "done"
        except CommandError as error:
            return False, str(error)
        except Exception:
            log.exception("%s: command %s: a defect of ours", heard.source, shown(heard.name))
            return False, "a defect of ours; the device's log tells more"
