"""One connection, from the attempt to its end: paho's callbacks of an older one cannot touch a newer one.

Each has a paho client of its own, which is handed a few messages at a time: what paho holds it can neither show nor
mark as delayed, and after a lost connection it would send the old behind the new.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import shown
from edge.voice.broker import Broker, Client
from edge.voice.dialect import V5, Dialect, Terms, version_name
from edge.voice.flight import Flight
from edge.voice.message import Message
from edge.voice.topics import Topics

log = logging.getLogger(__name__)

GREETING_SECONDS: Final = 20.0
"""For the answer to our greeting."""

FIRST_GREETING_SECONDS: Final = 5.0
"""The same for one in version 5 to a broker that may not know it: amqtt waits for the rest of it for ever."""

NO_FAULT_OF_OURS: Final = frozenset({0x00, 0x04, 0x89, 0x8B, 0x8D, 0x8E, 0x96, 0x97, 0x98, 0x9C, 0x9D, 0x9F, 0xA0})
"""Reason codes of a DISCONNECT that speak against no message: busy, shutting down, session taken over, moved ...
https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901208"""


TAKEN_OVER: Final = 0x8E
"""Another client has come with our client id."""

MOST_LETTERS: Final = 200
"""Of what a broker adds to a reason code."""


class Ear(Protocol):
    """Who is told what came over a link. All with `changed` held, but `heard`."""

    def welcomed(self, granted: Properties | None) -> Terms:
        """The broker has let us in; return what may be said."""

    def answered(self, message: Message, refusal: ReasonCode | None) -> None:
        """A message was acknowledged, or refused."""

    def heard(self, message: paho.MQTTMessage) -> None:
        """A command has come."""


class Link:
    """How far one connection has got, and what is on its way over it.

    The publisher's thread opens, hands over and hangs up; paho's own, until then, tells what came of it (`_on_...`).
    `changed` guards what both touch; it is never held while paho is called, because paho calls back with its own locks
    held.

    The client knows the link, and is not kept in it: events that were born with a link hold on to it for as long as
    they wait, and would hold the client's sockets too.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        changed: threading.Condition,
        ear: Ear,
        ended: Callable[["Link", str], None],
    ) -> None:
        """Remember what to do; nothing is opened before `open`.

        ended: given this and why, once, with `changed` held.
        """
        self._broker = broker
        self._topics = topics
        self._changed = changed
        self._ear = ear
        self._ended = ended
        self.flight = Flight()
        self._opened_at = time.monotonic()
        self._greeting_seconds = GREETING_SECONDS
        self._accepted_at: float | None = None
        self._ended_at: float | None = None
        self.version = V5
        self.terms = Terms()
        self.greeted = False
        self.answer: ReasonCode | None = None
        self.explained = False
        """Whether the broker has said why it ended it, and that nobody has taken our place."""
        self.charges: list[Message] = []
        """What was on its way when the broker ended it; empty where it was no message's fault."""

    @property
    def accepted(self) -> bool:
        """Whether the broker has ever accepted us over it."""
        return self._accepted_at is not None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._ended_at is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self.flight

    @property
    def lived_seconds(self) -> float:
        """From the welcome to the end; 0 without either."""
        if self._accepted_at is None or self._ended_at is None:
            return 0.0
        return self._ended_at - self._accepted_at

    @property
    def unexplained(self) -> bool:
        """Whether it was accepted, and has ended over nothing that was said, and without a word why."""
        return self.accepted and not self.charges and not self.explained

    def ready(self, *, careful: bool) -> bool:
        """Whether a message may be handed over; with `careful`, one at a time."""
        if careful:
            return self.accepted and self.idle and self.flight.settled_in_seconds is None
        return self.accepted and len(self.flight) < self.terms.most_in_flight

    @property
    def due_seconds(self) -> float:
        """Until an answer is overdue."""
        due = self.flight.due if self.accepted else self._opened_at + self._greeting_seconds
        return due - time.monotonic()

    def open(self, dialect: Dialect) -> Client:
        """Return a client that has connected and greeted, and hears nothing yet (`loop_start`).

        Raises OSError, ValueError or EarshotError.
        """
        self.version = dialect.version
        self._greeting_seconds = GREETING_SECONDS if dialect.settled else FIRST_GREETING_SECONDS
        client = self._broker.new_client(dialect, self._topics.status)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: self._ear.heard(message)
        self._broker.dial(client, dialect)
        self._opened_at = time.monotonic()
        self.greeted = True
        return client

    def hand_over(self, client: Client, message: Message) -> None:
        """Give one message to paho, and remember under which id its acknowledgement will come."""
        with self._changed:
            self.flight.board(message)
        mid = client.hand_over(message, self.terms)
        with self._changed:
            # info.is_published() is of no use: it raises for ever once a message was given to a closed connection.
            code = self.flight.take_off(mid, message)
            if code is not None:
                self._ear.answered(message, code if code.is_failure else None)

    def hang_up(self, client: Client, *, polite: bool) -> None:
        """End it. `polite`: with a farewell, after which the broker forgets our will."""
        if polite:
            client.disconnect()
        else:
            with suppress(OSError):  # a DISCONNECT would cancel the will, all that is left to say `offline` for us
                client.cut()
        client.loop_stop()
        self.end("closed")

    def end(self, reason: str) -> None:
        """Take it as ended, and say why, for the first time that this is called."""
        with self._changed:
            if self.over:
                return
            self._ended(self, reason)
            self._ended_at = time.monotonic()
            self._changed.notify_all()

    def _on_connect(
        self, _client: object, _data: object, _flags: object, code: ReasonCode, granted: Properties | None
    ) -> None:
        self.answer = code
        if code.is_failure:
            self.end(_refusal(code) + _particulars(granted))
            return
        with self._changed:
            self.terms = self._ear.welcomed(granted)
            self._accepted_at = time.monotonic()
            self._changed.notify_all()
        log.info("mqtt: connected to %s, MQTT %s", self._broker, version_name(self.version))

    def _on_subscribe(self, _client: object, _data: object, mid: int, codes: list[ReasonCode], _more: object) -> None:
        for code in sorted(codes, key=lambda code: code.is_failure)[-1:]:  # the worst; there should be one
            self._answer(mid, code)

    def _on_publish(self, _client: object, _data: object, mid: int, code: ReasonCode, _more: object) -> None:
        self._answer(mid, code)

    def _answer(self, mid: int, code: ReasonCode) -> None:
        """Take one message as answered. It can come before `publish` has returned the id."""
        with self._changed:
            message = self.flight.land(mid, code)
            if message is not None:
                self._ear.answered(message, code if code.is_failure else None)
            self._changed.notify_all()

    def _on_disconnect(
        self, client: paho.Client, _data: object, flags: paho.DisconnectFlags, code: ReasonCode, more: object
    ) -> None:
        because = "" if str(code) == "Unspecified error" else f": {code}{_particulars(more)}"
        with self._changed:
            if self.over:
                return
            self.explained = flags.is_disconnect_packet_from_server and code.value not in (0x00, TAKEN_OVER)
            poison = client.poison if isinstance(client, Client) else None
            if poison is not None:
                because = f": {poison}"
            if poison is not None or not _forgives(code, said=flags.is_disconnect_packet_from_server):
                self.charges = self.flight.suspects(poisoned=poison is not None)
        if self.accepted:
            self.end(f"connection lost{because}")
        elif self.answer is None:
            self.end(f"no answer to our greeting{because}; does only one side expect TLS?")


def _forgives(code: ReasonCode, *, said: bool) -> bool:
    """Whether the end of a link speaks against no message. said: by the broker, with a DISCONNECT."""
    return code.value in NO_FAULT_OF_OURS if said else str(code) == "Keep alive timeout"


def _particulars(properties: object) -> str:
    """Return what a broker of version 5 adds to a reason code, for a person."""
    words = getattr(properties, "ReasonString", None), getattr(properties, "ServerReference", None)
    told = [words[0] and shown(words[0])[:MOST_LETTERS], words[1] and f"it names {shown(words[1])[:MOST_LETTERS]}"]
    return "".join(f" ({each})" for each in told if each)


def _refusal(code: ReasonCode) -> str:
    """Return why a broker has not let us in, for a person."""
    hints = {
        0x85: "mqtt.client_id",
        0x86: "mqtt.username and password_file",
        0x87: "mqtt.username, password_file and client_id",
        0x8A: "this device is banned there",
        0x9A: "mqtt.retain: false",
    }
    hint = hints.get(code.value)
    return f"refused by the broker: {code}" + (f"; see {hint}" if hint else "")
