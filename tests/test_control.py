"""Commands as they come over MQTT: whatever comes is a command or a CommandError that explains itself."""

import json
import math
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.voice.control import MOST_BYTES, Acknowledge, Command, CommandError, Shelve, Threshold, parse
from tests.real.mosquitto import SOAK
from tests.test_publisher import SCHEMAS

NAMES = ["acknowledge", "shelve", "threshold", "relearn"]
SOUND = [
    ("acknowledge", b"{}", Acknowledge()),
    ("acknowledge", b' "0af3" ', Acknowledge("0af3")),
    ("shelve", b'{"minutes": 30}', Shelve(30.0)),
    ("shelve", b'{"minutes": 0}', Shelve(0.0)),
    ("shelve", b'{"minutes": 10080}', Shelve(10_080.0)),
    ("threshold", b'{"value": 4.5}', Threshold(4.5)),
    ("threshold", b'{"value":-1}', Threshold(-1.0)),
    ("threshold", b'{"value": null}', Threshold(None)),
]


def reads(name: str, payload: bytes) -> Command | None:
    """Return the command, or None where it is refused, as it should be: with words that are printable and few."""
    refusal = None
    try:
        command = parse(name, payload)
    except CommandError as error:
        refusal = str(error)
    if refusal is None:
        assert isinstance(command, Acknowledge | Shelve | Threshold)
        return command
    assert refusal.isascii()
    assert refusal.isprintable()
    assert len(refusal) < 300
    assert "expected" in refusal
    return None


@pytest.mark.parametrize(("name", "payload", "command"), SOUND)
def test_a_command_is_read(name: str, payload: bytes, command: Command) -> None:
    assert parse(name, payload) == command


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [
        ("acknowledge", b"", 'acknowledge: got nothing, expected {} or the id of an episode in quotes, "..."'),
        ("acknowledge", b"PRESS", "acknowledge: got 'PRESS', expected {}"),
        ("acknowledge", b'""', "acknowledge: got "),
        ("acknowledge", b'"a\\u0000"', "acknowledge: got "),
        ("acknowledge", b'"' + b"a" * 65 + b'"', "acknowledge: got "),
        ("acknowledge", b"[]", "acknowledge: got '[]', expected"),
        ("shelve", b"30", "shelve: got '30', expected {\"minutes\": 0 to 10080}, 0 to unshelve"),
        ("shelve", b'{"minutes": -1}', "shelve: got "),
        ("shelve", b'{"minutes": 10081}', "shelve: got "),
        ("shelve", b'{"minutes": 1e999}', "shelve: got "),
        ("shelve", b'{"minutes": NaN}', "shelve: got "),
        ("shelve", b'{"minutes": true}', "shelve: got "),
        ("shelve", b'{"minutes": "30"}', "shelve: got "),
        ("shelve", b'{"minutes": 1, "minutes": 2}', "shelve: got "),
        ("shelve", b'{"minutes": 1, "hours": 2}', "shelve: got "),
        ("shelve", b'{"minutes": null}', "shelve: got "),
        ("threshold", b"{}", "threshold: got '{}', expected {\"value\": a number or null}"),
        ("threshold", b'{"value": Infinity}', "threshold: got "),
        ("threshold", b'{"value": ' + b"9" * 500 + b"}", 'threshold: got \'{"value": 999'),
        ("threshold", b"[" * MOST_BYTES, "threshold: got '[[["),
        ("threshold", b" " * (MOST_BYTES + 1), "threshold: got more than 1024 bytes, expected"),
        ("threshold", b"\xff\xfe", "threshold: got "),
        ("threshold", b'\xef\xbb\xbf{"value": 1}', "threshold: got "),
        ("relearn", b"{}", "relearn: got a wish to learn over MQTT, expected `earshot enroll`"),
        ("mute", b"{}", "got the command 'mute', expected one of acknowledge, shelve, threshold"),
        ("", b"{}", "got the command ''"),
        ("\x1b[2J" + "x" * 60_000, b"{}", "got the command '\\x1b[2Jxxx"),
    ],
)
def test_what_is_no_command_is_explained(name: str, payload: bytes, error: str) -> None:
    assert reads(name, payload) is None
    with pytest.raises(CommandError) as raised:
        parse(name, payload)
    assert str(raised.value).startswith(error)


def test_a_shelving_that_is_too_long_for_this_device_is_refused() -> None:
    assert parse("shelve", b'{"minutes": 480}', 480.0) == Shelve(480.0)
    with pytest.raises(CommandError, match=r"^shelve: got 481 min, expected at most 480 \(mqtt\.largest"):
        parse("shelve", b'{"minutes": 481}', 480.0)


def test_mutated_commands_are_read_or_refused() -> None:
    """1000 a factor."""
    chance = random.Random(0)
    read = 0
    for _ in range(1000 * SOAK):
        name, payload, _ = chance.choice(SOUND)
        text = bytearray(payload)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(text) + 1)
            match chance.randrange(4):
                case 0:
                    text[place:place] = chance.choice([b"{", b"[", b'"', b"e9", b"NaN", b"\xff", b"\0", b"-", b"99"])
                case 1:
                    del text[place : place + chance.randint(1, 3)]
                case 2 if place < len(text):
                    text[place] = chance.randrange(256)
                case _:
                    text += text[place:] * chance.choice([1, 100])
        read += reads(chance.choice([name, name, *NAMES, text.decode("latin-1")]), bytes(text)) is not None
    assert read > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["minutes", "value", "x"]), inner),
    max_leaves=4,
)


@settings(max_examples=100 * SOAK)
@given(name=st.sampled_from(NAMES[:3]), value=JSON)
@example(name="shelve", value={"minutes": 10_080})
@example(name="shelve", value={"minutes": True})
@example(name="threshold", value={"value": 1e9})
@example(name="threshold", value={"value": None})
@example(name="acknowledge", value={"x": 1})
@example(name="acknowledge", value="a" * 64)
@example(name="acknowledge", value="a\n")
def test_the_schema_says_the_same(name: str, value: Any) -> None:  # noqa: ANN401
    payload = json.dumps(value).encode()
    if len(payload) <= MOST_BYTES:
        valid = jsonschema.Draft202012Validator(SCHEMAS["command"]).is_valid({name: value})
        # A regular expression's $ lets a last line end through in Python, and in no other reader of the schema.
        assert (reads(name, payload) is not None) == (valid and not str(value).endswith("\n"))


def test_numbers_are_finite() -> None:
    for _, _, command in SOUND:
        for number in vars(command).values():
            assert not isinstance(number, float) or math.isfinite(number)
