"""One connection, from the attempt to its end: paho's callbacks of an older one cannot touch a newer one.

Each has a paho client of its own, which is handed a few messages at a time: what paho holds it can neither show nor
mark as delayed, and after a lost connection it would send the old behind the new.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from edge.voice.broker import Broker
from edge.voice.message import Message
from edge.voice.topics import Topics

log = logging.getLogger(__name__)

MOST_IN_FLIGHT: Final = 20
"""Messages that paho may hold at once; its own limit is the same, so nothing queues inside it."""


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
        *,
        heard: Callable[[paho.MQTTMessage], None] | None,
        delivered: Callable[[int], None],
        ended: Callable[["Link", str], None],
    ) -> None:
        """Remember what to do; nothing is opened before `open`.

        heard: given each command; None: none is subscribed to.
        delivered: given the outbox's number of each event that the broker has acknowledged.
        ended: given this and why it ended, once. Both are called with `changed` held.
        """
        self._broker = broker
        self._topics = topics
        self._changed = changed
        self._heard = heard
        self._delivered = delivered
        self._ended = ended
        # paho's message ids that are not acknowledged (QoS 0: not written), each with the outbox's number of its event.
        self._in_flight: dict[int, int | None] = {}
        self._early: set[int] = set()  # ids acknowledged before `publish` has returned them
        self._accepted_at: float | None = None
        self._ended_at: float | None = None

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
        return not self._in_flight

    @property
    def ready(self) -> bool:
        """Whether a message may be handed over."""
        return self.accepted and len(self._in_flight) < MOST_IN_FLIGHT

    @property
    def lived_seconds(self) -> float:
        """From the welcome to the end; 0 without either."""
        if self._accepted_at is None or self._ended_at is None:
            return 0.0
        return self._ended_at - self._accepted_at

    def open(self) -> paho.Client:
        """Return a client that has connected and greeted, and hears nothing yet (`loop_start`).

        Raises OSError, ValueError or EarshotError.
        """
        client = self._broker.new_client(self._topics.status)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        if self._heard is not None:
            heard = self._heard
            client.on_message = lambda _client, _data, message: heard(message)
        self._broker.dial(client)
        return client

    def hand_over(self, client: paho.Client, message: Message) -> None:
        """Give one message to paho, and remember under which id its acknowledgement will come."""
        info = client.publish(message.topic, message.text, qos=message.qos, retain=message.retain)
        with self._changed:
            # info.is_published() is of no use: it raises for ever once a message was given to a closed connection.
            if info.mid in self._early:
                self._early.remove(info.mid)
                self._forget(message.number)
            else:
                self._in_flight[info.mid] = message.number

    def hang_up(self, client: paho.Client, *, polite: bool) -> None:
        """End it. `polite`: with a farewell, after which the broker forgets our will."""
        sock = client.socket()
        if polite:
            client.disconnect()
        elif isinstance(sock, socket.socket):
            # A DISCONNECT would cancel the will, which is all that is left to say `offline` for us. The plain shutdown,
            # not TLS's own: paho's thread may be inside it.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
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

    def _forget(self, number: int | None) -> None:
        if number is not None:
            self._delivered(number)

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        if code.is_failure:
            self.end(f"refused by the broker: {code}; see mqtt.username, password_file and client_id")
            return
        log.info("mqtt: connected to %s", self._broker)
        with self._changed:
            self._accepted_at = time.monotonic()
            self._changed.notify_all()
        if self._heard is not None:
            client.subscribe(self._topics.commands, qos=1)

    def _on_subscribe(self, _client: object, _data: object, _mid: int, codes: list[ReasonCode], _more: object) -> None:
        if any(code.is_failure for code in codes):
            log.warning("mqtt: the broker does not let us hear commands, %s", self._topics.commands)

    def _on_publish(self, _client: object, _data: object, mid: int, _code: object, _more: object) -> None:
        """Take one message as delivered. It can come before `publish` has returned the id."""
        with self._changed:
            if mid in self._in_flight:
                self._forget(self._in_flight.pop(mid))
            else:
                self._early.add(mid)
            self._changed.notify_all()

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        because = "" if str(code) == "Unspecified error" else f": {code}"
        if self.accepted:
            self.end(f"connection lost{because}")
        else:
            self.end(f"no answer to our greeting{because}; does only one side expect TLS?")
