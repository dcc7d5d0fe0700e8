"""A real Mosquitto on a free port of this computer, and somebody who listens to it.

Needs the Debian packages mosquitto and openssl (the latter for TLS only).
"""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

HOST: Final = "127.0.0.1"
PATIENCE_SECONDS: Final = 20.0
"""How long a condition may take to come true: far longer than it does, since the machine may be busy."""

SOAK: Final = int(os.environ.get("EARSHOT_SOAK", "1"))
"""How many times as much a counted test does: 20 for 100 deaths of the broker and 200 of the publisher."""


def program(name: str) -> str:
    """Return the path of a program this test needs. Skips where it is missing; in CI that is a failure instead."""
    path = shutil.which(name, path=os.defpath + ":/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    if path is None:
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain(f"{name} is not installed: run scripts/install-test-parts")
    return path


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once `condition` holds; fail, saying `what` did not happen, if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)


class Mosquitto:
    """The broker, from `start` to the end of the `with` block; it keeps its port and its memory over a `kill`."""

    def __init__(
        self,
        folder: Path,
        *,
        password: tuple[str, str] | None = None,
        tls: bool = False,
        asks_for_certificates: bool = False,
        valid_from: datetime | None = None,
        may: str | None = None,
        more: Sequence[str] = (),
        plain_authority: bool = False,
    ) -> None:
        """Write its configuration into `folder`.

        password: the only name and password it lets in; asks_for_certificates: let in only who has one of our
        authority (client.crt, client.key in `folder`); valid_from: when its own certificate begins; may: the only
        permission that is given, in the words of an access list; more: further lines of its configuration;
        plain_authority: one as most people make it, which says of no key what it is for.
        """
        self.host = HOST
        self.port = free_port()
        self.ca_file = folder / "ca.crt"
        self._executable = program("mosquitto")
        self._config_file = folder / "mosquitto.conf"
        self._log_file = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

        lines = [
            f"listener {self.port} {HOST}",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_on_changes true",  # write its memory after every change, not every half hour:
            "autosave_interval 1",  # so that `kill` leaves it behind
            "queue_qos0_messages true",  # so that a listener misses nothing while it is away
            "max_queued_messages 0",  # no limit
            f"log_dest file {self._log_file}",
            f"allow_anonymous {'false' if password else 'true'}",
        ]
        if os.getuid() == 0:
            lines.append("user root")  # its own user could not read this folder
        if password:
            passwords = folder / "passwords"
            _run(program("mosquitto_passwd"), "-b", "-c", str(passwords), *password)
            lines.append(f"password_file {passwords}")
        if tls:
            _make_certificates(
                folder, valid_from or datetime.now(UTC) - timedelta(days=1), plain_authority=plain_authority
            )
            lines += [f"certfile {folder}/server.crt", f"keyfile {folder}/server.key"]
        if asks_for_certificates:
            lines += [f"cafile {self.ca_file}", "require_certificate true"]
        if may:
            (folder / "acl").write_text(f"{may}\n")
            lines.append(f"acl_file {folder}/acl")
        lines += more
        self._config_file.write_text("\n".join(lines) + "\n")
        self._log_file.touch()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Start it, or start it again; return when it takes connections."""
        self._process = process = subprocess.Popen(
            [self._executable, "-c", str(self._config_file)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

        def listens() -> bool:
            if process.poll() is not None:
                pytest.fail(f"mosquitto ended with {process.returncode}: {self.log()}")
            with socket.socket() as probe:
                return probe.connect_ex((HOST, self.port)) == 0

        wait_until(listens, "mosquitto listens")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        """End it politely: it writes down all it remembers."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait()

    def say_otherwise(self, line: str, other: str) -> None:
        """Have its configuration say something else, from the next `start` or `reload` on."""
        lines = self._config_file.read_text().splitlines()
        lines[lines.index(line)] = other
        self._config_file.write_text("\n".join(lines) + "\n")

    def reload(self) -> None:
        """Have it read its configuration and its access list anew."""
        self._signal(signal.SIGHUP)

    def freeze(self) -> None:
        """Let it hang: connections stay open, new ones are taken by the kernel, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what it has written about itself so far."""
        return self._log_file.read_text()

    def forget(self) -> None:
        """Remove its memory; while it does not run."""
        (self._config_file.parent / "mosquitto.db").unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Message(NamedTuple):
    topic: str
    payload: str
    retained: bool
    """Whether it was sent because it was remembered, not because it was just said."""


class Address(Protocol):
    """Where a broker listens."""

    host: str
    port: int


class Listener:
    """A subscriber to everything, with a session that the broker keeps, which comes back after a broken connection.

    At QoS 0, it writes nothing after subscribing: it so reads to the last byte what a killed broker has sent, and
    nothing is lost or doubled on its side.
    """

    def __init__(self, broker: Address, *, name: str = "listener") -> None:
        self.messages: list[Message] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=0)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_message = self._on_message
        self._address = broker.host, broker.port

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        self.wait_until_subscribed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_until_subscribed(self) -> None:
        wait_until(self._subscribed.is_set, "the listener is subscribed")

    def say(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """Publish something, QoS 1."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def payloads(self, topic: str) -> list[str]:
        """Return what has come on `topic` so far, oldest first."""
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def last(self, topic: str) -> str | None:
        return next(iter(reversed(self.payloads(topic))), None)

    def wait_for(self, topic: str, payload: str) -> None:
        wait_until(lambda: self.last(topic) == payload, f"{topic} says {payload}")

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.messages.append(Message(message.topic, message.payload.decode(errors="surrogateescape"), message.retain))


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _make_certificates(folder: Path, valid_from: datetime, *, plain_authority: bool) -> None:
    """Write ca.crt, an authority of our own, and server.crt for localhost and client.crt, with keys beside them."""
    openssl = program("openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]  # elliptic keys are quick
    (folder / "server.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    (folder / "client.ext").write_text("authorityKeyIdentifier=keyid\n")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n"
        "policy=names\n[names]\ncommonName=supplied\n"
    )
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    authority = [] if plain_authority else ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    _run(
        *(openssl, "req", "-x509", *key, "ca.key", "-out", "ca.crt", "-subj", "/CN=our own authority", *authority),
        *("-days", "2"),
        folder=folder,
    )
    # Only `openssl ca` can date a certificate as we like, in the versions that are about.
    dates = [f"{date:%Y%m%d%H%M%SZ}" for date in (valid_from, valid_from + timedelta(days=3))]
    signed = ["-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key"]
    for name, subject in (("server", "localhost"), ("client", "earshot")):
        _run(openssl, "req", *key, f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}", folder=folder)
        _run(
            *(openssl, "ca", *signed, "-startdate", dates[0], "-enddate", dates[1], "-extfile", f"{name}.ext"),
            *("-in", f"{name}.csr", "-out", f"{name}.crt"),
            folder=folder,
        )


def _run(*command: str, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr}")
