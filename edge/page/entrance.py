"""Coming in and going out: a password once, a cookie for a week."""

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.page.answers import Refused, answer, asked, said
from edge.page.gate import COOKIE
from edge.page.keys import MOST_CHARACTERS, SESSION_SECONDS, Password, Sessions, guesses

WAIT_SECONDS: Final = 0.5
"""After a wrong guess, before it is called wrong."""


def routes(password: Password | None, sessions: Sessions | None, *, encrypted: bool) -> list[Route]:
    """Return what is answered here. password, sessions: None where none is asked for."""
    guard = guesses()
    one_at_a_time = asyncio.Semaphore(1)  # a guess takes 16 MB

    async def session(request: Request) -> Response:
        return answer({"password": password is not None, "in": request.scope["earshot.in"]})

    async def login(request: Request) -> Response:
        if password is None or sessions is None:
            return answer({"in": True})
        if (seconds := guard.take(request.client.host if request.client else "")) > 0:
            raise Refused(f"too many guesses: wait {seconds:.0f} s", 429)
        guess = (await asked(request)).get("password")
        if not isinstance(guess, str) or len(guess) > MOST_CHARACTERS:
            raise Refused("expected a password", 400)
        async with one_at_a_time:
            fits = await run_in_threadpool(password.fits, guess)
        if not fits:
            await asyncio.sleep(WAIT_SECONDS)
            raise Refused("that is not the password", 401)
        response = answer({"in": True})
        response.set_cookie(
            COOKIE, sessions.issue(), max_age=int(SESSION_SECONDS), httponly=True, samesite="strict", secure=encrypted
        )
        return response

    async def logout(_request: Request) -> Response:
        response = answer({"in": password is None})
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=encrypted)
        return response

    return [
        Route("/api/session", said(session)),
        Route("/api/login", said(login), methods=["POST"]),
        Route("/api/logout", said(logout), methods=["POST"]),
    ]
