"""The socket that the page listens on: few connections at once, however many come.

Else 1,000 that only connect take every file that the process may open, and a microphone that comes back cannot be
opened. The oldest goes, not the newest: it has had its time, and a person always gets in. Who watches is spared.
"""

import socket
from contextlib import suppress
from typing import Any, Final

MOST_CONNECTIONS: Final = 64
"""A browser takes six."""

BACKLOG: Final = 32

Address = tuple[str, int]


class Door(socket.socket):
    """A listening socket that holds `MOST_CONNECTIONS`. What it accepts may be shut by it later."""

    def __init__(self, host: str, port: int) -> None:
        """Listen. Raises OSError where the address or the port cannot be had."""
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        super().__init__(family, kind, protocol)
        self._held: dict[Address, socket.socket] = {}  # the oldest first
        self._spared: set[Address] = set()
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            self.listen(BACKLOG)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; the oldest that nobody watches through ends for it."""
        connection, address = super().accept()
        self._held[address[:2]] = connection
        if len(self._held) > MOST_CONNECTIONS:
            self._let_one_go()
        return connection, address

    def spare(self, address: Address) -> None:
        """Who asks from there is watching: theirs is not to be ended. Undone by `release`."""
        self._spared.add(address)

    def release(self, address: Address) -> None:
        """They watch no more."""
        self._spared.discard(address)

    def _let_one_go(self) -> None:
        for address, connection in list(self._held.items()):
            if connection.fileno() == -1:  # it has ended by itself
                del self._held[address]
        if len(self._held) <= MOST_CONNECTIONS:
            return
        oldest = next((address for address in self._held if address not in self._spared), None)
        if oldest is not None:
            with suppress(OSError):
                self._held.pop(oldest).shutdown(socket.SHUT_RDWR)  # asyncio sees the end, and closes it
