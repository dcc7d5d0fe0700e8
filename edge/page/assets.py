"""The files of the page, read once: what is not among them is not there, whatever path is asked for."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER: Final = Path(__file__).parent / "assets"

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class _Asset:
    packed: bytes
    media_type: str
    tag: str


def routes() -> list[Route]:
    """Return what is answered here: `/`, and each file by its own path."""

    async def file(request: Request) -> Response:
        asset = _assets().get(request.url.path)
        if asset is None:
            return Response("no such page", 404, media_type="text/plain")
        headers = {"ETag": asset.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == asset.tag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
        return Response(gzip.decompress(asset.packed), headers=headers, media_type=asset.media_type)

    return [Route("/", file), Route("/{path:path}", file)]


@cache
def _assets() -> dict[str, _Asset]:
    found = {f"/{path.relative_to(FOLDER)}": _read(path) for path in FOLDER.rglob("*") if path.suffix in _TYPES}
    return {"/": found["/index.html"], **found}


def _read(path: Path) -> _Asset:
    data = path.read_bytes()
    return _Asset(gzip.compress(data), _TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')
