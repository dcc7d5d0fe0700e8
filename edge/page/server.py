"""uvicorn in a thread of its own, with its own event loop; it wakes when there is something to do, and not before."""

import asyncio
import logging
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import uvicorn

from edge.page.door import Door

if TYPE_CHECKING:
    from starlette.types import ASGIApp

START_SECONDS: Final = 10.0
END_SECONDS: Final = 1.0
MOST_HEADER_BYTES: Final = 16_384


class Server:
    """Answers at a door until it is closed."""

    def __init__(self, app: "ASGIApp", door: Door, context: ssl.SSLContext | None) -> None:
        """Take an open door; it is closed with the server. context: None, and nothing is encrypted."""
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what is no HTTP is no news
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # who asks is who connects: a header is easily written
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        )
        config.load()
        config.ssl = context
        self._server = _Server(config)
        self._door = door
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> asyncio.AbstractEventLoop:
        """Begin to answer; return the loop that does it."""
        self._thread.start()
        self._server.ready.wait(START_SECONDS)
        return self._server.loop

    def close(self) -> None:
        """Answer no more; who watches is sent away."""
        with suppress(RuntimeError):  # its loop has ended by itself
            self._server.loop.call_soon_threadsafe(self._server.stopped.set)
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._door]))


class _Server(uvicorn.Server):
    """uvicorn wakes ten times a second to see whether it is to end; this one is told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def main_loop(self) -> None:
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        self.server_state.default_headers = []
        self.ready.set()
        await self.stopped.wait()
