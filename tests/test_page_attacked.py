"""An attack on the page: no password, guesses, another site, a thousand connections, paths, floods, false names."""

import contextlib
import http.client
import json
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.page.door import MOST_CONNECTIONS
from edge.page.feed import MOST_VIEWERS
from edge.page.gate import MOST_BODY_BYTES
from edge.page.keys import GUESSES, SESSION_SECONDS, Bucket, Guard, Sessions
from tests.paged import OWN, PASSWORD, SOUND, Paged, Visitor, wait_until

READS = (
    "/api/now",
    "/api/sources/pump/recent",
    "/api/sources/pump/stream",
    "/api/sources/pump/history",
    "/api/sources/pump/alarms?threshold=2",
    "/api/sources/pump/enrolment",
    "/api/episodes",
    "/api/episodes/00000000000000000000000000000000/picture",
    "/api/settings",
    "/api/bundle",
)
WRITES = (
    "/api/sources/pump/acknowledge",
    "/api/sources/pump/shelve",
    "/api/sources/pump/enrolment",
    "/api/sources/pump/enrolment/accept",
    "/api/episodes/00000000000000000000000000000000/normal",
    "/api/settings",
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paged]:
    """A page with a password and a name."""
    folder = tmp_path_factory.mktemp("guarded")
    page = f", password_file: {folder / 'password'}, names: [pump.example]"
    with Paged(folder, page=page) as paged:
        paged.hear()
        yield paged


@pytest.fixture(scope="module")
def inside(guarded: Paged) -> Visitor:
    """Somebody with a session."""
    visitor = guarded.visitor()
    assert visitor.enter().status == 200
    return visitor


# --- Without a password ---


@pytest.mark.parametrize("path", READS)
def test_nothing_is_told_to_a_stranger(guarded: Paged, path: str) -> None:
    assert guarded.visitor().ask(path).status == 401


@pytest.mark.parametrize("path", WRITES)
def test_nothing_is_done_for_a_stranger(guarded: Paged, path: str) -> None:
    assert guarded.visitor().post(path, {"minutes": 5}).status == 401


def test_a_stranger_is_shown_the_way_in_and_no_more(guarded: Paged) -> None:
    stranger = guarded.visitor()

    assert stranger.get("/api/session") == {"password": True, "in": False}
    assert b"Earshot" in stranger.ask("/").body


def test_the_right_password_opens_and_the_cookie_is_the_browsers_alone(guarded: Paged) -> None:
    visitor = guarded.visitor()
    answer = visitor.enter()

    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert PASSWORD not in answer.headers["set-cookie"]
    assert visitor.get("/api/now")["sources"]


@pytest.mark.parametrize(
    "cookie",
    [
        "earshot=",
        "earshot=.",
        "earshot=ffffffffff.0123456789abcdef." + "0" * 64,
        "earshot=ffffffffff.0123456789abcdef.é",
        "earshot=" + "x" * 4000,
        'earshot="\\000"',
    ],
)
def test_a_made_up_session_is_none(guarded: Paged, cookie: str) -> None:
    assert guarded.visitor().ask("/api/now", headers={"Cookie": cookie}).status == 401


def test_a_session_is_good_for_a_week_and_for_one_password() -> None:
    now = 1_800_000_000.0
    sessions = Sessions(PASSWORD, now=lambda: now)
    token = sessions.issue()
    body, _, signature = token.rpartition(".")
    expires, nonce = body.split(".")
    later = f"{int(expires, 16) + 86_400:x}.{nonce}.{signature}"

    assert sessions.holds(token)
    assert not sessions.holds(later)
    assert not Sessions("another password", now=lambda: now).holds(token)
    now += SESSION_SECONDS
    assert not sessions.holds(token)


# --- Guesses ---


def test_who_guesses_has_to_wait(tmp_path: Path) -> None:
    with Paged(tmp_path, page=f", password_file: {tmp_path / 'password'}") as paged:
        visitor = paged.visitor()

        statuses = [visitor.enter(f"guess number {i}").status for i in range(GUESSES + 2)]

        assert statuses == [401] * GUESSES + [429] * 2
        assert visitor.enter().status == 429  # the right one, too: else the wait would be no wait
        assert "wait" in visitor.enter().json()["error"]


@pytest.mark.parametrize("guess", [None, 7, ["x"], "x" * 5000])
def test_what_is_no_guess_is_refused(inside: Visitor, guess: object) -> None:
    assert inside.post("/api/login", {"password": guess}).status in (400, 413)


def test_a_bucket_fills_again_and_many_addresses_share_one() -> None:
    now = 0.0
    bucket = Bucket(2, 10.0, now=lambda: now)
    assert [bucket.take(), bucket.take(), bucket.take()] == [0, 0, 10.0]
    now = 10.0
    assert bucket.take() == 0

    guard = Guard(2, 1000.0, 5, 1000.0, now=lambda: now)
    waits = [guard.take(f"2001:db8::{i:x}") for i in range(4)]  # one household's
    assert [wait == 0 for wait in waits] == [True, True, False, False]
    waits = [guard.take(f"10.0.0.{i}") for i in range(4)]
    assert [wait == 0 for wait in waits] == [True, True, True, False]


# --- Another site ---


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Earshot": ""},
    ],
)
def test_another_site_changes_nothing(inside: Visitor, headers: dict[str, str]) -> None:
    """With the cookie, as if a browser had sent it along in spite of SameSite=Strict."""
    body = json.dumps({"minutes": 480}).encode()

    answer = inside.ask("/api/sources/pump/shelve", "POST", body, {**OWN, **headers})

    assert answer.status == 403
    assert inside.get("/api/now")["health"]["commanded"] == {}


def test_another_site_reads_nothing(inside: Visitor) -> None:
    assert inside.ask("/api/now", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    assert inside.ask("/api/now", headers={"Origin": "https://evil.example"}).status == 403
    assert inside.ask("/api/now").headers["cross-origin-resource-policy"] == "same-origin"


def test_a_form_changes_nothing(inside: Visitor) -> None:
    """A form sends three kinds of content, and no header of its own."""
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        headers = {"Content-Type": kind, "X-Earshot": "page"}
        assert inside.ask("/api/settings", "POST", b'{"shelve_minutes": 1}', headers).status == 415


STRANGE = ("evil.example", "evil.example:80", "", "localhost.evil.example", "[", "127.0.0.1.evil")
OURS = ("localhost:80", "127.0.0.1", "192.168.7.7:8080", "[::1]:80", "pump.example", "PUMP.example")


@pytest.mark.parametrize("host", STRANGE)
def test_a_name_that_is_not_ours_is_sent_away(inside: Visitor, host: str) -> None:
    """A stranger's site may give its own name our address, after it was loaded (DNS rebinding)."""
    answer = inside.ask("/api/now", headers={"Host": host})

    assert answer.status in (400, 421)
    assert b"sources" not in answer.body


@pytest.mark.parametrize("host", OURS)
def test_our_names_are_ours(inside: Visitor, host: str) -> None:
    assert inside.ask("/api/now", headers={"Host": host}).status == 200


def test_the_page_loads_nothing_from_elsewhere_and_is_in_no_frame(inside: Visitor) -> None:
    headers = inside.ask("/").headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


# --- Paths ---


@pytest.mark.parametrize(
    "path",
    [
        "/../config.yaml",
        "/..%2fconfig.yaml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/texts/../../page.py",
        "/style.css/../../__init__.py",
        "/..\\config.yaml",
        "/style.css%00.html",
        "/api/episodes/..%2f..%2fconfig.yaml/picture",
        "/api/episodes/%2e%2e/sound",
        "/api/sources/..%2f/recent",
        "/texts/en.json/",
    ],
)
def test_a_path_leads_nowhere_else(inside: Visitor, path: str) -> None:
    answer = inside.ask(path)

    assert answer.status in (400, 404)
    assert b"state_directory" not in answer.body
    assert b"root:" not in answer.body


def test_a_note_that_somebody_wrote_into_leads_nowhere_else(tmp_path: Path) -> None:
    episode = "0" * 32
    (tmp_path / "secret.png").write_bytes(b"a secret")
    (tmp_path / "state" / "episodes").mkdir(parents=True)
    kept = {"id": episode, "source": "pump", "opened": "2026-11-27T00:00:00Z", "until": "2026-11-27T00:00:01Z"}
    clips = ("../../secret.png", f"pump/../../secret-{episode}.png", "/etc/passwd", 7, f"../x-{episode}.png")
    for clip in clips:
        note = {"schema": 1, "episodes": [{**kept, "bands": [], "peak": 2.0, "clip": clip}]}
        (tmp_path / "state" / "episodes" / "pump.json").write_text(json.dumps(note))
        with Paged(tmp_path) as paged:
            assert paged.visitor().get("/api/episodes")[0]["picture"] is False
            assert paged.visitor().ask(f"/api/episodes/{episode}/picture").status == 404


# --- Floods ---


def test_a_huge_upload_is_not_read(guarded: Paged, inside: Visitor) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as connection:
        headers = {**OWN, **inside.headers, "Host": "localhost", "Content-Length": str(10**12)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"POST /api/settings HTTP/1.1\r\n{lines}\r\n".encode())
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(1000):
                sent += connection.send(b" " * 65_536)
        with contextlib.suppress(OSError):
            assert b" 413 " in connection.recv(4096)
    assert sent < 20_000_000
    assert inside.ask("/api/settings", "POST", b" " * (MOST_BODY_BYTES + 1), OWN).status == 413


def test_an_upload_of_no_known_length_is_not_read(guarded: Paged, inside: Visitor) -> None:
    headers = {**OWN, **inside.headers, "Host": "localhost", "Transfer-Encoding": "chunked"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=60) as connection:
        connection.sendall(f"POST /api/settings HTTP/1.1\r\n{lines}\r\n".encode())

        assert b" 411 " in connection.recv(4096)


def test_who_has_no_session_may_not_ask_for_ever(guarded: Paged) -> None:
    stranger = guarded.visitor()

    statuses = {stranger.ask("/api/now").status for _ in range(400)}

    assert statuses <= {401, 429}
    assert 429 in statuses
    wait_until(lambda: stranger.ask("/api/session").status == 200)


GARBAGE = (
    b"\x16\x03\x01\x02\x00" * 100,
    b"GET / HTTP/9.9\r\n\r\n",
    b"\0" * 100_000,
    b"GET /" + b"a" * 100_000,
    b"POST\r\n\r\n",
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
def test_what_is_no_http_is_no_news(guarded: Paged, inside: Visitor, garbage: bytes) -> None:
    before = guarded.log()
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as connection, contextlib.suppress(OSError):
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)

    assert inside.ask("/api/now").status == 200
    assert guarded.log() == before


def test_a_thousand_connections_hurt_neither_the_listening_nor_who_watches(guarded: Paged, inside: Visitor) -> None:
    """They send nothing, as many as a process may have files; a person still gets in, and the one who watches stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    silent = list[socket.socket]()
    try:
        with inside.watching() as messages:
            for _ in range(1000):
                silent.append(socket.create_connection(("127.0.0.1", guarded.port), timeout=10))
            started = time.monotonic()
            assert inside.ask("/api/now").status == 200
            took_seconds = time.monotonic() - started
            wait_until(lambda: guarded.open_files() < MOST_CONNECTIONS + 60)

            started = time.monotonic()
            guarded.hear(SOUND[:8192])
            assert any(kind == "state" for kind, _ in messages)
            judged_seconds = time.monotonic() - started
        assert took_seconds < 10
        assert judged_seconds < 10
    finally:
        for connection in silent:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_few_may_watch_and_the_place_of_who_left_is_free(guarded: Paged, inside: Visitor) -> None:
    with contextlib.ExitStack() as watching:
        for _ in range(MOST_VIEWERS):
            watching.enter_context(inside.watching())
        wait_until(lambda: inside.ask("/api/sources/pump/stream").status == 503)

    def free() -> bool:
        guarded.hear(SOUND[:8192])  # whoever left is found out by writing to them
        try:
            with inside.watching():
                return True
        except AssertionError:
            return False

    wait_until(free)


def test_the_password_is_asked_for_over_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    subprocess.run(
        ["openssl", "req", *kind, "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    tls = f"tls: {{certificate_file: {certificate}, key_file: {key}}}"
    with Paged(tmp_path, page=f", password_file: {tmp_path / 'password'}, {tls}") as paged:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        connection = http.client.HTTPSConnection("localhost", paged.port, timeout=10, context=context)
        connection.request("POST", "/api/login", json.dumps({"password": PASSWORD}), OWN)
        answer = connection.getresponse()

        assert answer.status == 200
        assert "Secure" in (answer.getheader("Set-Cookie") or "")
        connection.close()


def test_many_guesses_at_once_take_little_memory(guarded: Paged) -> None:
    """One is weighed at a time: each takes 16 MB for a moment."""
    status = Path(f"/proc/{guarded.process.pid}/status")

    def most_mb() -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    before = most_mb()
    threads = [threading.Thread(target=guarded.visitor().enter, args=(f"guess {i}",)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most_mb() - before < 40
