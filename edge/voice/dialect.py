"""Which version of MQTT a broker speaks, and what it takes: learned from its answers, and remembered over links.

Version 5 is tried first, because only there a broker says what it does not take (`Terms`) and what it has thrown away
(reason codes). One that refuses it, or hangs up at it, is greeted in 3.1.1.
"""

import logging
from dataclasses import dataclass
from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSettings

log = logging.getLogger(__name__)

V5: Final = MQTTProtocolVersion.MQTTv5
V311: Final = MQTTProtocolVersion.MQTTv311

MOST_IN_FLIGHT: Final = 20
"""Messages that paho may hold at once; its own limit is the same, so nothing queues inside it."""

PROOFS: Final = 2
"""Times that version 5 is hung up at and 3.1.1 then let in, until it is taken for what the broker is. A broker behind a
proxy hangs up at anything while it starts."""

# Reason codes of a CONNACK: https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901079
MALFORMED: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
UNSUPPORTED_VERSION: Final = 0x84
RETAIN_NOT_SUPPORTED: Final = 0x9A
QOS_NOT_SUPPORTED: Final = 0x9B
DIALECT: Final = frozenset({MALFORMED, PROTOCOL_ERROR, UNSUPPORTED_VERSION, RETAIN_NOT_SUPPORTED, QOS_NOT_SUPPORTED})
"""Those that say how the next greeting has to be worded."""


@dataclass(frozen=True)
class Terms:
    """What may be said over one link.

    most_bytes      of a packet, None: nobody said
    qos             1, or 0 where the broker acknowledges nothing
    retain          whether it remembers the newest value of a topic
    most_in_flight  messages without an acknowledgement
    """

    most_bytes: int | None = None
    qos: int = 1
    retain: bool = True
    most_in_flight: int = MOST_IN_FLIGHT


def version_name(version: MQTTProtocolVersion) -> str:
    """Return a version as people write it."""
    return "5" if version == V5 else "3.1.1"


class Dialect:
    """How the next greeting is to be worded. The publisher's thread owns it."""

    def __init__(self, settings: MqttSettings) -> None:
        """Begin with what a person knows of the broker: `mqtt.retain`, `max_packet_bytes`, `protocol`."""
        self._most_bytes = settings.max_packet_bytes
        self._settled = settings.protocol == "3.1.1"
        self._version = V311 if self._settled else V5
        self._retain = settings.retain
        self._qos = 1
        self._silent_at_5 = False
        self._proofs = 0

    @property
    def version(self) -> MQTTProtocolVersion:
        """The version of the next greeting."""
        return self._version

    @property
    def settled(self) -> bool:
        """Whether the broker is known to speak this version."""
        return self._settled

    @property
    def retain(self) -> bool:
        """Whether the will may be retained."""
        return self._retain

    @property
    def qos(self) -> int:
        """The QoS of the will."""
        return self._qos

    def learn(self, answer: ReasonCode | None) -> bool:
        """Take in the answer to a greeting, None for a broker that gave none; return whether to greet anew at once."""
        if answer is None:
            return self._learn_from_silence()
        if not answer.is_failure:
            self._settle()
            return False
        match answer.value:
            case _ if self._version != V5:
                return False
            case code if code in (MALFORMED, PROTOCOL_ERROR, UNSUPPORTED_VERSION):
                log.info("mqtt: the broker does not speak MQTT 5: 3.1.1 it is")
                self._version, self._settled = V311, True
            case code if code == RETAIN_NOT_SUPPORTED and self._retain:
                log.warning("mqtt: the broker remembers nothing (mqtt.retain: false): late subscribers wait for news")
                self._retain = False
            case code if code == QOS_NOT_SUPPORTED and self._qos:
                log.warning("mqtt: the broker acknowledges nothing (QoS 0): events may be lost on the way")
                self._qos = 0
            case _:
                return False
        return True

    def terms(self, granted: Properties | None) -> Terms:
        """Return what may be said after a CONNACK with these properties: they are empty in 3.1.1."""
        most = [size for size in (self._most_bytes, getattr(granted, "MaximumPacketSize", None)) if size]
        return Terms(
            most_bytes=min(most, default=None),
            qos=min(self._qos, getattr(granted, "MaximumQoS", 1)),
            retain=self._retain and bool(getattr(granted, "RetainAvailable", 1)),
            most_in_flight=max(1, min(MOST_IN_FLIGHT, getattr(granted, "ReceiveMaximum", MOST_IN_FLIGHT))),
        )

    def _learn_from_silence(self) -> bool:
        if self._settled:
            return False
        self._silent_at_5 = self._version == V5
        self._version = V311 if self._silent_at_5 else V5
        return self._silent_at_5

    def _settle(self) -> None:
        """A version was let in. 3.1.1 after a silence may be chance: 5 is tried again, and then no more."""
        if self._version == V311 and self._silent_at_5:
            self._proofs += 1
        self._settled = self._settled or self._version == V5 or self._proofs >= PROOFS
        if not self._settled:
            self._version = V5
        self._silent_at_5 = False
