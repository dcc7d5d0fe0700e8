"""A notification: what happened, in words for a person, and how urgent it is. Pure: values in, a value out.

Its wire form (edge/schemas/notification.json) is what a webhook of format `json` gets, and what waits in the outbox.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from edge.voice.phrases import Language, reasons, say

Kind = Literal["opened", "closed", "sensor", "picture", "check"]

# ntfy's: 1 is nothing that one hears, 3 the usual, 5 does not stop. https://docs.ntfy.sh/publish/#message-priority
URGENT: Final = 4
USUAL: Final = 3
QUIET: Final = 2


@dataclass(frozen=True)
class Notice:
    """What is told. time: RFC 3339, UTC; priority: 1 to 5; tags: ntfy's names of emojis; episode: id of the episode."""

    kind: Kind
    node: str
    source: str
    time: str
    title: str
    message: str
    priority: int = USUAL
    tags: tuple[str, ...] = ()
    episode: str | None = None
    png: bytes | None = None

    def wire(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        png = None if self.png is None else base64.b64encode(self.png).decode()
        return {"schema": 1, **vars(self), "tags": list(self.tags), "png": png}

    @classmethod
    def of_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Return what `wire` gave. Raises ValueError for anything else."""
        try:
            values = {name: wire[name] for name in cls.__dataclass_fields__}
            png = values["png"] and base64.b64decode(values["png"], validate=True)
            return cls(**{**values, "tags": tuple(values["tags"]), "png": png})
        except (KeyError, TypeError, binascii.Error) as error:
            raise ValueError(f"no notification: {error}") from error


def of_event(event: Mapping[str, Any], language: Language) -> Notice:
    """Return what is told of an episode that was opened or closed (edge/schemas/event.json)."""
    opened = event["kind"] == "opened"
    name = "opened" if opened else event["reason"]
    if opened:
        figures = say(language, "score", **event)
    else:
        figures = say(language, "peak", minutes=event["duration_s"] / 60, **event)
    return Notice(
        kind="opened" if opened else "closed",
        node=event["node"],
        source=event["source"],
        time=event["time"],
        title=say(language, name, source=event["source"]),
        message="\n".join(line for line in (reasons(language, event), figures) if line),
        priority=URGENT if opened else USUAL,
        tags=("rotating_light",) if opened else ("white_check_mark",),
        episode=event["id"],
    )


def of_sensor(node: str, source: str, status: str, reason: str | None, time: str, language: Language) -> Notice:
    """Return what is told of a microphone. status: as in edge/schemas/state.json."""
    unwell = status in ("degraded", "lost")
    return Notice(
        kind="sensor",
        node=node,
        source=source,
        time=time,
        title=say(language, status if unwell else "well", source=source),
        message=reason or status,
        priority=USUAL if unwell else QUIET,
        tags=("mute",) if unwell else ("microphone",),
    )


def of_picture(told: Notice, png: bytes, language: Language) -> Notice:
    """Return the picture of an episode that was told of."""
    title = say(language, "picture", source=told.source)
    return Notice("picture", told.node, told.source, told.time, title, told.message, QUIET, (), told.episode, png)


def of_check(node: str, time: str, language: Language) -> Notice:
    """Return what somebody tries the way with."""
    title = say(language, "check", source=node)
    return Notice("check", node, node, time, title, say(language, "tried"), QUIET, ("wave",))
