"""What goes over the connection, as a value: a topic, a text, and whether the broker is to remember it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Payload = Mapping[str, Any]

MOST_OVERHEAD_BYTES: Final = 10
"""What a PUBLISH adds to topic and payload: a byte, 4 of length, 2 of the topic's length, 2 of the id, and in version 5
one for no properties."""


@dataclass(frozen=True)
class Message:
    """What goes to paho, always asking for an acknowledgement: who waits for none never learns what was too much.

    number  the outbox's, for an event
    hears   it is no publication, but our wish to hear `topic`
    """

    topic: str
    text: str | bytes
    retain: bool
    number: int | None = None
    hears: bool = False

    @property
    def key(self) -> str | int:
        """What is to blame if it costs a connection: an event by itself, and else the topic, whatever it says next."""
        return self.topic if self.number is None else self.number

    @property
    def n_bytes(self) -> int:
        """Bytes of the packet, at most: texts are ASCII."""
        return len(self.topic) + len(self.text) + MOST_OVERHEAD_BYTES


def as_json(payload: Payload) -> str:
    """Return a payload as compact ASCII. Raises ValueError or TypeError for what is not JSON; NaN is not."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":"))
