"""A broker that does on demand what no real one does: real bytes over a real socket, as few of them as will do.

It knows just enough of MQTT 3.1.1 and 5 to let a client in and to acknowledge; a test says where it misbehaves.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, NamedTuple, Self

HOST: Final = "127.0.0.1"
CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14


class Packet(NamedTuple):
    """What a client sent. `topic` and `text` are empty for all but PUBLISH and SUBSCRIBE."""

    kind: int
    flags: int
    body: bytes
    link: int
    """The how manieth connection it came over, from 1."""
    mid: bytes = b"\0\0"
    topic: str = ""
    text: bytes = b""

    @property
    def n_bytes(self) -> int:
        return len(self.body) + 1 + len(length_of(len(self.body)))


class HangUp(Exception):  # noqa: N818  it is no error, but what the fake is for
    """Raised by a test's `answers`: the connection ends here, without a word."""


@dataclass
class FakeBroker:
    """Listens from the beginning to the end of a `with` block.

    answers     given each packet; returns what to send, or None for what a broker would, or raises HangUp
    version     the newest it knows; CONNECT of another gets return code 1, or a hang-up with `silent`
    """

    answers: Callable[[Packet], bytes | None] = lambda _packet: None
    version: int = 4
    silent: bool = False
    properties: bytes = b""
    packets: list[Packet] = field(default_factory=list)
    n_links: int = 0
    connections: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = socket.create_server((HOST, 0))
        self.host, self.port = self._server.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def said(self, leaf: str) -> list[bytes]:
        """Return what came on topics that end so, oldest first."""
        return [packet.text for packet in list(self.packets) if packet.kind == PUBLISH and packet.topic.endswith(leaf)]

    def hang_up(self) -> None:
        """End every connection."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.n_links += 1
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.n_links), daemon=True).start()

    def _serve(self, connection: socket.socket, link: int) -> None:
        with connection, suppress(OSError, HangUp):
            stream, version = connection.makefile("rb"), 4
            while first := stream.read(1):
                body = stream.read(_length(stream.read))
                if first[0] >> 4 == CONNECT:
                    version = body[6]
                packet = _parsed(first[0], body, link, version)
                self.packets.append(packet)
                answer = self.answers(packet)
                connection.sendall(self._usual(packet, version) if answer is None else answer)

    def _usual(self, packet: Packet, version: int) -> bytes:
        five = version == 5
        match packet.kind:
            case 1 if version > self.version and self.silent:
                raise HangUp
            case 1 if version > self.version:
                return bytes([CONNACK << 4, 2, 0, 1])
            case 1:
                body = b"\0\0" + (bytes([len(self.properties)]) + self.properties if five else b"")
                return bytes([CONNACK << 4]) + length_of(len(body)) + body
            case 3 if packet.flags & 6:
                return bytes([PUBACK << 4, 2]) + packet.mid
            case 8:
                return suback(packet, 1, five=five)
            case 12:
                return bytes([PINGRESP << 4, 0])
            case 14:
                raise HangUp
        return b""


def suback(packet: Packet, code: int, *, five: bool = False) -> bytes:
    body = packet.mid + (b"\0" if five else b"") + bytes([code])
    return bytes([SUBACK << 4, len(body)]) + body


def publish(topic: str, text: bytes, *, retain: bool = False) -> bytes:
    """Return a PUBLISH of 3.1.1, QoS 0, as a broker sends it."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + text
    return bytes([PUBLISH << 4 | retain]) + length_of(len(body)) + body


def length_of(length: int) -> bytes:
    """Return a length in MQTT's 7 bits a byte."""
    found = bytearray()
    while True:
        length, digit = divmod(length, 128)
        found.append(digit | (128 if length else 0))
        if not length:
            return bytes(found)


def _length(read: Callable[[int], bytes]) -> int:
    length = shift = 0
    while True:
        digit = (read(1) or b"\0")[0]
        length, shift = length | (digit & 127) << shift, shift + 7
        if digit < 128:
            return length


def _parsed(first: int, body: bytes, link: int, version: int) -> Packet:
    kind, flags = first >> 4, first & 15
    after = 1 if version == 5 else 0  # an empty set of properties; ours are never others
    if kind == PUBLISH:
        end = 2 + int.from_bytes(body[:2], "big")
        topic, mid = body[2:end].decode(), body[end : end + 2] if flags & 6 else b"\0\0"
        return Packet(kind, flags, body, link, mid, topic, body[end + (2 if flags & 6 else 0) + after :])
    if kind == SUBSCRIBE:
        return Packet(kind, flags, body, link, body[:2], body[4 + after : -1].decode())
    return Packet(kind, flags, body, link)
