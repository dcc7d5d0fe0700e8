"""YAML files that people write, read strictly: every mistake at once, each with file, line, column and key.

YAML is read as its version 1.2 means it, not 1.1: `no` is text, `1:30` is text, `010` is text, and a key given twice is
a mistake. Aliases and tags are refused: they are for programs, and these files are for people.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from edge.errors import ConfigError
from edge.files import read_plain

MOST_BYTES: Final = 1 << 20
"""Of a file: the shipped one, every key explained, has 20 kB."""

LARGEST_DEPTH: Final = 16
"""How deep a file may nest: four levels are in use, and a reader that recurses has to stop somewhere."""

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """What all settings share: frozen, no unknown keys, no number out of a text, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def load_settings(path: Path, model: type[Model]) -> Model:
    """Return the settings in the file at `path`, checked against `model`. Relative paths start at its folder.

    Raises ConfigError with every mistake in it, one a line: `config.yaml:12:5: mqtt.port: got 99999, expected ...`.
    """
    document = _read(path, _keys(model))
    mistakes = list(document.mistakes)
    try:
        settings = model.model_validate(document.values, context={"folder": path.parent})
    except ValidationError as error:
        explainer = _Explainer(model)
        mistakes += [explainer.explain(detail, document) for detail in error.errors(include_url=False)]
    if mistakes:
        raise ConfigError("\n".join(f"{path}:{line}:{column}: {text}" for line, column, text in sorted(set(mistakes))))
    return settings


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


def _keys(model: type[BaseModel]) -> Sequence[str]:
    """Return the keys of a file, those first that it must have."""
    fields = model.model_fields
    return sorted(fields, key=lambda name: not fields[name].is_required())


def _read(path: Path, keys: Sequence[str]) -> _Document:
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
        raise ConfigError(f"{path}:1:1: got an empty file, expected at least the key {keys[0]}")
    document = _Document(root)
    if not isinstance(document.values, dict):
        line, column = _line_column(root.start_mark)
        raise ConfigError(
            f"{path}:{line}:{column}: got {_shown(document.values)}, expected keys such as {keys[0]} and {keys[1]}"
        )
    return document


def _read_text(path: Path) -> str:
    try:
        return read_plain(path, MOST_BYTES).decode("utf-8-sig")
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


class _Explainer:
    """Says from the models as plain data (JSON Schema) what would have been right."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._root: Schema = model.model_json_schema()

    def explain(self, detail: ErrorDetails, document: _Document) -> Mistake:
        """Return one mistake: at its key if that is unknown, at the mapping if a key is missing, else at the value."""
        path, schema = _path_in_file(detail["loc"]), self._at(detail["loc"])
        place = document.nearest_place(path)
        match detail["type"]:
            case "extra_forbidden":
                place = document.key_places[path]
                text = _unknown(path, self._at(detail["loc"][:-1]))
            case "missing":
                text = f"missing, expected {self._expected(schema)}"
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
                text = (
                    f"got {_shown(detail['input'])}, expected {self._expected(schema)}{_hint(detail['input'], schema)}"
                )
        line, column = _line_column(place)
        return line, column, f"{_dotted(path)}: {text}"

    def _at(self, loc: KeyPath) -> Schema:
        schema = self._resolved(self._root)
        for step in loc:
            if "discriminator" in schema:
                step_schema = {"$ref": schema["discriminator"]["mapping"][step]}
            elif isinstance(step, int):
                step_schema = schema["items"]
            else:
                step_schema = schema.get("properties", {}).get(step, {})
            schema = self._resolved(step_schema)
        return schema

    def _resolved(self, schema: Schema) -> Schema:
        name = schema.get("$ref", "").removeprefix("#/$defs/")
        resolved: Schema = self._root["$defs"][name] if name else schema
        return resolved

    def _expected(self, schema: Schema) -> str:
        schema = self._resolved(schema)
        if "anyOf" in schema:
            return " or ".join(self._expected(choice) for choice in schema["anyOf"])
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
            return "one of " + ", ".join(word if isinstance(word, str) else _shown(word) for word in schema["enum"])
        if "discriminator" in schema:
            return "a mapping with the keys name, type, detector and those of its type"
        return str(schema.get("description", "a path" if schema.get("format") == "path" else "text"))


def _path_in_file(loc: KeyPath) -> KeyPath:
    """Return pydantic's path without the type of a source, which it puts behind the source's number."""
    return loc[:2] + loc[3:] if loc[:1] == ("sources",) else loc


def _unknown(path: KeyPath, schema: Schema) -> str:
    key, known = str(path[-1]), list(schema["properties"])
    if key == "password":
        return "a password does not belong in this file; put it into a file of its own and name that in password_file"
    near = difflib.get_close_matches(key[:64], known, n=1)
    return f"unknown key, did you mean {near[0]}?" if near else f"unknown key, expected one of {', '.join(known)}"


def _types(schema: Schema) -> str:
    return "one of " + ", ".join(schema["discriminator"]["mapping"])


def _own_words(detail: ErrorDetails) -> str:
    """Return what a validator of this room said; about a single value it says only what was expected."""
    words = str(detail["ctx"]["error"])
    return f"got {_shown(detail['input'])}, {words}" if words.startswith("expected") else words


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
