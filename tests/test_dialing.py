"""A name with several addresses, of which some are dead: over real sockets, and a resolver of our own."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from edge.config import MqttSettings, NotifySettings
from edge.voice import Broker, Dialect, Webhook, dial
from edge.voice.notice import of_check

Address = tuple[str, int]

NAME = "two.addresses.test"


@pytest.fixture
def dead() -> Iterator[Address]:
    """An address that answers nobody: its queue is full, and whoever calls is not even refused."""
    with ExitStack() as kept:
        server = kept.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address: Address = server.getsockname()
        for _ in range(4):
            caller = kept.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(address)
        yield address


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """What `NAME` resolves to, whatever the port."""
    addresses: list[Address] = []
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*kind, each) for each in addresses])
    return addresses


@pytest.fixture
def live() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_dead_addresses_do_not_hold_up_the_live_one(
    dead: Address, live: socket.socket, resolves: list[Address]
) -> None:
    resolves += [dead, dead, dead, live.getsockname()]
    begun = time.monotonic()
    with dial(NAME, 1, 60) as line:
        assert line.getpeername() == live.getsockname()
        assert line.gettimeout() == 60
    assert time.monotonic() - begun < 60


def test_one_time_is_for_all_of_them(dead: Address, resolves: list[Address]) -> None:
    resolves += [dead] * 30
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        dial(NAME, 1, 1.0)
    assert time.monotonic() - begun < 30


def test_what_refuses_is_said_and_the_next_is_tried_at_once(live: socket.socket, resolves: list[Address]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed: Address = gone.getsockname()
    resolves += [closed]
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        dial(NAME, 1, 60)
    resolves += [live.getsockname()]
    dial(NAME, 1, 60).close()


def test_a_phone_is_told_and_a_broker_is_called_by_the_address_that_lives(
    dead: Address, live: socket.socket, resolves: list[Address]
) -> None:
    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    begun = time.monotonic()
    with HTTPServer(("127.0.0.1", 0), Takes) as server:
        resolves += [dead, dead, ("127.0.0.1", server.server_port)]
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert Webhook(NotifySettings(url=f"http://{NAME}/topic")).tell(of_check("hall", "", "en")).reason is None
    resolves[-1] = live.getsockname()
    settings = MqttSettings(host=NAME)
    broker, dialect = Broker(settings), Dialect(settings)
    client = broker.new_client(dialect, None)
    broker.dial(client, dialect)
    sock = client.socket()
    assert sock is not None
    sock.close()
    assert time.monotonic() - begun < 25  # one after the other they would have had 30
