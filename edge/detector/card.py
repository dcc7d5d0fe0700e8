"""`detector.json`: what a detector is. Read as if a stranger had sent it: every key, every number and every name.

The folder it lies in may have come over the network or from a card that wears out, so nothing is taken at its word: not
its size, not how deep it nests, not that a key stands there once or a number is one.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.ear import FrontendSettings
from edge.errors import shown
from edge.judge import Domain, Fusion, Kind, ScoreName
from edge.source import SAMPLE_RATE_HZ

SCHEMA: Final = 3
"""Written. Read as well: 1, which knew no false alarms a week, and 2, which kept no belief of what is ordinary."""

_READ_SCHEMAS: Final = (1, 2, 3)

MOST_CARD_BYTES: Final = 8 << 20
MOST_DIGITS: Final = 100
MOST_DEPTH: Final = 32
MOST_SECTIONS: Final = 10_000
MOST_FILES: Final = 64
MOST_LETTERS: Final = 200
"""Of a name: of the detector, a machine, a section, a file."""

WINDOW_FRAMES: Final = (32, 4096)
"""Two hops, and two minutes."""

MOST_CONDITIONS: Final = 24
"""Of a section. Each is a mean: a place where a fault can hide, and a distance a window."""

FRAME_SAMPLES: Final = (128, 16_384)
LEAST_HOP_SAMPLES: Final = 64
MOST_MELS: Final = 1024


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WeeklyCard(_Part):
    """What the table of false alarms a week was made from: hours of normal sound, and the keys of `event` that count.

    rarest  the fewest false alarms a week that the hours can promise
    """

    hours: float
    rarest: float
    event: dict[str, Any]


class LimitCard(_Part):
    """What would be heard of one kind of change (edge/judge/limits.py), as `Limit` says it."""

    kind: Kind
    limit_db: float | None
    wait_seconds: float | None
    wait_louder_seconds: float | None
    strengths_db: tuple[float, ...]
    probability: tuple[float, ...]


class SectionCard(_Part):
    """What `detector.json` says of one section.

    weekly  None where there was too little unbroken normal sound
    domains  of each mean that ordinary sound has
    would_hear  from which strength on known changes are reported; empty where nobody has tried
    conditions  what a person calls each mean; empty where nobody named any
    fusion  a detector that does not say is of before there was a choice
    """

    machine: str
    section: str
    domains: list[Domain]
    class_index: int | None
    windows: int
    thresholds: dict[ScoreName, float]
    weekly: WeeklyCard | None = None
    fusion: Fusion = "mean"
    would_hear: tuple[LimitCard, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`machine/section`, as `--section` takes it."""
        return f"{self.machine}/{self.section}"


class Golden(_Part):
    """Which section `golden.flac` is scored as, and the score of each of its windows."""

    section: str
    scores: list[float]


class Card(_Part):
    """`detector.json`. The thresholds are those of `false_alarms_per_week`, or else of `false_alarm_rate` a window.

    Scores other than `score` of which so few a week cannot be promised have those of `false_alarm_rate` in any case.
    """

    schema_version: int = SCHEMA
    name: str
    version: str
    created: str
    frontend: dict[str, float]
    frontend_fingerprint: str
    window_frames: int
    network: dict[str, Any]
    classes: list[str]
    sections: list[SectionCard]
    score: ScoreName
    false_alarm_rate: float
    false_alarms_per_week: float | None = None
    training: dict[str, Any]
    metrics: dict[str, Any]
    golden: Golden | None = None
    files: dict[str, str] = {}


def frontend_of(card: Card) -> FrontendSettings:
    """Return the frontend settings that `detector.json` states. Raises ValueError for such as nobody could mean."""
    known = {field.name: field.type for field in fields(FrontendSettings)}
    if set(card.frontend) != set(known):
        raise ValueError(f"frontend {shown(sorted(card.frontend))}: expected {', '.join(known)}")
    whole = {name for name in known if known[name] is int}
    if broken := [name for name in whole if card.frontend[name] != int(card.frontend[name])]:
        raise ValueError(f"frontend.{broken[0]} {card.frontend[broken[0]]:g}: expected a whole number")
    numbers: dict[str, Any] = {k: int(v) if k in whole else v for k, v in card.frontend.items()}
    settings = FrontendSettings(**numbers)
    _expect("frontend.sample_rate_hz", settings.sample_rate_hz, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    _expect("frontend.frame_samples", settings.frame_samples, *FRAME_SAMPLES)
    _expect("frontend.hop_samples", settings.hop_samples, LEAST_HOP_SAMPLES, settings.frame_samples)
    _expect("frontend.n_mels", settings.n_mels, 1, MOST_MELS)
    return settings


def card_of(data: bytes) -> Card:
    """Return what `detector.json` says. Raises ValueError that names the key, what came and what was expected."""
    try:
        text = data.decode("utf-8-sig")
        content = json.loads(
            text, object_pairs_hook=_each_once, parse_constant=_no_number, parse_float=_finite, parse_int=_short
        )
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"got the byte 0x{byte:02x} at {error.start}: expected JSON in UTF-8") from error
    except RecursionError:
        raise ValueError(f"nests deeper than {MOST_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {shown(error)}") from error
    _expect_flat(content)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in _READ_SCHEMAS or type(version) is not int:
        raise ValueError(
            f"schema_version {_brief(version)}: expected {_READ_SCHEMAS[0]} to {SCHEMA}, which is read here"
        )
    try:
        card = Card.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(_first_mistake(error)) from error
    _check(card)
    return card


def _check(card: Card) -> None:
    """Raise ValueError for what has the right type, and makes no sense."""
    frontend_of(card)
    _expect("window_frames", card.window_frames, *WINDOW_FRAMES)
    _expect_inside("false_alarm_rate", card.false_alarm_rate, 0, 1)
    if card.false_alarms_per_week is not None:
        _expect_inside("false_alarms_per_week", card.false_alarms_per_week, 0, math.inf)
    _check_pickup(card.training)
    _check_names(card)
    for section in card.sections:
        _check_section(section, card)
    if card.golden is not None:
        if not card.golden.scores:
            raise ValueError("golden.scores []: expected the score of each window of golden.flac")
        if card.golden.section not in {section.name for section in card.sections}:
            raise ValueError(f"golden.section {_brief(card.golden.section)}: expected a section of this detector")


def _check_section(section: SectionCard, card: Card) -> None:
    what = section.name
    if not 1 <= len(section.domains) <= MOST_CONDITIONS:
        raise ValueError(f"{what}: {len(section.domains)} domains: expected 1 to {MOST_CONDITIONS}")
    _check_conditions(section)
    if section.class_index is not None and not (0 <= section.class_index < len(card.classes) and len(card.classes) > 1):
        raise ValueError(
            f"{what}: class_index {section.class_index}: expected one of {len(card.classes)} classes, or null"
        )
    if section.windows < 0:
        raise ValueError(f"{what}: windows {section.windows}: expected how many were heard")
    for score, threshold in section.thresholds.items():
        if score != "confidence" and threshold <= 0:
            raise ValueError(f"{what}: threshold of {score} {threshold:g}: expected a number above 0")
    if section.weekly is not None:
        _expect_inside(f"{what}: weekly.hours", section.weekly.hours, 0, math.inf)


def _check_conditions(section: SectionCard) -> None:
    names = section.conditions or tuple(section.domains)
    if len(names) != len(section.domains) or len(set(names)) < len(names):
        raise ValueError(f"{section.name}: conditions {_brief(names)}: expected a name for each domain, each once")
    for name in names:
        if not 0 < len(name) <= MOST_LETTERS or shown(name) != name:
            raise ValueError(f"{section.name}: condition {_brief(name)}: expected letters that can be seen")


def _check_pickup(training: dict[str, Any]) -> None:
    channel, gain_db = training.get("channel", 0), training.get("gain_db", 0.0)
    if type(channel) is not int or not 0 <= channel <= 1023:
        raise ValueError(f"training.channel {_brief(channel)}: expected an integer from 0 to 1023")
    if type(gain_db) not in (int, float) or not -200 <= gain_db <= 200:
        raise ValueError(f"training.gain_db {_brief(gain_db)}: expected dB from -200 to 200")


def _check_names(card: Card) -> None:
    if len(card.sections) > MOST_SECTIONS or len(card.files) > MOST_FILES:
        found = f"{len(card.sections)} sections and {len(card.files)} files"
        raise ValueError(f"{found}: expected at most {MOST_SECTIONS} and {MOST_FILES}")
    names = [section.name for section in card.sections]
    if len(set(names)) < len(names):
        raise ValueError("a section stands in it twice: expected each once")
    parts = [part for section in card.sections for part in (section.machine, section.section)]
    for name in [card.name, card.version, card.created, *parts, *card.files]:
        if not 0 < len(name) <= MOST_LETTERS or shown(name) != name:
            raise ValueError(f"the name {_brief(name)}: expected 1 to {MOST_LETTERS} letters that can be seen")
    for name in card.files:
        if "/" in name or name in (".", "..", "detector.json"):
            raise ValueError(f"files names {_brief(name)}: expected names of files in the folder")


def _expect(what: str, came: float, least: float, most: float) -> None:
    if not least <= came <= most:
        raise ValueError(f"{what} {came:g}: expected {f'{least:g} to {most:g}' if least < most else f'{least:g}'}")


def _expect_inside(what: str, came: float, low: float, high: float) -> None:
    if not low < came < high:
        raise ValueError(f"{what} {came:g}: expected a number above {low:g}{f', below {high:g}' * (high < math.inf)}")


# --- JSON from a stranger ---


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands in it twice")
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _short(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"{text[:20]}... has {len(text)} digits: expected at most {MOST_DIGITS}")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is larger than a number can be")
    return number


def _expect_flat(content: object) -> None:
    level = [content]
    for _ in range(MOST_DEPTH):
        level = [child for each in level for child in _children(each)]
        if not level:
            return
    raise ValueError(f"nests deeper than {MOST_DEPTH} levels")


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _first_mistake(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False)
    where = ".".join(map(str, first["loc"]))
    more = f", and {len(others)} more" if others else ""
    if not where:  # pydantic reads some of it more strictly
        return f"not JSON: {first['msg']}"
    return f"{shown(where)}: got {_brief(first['input'])}: {first['msg']}{more}"


def _brief(value: object) -> str:
    text = shown(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
