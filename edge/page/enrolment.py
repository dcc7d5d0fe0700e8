"""The view `enrolment`: a machine learnt from its own microphone, while it is heard anyway, or from what is remembered.

Whoever asks has passed the gate: with the password, and from our own page.
"""

import math
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.page.answers import Refused, answer, asked, said, source_of
from edge.page.desk import Desk
from edge.page.device import Record

LAST_SECOND: Final = 1e11


def routes(desk: Desk) -> list[Route]:
    """Return what is answered here."""
    device = desk.device

    async def progress(request: Request) -> Response:
        return answer({"progress": device.taught(source_of(request, device))})

    async def begin(request: Request) -> Response:
        source, wanted = source_of(request, device), await asked(request)
        minutes, condition = wanted.get("minutes"), wanted.get("condition")
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < 1000:
            raise Refused("minutes: expected a number")
        if condition is not None and not (isinstance(condition, str) and 0 < len(condition) <= 40):
            raise Refused("condition: expected a name of at most 40 characters, or null")
        await run_in_threadpool(device.teach, source, float(minutes), condition)
        return answer({"progress": device.taught(source)})

    async def relearn(request: Request) -> Response:
        source, wanted = source_of(request, device), await asked(request)
        await run_in_threadpool(device.relearn, source, _stretch(wanted))
        return answer({"progress": device.taught(source)})

    async def told(request: Request) -> Response:
        source, word = source_of(request, device), request.path_params["word"]
        if word not in ("enough", "accept", "stop", "discard"):
            raise Refused("expected enough, accept, stop or discard", 404)
        await run_in_threadpool(device.tell_teacher, source, word)
        return answer({"progress": device.taught(source)})

    return [
        Route("/api/sources/{source}/enrolment", said(progress), methods=["GET"]),
        Route("/api/sources/{source}/enrolment", said(begin), methods=["POST"]),
        Route("/api/sources/{source}/relearn", said(relearn), methods=["POST"]),
        Route("/api/sources/{source}/enrolment/{word}", said(told), methods=["POST"]),
    ]


def _stretch(wanted: Record) -> tuple[float, float] | None:
    """Return from when to when, None where neither is given. Raises Refused for what is no stretch of time."""
    if wanted.get("from") is None and wanted.get("to") is None:
        return None
    start, end = _time(wanted.get("from")), _time(wanted.get("to"))
    if not start < end:
        raise Refused("from, to: expected two times, UNIX seconds, one after the other, or neither")
    return start, end


def _time(value: Any) -> float:  # noqa: ANN401  whatever was sent
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LAST_SECOND
    return float(value) if is_time else math.nan
