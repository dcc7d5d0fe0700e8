"""config.yaml at the door: what is let in, and that a refusal names file, line, key, what came, what was expected."""

import random
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import settings as config
from edge.config.settings import Config, FolderSettings, MicrophoneSettings, StdinSettings, load, machine_name
from edge.config.strict_yaml import Settings
from edge.errors import ConfigError

OWN = Path(__file__).parent.parent / "config.yaml"
"""The file a visitor reads first."""

SMALLEST = "sources: [{name: pump, type: folder, path: sounds, detector: pump-detector}]\n"
LINE = re.compile(r"^(?P<file>.+):(?P<line>[1-9]\d*):(?P<column>[1-9]\d*): \S")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def load_text(file: Path, text: str | bytes) -> Config:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file)


def refusal(file: Path, text: str | bytes) -> list[str]:
    """Return the lines of the ConfigError, without the folder of the file."""
    with pytest.raises(ConfigError) as caught:
        load_text(file, text)
    lines = str(caught.value).splitlines()
    assert all(LINE.match(line) for line in lines), lines
    return [line.removeprefix(f"{file.parent}/") for line in lines]


@pytest.mark.parametrize(
    ("mqtt", "port"),
    [
        ("{}", 1883),
        ("{tls: {enabled: true}}", 8883),
        ("{transport: websockets}", 80),
        ("{transport: websockets, tls: {enabled: true}}", 443),
        ("{transport: websockets, port: 9001}", 9001),
    ],
)
def test_the_port_is_that_of_the_protocol(file: Path, mqtt: str, port: int) -> None:
    assert load_text(file, f"{SMALLEST}mqtt: {mqtt}").mqtt.broker_port == port


def test_nobody_commands_unless_somebody_has_said_so(file: Path) -> None:
    assert load_text(file, SMALLEST).mqtt.commands == "off"
    assert load_text(file, SMALLEST + "mqtt: {commands: on}").mqtt.commands == "on"


# --- The file in the repository ---


def test_own_file_is_the_demo() -> None:
    demo = load(OWN)

    (source,) = demo.sources
    assert isinstance(source, FolderSettings)
    assert (source.name, source.realtime, source.loop) == ("pump", True, True)
    assert source.path == OWN.parent / "edge/demo/recordings"
    assert source.detector == OWN.parent / "edge/demo/detector"
    assert demo.mqtt.host is None
    assert demo.mqtt.broker_port == 1883


def with_examples(text: str) -> str:
    """Return the text of config.yaml with its commented examples switched on: `#- name` and `#  key`."""
    return re.sub(r"^( *)#(?=- |  )", r"\1", text, flags=re.MULTILINE)


def test_examples_in_own_file_are_valid(file: Path) -> None:
    sources = load_text(file, with_examples(OWN.read_text())).sources

    assert [type(source) for source in sources] == [FolderSettings, StdinSettings, MicrophoneSettings]


def test_own_file_gives_every_default(file: Path) -> None:
    """What the comments call the default is what a file without the key gets."""
    shown = load_text(file, with_examples(OWN.read_text()))
    bare = load_text(
        file,
        """sources:
  - {name: pump, type: folder, path: edge/demo/recordings, detector: edge/demo/detector, loop: true}
  - {name: mixer, type: stdin, detector: edge/demo/detector}
  - {name: fan, type: microphone, detector: edge/demo/detector}
""",
    )

    assert shown == bare


def keys_of_models(model: type[Settings], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from keys_of_models(field.annotation, f"{path}{name}.")


def keys_of_values(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, dict):
            yield from keys_of_values(value, f"{path}{name}.")


def test_every_key_stands_in_own_file_and_the_other_way_round() -> None:
    values = yaml.safe_load(with_examples(OWN.read_text()))
    shown = {(source["type"], key) for source in values.pop("sources") for key in source}

    models: dict[str, type[Settings]] = {
        "folder": FolderSettings,
        "stdin": StdinSettings,
        "microphone": MicrophoneSettings,
    }
    assert shown == {(kind, key) for kind, model in models.items() for key in model.model_fields}
    assert set(keys_of_values(values)) == {key for key in keys_of_models(Config) if not key.startswith("sources")}


def test_every_key_in_own_file_has_its_comment() -> None:
    lines = with_examples(OWN.read_text()).splitlines()
    bare = [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if re.match(r" *(- )?[a-z_]+:", line) and "#" not in line and not above.lstrip().startswith("#")
    ]

    # The second and third source repeat keys that the first explains; `tls:` opens a group whose keys are explained.
    assert {line.strip() for line in bare} <= {
        "detector: edge/demo/detector",
        "section: null",
        "channel: 0",
        "tls:",
    } | {
        "type: stdin",
        "type: microphone",
    }


# --- What is let in ---


def test_smallest_file_has_the_defaults(file: Path) -> None:
    smallest = load_text(file, SMALLEST)

    assert smallest.event.on_delay == config.OnDelay(windows=4, of=6)
    assert smallest.mqtt.outbox.max_events == 10_000
    assert smallest.log.level == "info"


def test_relative_paths_start_at_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        SMALLEST + "mqtt: {username: u, password_file: secret, tls: {enabled: true, ca_file: /etc/ca.pem}}"
    )
    monkeypatch.chdir(tmp_path)
    loaded = load(Path("etc/config.yaml"))

    (source,) = loaded.sources
    assert source.detector == folder / "pump-detector"
    assert loaded.mqtt.password_file == folder / "secret"
    assert loaded.mqtt.tls.ca_file == Path("/etc/ca.pem")
    assert loaded.mqtt.broker_port == 8883


def test_settings_are_frozen(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_text(file, SMALLEST).node = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["no", "1:30", "010", "2026-11-23", "1_000", "0x1F", "on", "="])
def test_words_with_a_second_meaning_in_yaml_1_1_are_text(file: Path, name: str) -> None:
    assert load_text(file, SMALLEST + f"mqtt: {{username: {name}}}").mqtt.username == name


@pytest.mark.parametrize(("text", "number"), [("5", 5.0), ("5.", 5.0), (".5", 0.5), ("1e1", 10.0), ("+2.5e-1", 0.25)])
def test_numbers_are_those_of_yaml_1_2(file: Path, text: str, number: float) -> None:
    assert load_text(file, SMALLEST + f"event: {{off_delay_seconds: {text}}}").event.off_delay_seconds == number


@pytest.mark.parametrize("host", ["broker", "broker.local", "10.0.0.7", "::1", "bücher.example"])
def test_hosts(file: Path, host: str) -> None:
    assert load_text(file, SMALLEST + f"mqtt: {{host: '{host}'}}").mqtt.host == host


def test_byte_order_mark_and_windows_line_ends(file: Path) -> None:
    assert load_text(file, b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode()).sources[0].name == "pump"


def test_node_is_named_after_the_machine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0123456789abcdef0123456789abcdef\n")

    # printf %s 0123456789abcdef0123456789abcdef | sha256sum
    assert machine_name(machine_id) == "earshot-3eb1bd43"
    assert caplog.text == ""

    assert re.fullmatch(r"earshot-[0-9a-f]{8}", machine_name(tmp_path / "none"))
    assert "no machine id" in caplog.text


def test_node_given_is_the_node(file: Path) -> None:
    assert load_text(file, SMALLEST + "node: hall-3").node_name == "hall-3"
    assert load_text(file, SMALLEST).node_name == machine_name()


# --- What is refused, and in which words ---


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("mqtt:\n  port: 99999", "3:9: mqtt.port: got 99999, expected an integer from 1 to 65535 or null"),
        ("mqtt:\n  port: '1883'", "3:9: mqtt.port: got '1883', expected an integer from 1 to 65535 or null; a number"),
        ("mqtt:\n  prot: 1883", "3:3: mqtt.prot: unknown key, did you mean port?"),
        ("mqtt:\n  zzzz: 1883", "3:3: mqtt.zzzz: unknown key, expected one of host, port, "),
        ("mqtt:\n  port: 1\n  host: a\n  port: 2", "5:3: mqtt.port: given twice, first in line 3"),
        ("mqtt: {host: 'mqtt://broker'}", "2:14: mqtt.host: got 'mqtt://broker', expected a host name or an address"),
        ("mqtt: {host: 'broker:1883'}", "2:14: mqtt.host: got 'broker:1883', expected a host name or an address"),
        ("mqtt: {host: '${BROKER}'}", "2:14: mqtt.host: got '${BROKER}', expected a host name or an address"),
        ("mqtt: {host: “broker”}", "2:14: mqtt.host: got '“broker”', expected a host name or an"),
        ("mqtt: {username: '${USER}'}", "2:18: mqtt.username: got '${USER}', expected the value itself"),
        ("mqtt: {client_id: '${ID}'}", "2:19: mqtt.client_id: got '${ID}', expected the value itself"),
        ("mqtt: {username: u, password_file: '${X}/p'}", "2:36: mqtt.password_file: got '${X}/p', expected the value"),
        ("mqtt: {commands: true}", "2:18: mqtt.commands: got true, expected"),
        ("mqtt: {commands: yes}", "2:18: mqtt.commands: got 'yes', expected"),
        ("mqtt: {transport: ws}", "2:19: mqtt.transport: got 'ws', expected"),
        ("mqtt: {path: mqtt}", "2:14: mqtt.path: got 'mqtt', expected a path of visible ASCII characters that begins"),
        ("mqtt: {max_packet_bytes: 1}", "2:26: mqtt.max_packet_bytes: got 1, expected"),
        ("mqtt: {largest_shelve_minutes: 0}", "2:32: mqtt.largest_shelve_minutes: got 0, expected"),
        ("mqtt: {protocol: 4}", "2:18: mqtt.protocol: got 4, expected"),
        ("mqtt: {host: a..b}", "2:14: mqtt.host: got 'a..b', expected a host name or an address"),
        ("mqtt: {host: 5}", "2:14: mqtt.host: got 5, expected a host name or an address or null; text that looks"),
        ("mqtt: {password_file: p}", "2:7: mqtt: password_file without username: expected both"),
        ("mqtt: {tls: {key_file: k}}", "2:13: mqtt.tls: one of certificate_file and key_file without the other"),
        ("mqtt: {topic_prefix: a/+/b}", "2:22: mqtt.topic_prefix: got 'a/+/b', expected levels of letters"),
        ("mqtt:", "2:6: mqtt: got null, expected a mapping with keys out of host, port, "),
        ("node: pump/hall", "2:7: node: got 'pump/hall', expected 1 to 64 letters, digits, _ or -"),
        (
            "node: 12",
            "2:7: node: got 12, expected 1 to 64 letters, digits, _ or - (it becomes a topic) or null; text that",
        ),
        ("log: {level: loud}", "2:14: log.level: got 'loud', expected one of debug, info, warning, error"),
        ("event: {off_delay_seconds: 1:30}", "2:28: event.off_delay_seconds: got '1:30', expected a number from 0 to"),
        ("event: {change_rate: 1}", "2:22: event.change_rate: got 1, expected a number >= 0 and < 1"),
        ("event: {threshold: .nan}", "2:20: event.threshold: got nan, expected a number or null"),
        (
            "event: {false_alarms_per_week: 0}",
            "2:32: event.false_alarms_per_week: got 0, expected a number > 0 and <= 10000",
        ),
        (
            "event: {threshold: 2, false_alarms_per_week: 1}",
            "2:8: event: threshold 2 and false_alarms_per_week 1: expected one of them, the other null",
        ),
        ("event: {on_delay: {windows: 7}}", "2:19: event.on_delay: windows 7 of 6: expected windows <= of"),
        ("event: {max_episode_minutes: yes}", "2:30: event.max_episode_minutes: got 'yes', expected a number > 0 and"),
        (
            "event: {score: best}",
            "2:16: event.score: got 'best', expected one of fused, mahalanobis, texture, levels, quiet, bands, l90, "
            "confidence",
        ),
        (f"event: {{threshold: {'9' * 5000}}}", "2:20: event.threshold: got '99999"),
        ("? [a]\n: b", "2:3: the file: got a list or mapping as a key, expected a name"),
    ],
)
def test_mistake_names_place_key_value_and_expectation(file: Path, extra: str, words: str) -> None:
    (line,) = refusal(file, SMALLEST + extra)

    assert line.startswith(f"config.yaml:{words}")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("path: x, loop: yes", "sources[0].loop: got 'yes', expected true or false"),
        ("path: x, channel: 010", "sources[0].channel: got '010', expected an integer from 0 to 1023; a number has no"),
        ("path: x, channel: -1", "sources[0].channel: got -1, expected an integer from 0 to 1023"),
        ("path: x, channel: 1.0", "sources[0].channel: got 1.0, expected an integer from 0 to 1023"),
        ("path: x, section: pump", "sources[0].section: got 'pump', expected machine/section"),
        ("path: x, rate_hz: 16000", "sources[0].rate_hz: unknown key, expected one of name, detector, "),
        ("loop: true", "sources[0].path: missing, expected a path"),
        (
            "path: ~/sounds",
            "sources[0].path: got '~/sounds', expected a path, relative to this file or absolute; ~ is not",
        ),
        ("path: ''", "sources[0].path: got '', expected a path"),
        ("path: [x]", "sources[0].path: got a list, expected a path"),
    ],
)
def test_mistake_in_a_source(file: Path, source: str, words: str) -> None:
    (line,) = refusal(file, f"sources:\n  - {{name: pump, type: folder, detector: d, {source}}}\n")

    assert re.match(rf"config\.yaml:2:\d+: {re.escape(words)}", line), line


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ("[]", "1:10: sources: got an empty list, expected at least one source"),
        ("pump", "1:10: sources: got 'pump', expected a list"),
        ("[7]", "1:11: sources[0]: got 7, expected a mapping with the keys name, type, detector"),
        ("[{name: a}]", "1:11: sources[0].type: missing, expected one of folder, microphone, stdin"),
        ("[{type: foldr}]", "1:18: sources[0].type: got 'foldr', expected one of folder, microphone, stdin"),
        ("[{name: a, type: stdin, detector: d, channel: 1}]", "1:11: sources[0]: channel 1 of 1: expected channel <"),
        (
            "[{name: a, type: microphone, detector: d}, {name: a, type: microphone, detector: d}]",
            "1:10: sources: more than one is named a, expected each name once",
        ),
        (
            "[{name: a, type: stdin, detector: d}, {name: b, type: stdin, detector: d}]",
            "1:10: sources: more than one is of type stdin",
        ),
    ],
)
def test_mistake_in_the_list_of_sources(file: Path, sources: str, words: str) -> None:
    (line,) = refusal(file, f"sources: {sources}")

    assert line.startswith(f"config.yaml:{words}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "1:1: got an empty file"),
        ("# nothing but talk\n", "1:1: got an empty file"),
        ("- a\n- b", "1:1: got a list, expected keys such as sources and node"),
        ("hello", "1:1: got 'hello', expected keys"),
        ("null", "1:1: got null, expected keys"),
        ("node: a\nmqtt: {", "2:8: not readable as YAML"),
        ("node: a: b", "1:8: not readable as YAML: mapping values are not allowed here"),
        ("mqtt:\n\tport: 1", "2:1: not readable as YAML: a tab; YAML is indented with spaces"),
        ("a: 1\n---\nb: 2", "2:1: not readable as YAML: expected a single document in the stream"),
        (b"# caf\xc3\xa9\nnode: caf\xe9", "2:10: got the byte 0xe9, expected text in UTF-8"),
        (b"node: a\n\x07", "2:1: got the character U+0007, expected printable text"),
        ("a: &x 1\nb: *x", "1:4: not readable as YAML: anchors (&) and aliases (*) are not used here"),
        ("a: !!python/object/apply:os.getpid []", "1:4: not readable as YAML: tags"),
        ("[" * 10_000, "1:17: not readable as YAML: more than 16 levels deep"),
    ],
)
def test_what_is_no_config_at_all(file: Path, content: str | bytes, words: str) -> None:
    (line,) = refusal(file, content)

    assert line.startswith(f"config.yaml:{words}")


@pytest.mark.parametrize(
    ("name", "words"), [("none.yaml", "No such file"), (".", "is a folder"), ("a\0b", "null byte")]
)
def test_file_that_cannot_be_read(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path / name)

    assert LINE.match(str(caught.value))
    assert caught.value.exit_code == 78


def test_all_mistakes_at_once_in_the_order_of_the_file(file: Path) -> None:
    lines = refusal(
        file,
        "node: a b\nsources:\n  - {name: a, type: folder, path: p}\n  - {name: b, typ: x}\n"
        "mqtt:\n  port: 0\n  port: 1\n  tls: {enabeld: true}\nlgo: {}\n",
    )

    assert [line.split(": ")[:2] for line in lines] == [
        ["config.yaml:1:7", "node"],
        ["config.yaml:3:5", "sources[0].detector"],
        ["config.yaml:4:5", "sources[1].type"],
        ["config.yaml:6:9", "mqtt.port"],
        ["config.yaml:7:3", "mqtt.port"],
        ["config.yaml:8:9", "mqtt.tls.enabeld"],
        ["config.yaml:9:1", "lgo"],
    ]


def test_a_password_is_never_repeated(file: Path) -> None:
    lines = refusal(file, SMALLEST + "mqtt:\n  password: hunter2\n  host: mqtt://me:hunter2@broker\n")

    assert lines[0].startswith("config.yaml:3:3: mqtt.password: a password does not belong in this file")
    assert "hunter2" not in "".join(lines)


# --- Whatever comes, a Config or a ConfigError ---


def load_or_refuse(file: Path, content: bytes) -> bool:
    """Return whether `content` is a valid config; fail unless a refusal is one, with a place in every line."""
    file.write_bytes(content)
    try:
        assert isinstance(load(file), Config)
    except ConfigError as error:
        text = str(error).encode().decode()  # what a terminal would do
        assert all(line.startswith(f"{file}:") and LINE.match(line) for line in text.splitlines()), text
        return False
    return True


ODD_VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 3, 10**30, 10**400, 1e308, float("nan"), float("inf"), -0.0, 0.1),
    *("", "x", "no", "~", "1:30", "010", "a" * 5000, "\0", "\ud800", "a/b", "+", "../..", "%s {0}", "naïve"),
    *([], {}, [[]], [{}], {"a": 1}, {"windows": 99}, {1: 2}, list(range(50))),
)


def mutated(values: object, chance: random.Random) -> object:
    """Return `values` with one thing in it dropped, renamed, doubled or exchanged."""
    if isinstance(values, dict) and values and chance.random() < 0.9:
        key = chance.choice(list(values))
        match chance.randrange(6):
            case 0:
                return {name: value for name, value in values.items() if name != key}
            case 1:
                renamed = str(key)[1:] + chance.choice(string.printable)
                return {renamed if name == key else name: value for name, value in values.items()}
        return {**values, key: mutated(values[key], chance)}
    if isinstance(values, list) and values and chance.random() < 0.8:
        index = chance.randrange(len(values))
        if chance.random() < 0.2:
            return [*values, values[index]]
        return [*values[:index], mutated(values[index], chance), *values[index + 1 :]]
    return chance.choice(ODD_VALUES)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return `content` with a few bytes lost, doubled or exchanged."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(content))
        stop = start + chance.randint(0, 12)
        middle = chance.choice(
            [b"", content[start:stop] * 2, chance.randbytes(2), b"\t", b": ", b"- ", b"{", b'"', b"&a *a"]
        )
        content = content[:start] + middle + content[stop:]
    return content


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_mutations(file: Path, seed: int) -> None:
    chance = random.Random(seed)
    text = with_examples(OWN.read_text())
    original = yaml.safe_load(text)
    good = 0
    for _ in range(50):
        values: object = original
        for _ in range(chance.randint(1, 3)):
            values = mutated(values, chance)
        good += load_or_refuse(file, yaml.dump(values, sort_keys=False).encode())
        good += load_or_refuse(file, damaged(text.encode(), chance))

    assert 0 < good < 100  # neither everything nor nothing gets through, or this test would look at one side only


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_anything_at_all(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert not load_or_refuse(tmp_path_factory.getbasetemp() / "anything.yaml", content)


@settings(max_examples=200, deadline=None)
@given(port=st.integers(), key=st.text(max_size=8))
def test_any_port_and_any_key(port: int, key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "port.yaml"
    mqtt = yaml.dump({"mqtt": {"port": port}})
    assert load_or_refuse(file, (SMALLEST + mqtt).encode()) == (1 <= port <= 65_535)

    known = Config.model_fields
    assert key in known or not load_or_refuse(file, (SMALLEST + yaml.dump({key: {}}, allow_unicode=True)).encode())
