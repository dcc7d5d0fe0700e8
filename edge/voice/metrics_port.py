"""The port of the metrics: few connections, and none for long. Loaded only by who has one: HTTP costs a megabyte."""

import socket
import threading
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MOST_CONNECTIONS: Final = 32
"""Each takes a thread and a file. A scraper or two ask for some milliseconds, every few seconds."""

ASK_SECONDS: Final = 5.0
"""How long who is connected may say nothing."""


_Request = socket.socket | tuple[bytes, socket.socket]


def listen(host: str, port: int, app: "WSGIApplication") -> WSGIServer:
    """Return a server that holds `MOST_CONNECTIONS`, and lets the oldest go for one more.

    prometheus-client's own keeps a thread and a file for each, for ever: 1100 that only connect, and the daemon can
    open nothing any more. The oldest goes, not the newest: it has had its time, and a scraper always gets in.
    Raises OSError if the port cannot be had.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]

    class Few(_Few):
        address_family = family

    return make_server(str(address[0]), port, app, server_class=Few, handler_class=_Asker)


class _Asker(WSGIRequestHandler):
    timeout = ASK_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are no news."""


class _Few(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def server_activate(self) -> None:
        self._held: dict[object, None] = {}  # oldest first
        self._lock = threading.Lock()
        super().server_activate()

    def process_request(self, request: _Request, client_address: object) -> None:
        with self._lock:
            while len(self._held) >= MOST_CONNECTIONS:
                oldest = next(iter(self._held))
                del self._held[oldest]
                with suppress(OSError):
                    assert isinstance(oldest, socket.socket)
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread sees the end, and closes it
            self._held[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: _Request) -> None:
        with self._lock:
            self._held.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: _Request, client_address: object) -> None:
        """Say nothing: who leaves in the middle is no defect."""
