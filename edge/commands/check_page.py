"""Would the page be there, and for whom? Its address, what it needs, and what stands between it and strangers."""

import importlib.util
from pathlib import Path
from typing import Final

from edge.commands.steps import Doubt, Trouble
from edge.config import PageSettings, is_here
from edge.daemon import expect_free
from edge.errors import EarshotError
from edge.page import address_of, password_of, tls_of

NEEDED: Final = ("starlette", "uvicorn")


def check_page(page: PageSettings, state: Path | None) -> str:
    """Return where it would be, and for whom. Raises Trouble for what keeps it away, Doubt for half of a page."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Trouble(f"{' and '.join(missing)} not installed", "pip install 'earshot[web]', or page.port: null")
    assert page.port is not None, "nobody looks at a page that is off"
    locked, encrypted = password_of(page) is not None, tls_of(page) is not None
    found = f"{address_of(page)}, {'with a password' if locked else 'without a password'}"
    found += ", encrypted" if encrypted else ""
    try:
        expect_free("page", page.host, page.port)
    except EarshotError as error:
        who = f"if Earshot runs, it is its own page; else who does? `ss -tlnp sport = :{page.port}`"
        raise Doubt(f"{found}: {error}", who) from error
    if locked and not encrypted and not is_here(page.host):
        raise Doubt(
            f"{found}, not encrypted",
            "who listens on the network reads the password: page.tls, or a proxy that encrypts (docs/page.md)",
        )
    if state is None:
        raise Doubt(
            f"{found}; there is no state_directory, so nothing that is learnt or chosen there is kept",
            "state_directory: a folder, or run it as a service",
        )
    return found
