"""What the views of the page have in common: JSON out, JSON in, and errors in words."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edge.errors import EarshotError
from edge.page.device import Device
from edge.page.gate import MOST_BODY_BYTES

SEND_SECONDS: Final = 10.0
"""How long who asks may take to say what."""


class Refused(EarshotError):  # noqa: N818  an answer, said in words
    """What cannot be done as it was asked for."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


def answer(content: object, status: int = 200) -> Response:
    """Return JSON that nobody keeps."""
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def said(view: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Have a view answer errors of ours in words."""

    async def viewed(request: Request) -> Response:
        try:
            return await view(request)
        except Refused as error:
            return answer({"error": str(error)}, error.status)
        except EarshotError as error:
            return answer({"error": str(error)}, 409)

    return viewed


async def asked(request: Request) -> dict[str, Any]:
    """Return the object that was sent. Raises Refused for anything else."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            body = await request.body()  # the gate has seen to its length
    except TimeoutError:
        raise Refused("expected what is to be done", 408) from None
    except ClientDisconnect:
        raise Refused("nobody waits for the answer") from None
    try:
        value = json.loads(body[:MOST_BODY_BYTES])
    except (ValueError, RecursionError):
        raise Refused("expected JSON") from None
    if not isinstance(value, dict):
        raise Refused("expected a JSON object")
    return value


def source_of(request: Request, device: Device) -> str:
    """Return the source that a path names. Raises Refused for one that is not there."""
    name: str = request.path_params["source"]
    if name not in device.sources:
        raise Refused("no such source", 404)
    return name
