"""`config.yaml`, read once at the door into frozen settings. No defaults are guessed later, no file is opened but it.

The file is the documentation: every key stands in it with its unit and its reason. This room says what is allowed;
`edge.config.strict_yaml` names every mistake at once: file, line, column, key, what came, what was expected.
"""

import hashlib
import ipaddress
import logging
import os
import re
import socket
from collections import Counter
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edge.config.strict_yaml import Settings, load_settings
from edge.errors import ConfigError

log = logging.getLogger(__name__)

SAMPLE_RATE_HZ: Final = 16_000
"""What the line runs at: sources may be faster, never slower (there is no sound above half their rate)."""

HIGHEST_RATE_HZ: Final = 768_000
CREDENTIAL: Final = "credential:"
DAY_SECONDS: Final = 86_400
WEEK_MINUTES: Final = 7 * 24 * 60

HOME_ASSISTANT: Final = "homeassistant"
"""The discovery prefix that Home Assistant has by itself."""


# --- Kinds of values. The text in `description` is what an error message expects. ---


def _against_the_file(value: object, info: ValidationInfo) -> object:
    """Return the path in `value` as an absolute one; a relative path starts at the folder of the config file."""
    if not isinstance(value, str | Path):
        return value
    if not str(value) or "\0" in str(value) or str(value).startswith("~"):
        raise ValueError("expected a path, relative to this file or absolute; ~ is not expanded")
    _as_it_is(str(value))
    folder = (info.context or {}).get("folder", Path())
    return Path(folder, value).absolute()


def _secret(value: object, info: ValidationInfo) -> object:
    """Return a path as above; `credential:NAME` stays as it is, for `secret_path`."""
    if isinstance(value, str) and value.startswith(CREDENTIAL):
        if re.fullmatch(r"[a-zA-Z0-9_.-]{1,255}", value.removeprefix(CREDENTIAL)) is None:
            raise ValueError("expected credential: and the name that stands in systemd's LoadCredential=")
        return Path(value)
    return _against_the_file(value, info)


def _host(value: str) -> str:
    """Return `value` if a resolver would take it: a name or an address, and nothing around it."""
    if ":" in value:
        with suppress(ValueError):
            return str(ipaddress.IPv6Address(value))
    elif re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", value):  # letters of any language, and no ${X}, no quotes
        with suppress(UnicodeError):  # an empty or overlong label would end the network thread later
            value.encode("idna")
            return value
    raise ValueError("expected a host name or an address, without mqtt:// before it or a port behind it")


def _as_it_is(value: str) -> str:
    """Return `value` if nothing in it waits to be filled in: nobody does that here."""
    if re.search(r"[$%]\{|[\u2018-\u201f]", value):
        raise ValueError(
            "expected the value itself: variables such as ${X} are not filled in, and typographic quotes stay"
        )
    return value


def _device(value: str) -> str:
    """Return `value` if it is a name of a sound card that stays its own; numbers change at the next boot."""
    expected = "expected usb:VID:PID[:SERIAL], usb-port:1-1.2, card:ID, or a part of the device's name"
    if re.fullmatch(r"(plug)?hw:.*|card:\d+|\d+(,\d+)?", value):
        raise ValueError(f"{expected}. Cards are numbered anew at every start: `earshot check` lists their names")
    if value.startswith("usb") and not re.fullmatch(
        r"usb:[0-9a-fA-F]{4}:[0-9a-fA-F]{4}(:.+)?|usb-port:\d+-\d+(\.\d+)*|usb(?![:-]).*", value
    ):
        raise ValueError(expected)
    return value


def _web_url(value: str) -> str:
    """Return `value` if it is an address of http or https, with a host that a resolver would take, and no secret."""
    expected = "expected https://host/path, or http:// in a network of your own, without a name or password in it"
    try:
        url = urlsplit(_as_it_is(value))
        port = url.port
    except ValueError as error:
        raise ValueError(str(error) if "expected" in str(error) else expected) from None
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.fragment or port == 0:
        raise ValueError(expected)
    _host(url.hostname)
    return value


ConfigPath = Annotated[Path, BeforeValidator(_against_the_file)]
SecretPath = Annotated[Path, BeforeValidator(_secret)]
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
Discovery = Annotated[
    str,
    Field(
        pattern=r"^[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*$",
        max_length=200,
        description="off, on, or the discovery prefix of your Home Assistant: levels of letters, digits, _ or -",
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=200, description="1 to 200 characters")]
Device = Annotated[Text, AfterValidator(_device)]
Username = Annotated[Text, AfterValidator(_as_it_is)]
ClientId = Annotated[
    str, Field(pattern=r"^[!-~]{1,64}$", description="1 to 64 visible ASCII characters"), AfterValidator(_as_it_is)
]
UrlPath = Annotated[
    str, Field(pattern=r"^/[!-~]{0,200}$", description="a path of visible ASCII characters that begins with /")
]
WebUrl = Annotated[
    str, Field(pattern=r"^[!-~]{1,1000}$", description="an address of visible ASCII"), AfterValidator(_web_url)
]
Section = Annotated[
    str,
    Field(
        pattern=r"^[a-zA-Z0-9_-]{1,64}/[a-zA-Z0-9_-]{1,64}$",
        description='machine/section as in the detector, say "pump/00"',
    ),
]
Channel = Annotated[int, Field(ge=0, le=1023)]
RateHz = Annotated[int, Field(ge=SAMPLE_RATE_HZ, le=HIGHEST_RATE_HZ)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
GainDb = Annotated[float, Field(ge=-200, le=100)]


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
    watch: Literal["all", "new"] = "all"
    gain_db: GainDb = 0.0
    salvage: bool = False

    @model_validator(mode="after")
    def _new_ones_once(self) -> Self:
        if self.loop and self.watch == "new":
            raise ValueError("loop true and watch new: expected one of them: a new recording is heard once")
        return self


class StdinSettings(_AnySource):
    """Raw interleaved samples on standard input."""

    type: Literal["stdin"]
    rate_hz: RateHz = SAMPLE_RATE_HZ
    channels: Annotated[int, Field(ge=1, le=1024)] = 1
    format: Literal["s16le", "s24le", "s32le", "f32le"] = "s16le"
    gain_db: GainDb = 0.0

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
    device: Device | None = None
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


AverageSeconds = Annotated[float, Field(ge=10, le=4 * 3600)]


class EventSettings(Settings):
    """When a score becomes an episode, and when the episode ends."""

    score: Literal["fused", "mahalanobis", "texture", "levels", "quiet", "bands", "l90", "confidence"] | None = None
    threshold: float | None = None
    false_alarms_per_week: Annotated[float, Field(gt=0, le=10_000)] | None = None
    on_delay: OnDelay = OnDelay()
    averages_seconds: Annotated[tuple[AverageSeconds, ...], Field(max_length=8, strict=False)] = (20, 60, 600, 3600)
    change_rate: Fraction = 0.2
    learning: Literal["off", "until_promised"] = "until_promised"
    learning_hours: Annotated[float, Field(gt=0, le=10_000)] | None = None
    off_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    max_episode_minutes: Annotated[float, Field(gt=0, le=WEEK_MINUTES)] = 24 * 60.0
    update_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS)] = 10.0

    @field_validator("averages_seconds")
    @classmethod
    def _ascending(cls, seconds: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(seconds)):
            raise ValueError("expected seconds that rise, each once")
        return seconds

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.threshold is not None and self.false_alarms_per_week is not None:
            raise ValueError(
                f"threshold {self.threshold:g} and false_alarms_per_week {self.false_alarms_per_week:g}: expected one "
                "of them, the other null: each is a threshold"
            )
        return self


class CertificateSettings(Settings):
    """Who we are, by files."""

    certificate_file: SecretPath | None = None
    key_file: SecretPath | None = None

    @model_validator(mode="after")
    def _both_halves(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("one of certificate_file and key_file without the other, expected both or neither")
        return self


class TlsSettings(CertificateSettings):
    """Encryption to the broker."""

    enabled: bool = False
    ca_file: SecretPath | None = None


class OutboxSettings(Settings):
    """How much may wait while the broker is away."""

    max_events: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    max_megabytes: Annotated[float, Field(gt=0, le=1000)] = 10.0
    max_days: Annotated[float, Field(gt=0, le=3650)] = 30.0


class SensorSettings(Settings):
    """When the sensor is not to be trusted."""

    clipping: Annotated[float, Field(gt=0, le=1)] = 0.2
    offset: Annotated[float, Field(gt=0, le=1)] = 0.1
    level_db: Annotated[float, Field(ge=3, le=100)] | None = 10.0
    level_minutes: Annotated[int, Field(ge=1, le=1440)] = 3
    recovery_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0


class EvidenceSettings(Settings):
    """What is kept of an episode, and how much of it."""

    privacy: Literal["off", "features", "audio"] = "features"
    pre_roll_seconds: Annotated[float, Field(ge=0, le=60)] = 15.0
    post_roll_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    max_clip_seconds: Annotated[float, Field(ge=1, le=300)] = 60.0
    quota_megabytes: Annotated[int, Field(ge=20, le=10_000_000)] = 500
    min_free_megabytes: Annotated[int, Field(ge=0, le=10_000_000)] = 200

    @model_validator(mode="after")
    def _room_for_the_episode(self) -> Self:
        if self.max_clip_seconds <= self.pre_roll_seconds:
            raise ValueError(
                f"max_clip_seconds {self.max_clip_seconds:g} and pre_roll_seconds {self.pre_roll_seconds:g}: expected "
                "max_clip_seconds > pre_roll_seconds, which is a part of the clip"
            )
        return self


class MemorySettings(Settings):
    """What is remembered in numbers."""

    days: Annotated[int, Field(ge=0, le=366)] = 8


class MqttSettings(Settings):
    """Where to publish, as whom, and how often."""

    host: Host | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    protocol: Literal["auto", "3.1.1"] = "auto"
    transport: Literal["tcp", "websockets"] = "tcp"
    path: UrlPath = "/mqtt"
    username: Username | None = None
    password_file: SecretPath | None = None
    tls: TlsSettings = TlsSettings()
    client_id: ClientId | None = None
    topic_prefix: Topic = "earshot"
    commands: Literal["off", "on"] = "off"
    largest_shelve_minutes: Annotated[float, Field(gt=0, le=WEEK_MINUTES)] = 480.0
    discovery: Discovery = "on"
    retain: bool = True
    max_packet_bytes: Annotated[int, Field(ge=128, le=268_435_460)] | None = None
    keepalive_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    state_seconds: Annotated[float, Field(ge=0.5, le=DAY_SECONDS)] = 10.0
    health_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS)] = 60.0
    outbox: OutboxSettings = OutboxSettings()

    @property
    def broker_port(self) -> int:
        """The port, with the default of the protocol where none was given (IANA: mqtt 1883, secure-mqtt 8883)."""
        plain, secure = (80, 443) if self.transport == "websockets" else (1883, 8883)
        return self.port or (secure if self.tls.enabled else plain)

    @property
    def discovery_prefix(self) -> str | None:
        """The first levels of the topics that Home Assistant looks at; None: nothing is announced."""
        return {"off": None, "on": HOME_ASSISTANT}.get(self.discovery, self.discovery)

    @model_validator(mode="after")
    def _whose_password(self) -> Self:
        # > If the User Name Flag is set to 0, the Password Flag MUST be set to 0 [MQTT-3.1.2-22]
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username: expected both, MQTT knows no password without a name")
        return self


class NotifySettings(Settings):
    """Whom to tell by a webhook, and of what."""

    url: WebUrl | None = None
    format: Literal["ntfy", "json"] = "ntfy"
    username: Username | None = None
    password_file: SecretPath | None = None
    ca_file: SecretPath | None = None
    kinds: Annotated[tuple[Literal["opened", "closed", "sensor"], ...], Field(strict=False, min_length=1)] = (
        "opened",
        "closed",
        "sensor",
    )
    picture: bool = True
    minimum_gap_minutes: Annotated[float, Field(ge=0, le=WEEK_MINUTES)] = 10.0
    language: Literal["en", "de"] = "en"

    @model_validator(mode="after")
    def _whose_password(self) -> Self:
        if self.username is not None and self.password_file is None:
            raise ValueError("username without password_file: expected both, or a token in password_file alone")
        return self


class MetricsSettings(Settings):
    """Figures for Prometheus, over HTTP."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None


class PageSettings(Settings):
    """A page to look at, and who may."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    names: Annotated[tuple[Host, ...], Field(max_length=16, strict=False)] = ()
    password_file: SecretPath | None = None
    tls: CertificateSettings = CertificateSettings()

    @model_validator(mode="after")
    def _a_password_where_others_come(self) -> Self:
        if self.password_file is None and (self.names or not is_here(self.host)):
            where = f"names {', '.join(self.names)}" if self.names else f"host {self.host}"
            raise ValueError(f"{where} without password_file: expected one, or 127.0.0.1 and no names")
        return self


def is_here(host: str) -> bool:
    """Whether only this computer reaches what listens there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class LogSettings(Settings):
    """How much to say on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Settings):
    """Everything in config.yaml."""

    node: Name | None = None
    state_directory: ConfigPath | None = None
    sources: Annotated[tuple[SourceSettings, ...], Field(strict=False)]  # YAML has lists, no tuples
    event: EventSettings = EventSettings()
    sensor: SensorSettings = SensorSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    memory: MemorySettings = MemorySettings()
    mqtt: MqttSettings = MqttSettings()
    notify: NotifySettings = NotifySettings()
    metrics: MetricsSettings = MetricsSettings()
    page: PageSettings = PageSettings()
    log: LogSettings = LogSettings()

    @property
    def node_name(self) -> str:
        """The name of this device in the topics: the one given, or one that stays the same on this machine."""
        return self.node or machine_name()

    @property
    def state_path(self) -> Path | None:
        """The folder for what must outlive the process: the one given, or systemd's, or None: nothing is kept."""
        first = os.environ.get("STATE_DIRECTORY", "").split(":")[0]  # StateDirectory= may name several
        return self.state_directory or (Path(first) if first else None)

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
        rates_hz = {(source.device, source.rate_hz) for source in sources if source.type == "microphone"}
        if len({device for device, _ in rates_hz}) < len(rates_hz):
            raise ValueError("one microphone has several rate_hz: a sound card is opened once, expected one for it")
        return sources


def secret_path(file: Path) -> Path:
    """Return where the secret lies that a `*_file` names: `credential:NAME` is what systemd has laid down for us.

    Raises ConfigError where there is no $CREDENTIALS_DIRECTORY.
    """
    name = str(file).removeprefix(CREDENTIAL)
    if name == str(file):
        return file
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigError(
            f"{file}: $CREDENTIALS_DIRECTORY is not set, expected systemd to start us, with LoadCredential={name}:..."
        )
    return Path(folder, name)


@cache
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

    Raises ConfigError with every mistake in it (edge/config/strict_yaml.py).
    """
    return load_settings(path, Config)
