"""What Home Assistant is told of this device, so that it finds it: one message. Pure: settings in, a dict out.

    homeassistant/device/<id>/config        JSON, retained; empty: there is no such device

The form is that of device-based discovery (https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload),
which Home Assistant has since 2024.11. Each source has its entities, and the device has diagnostics; their ids are made
of prefix, node and source. An entity that is not there now, but may have been, is told of by its platform alone, which
removes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from edge import __version__
from edge.config import HOME_ASSISTANT, MqttSettings
from edge.voice.topics import Topics

Component = dict[str, Any]

SHELVE_MINUTES: Final = 60.0
"""What the button asks for, where `mqtt.largest_shelve_minutes` lets it."""

LIMIT_OF_A_THRESHOLD: Final = 1000.0
"""Home Assistant wants ends for what may be typed; scores lie far within."""

GRACE_SECONDS: Final = 30.0
"""Beyond three messages that did not come, until what they would have said is no longer known."""

STATUSES: Final = ["waiting", "filling", "untaught", "listening", "degraded", "lost"]
CLIP_STATES: Final = ["off", "ready", "paused: disk"]

# `None` is what Home Assistant takes for "not known".
_CLOCK: Final = (
    "{% if value_json.clock_synced is none %}None{% elif value_json.clock_synced %}OFF{% else %}ON{% endif %}"
)
_EPISODE: Final = (
    "{% if value_json.kind in ('opened', 'closed') %}"
    "{{ dict(value_json, event_type=value_json.kind) | to_json }}{% endif %}"
)
_KNOWN: Final = "{{ 'offline' if value_json.status == 'untaught' else 'online' }}"
_STATUS_ATTRIBUTES: Final = (
    "{{ {'reason': value_json.reason, 'shelved_until': value_json.shelved_until, "
    "'provisional': value_json.provisional, 'recording': value_json.recording} | to_json }}"
)


class Discovery:
    """The announcement of one node: where it is said, what it says, and where Home Assistant says that it is back."""

    def __init__(self, settings: MqttSettings, topics: Topics, node: str, *, pictures: bool) -> None:
        """pictures: whether any will be shown. Raises ValueError where nothing is to be announced."""
        if settings.discovery_prefix is None:
            raise ValueError("mqtt.discovery is off: expected a prefix")
        self._settings = settings
        self._topics = topics
        self._node = node
        self._pictures = pictures
        self._id = _id_of(settings, node)
        self.topic = announcement_topic(settings, node)
        self.birth_topic = f"{settings.discovery_prefix}/status"

    def payload(self, gone: Iterable[str] = ()) -> dict[str, Any]:
        """Return the announcement. gone: sources that were announced before, and are no more."""
        components: dict[str, Component] = {}
        for source in sorted(self._topics.sources):
            components |= self._of_source(source)
        for name, component in self._of_node():
            components[name] = self._entity(name, component)
        for source in gone:
            components |= {f"{source}.{leaf}": {"platform": platform} for leaf, platform in PLATFORMS.items()}
        return {
            "device": {
                "identifiers": [self._id],
                "name": self._node,
                "manufacturer": "Earshot",
                "model": "Earshot",
                "sw_version": __version__,
            },
            "origin": {"name": "earshot", "sw_version": __version__},
            "availability": [{"topic": self._topics.status}],
            "availability_mode": "all",
            "qos": 1,
            "components": components,
        }

    def _of_source(self, source: str) -> dict[str, Component]:
        """Return the entities of a source by their ids; those that it has not by their platform alone."""
        there = dict(self._heard(source)) | (dict(self._commanded(source)) if self._settings.commands == "on" else {})
        found: dict[str, Component] = {}
        for leaf, platform in PLATFORMS.items():
            name = f"{source}.{leaf}"
            found[name] = {"platform": platform}
            if leaf in there:
                entity = {"platform": platform, **there[leaf]}
                found[name] = self._entity(name, {**entity, "name": f"{source} {entity['name']}"})
        return found

    def _heard(self, source: str) -> Iterator[tuple[str, Component]]:
        of, both = self._topics.of, self._available(source)
        figure = {
            "state_topic": of(source, "state"),
            "state_class": "measurement",
            "expire_after": _patience(self._settings.state_seconds),
            **both,
        }
        abnormal = {"name": "abnormal sound", "device_class": "problem", "state_topic": of(source, "anomaly")}
        known = {"topic": of(source, "state"), "value_template": _KNOWN}  # else "no problem" would be said of it
        yield "abnormal", {**abnormal, **both, "availability": [*both["availability"], known]}
        yield "score", {"name": "score", "value_template": "{{ value_json.score }}", **_precision(2), **figure}
        yield "evidence", {"name": "evidence", "value_template": "{{ value_json.evidence }}", **_precision(2), **figure}
        level = {"value_template": "{{ value_json.level_dbfs }}", "unit_of_measurement": "dBFS"}
        yield "level", {"name": "level", **level, **_precision(1), **figure}
        episode = {"event_types": ["opened", "closed"], "value_template": _EPISODE, "icon": "mdi:ear-hearing"}
        yield "episode", {"name": "episode", "state_topic": of(source, "event"), **episode, **both}
        if self._pictures:
            picture = {"image_topic": of(source, "spectrogram"), "content_type": "image/png"}
            yield "picture", {"name": "last episode", **picture}
        words = {"payload_on": "online", "payload_off": "offline", "device_class": "connectivity"}
        yield "microphone", {"name": "microphone", "state_topic": of(source, "availability"), **words, **DIAGNOSTIC}
        attributes = {
            "json_attributes_topic": of(source, "state"),
            "json_attributes_template": _STATUS_ATTRIBUTES,
            "value_template": "{{ value_json.status }}",
        }
        enum = {"device_class": "enum", "options": STATUSES}
        yield "status", {"name": "status", "state_topic": of(source, "state"), **enum, **attributes, **DIAGNOSTIC}

    def _commanded(self, source: str) -> Iterator[tuple[str, Component]]:
        """What a person may say, where it is obeyed."""
        both = self._available(source)
        minutes = min(SHELVE_MINUTES, self._settings.largest_shelve_minutes)
        shelve, threshold = self._topics.of(source, "cmd/shelve"), self._topics.of(source, "cmd/threshold")
        acknowledge = {"command_topic": self._topics.of(source, "cmd/acknowledge"), "payload_press": "{}"}
        yield "acknowledge", {"name": "acknowledge", "icon": "mdi:check", **acknowledge, **both}
        shelving = {"command_topic": shelve, "payload_press": f'{{"minutes": {minutes:g}}}', "icon": "mdi:bell-sleep"}
        yield "shelve", {"name": f"shelve for {minutes:g} min", **shelving, **both}
        unshelving = {"command_topic": shelve, "payload_press": '{"minutes": 0}', "icon": "mdi:bell-ring"}
        yield "unshelve", {"name": "unshelve", **unshelving, **both}
        number = {
            "state_topic": self._topics.of(source, "state"),
            "value_template": "{{ value_json.threshold }}",
            "command_topic": threshold,
            "command_template": '{"value": {{ value }}}',
            **{"min": -LIMIT_OF_A_THRESHOLD, "max": LIMIT_OF_A_THRESHOLD, "step": 0.01, "mode": "box"},
        }
        yield "threshold", {"name": "threshold", **number, **both, "entity_category": "config"}
        own = {"command_topic": threshold, "payload_press": '{"value": null}'}
        yield "own_threshold", {"name": "own threshold again", **own, **both, "entity_category": "config"}

    def _of_node(self) -> Iterator[tuple[str, Component]]:
        """How the device is: all from its health messages."""
        health = {
            "state_topic": self._topics.health,
            "expire_after": _patience(self._settings.health_seconds),
            **DIAGNOSTIC,
        }

        def sensor(name: str, value: str, **more: object) -> Component:
            return {"platform": "sensor", "name": name, "value_template": f"{{{{ {value} }}}}", **more, **health}

        measured = {"state_class": "measurement"}
        seconds = {"device_class": "duration", "unit_of_measurement": "s", **_precision(0)}
        size = {"device_class": "data_size", "unit_of_measurement": "B", **_precision(0)}
        yield "uptime", sensor("uptime", "value_json.uptime_s", **seconds, **measured)
        yield "queue", sensor("events waiting", "value_json.mqtt.queued", **measured)
        yield "left_out", sensor("topics left out", "value_json.mqtt.left_out | length", **measured)
        yield "clips_bytes", sensor("kept clips", "value_json.clips.bytes", **size, **measured)
        states = {"device_class": "enum", "options": CLIP_STATES}
        yield "clips", sensor("clips", "value_json.clips.state", **states)
        yield "version", sensor("version", "value_json.version")
        clock = {"platform": "binary_sensor", "name": "clock not set", "device_class": "problem"}
        yield "clock", {**clock, "value_template": _CLOCK, **health}

    def _available(self, source: str) -> Component:
        topics = [self._topics.status, self._topics.of(source, "availability")]
        return {"availability": [{"topic": topic} for topic in topics], "availability_mode": "all"}

    def _entity(self, name: str, component: Component) -> Component:
        return {"unique_id": f"{self._id}.{name}", **component}


def announcement_topic(settings: MqttSettings, node: str) -> str:
    """Return where a node is announced, or was before `mqtt.discovery` was off."""
    return f"{settings.discovery_prefix or HOME_ASSISTANT}/device/{_id_of(settings, node)}/config"


def _id_of(settings: MqttSettings, node: str) -> str:
    return f"{settings.topic_prefix}_{node}".replace("/", "_")


DIAGNOSTIC: Final = {"entity_category": "diagnostic"}

PLATFORMS: Final[Mapping[str, str]] = {
    "abnormal": "binary_sensor",
    "score": "sensor",
    "evidence": "sensor",
    "level": "sensor",
    "episode": "event",
    "picture": "image",
    "microphone": "binary_sensor",
    "status": "sensor",
    "acknowledge": "button",
    "shelve": "button",
    "unshelve": "button",
    "threshold": "number",
    "own_threshold": "button",
}
"""All that a source may have. Names of sources hold no dot: `pump.score` is nobody else's."""


def _precision(digits: int) -> Component:
    return {"suggested_display_precision": digits}


def _patience(seconds: float) -> int:
    return round(3 * seconds + GRACE_SECONDS)
