"""When this device is announced to Home Assistant: at every connect, when that comes back, and when it has to forget.

What was announced is noted, where there is a state directory: a source that is no longer there, a node or prefix of
another name, and discovery that was switched off are so taken back at the next start.
"""

import logging
import random
import re
import threading
from collections.abc import Mapping
from typing import Any, Final, Protocol

import paho.mqtt.client as paho

from edge.voice.discovery import Discovery
from edge.voice.message import as_json
from edge.voice.retained import Retained, Worth

log = logging.getLogger(__name__)

NOTE: Final = "home-assistant"

AGAIN_SECONDS: Final = (2.0, 10.0)
"""To wait, at random, after Home Assistant has come back: it is busy then, and a fleet must not answer at once."""

MOST_GONE: Final = 100
"""Sources that are gone and are still told of: whoever was away meanwhile has to forget them, too."""

_TOPIC: Final = re.compile(r"[a-zA-Z0-9_/-]{1,400}/device/[a-zA-Z0-9_-]{1,300}/config")
_SOURCE: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Notebook(Protocol):
    """What outlives the process: a note by its name."""

    def read(self, name: str) -> dict[str, Any] | None:
        """Return it; None where there is none. May wait for the disk."""

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Have it written, soon."""


class Herald:
    """What was announced, and whether Home Assistant waits for it again. `hear` is paho's thread's."""

    def __init__(
        self, discovery: Discovery | None, sources: frozenset[str], retained: Retained, notebook: Notebook | None
    ) -> None:
        """Say nothing before `open`. discovery: None, and what was announced is taken back."""
        self._discovery = discovery
        self._sources = sources
        self._retained = retained
        self._notebook = notebook
        self._lock = threading.Lock()
        self._again: threading.Timer | None = None

    @property
    def birth_topic(self) -> str | None:
        """Where Home Assistant says that it is back; None where nobody wants to know."""
        return None if self._discovery is None else self._discovery.birth_topic

    def open(self) -> None:
        """Have said what is to be announced, and what no longer is. Once, before the connection is made."""
        noted = self._noted()
        ours = None if self._discovery is None else self._discovery.topic
        for topic in noted:
            if topic != ours:
                self._retained.say(topic, "", Worth.ANNOUNCEMENT)
        if self._discovery is None or ours is None:
            return
        gone = [source for source in noted.get(ours, []) if source not in self._sources][-MOST_GONE:]
        self._retained.say(ours, as_json(self._discovery.payload(gone)), Worth.ANNOUNCEMENT)
        noted[ours] = [*gone, *sorted(self._sources)]
        if self._notebook is not None:
            self._notebook.write(NOTE, {"announced": noted})

    def hear(self, message: paho.MQTTMessage) -> bool:
        """Take what came if it is Home Assistant's; return whether it was. One that comes back is told anew, soon."""
        if self._discovery is None or message.topic != self._discovery.birth_topic:
            return False
        if not message.retain and message.payload == b"online":
            self._announce_again(self._discovery.topic)
        return True

    def _announce_again(self, topic: str) -> None:
        with self._lock:
            if self._again is not None and self._again.is_alive():
                return
            log.info("mqtt: Home Assistant is back")
            self._again = threading.Timer(random.uniform(*AGAIN_SECONDS), self._retained.again, (topic,))
            self._again.daemon = True
            self._again.start()

    def _noted(self) -> dict[str, list[str]]:
        """Return the sources that were announced, by topic: what of the note can be believed."""
        note = (self._notebook.read(NOTE) if self._notebook else None) or {}
        announced = note.get("announced")
        return {
            topic: [source for source in sources if isinstance(source, str) and _SOURCE.fullmatch(source)]
            for topic, sources in (announced.items() if isinstance(announced, dict) else ())
            if _TOPIC.fullmatch(topic) and isinstance(sources, list)
        }
