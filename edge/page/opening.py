"""The parts of a page that need the web extra, joined: a door, a gate behind it, and the views."""

import asyncio
import ssl
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from edge.config import PageSettings, secret_path
from edge.errors import EarshotError
from edge.page import assets, enrolment, entrance, episodes, past, settings, watching
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
    context = _tls(own)
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


def _tls(own: PageSettings) -> ssl.SSLContext | None:
    tls = own.tls
    if tls.certificate_file is None or tls.key_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An empty passphrase: without one, OpenSSL would ask for it on a terminal that nobody sits at.
        context.load_cert_chain(secret_path(tls.certificate_file), secret_path(tls.key_file), password="")
    except OSError as error:
        files = f"page.tls.certificate_file {tls.certificate_file}, key_file {tls.key_file}"
        raise EarshotError(f"{files}: {error.strerror or error}") from error
    return context
