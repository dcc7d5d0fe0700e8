"""What every request has to pass before anything is done for it, and what every answer says. Pure ASGI.

In this order:

    Host       an address, localhost, this computer's name or one of `page.names`: another site that gives its own name
               our address (DNS rebinding) is sent away
    Origin, Sec-Fetch-Site
               a request that another site makes a browser send is refused, also where only something is looked at;
               what changes something needs a header that no form can send
    length     of what is sent: known, and small
    session    where there is a password
    rate       of who has no session
"""

import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

from edge.page.keys import Guard, Sessions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE: Final = "earshot"
OWN_HEADER: Final = b"x-earshot"
MOST_BODY_BYTES: Final = 4096

OPEN_TO_ALL: Final = {"/api/session", "/api/login"}
"""What is answered without a session: whether one is needed, and the way to it."""

REQUESTS: Final = 60
REQUEST_SECONDS: Final = 0.1
REQUESTS_OF_ALL: Final = 600
REQUEST_OF_ALL_SECONDS: Final = 0.02
"""Of who has no session: a page is 20 requests."""

HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        b"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Gate:
    """Lets a request through to `app`, or answers it with the reason why not."""

    def __init__(self, app: App, *, names: Iterable[str], sessions: Sessions | None) -> None:
        """names: further ones that the page is asked for by. sessions: None, and no password is asked for."""
        self._app = app
        host_name = socket.gethostname().lower()
        self._names = {"localhost", host_name, f"{host_name}.local", *(name.lower() for name in names)}
        self._sessions = sessions
        self._strangers = Guard(REQUESTS, REQUEST_SECONDS, REQUESTS_OF_ALL, REQUEST_OF_ALL_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. What is no HTTP is not answered."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        headers = dict[bytes, bytes](scope["headers"])
        scope["earshot.in"] = self._sessions is None or self._sessions.holds(_token(headers))
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await _refuse(*refusal, send_with_headers)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Return the status and the reason, None if it may pass."""
        host, path = headers.get(b"host", b"").decode("latin-1"), scope["path"]
        if not self._is_ours(host):
            return 421, "this page is not known by that name (page.names)"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "expected GET, HEAD or POST"
        if path.startswith("/api/") and _is_of_another_site(headers, host):
            return 403, "asked by another site"
        if self._sessions is not None and not scope["earshot.in"]:
            if self._strangers.take((scope.get("client") or ("",))[0]) > 0:
                return 429, "too many requests"
            if path.startswith("/api/") and path not in OPEN_TO_ALL:
                return 401, "expected a login"
        return _why_not_changed(headers) if scope["method"] == "POST" else None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with suppress(ValueError):  # an address is no name that could mean another
            ipaddress.ip_address(name)
            return True
        return name in self._names


def _is_of_another_site(headers: dict[bytes, bytes], host: str) -> bool:
    """Whether a browser says that a page of another site asks: by Sec-Fetch-Site, or by the origin, if it says one.

    Only names and ports are compared: behind a proxy, ours is http where the browser's is https.
    """
    if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        return True
    origin = headers.get(b"origin")
    return origin is not None and urlsplit(origin.decode("latin-1")).netloc != host


def _why_not_changed(headers: dict[bytes, bytes]) -> tuple[int, str] | None:
    """Return why a request that changes something is refused, None if it may."""
    if headers.get(OWN_HEADER) != b"page":
        return 403, "expected the header X-Earshot: page"
    if not headers.get(b"content-type", b"").startswith(b"application/json"):
        return 415, "expected application/json"
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        return 411, "expected a length"
    if int(length) > MOST_BODY_BYTES:
        return 413, f"expected at most {MOST_BODY_BYTES} bytes"
    return None


def _token(headers: dict[bytes, bytes]) -> str:
    with suppress(CookieError):
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        if COOKIE in cookies:
            return cookies[COOKIE].value
    return ""


async def _refuse(status: int, words: str, send: Send) -> None:
    body = json.dumps({"error": words}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (411, 413):  # what follows is not read
        headers.append((b"connection", b"close"))
    if status == 429:
        headers.append((b"retry-after", b"10"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
