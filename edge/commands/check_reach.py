"""Is the broker reached? Its name, its address, its certificate; nothing of MQTT yet."""

import socket
import ssl
from datetime import UTC, datetime
from typing import Final

from edge.commands import check_call
from edge.commands.steps import Trouble
from edge.config import MqttSettings

# What the daemon itself does with these settings is what is to be checked.
from edge.voice import CERTIFICATE_NOT_YET_VALID, dial, in_words, tls_context

# Codes of OpenSSL, x509_vfy.h.
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = {2, 18, 19, 20, 21}
_ANOTHER_NAME: Final = {62, 64}


def resolve(host: str, port: int) -> str:
    """Return the addresses of a name, in words. Raises Trouble."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:  # gaierror is one
        raise Trouble(
            f"mqtt.host {host}: {error.strerror or error}",
            f"is the name right, and is there a network? `getent hosts {host}` asks the same; names in "
            ".local need the package libnss-mdns, and an address needs no names at all",
        ) from error
    return f"{host} is {', '.join(dict.fromkeys(str(address[4][0]) for address in found))}"


def connect(host: str, port: int) -> str:
    """Say whether somebody answers at a port. Raises Trouble."""
    where = f"{host}:{port}"
    try:
        dial(host, port, check_call.ANSWER_SECONDS).close()
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


def encrypt(mqtt: MqttSettings, host: str) -> str:
    """Say whether both sides trust each other. Raises Trouble."""
    context, port = tls_context(mqtt.tls), mqtt.broker_port
    try:
        with (
            dial(host, port, check_call.ANSWER_SECONDS) as sock,
            context.wrap_socket(sock, server_hostname=host) as encrypted,
        ):
            certificate = encrypted.getpeercert() or {}
            return f"{encrypted.version()}, certificate good until {certificate.get('notAfter', 'for ever')}"
    except ssl.SSLCertVerificationError as error:
        raise Trouble(in_words(error), _hint_for_certificate(mqtt, host, error)) from error
    except OSError as error:  # SSLError is one
        raise Trouble(
            f"no TLS on port {port}: {in_words(error)}",
            "this port speaks plain MQTT, it seems: mqtt.port (8883 is usual for TLS), or mqtt.tls.enabled: false",
        ) from error


def speaks_tls(host: str, port: int) -> bool:
    """Return whether encryption is expected there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to it
    try:
        with (
            dial(host, port, check_call.ANSWER_SECONDS) as sock,
            context.wrap_socket(sock, server_hostname=host),
        ):
            return True
    except OSError:
        return False


def _hint_for_certificate(mqtt: MqttSettings, host: str, error: ssl.SSLCertVerificationError) -> str:
    code, ca_file = error.verify_code, mqtt.tls.ca_file
    if code == CERTIFICATE_NOT_YET_VALID:
        return (
            f"the clock of this computer says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: is that right? `timedatectl` "
            "tells whether a time server has set it"
        )
    if code == _EXPIRED:
        return "the broker needs a new certificate; or the clock of this computer is wrong (`timedatectl`)"
    if code in _ANOTHER_NAME:
        return f"mqtt.host must be a name in the broker's certificate, and {host} is none of them"
    if code in _UNKNOWN_AUTHORITY and ca_file is None:
        return "mqtt.tls.ca_file: the certificate of the authority that signed the broker's"
    if code in _UNKNOWN_AUTHORITY:
        return f"mqtt.tls.ca_file {ca_file} is not the authority that signed the broker's certificate"
    return "the broker's certificate, as `openssl s_client -connect HOST:PORT` shows it"
