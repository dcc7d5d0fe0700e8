"""A phone is told: over real sockets, by servers that take it, and by those that hang, refuse, redirect and babble."""

import base64
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jsonschema
import pytest

from edge.config import NotifySettings, load
from edge.errors import ConfigError
from edge.page.bundle import without_secrets
from edge.voice import notifier as notifiers
from edge.voice import second_try, webhook
from edge.voice.notice import Notice, of_event, of_sensor
from edge.voice.notifier import Notifier
from edge.voice.phrases import PHRASES
from edge.voice.webhook import Answer, Webhook
from edge.voice.worth_telling import WorthTelling
from tests.conftest import DEMO, Ran
from tests.real.mosquitto import Mosquitto, wait_until
from tests.test_publisher import CLOSED, EVENT, HEALTH, SCHEMAS

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50
NOTICE = of_event(EVENT, "en")
TOKEN = "tk_secret"


@dataclass
class Asked:
    """What a server was asked. Header names are in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Phone:
    """A server on a free port of this computer, to the end of the `with` block. answers: what each is answered with."""

    answers: Callable[[BaseHTTPRequestHandler], None] | None = None
    certificates: Path | None = None
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        phone = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                phone.asked.append(Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                (phone.answers or respond(200))(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificates / "server.crt", self.certificates / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        scheme = "http" if self.certificates is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}/cellar-7f3a"


def respond(status: int, body: bytes = b"{}", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def settings(url: str, **more: object) -> NotifySettings:
    return NotifySettings.model_validate({"url": url, "minimum_gap_minutes": 0, **more})


def hook(phone: Phone, **more: object) -> Webhook:
    return Webhook(settings(phone.url, **more))


@contextmanager
def notifying(phone: Phone, folder: Path | None = None, **more: object) -> Iterator[Notifier]:
    notifier = Notifier(settings(phone.url, **more), "hall", folder, retry_seconds=(0.02, 0.05))
    notifier.start()
    try:
        yield notifier
    finally:
        notifier.close()


def event(number: int, kind: str = "opened", **more: object) -> dict[str, Any]:
    base = CLOSED if kind == "closed" else EVENT
    return {**base, "kind": kind, "id": f"{number:032x}", **more}


def told(phone: Phone) -> list[str]:
    return [str(make_header(decode_header(asked.headers["title"]))) for asked in phone.asked]


# --- What is told ---


def test_an_episode_in_the_words_of_each_language() -> None:
    notice = of_event({**EVENT, "evidence": None}, "en")
    assert notice.title == "pump sounds wrong"
    assert notice.message == "1000 to 1250 Hz are quieter by 6 dB\nscore 7.50, threshold 4.25"
    assert of_event(EVENT, "de").message.startswith("1000 bis 1250 Hz sind 6 dB leiser")
    assert of_event(CLOSED, "en").title == "pump sounds normal again"


def test_the_sentence_of_an_event_is_used_in_its_language() -> None:
    why = {"kind": "tone", "sentence": "a new tone at 3.1 kHz, 14 dB above usual"}
    assert of_event({**EVENT, "why": why}, "en").message.startswith("a new tone at 3.1 kHz, 14 dB above usual\n")
    assert "new tone" not in of_event({**EVENT, "why": why}, "de").message
    unknown = {"kind": "unknown", "sentence": "it cannot be told what has changed"}
    assert of_event({**EVENT, "why": unknown}, "en").message.startswith("1000 to 1250 Hz")
    assert of_event({**EVENT, "why": unknown, "bands": []}, "en").message.startswith("it cannot be told")
    assert of_event({**EVENT, "why": None, "bands": []}, "en").message == "score 7.50, threshold 4.25"


def test_every_language_says_the_same_things() -> None:
    (first, *others) = (set(phrases) for phrases in PHRASES.values())
    assert all(other == first for other in others)
    reasons = SCHEMAS["event"]["properties"]["reason"]["enum"]
    assert set(reasons) <= first


@pytest.mark.parametrize("reason", SCHEMAS["event"]["properties"]["reason"]["enum"])
def test_every_end_has_words(reason: str) -> None:
    assert of_event({**CLOSED, "reason": reason}, "de").title.startswith("pump")


@pytest.mark.parametrize("png", [None, PNG])
def test_what_waits_is_what_the_schema_says(png: bytes | None) -> None:
    notice = Notice(**{**vars(NOTICE), "png": png})
    wire = json.loads(json.dumps(notice.wire()))
    jsonschema.validate(wire, SCHEMAS["notification"])
    assert Notice.of_wire(wire) == notice
    for key in SCHEMAS["notification"]["required"][1:]:
        with pytest.raises(ValueError, match="no notification"):
            Notice.of_wire({name: value for name, value in wire.items() if name != key})


# --- How it is told ---


def test_ntfy_gets_the_text_as_the_body_and_the_rest_as_headers() -> None:
    with Phone() as phone:
        assert hook(phone).tell(NOTICE) == Answer()
        (asked,) = phone.asked
    assert asked.path == "/cellar-7f3a"
    assert asked.text == NOTICE.message
    wanted = {"title": "pump sounds wrong", "priority": "4", "tags": "rotating_light", "x-sequence-id": EVENT["id"]}
    assert wanted.items() <= asked.headers.items()
    assert "authorization" not in asked.headers


def test_a_picture_is_the_body_and_the_text_a_header() -> None:
    notice = Notice("picture", "hall", "pump", EVENT["time"], "Größe", "ä\nb", png=PNG, episode="e1")
    with Phone() as phone:
        assert hook(phone).tell(notice, "told 3.0 h late") == Answer()
        (asked,) = phone.asked
    assert asked.body == PNG
    assert asked.headers["filename"] == "pump.png"
    for name, text in (("title", "Größe"), ("message", "ä\\nb\\ntold 3.0 h late")):
        assert asked.headers[name].startswith("=?UTF-8?B?")
        assert str(make_header(decode_header(asked.headers[name]))) == text


def test_no_line_break_gets_into_a_header() -> None:
    notice = of_sensor("hall", "pump", "lost", "x\r\nAuthorization: Bearer y", EVENT["time"], "en")
    with Phone() as phone:
        assert hook(phone).tell(Notice(**{**vars(notice), "title": "a\r\nTags: b", "png": b"x"})) == Answer()
        (asked,) = phone.asked
    assert asked.headers["title"] == "a Tags: b"
    assert "authorization" not in asked.headers


def test_json_is_the_schemas() -> None:
    with Phone() as phone:
        assert hook(phone, format="json").tell(Notice(**{**vars(NOTICE), "png": PNG})) == Answer()
        (asked,) = phone.asked
    jsonschema.validate(content := json.loads(asked.body), SCHEMAS["notification"])
    assert base64.b64decode(content["png"]) == PNG
    assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("username", "expected"),
    [(None, f"Bearer {TOKEN}"), ("me", f"Basic {base64.b64encode(f'me:{TOKEN}'.encode()).decode()}")],
)
def test_who_we_are_is_in_a_file_and_in_no_log(
    username: str | None, expected: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with (
        Phone(respond(403, b'{"error": "forbidden"}')) as phone,
        notifying(phone, username=username, password_file=tmp_path / "token") as notifier,
    ):
        notifier.event(event(1))
        wait_until(lambda: notifier.figures["reason"], "it is refused")
        assert "forbidden" in notifier.figures["reason"]
        assert phone.asked[0].headers["authorization"] == expected
    assert TOKEN not in caplog.text
    assert "cellar-7f3a" not in caplog.text
    assert phone.url.rsplit("/", 1)[0] in caplog.text


def test_the_address_is_in_no_support_bundle() -> None:
    assert "cellar" not in str(without_secrets({"notify": settings("https://ntfy.sh/cellar-7f3a").model_dump()}))


@pytest.mark.parametrize("content", ["two\nlines", "tk\x00", "tök"])
def test_a_token_that_is_none_is_named_by_its_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(content)
    with Phone() as phone:
        reason = hook(phone, password_file=tmp_path / "token").tell(NOTICE).reason
    assert reason == f"notify.password_file {tmp_path / 'token'}: expected one line of visible ASCII"


def test_tls_asks_for_a_certificate_of_the_authority_that_is_named(tmp_path: Path) -> None:
    Mosquitto(tmp_path, tls=True)  # writes ca.crt and server.crt
    with Phone(certificates=tmp_path) as phone:
        refused = hook(phone).tell(NOTICE)
        assert "certificate was refused" in str(refused.reason)
        assert not refused.hopeless
        assert hook(phone, ca_file=tmp_path / "ca.crt").tell(NOTICE) == Answer()
        assert "notify.ca_file" in str(hook(phone, ca_file=tmp_path / "none").tell(NOTICE).reason)
    assert len(phone.asked) == 1


# --- Servers as they are ---


@pytest.mark.parametrize(
    ("status", "headers", "hopeless", "wait"),
    [
        (500, {}, False, None),
        (503, {"Retry_After": "7"}, False, 7),
        (429, {"Retry_After": "Fri, 27 Nov 2026 08:00:00 GMT"}, False, None),
        (429, {"Retry_After": "999999"}, False, 3600),
        (404, {}, False, None),
        (413, {}, True, None),
        (400, {}, True, None),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], hopeless: bool, wait: float | None) -> None:
    with Phone(respond(status, b"{}", **headers)) as phone:
        answer = hook(phone).tell(NOTICE)
    assert (answer.hopeless, answer.wait_seconds) == (hopeless, wait)
    assert str(answer.reason).startswith(str(status))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Phone() as other, Phone(respond(status, Location=other.url)) as phone:
        answer = hook(phone).tell(NOTICE)
    assert "notify.url" in str(answer.reason)
    assert not other.asked


@pytest.mark.parametrize(
    "error", [b"\xff\xfe", b"[" * 100_000, b'{"error": {"a": 1}}', b'{"error": "\\u001b[2J"}', b"<html>" * 10_000_000]
)
def test_a_huge_or_strange_answer_is_read_no_further(error: bytes) -> None:
    with Phone(respond(502, error)) as phone:
        start = time.monotonic()
        reason = str(hook(phone).tell(NOTICE).reason)
    assert time.monotonic() - start < 5
    assert reason.startswith("502")
    assert len(reason) < 200
    assert reason.isprintable()


@contextmanager
def raw(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that does with each connection what `serve` says."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
                serve(connection)
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/t"
    finally:
        server.close()


@pytest.mark.parametrize(
    "babble", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x"]
)
def test_who_hangs_up_or_speaks_no_http_is_a_reason(babble: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(babble)
        connection.close()

    with raw(serve) as url:
        answer = Webhook(settings(url)).tell(NOTICE)
    assert answer.reason is None or not answer.hopeless


@pytest.mark.parametrize("drips", [False, True])
def test_who_hangs_is_left_at_the_deadline(drips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "DEADLINE_SECONDS", 0.5)
    over = threading.Event()
    kept = []

    def serve(connection: socket.socket) -> None:
        kept.append(connection)
        while drips and not over.wait(0.05):
            connection.sendall(b"H")

    with raw(serve) as url:
        start = time.monotonic()
        answer = Webhook(settings(url)).tell(NOTICE)
        over.set()
    assert 0.4 < time.monotonic() - start < 5
    assert answer.reason
    assert not answer.hopeless


def test_nobody_there_and_no_such_name_are_reasons() -> None:
    assert Webhook(settings("http://127.0.0.1:9/t")).tell(NOTICE).reason == "Connection refused"
    assert Webhook(settings("http://earshot.invalid/t")).tell(NOTICE).reason


# --- The outbox ---


def test_what_was_not_taken_is_told_when_the_server_is_back(caplog: pytest.LogCaptureFixture) -> None:
    well = threading.Event()
    with (
        Phone(lambda handler: respond(200 if well.is_set() else 500)(handler)) as phone,
        notifying(phone) as notifier,
    ):
        notifier.event(event(1))
        notifier.event(event(1, "closed"))
        wait_until(lambda: len(phone.asked) >= 4, "it is tried again")
        assert notifier.figures["queued"] == 2
        assert set(told(phone)) == {"pump sounds wrong"}
        well.set()
        wait_until(lambda: notifier.figures["queued"] == 0, "it is told")
        assert told(phone)[-2:] == ["pump sounds wrong", "pump sounds normal again"]
        assert notifier.figures["reason"] is None
    assert caplog.text.count("500 Internal Server Error") == 1


def test_the_time_that_a_server_asks_for_is_kept_to() -> None:
    with Phone(respond(429, Retry_After="1")) as phone, notifying(phone) as notifier:
        notifier.event(event(1))
        wait_until(lambda: len(phone.asked) == 1, "it is told once")
        time.sleep(0.5)  # ten attempts, if the server's wish were not heard
        assert len(phone.asked) == 1
        wait_until(lambda: len(phone.asked) == 2, "it is tried again")


def test_a_message_that_is_not_taken_is_set_aside_and_the_next_one_told(tmp_path: Path) -> None:
    def answers(handler: BaseHTTPRequestHandler) -> None:
        respond(413 if "filename" in {name.lower() for name in handler.headers} else 200)(handler)

    with Phone(answers) as phone, notifying(phone, tmp_path) as notifier:
        notifier.event(event(1))
        notifier.picture("pump", PNG)
        notifier.event(event(1, "closed"))
        wait_until(lambda: notifier.figures["queued"] == 0, "all is settled")
        assert (notifier.figures["dead_letters"], notifier.figures["reason"]) == (1, None)
        assert told(phone) == ["pump sounds wrong", "pump: the picture of its episode", "pump sounds normal again"]


def test_what_was_set_aside_is_told_once_more_ever_more_seldom_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(second_try, "FIRST_PAUSE_SECONDS", 0.5)
    caplog.set_level(logging.INFO)
    mended = threading.Event()

    def answers(handler: BaseHTTPRequestHandler) -> None:
        is_bad = handler.headers["Title"] == NOTICE.title and not mended.is_set()
        respond(400 if is_bad else 200)(handler)

    with Phone(answers) as phone, notifying(phone, tmp_path) as notifier:
        notifier.event(event(1))
        notifier.event(event(1, "closed"))
        wait_until(lambda: told(phone)[:2] == ["pump sounds wrong", "pump sounds normal again"], "it holds nothing up")
        wait_until(lambda: "tried once more for the 2. time" in caplog.text, "it is tried again, twice")
        assert (notifier.figures["dead_letters"], notifier.figures["dead_letters_arrived"]) == (1, 0)
        mended.set()
        wait_until(lambda: notifier.figures["dead_letters_arrived"] == 1, "it arrives after all")
        assert (notifier.figures["dead_letters"], notifier.figures["queued"]) == (0, 0)
        assert told(phone)[-1] == "pump sounds wrong"
        assert "x-sequence-id" not in phone.asked[-1].headers  # its end, which was told before, stays on the phone


def test_what_was_set_aside_is_told_once_more_at_the_next_start(tmp_path: Path) -> None:
    with Phone(respond(400)) as phone, notifying(phone, tmp_path) as notifier:
        notifier.event(event(1))
        wait_until(lambda: notifier.figures["dead_letters"] == 1, "it is set aside")
    with Phone() as phone, notifying(phone, tmp_path) as notifier:
        wait_until(lambda: notifier.figures["dead_letters_arrived"] == 1, "it is told")
        assert told(phone) == ["pump sounds wrong"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 500])
def test_what_speaks_against_the_server_or_us_loses_no_alarm(status: int, tmp_path: Path) -> None:
    """The server is being upgraded, or a token was mistyped: both are mended."""
    with Phone(respond(status)) as phone, notifying(phone, tmp_path) as notifier:
        notifier.event(event(1))
        wait_until(lambda: len(phone.asked) >= 3, "it is tried again")
        assert (notifier.figures["queued"], notifier.figures["dead_letters"]) == (1, 0)
        assert str(notifier.figures["reason"]).startswith(str(status))
        phone.answers = respond(200)
        wait_until(lambda: not notifier.figures["queued"], "it is told")


def test_a_server_that_is_away_costs_what_was_set_aside_a_pause(tmp_path: Path) -> None:
    with Phone(respond(400)) as phone, notifying(phone, tmp_path) as notifier:
        notifier.event(event(1))
        notifier.event(event(2))
        wait_until(lambda: notifier.figures["dead_letters"] == 2, "they are set aside")
    with Phone(respond(503)) as phone, notifying(phone, tmp_path) as notifier:
        wait_until(lambda: phone.asked, "one is told once more")
        phone.answers = respond(200)
        notifier.event(event(3))
        wait_until(lambda: len(phone.asked) == 2 and not notifier.figures["queued"], "what is new does not wait")
        assert (notifier.figures["dead_letters"], notifier.figures["dead_letters_arrived"]) == (2, 0)


def test_what_waits_survives_the_process(tmp_path: Path) -> None:
    with Phone(respond(500)) as broken, notifying(broken, tmp_path) as notifier:
        notifier.event(event(1))
        notifier.picture("pump", PNG)
        wait_until(lambda: broken.asked, "it was tried")
    with Phone() as phone, notifying(phone, tmp_path):
        wait_until(lambda: len(phone.asked) == 2, "it is told after all")
        assert phone.asked[1].body == PNG
    with Phone() as phone, notifying(phone, tmp_path) as notifier:
        notifier.event(event(2))
        wait_until(lambda: phone.asked, "only what is new is told")
        assert phone.asked[0].headers["x-sequence-id"] == event(2)["id"]


def test_the_last_word_is_told_at_the_end() -> None:
    def slowly(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.2)  # so that both still wait when the end comes
        respond(200)(handler)

    with Phone(slowly) as phone:
        notifier = Notifier(settings(phone.url), "hall", None)
        notifier.start()
        notifier.event(event(1))
        notifier.event(event(1, "closed", reason="shutdown"))
        notifier.close()
    assert told(phone)[-1] == "pump: the alarm has ended, the device was stopped or began anew"


def test_one_that_waited_says_that_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifiers, "LATE_SECONDS", 0.0)
    with Phone() as phone, notifying(phone) as notifier:
        notifier.event(event(1))
        wait_until(lambda: phone.asked, "it is told")
    assert phone.asked[0].text.endswith("\ntold 0.0 h late")


def test_who_tells_never_waits(tmp_path: Path) -> None:
    with raw(lambda connection: hanging.append(connection)) as url:
        notifier = Notifier(settings(url), "hall", tmp_path)
        notifier.start()
        start = time.monotonic()
        for number in range(50):
            notifier.event(event(number))
        assert time.monotonic() - start < 0.5
        start = time.monotonic()
        notifier.close()
        assert time.monotonic() - start < 2 * notifiers.CLOSE_SECONDS + 5
        assert notifier.figures["queued"] == 50


hanging: list[socket.socket] = []


def test_figures_are_what_the_schema_of_health_knows() -> None:
    with Phone() as phone, notifying(phone) as notifier:
        jsonschema.validate({**HEALTH, "notify": notifier.figures}, SCHEMAS["health"])


# --- What is worth it ---


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_alarms_that_come_too_soon_are_not_told_nor_is_their_end() -> None:
    clock = Clock()
    worth = WorthTelling(("opened", "closed"), 600, clock)
    assert worth.event("pump", "opened", "a")
    assert not worth.event("pump", "updated", "a")
    assert worth.event("pump", "closed", "a")
    clock.now = 60
    assert not worth.event("pump", "opened", "b")
    assert not worth.event("pump", "closed", "b")
    assert worth.event("fan", "opened", "c")
    clock.now = 601
    assert worth.event("pump", "opened", "d")
    assert not worth.event("pump", "closed", "a")


def test_only_the_kinds_that_were_asked_for() -> None:
    worth = WorthTelling(("closed",), 0)
    assert not worth.event("pump", "opened", "a")
    assert worth.event("pump", "closed", "a")
    assert not worth.sensor("pump", "lost")


def test_a_microphone_that_comes_and_goes_is_told_once() -> None:
    clock = Clock()
    worth = WorthTelling(("sensor",), 600, clock)
    assert [worth.sensor("pump", status) for status in ("waiting", "filling", "listening")] == [False] * 3
    assert worth.sensor("pump", "lost")
    assert not worth.sensor("pump", "degraded")
    assert not worth.sensor("pump", "filling")
    assert worth.sensor("pump", "listening")
    assert not worth.sensor("pump", "lost")
    assert not worth.sensor("pump", "listening")
    clock.now = 601
    assert worth.sensor("pump", "degraded")


def test_no_picture_of_what_was_not_told() -> None:
    with Phone() as phone, notifying(phone, kinds=["closed"], picture=True) as notifier:
        notifier.event(event(1))
        notifier.picture("pump", PNG)
        notifier.event(event(1, "closed"))
        notifier.picture("pump", PNG)
        wait_until(lambda: len(phone.asked) == 2, "it is told")
        assert told(phone) == ["pump sounds normal again", "pump: the picture of its episode"]


# --- What is configured ---


@pytest.mark.parametrize(
    "text",
    [
        "url: ntfy.sh/x",
        "url: 'ftp://ntfy.sh/x'",
        "url: 'https://me:secret@ntfy.sh/x'",
        "url: 'https://ntfy.sh/${TOPIC}'",
        "url: 'https:///x'",
        "url: 'https://ntfy.sh:99999/x'",
        "url: 'https://nt fy.sh/x'",
        "kinds: []",
        "kinds: [updated]",
        "language: fr",
        "username: me",
        "token: x",
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"sources: [{{name: a, type: stdin, detector: d}}]\nnotify: {{{text}}}\n")
    with pytest.raises(ConfigError, match=r"notify.*expected"):
        load(file)


@pytest.mark.parametrize(("status", "words"), [(200, "it took a message; is it on the phone?"), (403, "403 Forbidden")])
def test_check_sends_a_try(status: int, words: str, tmp_path: Path, earshot: Callable[..., Ran]) -> None:
    config = tmp_path / "config.yaml"
    source = f"{{name: pump, type: folder, path: {DEMO / 'recordings'}, detector: {DEMO / 'detector'}}}"
    with Phone(respond(status)) as phone:
        config.write_text(f"node: hall\nsources: [{source}]\nnotify: {{url: '{phone.url}'}}\n")
        ran = earshot("check", "--config", config, "--listen", "0")
    assert told(phone) == ["hall: a try"]
    (line,) = [line for line in ran.stdout.splitlines() if " notify" in line]
    assert words in line
    assert "cellar-7f3a" not in ran.stdout
    assert ("bad" in line) == (status != 200)
