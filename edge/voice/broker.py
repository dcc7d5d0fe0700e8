"""The broker as it is configured, and paho's client as we want it. Nothing is opened before `dial`."""

from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.config import MqttSettings, machine_name
from edge.voice.credentials import password_in, tls_context

LARGEST_PACKET_BYTES: Final = 1_000_000
"""What a broker may send us at once. The protocol allows 256 MB, and paho would take them into memory."""


class Broker:
    """Where it is, and who we are to it. Nothing here ever changes; the password and the certificates are files."""

    def __init__(self, settings: MqttSettings) -> None:
        """Raises ValueError without `settings.host`."""
        if settings.host is None:
            raise ValueError("mqtt.host is null: expected the address of a broker, the demo's own included")
        self._settings = settings
        self._host = settings.host
        self.client_id = settings.client_id or machine_name()

    def __str__(self) -> str:
        return f"{self._host}:{self._settings.broker_port}"

    def new_client(self, will_topic: str) -> paho.Client:
        """Return a client that knows who we are, and whose will is `offline`. The files are read anew every time.

        Raises EarshotError for a file that cannot be used.
        """
        s = self._settings
        client = _Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=paho.MQTTv311, reconnect_on_failure=False
        )
        if s.username is not None:
            client.username_pw_set(s.username, None if s.password_file is None else password_in(s.password_file))
        if s.tls.enabled:
            client.tls_set_context(tls_context(s.tls))
        client.will_set(will_topic, "offline", qos=1, retain=True)
        return client

    def dial(self, client: paho.Client) -> None:
        """Open the connection and send our greeting; the answer comes to `on_connect`. Raises OSError or ValueError."""
        client.connect(self._host, self._settings.broker_port, self._settings.keepalive_seconds)


class _Client(paho.Client):
    def _sock_recv(self, bufsize: int) -> bytes:
        """Read from the connection; end it rather than make room for a packet that nobody should send us."""
        if bufsize > LARGEST_PACKET_BYTES:
            raise ConnectionAbortedError(f"a packet of {bufsize} bytes, expected at most {LARGEST_PACKET_BYTES}")
        return super()._sock_recv(bufsize)
