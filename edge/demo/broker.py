"""The broker inside the process, for `make run`: amqtt, on this computer's own address only, forgotten at the end.

Fit for a demo and for no more: it repeats retained messages to wildcard subscriptions, loses what a persistent session
missed, and speaks no MQTT 5. A device talks to Mosquitto or another broker of its own.
"""

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from edge.errors import EarshotError

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 0.5


class DemoBroker:
    """An MQTT 3.1.1 broker without passwords, in a thread of its own, as long as the `with` block lasts."""

    def __init__(self, port: int | None = None) -> None:
        """Choose where to listen on 127.0.0.1: at `port`, or at a free one, which is `self.port` from here on."""
        self.host = HOST
        self.port = port or free_port()
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        """Return when clients can connect. Raises EarshotError without amqtt, or if the port is taken."""
        broker_class = _import_amqtt()
        self._thread = threading.Thread(target=self._run, args=(broker_class,), name="demo-broker", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise EarshotError(f"demo broker: not ready after {START_SECONDS:g} s")
        if self._failure is not None:
            raise EarshotError(f"demo broker: cannot listen on {HOST}:{self.port}: {self._failure}") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * STOP_SECONDS)

    def _run(self, broker_class: type[Any]) -> None:
        asyncio.run(self._serve(broker_class))

    async def _serve(self, broker_class: type[Any]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            broker = broker_class(
                {
                    "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}},
                    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
                }
            )
            await broker.start()
        except Exception as error:  # whatever it is, the thread that waits for us must hear of it
            self._failure = error
            return
        finally:
            self._ready.set()

        await self._stop.wait()
        # It waits for its clients to leave. They may not; then asyncio.run cancels what is left.
        with suppress(TimeoutError):
            await asyncio.wait_for(broker.shutdown(), STOP_SECONDS)


def _import_amqtt() -> type[Any]:
    """Return amqtt's Broker, made silent. Imported here because a device has no use for it and does not install it."""
    try:
        from amqtt.broker import Broker
    except ImportError as error:
        raise EarshotError(
            "mqtt.host is null, and the demo's broker needs amqtt, which is not installed: "
            "name a broker in mqtt.host, or `pip install amqtt` (it is in the dev group)"
        ) from error
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    broker_class: type[Any] = Broker
    return broker_class


def free_port() -> int:
    """Return a port of this computer's own address that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
