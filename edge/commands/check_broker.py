"""The broker, step by step as a connection is made: name, address, encryption, greeting, a message.

The first that fails is the last, and says what a person can do about it.
"""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.commands.steps import Doubt, Step, Trouble, look
from edge.config import CREDENTIAL, MqttSettings, machine_name
from edge.errors import EarshotError

# What the daemon itself does with these settings is what is to be checked.
from edge.voice import CERTIFICATE_NOT_YET_VALID, in_words, password_in, tls_context

ANSWER_SECONDS: Final = 5.0

# Codes of OpenSSL, x509_vfy.h.
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = {2, 18, 19, 20, 21}
_ANOTHER_NAME: Final = {62, 64}


def broker_steps(mqtt: MqttSettings, host: str, node: str) -> Iterator[Step]:
    """Yield the steps to the broker at `host`, until one is bad."""
    check = _Check(mqtt, host, f"{mqtt.topic_prefix}/{node}/check")
    steps: list[tuple[str, Callable[[], str]]] = [("DNS", check.name), ("TCP", check.connect)]
    if mqtt.tls.enabled:
        steps.append(("TLS", check.encrypt))
    steps += [("CONNECT", check.greet), ("publish", check.publish)]
    try:
        for name, what in steps:
            step = look(f"broker {name}", what)
            yield step
            if step.verdict == "bad":
                return
    finally:
        check.close()


class _Check:
    """The steps, which build upon each other: each returns what it found, or raises Trouble."""

    def __init__(self, mqtt: MqttSettings, host: str, topic: str) -> None:
        self._mqtt = mqtt
        self._host = host
        self._port = mqtt.broker_port
        self._topic = topic
        self._client: paho.Client | None = None
        self._hung_up = False
        self._acknowledged: dict[int, ReasonCode] = {}

    def name(self) -> str:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:  # gaierror is one
            raise Trouble(
                f"mqtt.host {self._host}: {error.strerror or error}",
                f"is the name right, and is there a network? `getent hosts {self._host}` asks the same; names in "
                ".local need the package libnss-mdns, and an address needs no names at all",
            ) from error
        return f"{self._host} is {', '.join(dict.fromkeys(str(address[4][0]) for address in found))}"

    def connect(self) -> str:
        where = f"{self._host}:{self._port}"
        try:
            socket.create_connection((self._host, self._port), ANSWER_SECONDS).close()
        except ConnectionRefusedError as error:
            raise Trouble(
                f"{where}: Connection refused",
                "the computer is there, and nobody listens on this port: is the broker running, and is mqtt.port right "
                "(1883, or 8883 with TLS)? Mosquitto 2 without a `listener` line listens to its own computer only",
            ) from error
        except OSError as error:
            raise Trouble(
                f"{where}: {in_words(error)}",
                "the computer is switched off, has another address, or a firewall lies between",
            ) from error
        return f"{where} answers"

    def encrypt(self) -> str:
        context = tls_context(self._mqtt.tls)
        try:
            with (
                socket.create_connection((self._host, self._port), ANSWER_SECONDS) as sock,
                context.wrap_socket(sock, server_hostname=self._host) as encrypted,
            ):
                certificate = encrypted.getpeercert() or {}
                return f"{encrypted.version()}, certificate good until {certificate.get('notAfter', 'for ever')}"
        except ssl.SSLCertVerificationError as error:
            raise Trouble(in_words(error), self._hint_for_certificate(error)) from error
        except OSError as error:  # SSLError is one
            raise Trouble(
                f"no TLS on port {self._port}: {in_words(error)}",
                "this port speaks plain MQTT, it seems: mqtt.port (8883 is usual for TLS), or mqtt.tls.enabled: false",
            ) from error

    def greet(self) -> str:
        # The daemon speaks 3.1.1; only version 5 lets a broker say that it threw a message away.
        for protocol in (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311):
            came = self._greet_in(protocol)
            knows_not = self._hung_up if came is None else came.getName() == "Unsupported protocol version"
            if not knows_not:
                break
        if came is None:
            raise self._no_answer()
        if came.is_failure:
            raise self._refused(came)
        who = f"as {self._mqtt.username}" if self._mqtt.username else "as nobody in particular"
        return f"let in {who}, MQTT {'5' if protocol == MQTTProtocolVersion.MQTTv5 else '3.1.1'}"

    def publish(self) -> str:
        assert self._client is not None
        text = json.dumps({"schema": 1, "time": datetime.now(UTC).isoformat(timespec="seconds")})
        number = self._client.publish(self._topic, text, qos=1).mid
        if not self._wait(lambda: number in self._acknowledged):
            raise Trouble(
                f"{self._topic}: not acknowledged within {ANSWER_SECONDS:g} s",
                "the broker's own log says more",
            )
        code = self._acknowledged[number]
        if code.is_failure:
            raise Trouble(
                f"{self._topic}: {code}",
                f"the broker's access list does not let {self._mqtt.username or 'strangers'} write there: it needs "
                f"{self._mqtt.topic_prefix}/#, to write and to read",
            )
        if self._client.protocol != MQTTProtocolVersion.MQTTv5:
            raise Doubt(
                f"{self._topic} is acknowledged",
                "before version 5 of MQTT a broker says so too where its access list forbids it: watch with "
                f"`mosquitto_sub -t '{self._mqtt.topic_prefix}/#' -v`",
            )
        return f"{self._topic} is acknowledged"

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()

    # --- The greeting ---

    def _greet_in(self, protocol: MQTTProtocolVersion) -> ReasonCode | None:
        """Return what the broker answers; None if it says nothing, or hangs up. Raises Trouble if it is not reached."""
        mqtt, answers = self._mqtt, list[ReasonCode]()
        self._hung_up = False
        # Another client id than the daemon's: with the same one, the broker would throw it out.
        client = paho.Client(
            CallbackAPIVersion.VERSION2, f"{mqtt.client_id or machine_name()}-check"[:64], protocol=protocol
        )
        if mqtt.username is not None:
            client.username_pw_set(mqtt.username, self._password())
        if mqtt.tls.enabled:
            client.tls_set_context(tls_context(mqtt.tls))

        def hung_up(*_: object) -> None:
            self._hung_up = True

        client.on_connect = lambda _client, _data, _flags, code, _properties: answers.append(code)
        client.on_publish = lambda _client, _data, mid, code, _properties: self._acknowledged.update({mid: code})
        client.on_disconnect = hung_up
        self._client = client
        try:
            client.connect(self._host, self._port, keepalive=60)
        except OSError as error:
            raise Trouble(f"{self._host}:{self._port}: {in_words(error)}") from error
        self._wait(lambda: answers or self._hung_up)
        return answers[0] if answers else None

    def _password(self) -> str | None:
        file = self._mqtt.password_file
        if file is None:
            return None
        try:
            return password_in(file)
        except EarshotError as error:
            if not str(file).startswith(CREDENTIAL):
                raise
            raise Trouble(
                str(error), "outside of the service: `sudo env CREDENTIALS_DIRECTORY=/etc/earshot earshot check ...`"
            ) from error

    def _wait(self, condition: Callable[[], object]) -> bool:
        """Let the client work until `condition` holds; return whether it did in time."""
        assert self._client is not None
        end = time.monotonic() + ANSWER_SECONDS
        while not condition() and time.monotonic() < end:
            self._client.loop(0.1)
        return bool(condition())

    def _no_answer(self) -> Trouble:
        found = f"{self._host}:{self._port} took the connection and did not answer our greeting"
        if self._mqtt.tls.enabled:
            return Trouble(
                found,
                "does it ask for a certificate of ours? mqtt.tls.certificate_file and key_file; its own log says more",
            )
        if self._hung_up and self._speaks_tls():
            return Trouble(
                f"{found}: this port speaks TLS", "mqtt.tls.enabled: true, or the port for plain MQTT (usually 1883)"
            )
        return Trouble(found, "is it a broker that listens there? Its log says more")

    def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to it
        try:
            with (
                socket.create_connection((self._host, self._port), ANSWER_SECONDS) as sock,
                context.wrap_socket(sock, server_hostname=self._host),
            ):
                return True
        except OSError:
            return False

    def _refused(self, code: ReasonCode) -> Trouble:
        mqtt = self._mqtt
        if mqtt.username is None:
            hint = "this broker lets nobody in without a name: mqtt.username and password_file"
        elif mqtt.password_file is None:
            hint = f"mqtt.username {mqtt.username} without a password_file: does the broker know it without a password?"
        else:
            length = len(self._password() or "")
            hint = (
                f"mqtt.username {mqtt.username} and the {length} characters of {mqtt.password_file} do not go together "
                "at this broker"
            )
        return Trouble(f"refused: {code}", hint)

    def _hint_for_certificate(self, error: ssl.SSLCertVerificationError) -> str:
        code, ca_file = error.verify_code, self._mqtt.tls.ca_file
        if code == CERTIFICATE_NOT_YET_VALID:
            return (
                f"the clock of this computer says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: is that right? `timedatectl` "
                "tells whether a time server has set it"
            )
        if code == _EXPIRED:
            return "the broker needs a new certificate; or the clock of this computer is wrong (`timedatectl`)"
        if code in _ANOTHER_NAME:
            return f"mqtt.host must be a name in the broker's certificate, and {self._host} is none of them"
        if code in _UNKNOWN_AUTHORITY and ca_file is None:
            return "mqtt.tls.ca_file: the certificate of the authority that signed the broker's"
        if code in _UNKNOWN_AUTHORITY:
            return f"mqtt.tls.ca_file {ca_file} is not the authority that signed the broker's certificate"
        return "the broker's certificate, as `openssl s_client -connect HOST:PORT` shows it"
