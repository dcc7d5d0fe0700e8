"""What others may tell us over MQTT, read strictly. Nothing is done here: a command is a value.

    earshot/<node>/<source>/cmd/acknowledge    {}  or  "<id of the episode>"
    earshot/<node>/<source>/cmd/shelve         {"minutes": 30}      0: no longer
    earshot/<node>/<source>/cmd/threshold      {"value": 4.5}       null: the detector's own again

The words are those of ISA-18.2 / IEC 62682. The schema is `edge/schemas/command.json`. Whoever can write to these
topics commands the device: it is the broker's access list that says who that is.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from edge.errors import EarshotError

MOST_BYTES: Final = 1024
"""Length of a payload; no command is near it."""

MOST_MINUTES: Final = 7 * 24 * 60
"""A shelved alarm comes back by itself: whoever wants it gone for good takes the source out of the configuration."""

MOST_THRESHOLD: Final = 1e9
MOST_SHOWN: Final = 80


class CommandError(EarshotError):
    """A command that is not understood, or not obeyed: its text says what came and what was expected."""


@dataclass(frozen=True)
class Acknowledge:
    """A person has seen the alarm: of this episode, or of whichever is open."""

    episode: str | None = None


@dataclass(frozen=True)
class Shelve:
    """Let the alarm rest for so long, 0 to `MOST_MINUTES`; 0 ends it."""

    minutes: float


@dataclass(frozen=True)
class Threshold:
    """Judge by this score, in the unit of the threshold; None: by the detector's own again."""

    value: float | None


Command = Acknowledge | Shelve | Threshold


def parse(name: str, payload: bytes, most_minutes: float = MOST_MINUTES) -> Command:
    """Return the command that came on `cmd/<name>`. most_minutes: the longest shelving, `mqtt.largest_shelve_minutes`.

    Raises CommandError, and nothing else, whatever came; its text is printable and short.
    """
    if name == "relearn":
        raise CommandError("relearn: got a wish to learn over MQTT, expected `earshot enroll` on the device itself")
    if name not in _READERS:
        raise CommandError(f"got the command {shown(name)}, expected one of {', '.join(_READERS)}")
    command = _READERS[name](payload)
    if isinstance(command, Shelve) and command.minutes > most_minutes:
        raise CommandError(
            f"shelve: got {command.minutes:g} min, expected at most {most_minutes:g} (mqtt.largest_shelve_minutes)"
        )
    return command


def shown(value: object) -> str:
    """Return what came in a form for people and logs: printable ASCII, and not long."""
    text = ascii(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def _acknowledge(payload: bytes) -> Command:
    value = _value("acknowledge", payload, expected := '{} or the id of an episode in quotes, "..."')
    if value == {}:
        return Acknowledge()
    if isinstance(value, str) and re.fullmatch(r"[!-~]{1,64}", value):
        return Acknowledge(value)
    raise _refusal("acknowledge", payload, expected)


def _shelve(payload: bytes) -> Command:
    minutes = _only("shelve", "minutes", payload, expected := f'{{"minutes": 0 to {MOST_MINUTES}}}, 0 to unshelve')
    if not _is_number(minutes) or not 0 <= minutes <= MOST_MINUTES:
        raise _refusal("shelve", payload, expected)
    return Shelve(float(minutes))


def _threshold(payload: bytes) -> Command:
    value = _only(
        "threshold", "value", payload, expected := '{"value": a number or null}, null for the detector\'s own'
    )
    if value is None:
        return Threshold(None)
    if not _is_number(value) or not -MOST_THRESHOLD <= value <= MOST_THRESHOLD:
        raise _refusal("threshold", payload, expected)
    return Threshold(float(value))


_READERS: Final[dict[str, Callable[[bytes], Command]]] = {
    "acknowledge": _acknowledge,
    "shelve": _shelve,
    "threshold": _threshold,
}


def _only(name: str, key: str, payload: bytes, expected: str) -> Any:  # noqa: ANN401
    """Return what stands under the one key that a command has."""
    value = _value(name, payload, expected)
    if not isinstance(value, dict) or value.keys() != {key}:
        raise _refusal(name, payload, expected)
    return value[key]


def _value(name: str, payload: bytes, expected: str) -> Any:  # noqa: ANN401
    if len(payload) > MOST_BYTES:
        raise CommandError(f"{name}: got more than {MOST_BYTES} bytes, expected {expected}")
    try:
        return json.loads(payload.decode(), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError):  # what is no UTF-8 and no JSON, and what nests too deep
        raise _refusal(name, payload, expected) from None


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A key given twice means two things; most readers take one of them without a word."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _is_number(value: object) -> bool:
    """Whether it is a number: true is none. NaN and infinities, which Python reads, fail every comparison after it."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refusal(name: str, payload: bytes, expected: str) -> CommandError:
    text = payload.decode(errors="replace")
    return CommandError(f"{name}: got {shown(text) if text else 'nothing'}, expected {expected}")
