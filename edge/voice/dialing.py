"""A line to a host by its name: whichever of its addresses answers first, within one time for all of them.

The addresses of a name are often of two networks, of which one is dead: IPv6 that leads nowhere comes first. Tried one
after the other, as `socket.create_connection` does, each dead one costs a whole timeout. So the next is tried a moment
after the last, while that may still answer: https://www.rfc-editor.org/rfc/rfc8305#section-5
"""

import errno
import os
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, zip_longest
from typing import Any, Final

NEXT_SECONDS: Final = 0.25
"""> One recommended value for a default delay is 250 milliseconds. (RFC 8305)"""

Found = tuple[Any, ...]
"""One entry of `socket.getaddrinfo`."""


def dial(host: str, port: int, seconds: float) -> socket.socket:
    """Return a socket that is connected, with `seconds` for its timeout. Raises OSError if no address answers in them.

    The resolver is asked before, and takes its own time.
    """
    end = time.monotonic() + seconds
    rest = _by_turns(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    trouble: OSError = TimeoutError("timed out")
    with ExitStack() as tried, selectors.DefaultSelector() as waiting:
        found = next(rest, None)
        while found is not None or waiting.get_map():
            if found is not None:
                try:
                    waiting.register(tried.enter_context(_called(found)), selectors.EVENT_WRITE)
                except OSError as error:
                    trouble, found = error, next(rest, None)
                    continue
                found = next(rest, None)
            left_seconds = end - time.monotonic()
            if left_seconds <= 0:
                break
            for key, _ in waiting.select(left_seconds if found is None else min(NEXT_SECONDS, left_seconds)):
                sock: socket.socket = key.fileobj  # type: ignore[assignment]  # what was registered
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    won = sock.dup()
                    won.settimeout(seconds)
                    return won
                waiting.unregister(sock)
                trouble = OSError(code, os.strerror(code))
    raise trouble


def _called(found: Found) -> socket.socket:
    """Return a socket that has begun to connect. Raises OSError if that is refused at once."""
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


def _by_turns(found: Sequence[Found]) -> Iterator[Found]:
    """Yield addresses as the resolver has sorted them, but one family and the other by turns (RFC 8305, section 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return (each for each in chain.from_iterable(zip_longest(first, others)) if each is not None)
