"""The view `settings`: what may be changed without a shell, and a bundle for who helps."""

import time

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.page.answers import Refused, answer, asked, said
from edge.page.bundle import bundle
from edge.page.choices import Choices
from edge.page.desk import Desk
from edge.page.device import Record


def routes(desk: Desk) -> list[Route]:
    """Return what is answered here."""

    async def shown(_request: Request) -> Response:
        return answer(_settings(desk))

    async def choose(request: Request) -> Response:
        wanted, before = _choices(await asked(request), desk), desk.choices.now
        await run_in_threadpool(desk.choices.keep, wanted)
        judged_anew = _judging(wanted) != _judging(before) and desk.device.listen_anew()
        return answer({"listens_anew": judged_anew})

    async def supported(_request: Request) -> Response:
        content = await run_in_threadpool(bundle, desk)
        name = time.strftime("earshot-%Y%m%dT%H%M%SZ.zip", time.gmtime())
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(content, headers=headers, media_type="application/zip")

    return [
        Route("/api/settings", said(shown), methods=["GET"]),
        Route("/api/settings", said(choose), methods=["POST"]),
        Route("/api/bundle", said(supported)),
    ]


def _settings(desk: Desk) -> Record:
    device, choices = desk.device, desk.choices
    cards, now = device.cards(), choices.now
    return {
        "can_be_kept": choices.can_be_kept,
        "learning": now.learning,
        "configured_learning": device.configuration()["event"]["learning"],
        "shelve_minutes": now.shelve_minutes,
        "most_minutes": desk.most_minutes,
        "sources": [
            {
                "name": name,
                "title": now.of(name).title,
                "threshold": now.of(name).threshold,
                "own_threshold": cards[name]["threshold"],
                "detector": cards[name],
            }
            for name in device.sources
        ],
    }


def _choices(given: Record, desk: Desk) -> Choices:
    """Return what was sent as choices. Raises Refused with what was expected."""
    try:
        wanted = Choices.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Refused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if unknown := set(wanted.sources) - set(desk.device.sources):
        raise Refused(f"sources: no source {', '.join(sorted(unknown))[:60]}")
    if wanted.shelve_minutes is not None and wanted.shelve_minutes > desk.most_minutes:
        raise Refused(f"shelve_minutes: expected at most {desk.most_minutes:g}")
    return wanted


def _judging(choices: Choices) -> object:
    """Return what of the choices the listening threads were made with."""
    thresholds = {name: each.threshold for name, each in choices.sources.items() if each.threshold is not None}
    return choices.learning, thresholds
