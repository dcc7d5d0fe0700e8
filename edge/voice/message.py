"""What goes over the connection, as a value: a topic, a text, and how surely it is to arrive."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """What goes to paho; `number` is the outbox's, for an event."""

    topic: str
    text: str | bytes
    qos: int
    retain: bool
    number: int | None = None


def as_json(payload: Payload) -> str:
    """Return a payload as compact ASCII. Raises ValueError or TypeError for what is not JSON; NaN is not."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":"))
