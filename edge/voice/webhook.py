"""One notification, to one address, by HTTP: asked once, answered within a time, and what the answer means.

ntfy    the message as the body, the rest as headers; a picture as the body, then the message is a header, too
        (https://docs.ntfy.sh/publish/)
json    edge/schemas/notification.json as the body

No redirect is followed: it would carry the token to somebody else, and a POST is not asked twice.
"""

import base64
import http.client
import json
import re
import socket
import ssl
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from edge import __version__
from edge.config import NotifySettings, TlsSettings
from edge.errors import EarshotError
from edge.voice.credentials import in_words, password_in, tls_context
from edge.voice.dialing import dial
from edge.voice.message import as_json
from edge.voice.notice import Notice

CONNECT_SECONDS: Final = 10.0

DEADLINE_SECONDS: Final = 30.0
"""For all of it: a server that sends a byte now and then would hold us for ever."""

MOST_ANSWER_BYTES: Final = 2_000
"""Of an answer, as much as explains a refusal; the rest is not read."""

LONGEST_RETRY_SECONDS: Final = 3600.0

THIS_MESSAGE: Final = frozenset({400, 409, 413, 415, 422})
"""What speaks against the message, which holds up no other then: https://www.rfc-editor.org/rfc/rfc9110#name-client-error-4xx"""


@dataclass(frozen=True)
class Answer:
    """What came of it. reason: why not, for a person; None: it is told.

    hopeless: it is the message that is not taken; wait_seconds: what the server asks for until the next attempt
    """

    reason: str | None = None
    hopeless: bool = False
    wait_seconds: float | None = None


class Webhook:
    """Where notifications go, and how. The files are read anew each time; nothing is kept open in between."""

    def __init__(self, settings: NotifySettings) -> None:
        """Open nothing. Raises ValueError without `settings.url`."""
        if settings.url is None:
            raise ValueError("notify.url is null: expected an address")
        self._settings = settings
        self._url: SplitResult = urlsplit(settings.url)

    def __str__(self) -> str:
        """Return where it is, without the path: of ntfy it is as good as a password."""
        return f"{self._url.scheme}://{self._url.netloc}"

    def tell(self, notice: Notice, late: str | None = None, *, apart: bool = False) -> Answer:
        """Tell it, within `DEADLINE_SECONDS`. Nothing is raised.

        late: words for one that had to wait; apart: not in the place of what was told of its episode since.
        """
        try:
            headers, body = _ntfy(notice, late, apart=apart) if self._settings.format == "ntfy" else _json(notice)
            headers |= {"User-Agent": f"earshot/{__version__}", "Connection": "close", **self._authorization()}
            return self._ask(headers, body)
        except EarshotError as error:  # of the files that are ours
            return Answer(str(error))
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: of a name no resolver takes
            return Answer(in_words(error) if isinstance(error, OSError) else f"no HTTP: {error!r:.100}")

    def _ask(self, headers: dict[str, str], body: bytes) -> Answer:
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        with closing(self._connection()) as connection:
            deadline = threading.Timer(DEADLINE_SECONDS, _cut, (connection.sock,))
            deadline.daemon = True
            deadline.start()
            try:
                if isinstance(connection.sock, ssl.SSLSocket):
                    connection.sock.do_handshake()
                connection.request("POST", target, body, headers)
                answer = connection.getresponse()
                return _meaning(answer, _read(answer))
            finally:
                deadline.cancel()

    def _connection(self) -> http.client.HTTPConnection:
        """Return one that is connected; its greeting, if it is TLS, is to come."""
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            connection = http.client.HTTPConnection(host, port)
            connection.sock = dial(host, connection.port, CONNECT_SECONDS)
            return connection
        trusted = tls_context(TlsSettings(enabled=True, ca_file=self._settings.ca_file), "notify")
        connection = http.client.HTTPSConnection(host, port, context=trusted)
        plain = dial(host, connection.port, CONNECT_SECONDS)
        connection.sock = trusted.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        return connection

    def _authorization(self) -> dict[str, str]:
        """Return who we are: a token, or with a name its password."""
        file, name = self._settings.password_file, self._settings.username
        secret = None if file is None else password_in(file, "notify")
        if secret is None:
            return {}
        if re.search(r"[^!-~]", secret):
            raise EarshotError(f"notify.password_file {file}: expected one line of visible ASCII")
        if name is None:
            return {"Authorization": f"Bearer {secret}"}
        return {"Authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


def _ntfy(notice: Notice, late: str | None, *, apart: bool) -> tuple[dict[str, str], bytes]:
    message = "\n".join(line for line in (notice.message, late) if line)
    headers = {"Title": _ascii(notice.title), "Priority": str(notice.priority), "Tags": ",".join(notice.tags)}
    if notice.episode is not None and not apart:  # an episode is one entry on the phone: what comes later replaces it
        headers["X-Sequence-ID"] = notice.episode
    if notice.png is None:
        return headers, message.encode()
    return {**headers, "Filename": f"{notice.source}.png", "Message": _ascii(message.replace("\n", "\\n"))}, notice.png


def _json(notice: Notice) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": "application/json"}, as_json(notice.wire()).encode()


def _ascii(text: str) -> str:
    """Return what a header may hold: RFC 2047, which ntfy reads, for what is more than ASCII."""
    text = re.sub(r"[\r\n]+", " ", text)
    return text if text.isascii() else f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="


def _read(answer: http.client.HTTPResponse) -> str:
    return answer.read(MOST_ANSWER_BYTES).decode(errors="replace")


def _meaning(answer: http.client.HTTPResponse, text: str) -> Answer:
    """Return what an answer means, with the server's own word for it where it has one."""
    status = answer.status
    if 200 <= status < 300:
        return Answer()
    reason = f"{status} {ascii(answer.reason)[1:-1]:.40}".rstrip()
    if 300 <= status < 400:
        return Answer(f"{reason}: it lies elsewhere now: notify.url")
    if status in (401, 403):
        reason = f"{reason}: see notify.password_file and username"
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        reason = f"{reason}: {ascii(json.loads(text)['error'])[:100]}"
    return Answer(reason, status in THIS_MESSAGE, _retry_after(answer.getheader("Retry-After")))


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that are asked for; None for a date, which a clock without a battery cannot be held to."""
    if value is None or re.fullmatch(r"[0-9]{1,9}", value.strip()) is None:
        return None
    return min(float(value), LONGEST_RETRY_SECONDS)


def _cut(sock: socket.socket) -> None:
    """End a line that has had its time: whoever reads from it hears of it. Plainly: TLS may be inside it."""
    with suppress(OSError):
        plain = socket.socket.shutdown if isinstance(sock, ssl.SSLSocket) else type(sock).shutdown
        plain(sock, socket.SHUT_RDWR)
