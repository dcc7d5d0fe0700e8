"""Where the page is and who gets in: its address, the password, the keys. Reads their files; needs no web extra."""

import ipaddress
import ssl
from typing import Final

from edge.config import PageSettings, secret_path
from edge.errors import EarshotError

LEAST_CHARACTERS: Final = 8


def address_of(page: PageSettings) -> str:
    """Return the address to type in."""
    scheme = "http" if page.tls.certificate_file is None else "https"
    return f"{scheme}://{_shown(page.host)}:{page.port}/"


def password_of(page: PageSettings) -> str | None:
    """Return the password, None if there is to be none. Raises EarshotError for one that is no password."""
    file = page.password_file
    if file is None:
        return None
    try:
        text = secret_path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise EarshotError(f"page.password_file {file}: {error.strerror or error}") from error
    except UnicodeDecodeError:  # its text shows what it could not read
        raise EarshotError(f"page.password_file {file}: expected UTF-8") from None
    if len(text) < LEAST_CHARACTERS:
        raise EarshotError(
            f"page.password_file {file}: got {len(text)} characters, expected {LEAST_CHARACTERS} at least"
        )
    return text


def tls_of(page: PageSettings) -> ssl.SSLContext | None:
    """Return by which keys it is encrypted, None if it is not. Raises EarshotError for keys that are none."""
    tls = page.tls
    if tls.certificate_file is None or tls.key_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An empty passphrase: without one, OpenSSL would ask for it on a terminal that nobody sits at.
        context.load_cert_chain(secret_path(tls.certificate_file), secret_path(tls.key_file), password="")
    except OSError as error:
        files = f"page.tls.certificate_file {tls.certificate_file}, key_file {tls.key_file}"
        raise EarshotError(f"{files}: {error.strerror or error}") from error
    return context


def _shown(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
