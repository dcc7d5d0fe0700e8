"""The view `now`: how everything is, and a stream of what changes, as server-sent events (WHATWG HTML, 9.2)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edge.page.answers import Refused, answer, said, source_of
from edge.page.desk import Desk
from edge.page.device import Device
from edge.page.door import Door
from edge.page.feed import Viewer

BEAT_SECONDS: Final = 15.0
"""How often something is said to who watches, if only how the device is: a dead line is found by writing to it."""

RETRY_MILLISECONDS: Final = 2000


def routes(desk: Desk, door: Door) -> list[Route]:
    """Return what is answered here."""
    device, feed = desk.device, desk.feed

    async def now(_request: Request) -> Response:
        return answer(
            {
                "health": device.health(),
                "sources": [
                    {"name": name, "title": desk.choices.now.of(name).title, "state": feed.states.get(name)}
                    for name in device.sources
                ],
            }
        )

    async def recent(request: Request) -> Response:
        return answer(feed.recent(source_of(request, device)))

    async def stream(request: Request) -> Response:
        viewer = Viewer(source_of(request, device))
        if not feed.enter(viewer):
            raise Refused("too many watch already", 503)
        address = (request.client.host, request.client.port) if request.client else ("", 0)
        door.spare(address)

        async def told() -> AsyncIterator[str]:
            try:
                yield f"retry: {RETRY_MILLISECONDS}\n\n"
                while (message := await _next(viewer, device)) is not None:
                    yield message
            finally:
                feed.leave(viewer)
                door.release(address)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would wait until there is more
        return StreamingResponse(told(), headers=headers, media_type="text/event-stream")

    return [
        Route("/api/now", said(now)),
        Route("/api/sources/{source}/recent", said(recent)),
        Route("/api/sources/{source}/stream", said(stream)),
    ]


async def _next(viewer: Viewer, device: Device) -> str | None:
    """Return the next message for a viewer; how the device is, where there is nothing else to say; None at the end."""
    try:
        async with asyncio.timeout(BEAT_SECONDS):
            said = await viewer.waiting.get()
    except TimeoutError:
        said = "health", device.health()
    if said is None:
        return None
    kind, record = said
    return f"event: {kind}\ndata: {json.dumps(record, separators=(',', ':'))}\n\n"
