"""The views `history` and `threshold`: what was, by the minute, and what another threshold would have told of it."""

import asyncio
import math
import time
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.memory import chart
from edge.page.answers import Refused, answer, said, source_of
from edge.page.desk import Desk
from edge.page.device import Device, Record

WEEK_SECONDS: Final = 7 * 86_400.0
MOST_DAYS: Final = 366
MOST_POINTS: Final = 1500
MOST_ALARMS: Final = 500

NAMES: Final = ("score", "score_low", "score_high", "threshold", "level_dbfs", "evidence")


def routes(desk: Desk) -> list[Route]:
    """Return what is answered here."""
    device = desk.device
    one_at_a_time = asyncio.Semaphore(1)  # each reads a week from the disk

    async def history(request: Request) -> Response:
        source = source_of(request, device)
        end = _number(request, "to", time.time(), 0, 1e11)
        start = _number(request, "from", end - WEEK_SECONDS, end - MOST_DAYS * 86_400, end - 60)
        n_points = int(_number(request, "points", 600, 10, MOST_POINTS))
        async with one_at_a_time:
            return answer(await run_in_threadpool(_history, device, source, start, end, n_points))

    async def alarms(request: Request) -> Response:
        source = source_of(request, device)
        threshold = _number(request, "threshold", math.nan, 1e-6, 1e9)
        since = time.time() - WEEK_SECONDS
        async with one_at_a_time:
            found = await run_in_threadpool(device.alarms, source, threshold, since)
        return answer({"since": since, "n": len(found), "alarms": found[-MOST_ALARMS:]})

    async def days(request: Request) -> Response:
        async with one_at_a_time:
            found, drift = await run_in_threadpool(device.days, source_of(request, device))
        return answer({**{name: _plain(x) for name, x in found.items()}, "drift": drift})

    return [
        Route("/api/sources/{source}/history", said(history)),
        Route("/api/sources/{source}/days", said(days)),
        Route("/api/sources/{source}/alarms", said(alarms)),
    ]


def _history(device: Device, source: str, start: float, end: float, n_points: int) -> Record:
    minutes = device.minutes(source, NAMES)
    points = partial(chart, minutes["time"], start=start, end=end, n_points=n_points)
    score = points(minutes["score"], low=minutes["score_low"], high=minutes["score_high"])
    evidence, level, threshold = (points(minutes[name]) for name in ("evidence", "level_dbfs", "threshold"))
    return {
        "from": start,
        "to": end,
        "time": _plain(score.time),
        "minutes": score.minutes.tolist(),
        "score": _plain(score.mean),
        "score_low": _plain(score.low),
        "score_high": _plain(score.high),
        "evidence": _plain(evidence.high),
        "level": _plain(level.mean),
        "threshold": _plain(threshold.mean),
    }


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [round(value, 3) if math.isfinite(value) else None for value in values.tolist()]


def _number(request: Request, name: str, default: float, least: float, most: float) -> float:
    """Return a number of the query. Raises Refused for one that is none, or is not between these."""
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise Refused(f"{name}: expected a number from {least:g} to {most:g}")
    return value
