"""The broker as it is configured, and paho's client as we want it. Nothing is opened before `dial`."""

import socket
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config import MqttSettings, machine_name
from edge.voice.credentials import password_in, tls_context
from edge.voice.dialect import V5, Dialect, Terms
from edge.voice.dialing import dial
from edge.voice.message import Message

LARGEST_PACKET_BYTES: Final = 1_000_000
"""What a broker may send us at once. The protocol allows 256 MB, and paho would take them into memory."""


class Broker:
    """Where it is, and who we are to it. Nothing here ever changes; the password and the certificates are files."""

    def __init__(self, settings: MqttSettings, *, client_id: str | None = None) -> None:
        """client_id: another one than the settings'. Raises ValueError without `settings.host`."""
        if settings.host is None:
            raise ValueError("mqtt.host is null: expected the address of a broker, the demo's own included")
        self._settings = settings
        self._host = settings.host
        self.client_id = client_id or settings.client_id or machine_name()

    def __str__(self) -> str:
        return f"{self._host}:{self._settings.broker_port}"

    def new_client(self, dialect: Dialect, will_topic: str | None, will: str = "offline") -> "Client":
        """Return a client that knows who we are, and what is to be said of us. The files are read anew every time.

        Raises EarshotError for a file that cannot be used.
        """
        s = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            self.client_id,
            protocol=dialect.version,
            transport=s.transport,
            reconnect_on_failure=False,
        )
        if s.transport == "websockets":
            client.ws_set_options(path=s.path)
        if s.username is not None:
            client.username_pw_set(s.username, None if s.password_file is None else password_in(s.password_file))
        if s.tls.enabled:
            client.tls_set_context(tls_context(s.tls))
        if will_topic is not None:
            client.will_set(will_topic, will, qos=dialect.qos, retain=dialect.retain)
        return client

    def dial(self, client: "Client", dialect: Dialect) -> None:
        """Open the connection and send our greeting; the answer comes to `on_connect`. Raises OSError or ValueError."""
        keepalive_seconds = self._settings.keepalive_seconds
        # The first one asks for nothing: whatever a broker of 3.1.1 makes of it, it is the shorter.
        if client.protocol != V5 or not dialect.settled:
            client.connect(self._host, self._settings.broker_port, keepalive_seconds)
            return
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
        wishes.MaximumPacketSize = LARGEST_PACKET_BYTES
        client.connect(self._host, self._settings.broker_port, keepalive_seconds, clean_start=True, properties=wishes)


class Client(paho.Client):
    """paho's, which ends the connection rather than make room for a packet that nobody should send us, and which does
    not wait for one dead address after the other.

    poison  what came, if something did
    """

    poison: str | None = None

    def _create_socket_connection(self) -> socket.socket:
        if self._get_proxy():
            return super()._create_socket_connection()
        return dial(self._host, self._port, self.connect_timeout)

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > LARGEST_PACKET_BYTES:
            self.poison = f"the broker sent a packet of {bufsize} bytes, expected at most {LARGEST_PACKET_BYTES}"
            raise ConnectionAbortedError(self.poison)
        return super()._sock_recv(bufsize)

    def hand_over(self, message: Message, terms: Terms) -> int:
        """Say it, or subscribe to it; return the id under which the answer will come."""
        if not message.hears:
            retain = message.retain and terms.retain
            return self.publish(message.topic, message.text, qos=terms.qos, retain=retain).mid
        if self.protocol == V5:  # neither our own results nor what is remembered: retained commands are not obeyed
            wishes = SubscribeOptions(qos=terms.qos, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            return self.subscribe(message.topic, options=wishes)[1] or 0
        return self.subscribe(message.topic, qos=terms.qos)[1] or 0

    def cut(self) -> None:
        """Cut the line, without a farewell. Plainly, and not as TLS does: paho's thread may be inside it."""
        sock = self.socket()
        plain = getattr(sock, "_socket", sock)  # within paho's websocket
        if isinstance(plain, socket.socket):
            socket.socket.shutdown(plain, socket.SHUT_RDWR)
