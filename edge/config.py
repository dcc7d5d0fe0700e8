"""`config.yaml`, read once at the door into frozen settings. No defaults are guessed later, no file is opened but it.

The file is the documentation: every key stands in it with its unit and its reason. This room says what is allowed and,
when something is not, names every mistake at once: file, line, column, key, what came, what was expected.

YAML is read as its version 1.2 means it, not 1.1: `no` is text, `1:30` is text, `010` is text, and a key given twice is
a mistake. Aliases and tags are refused: they are for programs, and this file is for people.
"""

import difflib
import hashlib
import ipaddress
import logging
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from edge.errors import ConfigError

log = logging.getLogger(__name__)

SAMPLE_RATE_HZ: Final = 16_000
"""What the line runs at: sources may be faster, never slower (there is no sound above half their rate)."""

HIGHEST_RATE_HZ: Final = 768_000
DAY_SECONDS: Final = 86_400
WEEK_MINUTES: Final = 7 * 24 * 60
LARGEST_DEPTH: Final = 16
"""How deep the file may nest: four levels are in use, and a reader that recurses has to stop somewhere."""


# --- Kinds of values. The text in `description` is what an error message expects. ---


def _against_the_file(value: object, info: ValidationInfo) -> object:
    """Return the path in `value` as an absolute one; a relative path starts at the folder of the config file."""
    if not isinstance(value, str | Path):
        return value
    if not str(value) or "\0" in str(value) or str(value).startswith("~"):
        raise ValueError("expected a path, relative to this file or absolute; ~ is not expanded")
    folder = (info.context or {}).get("folder", Path())
    return Path(folder, value).absolute()


def _host(value: str) -> str:
    """Return `value` if a resolver would take it: a name or an address, and nothing around it."""
    if ":" in value:
        with suppress(ValueError):
            return str(ipaddress.IPv6Address(value))
    elif re.fullmatch(r"[^\s/@]+", value):
        with suppress(UnicodeError):  # an empty or overlong label would end the network thread later
            value.encode("idna")
            return value
    raise ValueError("expected a host name or an address, without mqtt:// before it or a port behind it")


ConfigPath = Annotated[Path, BeforeValidator(_against_the_file)]
Host = Annotated[str, Field(description="a host name or an address"), AfterValidator(_host)]
Name = Annotated[
    str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="1 to 64 letters, digits, _ or - (it becomes a topic)")
]
Topic = Annotated[
    str,
    Field(
        pattern=r"^[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*$",
        max_length=200,
        description="levels of letters, digits, _ or - with / between them",
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=200, description="1 to 200 characters")]
ClientId = Annotated[str, Field(pattern=r"^[!-~]{1,64}$", description="1 to 64 visible ASCII characters")]
Section = Annotated[
    str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}/[0-9]{2}$", description='machine/NN as in the detector, say "pump/00"')
]
Channel = Annotated[int, Field(ge=0, le=1023)]
RateHz = Annotated[int, Field(ge=SAMPLE_RATE_HZ, le=HIGHEST_RATE_HZ)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """What all settings share: frozen, no unknown keys, no number out of a text, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# --- The settings, in the order of config.yaml. Defaults are explained there. ---


class _AnySource(Settings):
    name: Name
    detector: ConfigPath
    section: Section | None = None
    channel: Channel = 0


class FolderSettings(_AnySource):
    """Recordings (WAV, FLAC) in the order of their names."""

    type: Literal["folder"]
    path: ConfigPath
    realtime: bool = True
    loop: bool = False


class StdinSettings(_AnySource):
    """Raw interleaved samples on standard input."""

    type: Literal["stdin"]
    rate_hz: RateHz = SAMPLE_RATE_HZ
    channels: Annotated[int, Field(ge=1, le=1024)] = 1
    format: Literal["s16le", "s24le", "s32le", "f32le"] = "s16le"

    @model_validator(mode="after")
    def _channel_exists(self) -> Self:
        if self.channel >= self.channels:
            raise ValueError(
                f"channel {self.channel} of {self.channels}: expected channel < channels, it counts from 0"
            )
        return self


class MicrophoneSettings(_AnySource):
    """A sound card of this computer."""

    type: Literal["microphone"]
    device: Text | None = None
    rate_hz: RateHz | None = None


SourceSettings = Annotated[FolderSettings | StdinSettings | MicrophoneSettings, Field(discriminator="type")]


class OnDelay(Settings):
    """k of n: an episode opens when `windows` of the newest `of` windows were above the threshold."""

    windows: Annotated[int, Field(ge=1, le=1000)] = 4
    of: Annotated[int, Field(ge=1, le=1000)] = 6

    @model_validator(mode="after")
    def _enough_windows(self) -> Self:
        if self.windows > self.of:
            raise ValueError(f"windows {self.windows} of {self.of}: expected windows <= of")
        return self


class EventSettings(Settings):
    """When a score becomes an episode, and when the episode ends."""

    score: Literal["fused", "mahalanobis", "bands", "confidence"] | None = None
    threshold: float | None = None
    on_delay: OnDelay = OnDelay()
    off_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    deadband: Fraction = 0.05
    max_episode_minutes: Annotated[float, Field(gt=0, le=WEEK_MINUTES)] = 60.0
    update_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS)] = 10.0


class TlsSettings(Settings):
    """Encryption to the broker."""

    enabled: bool = False
    ca_file: ConfigPath | None = None
    certificate_file: ConfigPath | None = None
    key_file: ConfigPath | None = None

    @model_validator(mode="after")
    def _both_halves(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("one of certificate_file and key_file without the other, expected both or neither")
        return self


class MqttSettings(Settings):
    """Where to publish, as whom, and how often."""

    host: Host | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    username: Text | None = None
    password_file: ConfigPath | None = None
    tls: TlsSettings = TlsSettings()
    client_id: ClientId | None = None
    topic_prefix: Topic = "earshot"
    keepalive_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    state_seconds: Annotated[float, Field(ge=0.5, le=DAY_SECONDS)] = 10.0
    health_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS)] = 60.0
    max_queued_events: Annotated[int, Field(ge=1, le=1_000_000)] = 1000

    @property
    def broker_port(self) -> int:
        """The port, with the default of the protocol where none was given (IANA: mqtt 1883, secure-mqtt 8883)."""
        return self.port or (8883 if self.tls.enabled else 1883)

    @model_validator(mode="after")
    def _whose_password(self) -> Self:
        # > If the User Name Flag is set to 0, the Password Flag MUST be set to 0 [MQTT-3.1.2-22]
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username: expected both, MQTT knows no password without a name")
        return self


class LogSettings(Settings):
    """How much to say on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Settings):
    """Everything in config.yaml."""

    node: Name | None = None
    sources: Annotated[tuple[SourceSettings, ...], Field(strict=False)]  # YAML has lists, no tuples
    event: EventSettings = EventSettings()
    mqtt: MqttSettings = MqttSettings()
    log: LogSettings = LogSettings()

    @property
    def node_name(self) -> str:
        """The name of this device in the topics: the one given, or one that stays the same on this machine."""
        return self.node or machine_name()

    @field_validator("sources")
    @classmethod
    def _some_and_apart(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        if not sources:
            raise ValueError("got an empty list, expected at least one source")
        twice = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
        if twice:
            raise ValueError(f"more than one is named {' and '.join(twice)}, expected each name once")
        if sum(source.type == "stdin" for source in sources) > 1:
            raise ValueError("more than one is of type stdin, and there is only one standard input")
        return sources


def machine_name(machine_id: Path = Path("/etc/machine-id")) -> str:
    """Return `earshot-` and 8 hexadecimal digits: the same at every start of this machine, another on any other.

    machine-id(5) asks that its value is not shown on a network, so it is hashed. A container often has none: there the
    host name is hashed instead, which says so in the log, because a new container has a new one.
    """
    try:
        secret = machine_id.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not secret:
        secret = socket.gethostname()
        log.warning("%s: no machine id; the node is named after the host name %s", machine_id, secret)
    return "earshot-" + hashlib.sha256(secret.encode()).hexdigest()[:8]


def load(path: Path) -> Config:
    """Return the settings in the file at `path`. Nothing that the file names needs to exist yet.

    Raises ConfigError with every mistake in it, one a line: `config.yaml:12:5: mqtt.port: got 99999, expected ...`.
    """
    document = _read(path)
    mistakes = list(document.mistakes)
    try:
        config = Config.model_validate(document.values, context={"folder": path.parent})
    except ValidationError as error:
        mistakes += [_explain(detail, document) for detail in error.errors(include_url=False)]
    if mistakes:
        raise ConfigError("\n".join(f"{path}:{line}:{column}: {text}" for line, column, text in sorted(set(mistakes))))
    return config


# --- YAML to plain values, with the place of each ---

KeyPath = tuple[str | int, ...]
Mistake = tuple[int, int, str]
"""Line and column, both from 1, and the text."""


class _Document:
    """The values of a YAML file, where each of them stands, and what was wrong before anything had a meaning."""

    def __init__(self, root: yaml.Node | None) -> None:
        self.places: dict[KeyPath, yaml.Mark] = {}
        self.key_places: dict[KeyPath, yaml.Mark] = {}
        self.mistakes: list[Mistake] = []
        self.values: object = None if root is None else self._value(root, ())

    def nearest_place(self, path: KeyPath) -> yaml.Mark:
        """Return where `path` begins, or what it is missing from."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self.places[path] = node.start_mark
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _items(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, object]]:
        for key_node, value_node in node.value:
            line, column = _line_column(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(
                    (line, column, f"{_dotted(path)}: got a list or mapping as a key, expected a name")
                )
                continue
            key = (*path, key_node.value)
            if key in self.key_places:
                first, _ = _line_column(self.key_places[key])
                self.mistakes.append((line, column, f"{_dotted(key)}: given twice, first in line {first}"))
                continue
            self.key_places[key] = key_node.start_mark
            yield key_node.value, self._value(value_node, key)


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with the words of YAML 1.2 (core schema), and without anchors, aliases and tags."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors (&) and aliases (*) are not used here", problem_mark=event.start_mark
            )
        if event.tag is not None:
            raise yaml.MarkedYAMLError(problem=f"tags ({event.tag}) are not used here", problem_mark=event.start_mark)
        if self.depth >= LARGEST_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {LARGEST_DEPTH} levels deep", problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))

for _tag, _pattern, _first in (
    (_NULL, r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (_INT, r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (_FLOAT, r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    (_FLOAT, r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", list("-+.")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"^{_pattern}$"), _first)


def _scalar(node: yaml.Node) -> object:
    text = node.value
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.lower() == "true"
    if node.tag == _INT:
        # Python reads no more than 4300 digits. Left as text, such a number is refused as what it is.
        with suppress(ValueError):
            return int(text)
    if node.tag == _FLOAT:
        return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
    return text


def _read(path: Path) -> _Document:
    text = _read_text(path)
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line, column = _line_column(error.problem_mark) if error.problem_mark else (1, 1)
        raise ConfigError(f"{path}:{line}:{column}: not readable as YAML: {_yaml_problem(error)}") from error
    except yaml.reader.ReaderError as error:
        line, column = _line_column_at(text, error.position)
        raise ConfigError(
            f"{path}:{line}:{column}: got the character U+{ord(text[error.position]):04X}, expected printable text"
        ) from error
    finally:
        if loader is not None:
            loader.dispose()

    if root is None:
        raise ConfigError(f"{path}:1:1: got an empty file, expected at least the key sources")
    document = _Document(root)
    if not isinstance(document.values, dict):
        line, column = _line_column(root.start_mark)
        raise ConfigError(
            f"{path}:{line}:{column}: got {_shown(document.values)}, expected keys such as sources and mqtt"
        )
    return document


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}:1:1: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if not isinstance(error, UnicodeDecodeError):  # a NUL in the path
            raise ConfigError(f"{str(path)!r}:1:1: cannot be read: {error}") from error
        line, column = _line_column_at(error.object[: error.start].decode("utf-8-sig", "replace"), None)
        raise ConfigError(
            f"{path}:{line}:{column}: got the byte 0x{error.object[error.start]:02x}, expected text in UTF-8"
        ) from error


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "no reason given"
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    return f"{error.context}, {problem}" if (error.context or "").startswith("expected") else problem


def _line_column(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _line_column_at(text: str, position: int | None) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


# --- What pydantic found, said for the person at the file ---

Schema = Mapping[str, Any]


@cache
def _schema() -> Schema:
    """The models once more, as plain data (JSON Schema): messages say from it what would have been right."""
    return Config.model_json_schema()


def _explain(detail: ErrorDetails, document: _Document) -> Mistake:
    """Return one mistake: at its key if that is unknown, at the mapping if a key is missing, else at the value."""
    path, schema = _path_in_file(detail["loc"]), _schema_at(detail["loc"])
    place = document.nearest_place(path)
    match detail["type"]:
        case "extra_forbidden":
            place = document.key_places[path]
            text = _unknown(path, _schema_at(detail["loc"][:-1]))
        case "missing":
            text = f"missing, expected {_expected(schema)}"
        case "union_tag_not_found":
            path = (*path, "type")
            text = f"missing, expected {_types(schema)}"
        case "union_tag_invalid":
            path = (*path, "type")
            place = document.nearest_place(path)
            text = f"got {_shown(detail['input'].get('type'))}, expected {_types(schema)}"
        case "value_error":
            text = _own_words(detail)
        case _:
            text = f"got {_shown(detail['input'])}, expected {_expected(schema)}{_hint(detail['input'], schema)}"
    line, column = _line_column(place)
    return line, column, f"{_dotted(path)}: {text}"


def _path_in_file(loc: KeyPath) -> KeyPath:
    """Return pydantic's path without the type of a source, which it puts behind the source's number."""
    return loc[:2] + loc[3:] if loc[:1] == ("sources",) else loc


def _schema_at(loc: KeyPath) -> Schema:
    schema = _resolved(_schema())
    for step in loc:
        if "discriminator" in schema:
            step_schema = {"$ref": schema["discriminator"]["mapping"][step]}
        elif isinstance(step, int):
            step_schema = schema["items"]
        else:
            step_schema = schema.get("properties", {}).get(step, {})
        schema = _resolved(step_schema)
    return schema


def _resolved(schema: Schema) -> Schema:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    resolved: Schema = _schema()["$defs"][name] if name else schema
    return resolved


def _unknown(path: KeyPath, schema: Schema) -> str:
    key, known = str(path[-1]), list(schema["properties"])
    if key == "password":
        return "a password does not belong into this file; put it into a file of its own and name that in password_file"
    near = difflib.get_close_matches(key[:64], known, n=1)
    return f"unknown key, did you mean {near[0]}?" if near else f"unknown key, expected one of {', '.join(known)}"


def _types(schema: Schema) -> str:
    return "one of " + ", ".join(schema["discriminator"]["mapping"])


def _own_words(detail: ErrorDetails) -> str:
    """Return what a validator of this room said; about a single value it says only what was expected."""
    words = str(detail["ctx"]["error"])
    return f"got {_shown(detail['input'])}, {words}" if words.startswith("expected") else words


def _expected(schema: Schema) -> str:
    schema = _resolved(schema)
    if "anyOf" in schema:
        return " or ".join(_expected(choice) for choice in schema["anyOf"])
    match schema.get("type"):
        case "object":
            return "a mapping with keys out of " + ", ".join(schema["properties"])
        case "array":
            return "a list"
        case "integer":
            return "an integer" + _bounds(schema)
        case "number":
            return "a number" + _bounds(schema)
        case "boolean":
            return "true or false"
        case "null":
            return "null"
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "discriminator" in schema:
        return "a mapping with the keys name, type, detector and those of its type"
    return str(schema.get("description", "a path" if schema.get("format") == "path" else "text"))


def _bounds(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:g}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return " " + " and ".join(bounds) if bounds else ""


def _hint(value: object, schema: Schema) -> str:
    """Return how to write it, where the value is right and only its spelling is not."""
    kinds = {choice.get("type") for choice in schema.get("anyOf", [schema])}
    if "string" in kinds and isinstance(value, int | float):
        return "; text that looks like a number or a truth value stands in quotes"
    if kinds & {"integer", "number"} and isinstance(value, str) and re.fullmatch(r"[-+]?[0-9_.]+", value):
        return "; a number has no quotes, no leading zeros and no _"
    return ""


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            text = re.sub(r"//[^/]*@", "//...@", value)  # a URL may carry a password
            return repr(text) if len(text) <= 64 else repr(text[:61]) + "..."
    text = str(value)
    return text if len(text) <= 64 else text[:61] + "..."


def _dotted(path: KeyPath) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step if _is_plain(step) else ascii(step[:64])}"
    return text.removeprefix(".") or "the file"


def _is_plain(key: str) -> bool:
    return 0 < len(key) <= 64 and key.isprintable() and key == key.strip()
