"""The parts of a page that need the web extra, joined: a door, a gate behind it, and the views."""

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from edge.config import PageSettings
from edge.errors import EarshotError
from edge.page import assets, enrolment, entrance, episodes, past, settings, watching
from edge.page.access import tls_of
from edge.page.desk import Desk
from edge.page.door import Door
from edge.page.gate import Gate
from edge.page.keys import Password, Sessions
from edge.page.server import Server

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve(own: PageSettings, desk: Desk, password: str | None) -> tuple[Server, asyncio.AbstractEventLoop]:
    """Begin to answer; return the server and its loop. Raises EarshotError if the port or the keys cannot be had."""
    assert own.port is not None
    context = tls_of(own)
    try:
        door = Door(own.host, own.port)
    except OSError as error:
        raise EarshotError(f"{own.host}:{own.port}: {error.strerror or error}") from error
    sessions = None if password is None else Sessions(password)
    views: ASGIApp = Starlette(
        routes=[
            *entrance.routes(None if password is None else Password(password), sessions, encrypted=context is not None),
            *watching.routes(desk, door),
            *episodes.routes(desk),
            *past.routes(desk),
            *enrolment.routes(desk),
            *settings.routes(desk),
            *assets.routes(),
        ]
    )
    server = Server(Gate(views, names=own.names, sessions=sessions), door, context)
    return server, server.start()
