"""The view `episodes`: what alarmed, its picture and sound, and what a person says to it."""

import re
from pathlib import Path
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from edge.page.answers import Refused, answer, asked, said, source_of
from edge.page.desk import Desk
from edge.page.device import Record
from edge.voice import Acknowledge, Command, Shelve

MOST_SHOWN: Final = 100

_CLIP: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}/[A-Za-z0-9-]{1,32}-([0-9a-f]{32})\.(png|flac)")
_KINDS: Final = {"picture": ("png", "image/png"), "sound": ("flac", "audio/flac")}


def routes(desk: Desk) -> list[Route]:
    """Return what is answered here."""
    device, episodes = desk.device, desk.episodes

    async def newest(request: Request) -> Response:
        found = episodes.newest(MOST_SHOWN, request.query_params.get("source"))
        folder = device.clips_folder
        return answer(await run_in_threadpool(lambda: [_with_files(each, folder) for each in found]))

    async def file(request: Request) -> Response:
        episode, kind = episodes.find(request.path_params["episode"]), request.path_params["kind"]
        if episode is None or kind not in _KINDS:
            raise Refused("no such episode", 404)
        suffix, media_type = _KINDS[kind]
        path = await run_in_threadpool(_file_of, episode, device.clips_folder, suffix)
        if path is None:
            raise Refused("it is not kept", 404)
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": "private, max-age=86400"})

    async def acknowledge(request: Request) -> Response:
        given = (await asked(request)).get("episode")
        if given is not None and not isinstance(given, str):
            raise Refused("episode: expected its id")
        return _obeyed(request, Acknowledge(given))

    async def shelve(request: Request) -> Response:
        minutes = _minutes((await asked(request)).get("minutes"), desk.most_minutes)
        return _obeyed(request, Shelve(minutes))

    async def normal(request: Request) -> Response:
        is_normal = (await asked(request)).get("normal")
        if not isinstance(is_normal, bool):
            raise Refused("normal: expected true or false")
        try:
            episodes.call_normal(request.path_params["episode"], is_normal)
        except KeyError:
            raise Refused("no such episode", 404) from None
        return answer({"done": True})

    def _obeyed(request: Request, command: Command) -> Response:
        return answer({"words": device.obey(source_of(request, device), command)})

    return [
        Route("/api/episodes", said(newest)),
        Route("/api/episodes/{episode}/normal", said(normal), methods=["POST"]),
        Route("/api/episodes/{episode}/{kind}", said(file)),
        Route("/api/sources/{source}/acknowledge", said(acknowledge), methods=["POST"]),
        Route("/api/sources/{source}/shelve", said(shelve), methods=["POST"]),
    ]


def _minutes(given: Any, most: float) -> float:  # noqa: ANN401  whatever was sent
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= most:
        raise Refused(f"minutes: expected 0 to {most:g}")
    return float(given)


def _with_files(episode: Record, folder: Path | None) -> Record:
    """Return an episode, and whether there is a picture and sound of it."""
    files = {kind: _file_of(episode, folder, suffix) is not None for kind, (suffix, _) in _KINDS.items()}
    return {**episode, **files}


def _file_of(episode: Record, folder: Path | None, suffix: str) -> Path | None:
    """Return where a clip or a picture lies. What the record says of it is held to be anything."""
    clip = episode.get("clip")
    if folder is None or not isinstance(clip, str):
        return None
    name = _CLIP.fullmatch(clip)
    if name is None or name[1] != episode["id"]:
        return None
    path = (folder / clip).with_suffix(f".{suffix}")
    return path if path.is_file() else None
