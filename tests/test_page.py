"""The page from outside: what it shows, what it takes, and what it leaves alone."""

import base64
import io
import json
import os
import re
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.config import load
from edge.errors import ConfigError
from edge.page.feed import MOST_WAITING, Feed, Viewer
from edge.page.spectrum import FLOOR_DB, STEP_DB, Spectrum
from tests.paged import (
    DETECTOR,
    EVERY_WINDOW_IS_ABNORMAL,
    HOP_SAMPLES,
    SOUND,
    Paged,
    Visitor,
    look_of_the_page,
    wait_until,
)

ASSETS = Path(__file__).parents[1] / "edge" / "page" / "assets"


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paged]:
    """A daemon with an open episode, and no broker."""
    more = f"{EVERY_WINDOW_IS_ABNORMAL}evidence: {{privacy: audio}}\n"
    with Paged(tmp_path_factory.mktemp("paged"), more=more) as paged:
        paged.hear()
        wait_until(lambda: paged.visitor().get("/api/episodes"))
        yield paged


@pytest.fixture
def visitor(paged: Paged) -> Visitor:
    return paged.visitor()


def hop(i: int = 0) -> np.ndarray:
    return SOUND[i * HOP_SAMPLES : (i + 1) * HOP_SAMPLES]


# --- What it shows ---


def test_now_tells_machine_microphone_and_broker_apart(visitor: Visitor) -> None:
    now = visitor.get("/api/now")

    (source,) = now["sources"]
    assert (source["name"], source["title"]) == ("pump", None)
    assert source["state"]["status"] == "listening"
    assert source["state"]["episode"]
    window, *averages = source["state"]["scales"]
    assert (window["seconds"], [scale["seconds"] for scale in averages]) == (9.6, [20, 60, 600, 3600])
    assert window["score"] > 0
    assert averages[-1] == {"seconds": 3600, "score": None, "near": None}  # it waits
    assert now["health"]["broker"]["connected"] is False
    assert "refused" in now["health"]["broker"]["reason"].lower()


def test_the_last_minutes_are_there_for_who_comes_late(visitor: Visitor) -> None:
    recent = visitor.get("/api/sources/pump/recent")

    assert len(recent["score"]) == len(recent["time"]) >= 4
    assert recent["time"] == sorted(recent["time"])


def test_who_watches_sees_states_and_sound_as_they_come(paged: Paged, visitor: Visitor) -> None:
    with visitor.watching() as messages:
        paged.hear(hop())
        paged.hear(hop(1))
        seen = {}
        for kind, content in messages:
            seen[kind] = content
            if {"state", "columns"} <= seen.keys():
                break

    assert seen["state"]["source"] == "pump"
    assert len(base64.b64decode(seen["columns"]["levels"])) == DETECTOR.frontend.n_mels
    assert seen["columns"]["seconds"] == pytest.approx(0.128)


def test_an_episode_has_its_picture_and_its_sound(paged: Paged, visitor: Visitor) -> None:
    assert visitor.post("/api/sources/pump/shelve", {"minutes": 1}).status == 200
    paged.hear(hop())
    paged.hear(np.tile(hop(), 12))  # the post-roll
    wait_until(lambda: visitor.get("/api/episodes")[0]["sound"])
    (episode,) = visitor.get("/api/episodes")

    picture = visitor.ask(f"/api/episodes/{episode['id']}/picture")
    sound = visitor.ask(f"/api/episodes/{episode['id']}/sound", headers={"Range": "bytes=0-3"})
    visitor.post("/api/sources/pump/shelve", {"minutes": 0})
    paged.hear(hop())

    assert episode["reason"] == "shelved"
    assert picture.body.startswith(b"\x89PNG")
    assert (sound.status, sound.body) == (206, b"fLaC")


def test_commands_are_obeyed_though_the_broker_may_not_command(paged: Paged, visitor: Visitor) -> None:
    wait_until(lambda: visitor.get("/api/episodes")[0]["open"])
    episode = visitor.get("/api/episodes")[0]

    answer = visitor.post("/api/sources/pump/acknowledge", {"episode": episode["id"]})
    paged.hear(np.tile(hop(), 25))  # ten seconds between two updates

    assert episode["id"] in answer.json()["words"]
    wait_until(lambda: visitor.get("/api/episodes")[0]["acknowledged"])
    assert visitor.get("/api/now")["health"]["mqtt"]["commands"] == "off"


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("/api/sources/pump/shelve", {"minutes": 481}, "0 to 480"),
        ("/api/sources/pump/shelve", {"minutes": True}, "0 to 480"),
        ("/api/sources/pump/shelve", {"minutes": -1}, "0 to 480"),
        ("/api/sources/pump/shelve", {}, "0 to 480"),
        ("/api/sources/pump/shelve", [], "object"),
        ("/api/sources/pump/acknowledge", {"episode": 3}, "its id"),
        ("/api/sources/pump/acknowledge", {"episode": "another"}, "another"),
        ("/api/sources/mixer/shelve", {"minutes": 1}, "no such source"),
        ("/api/episodes/0123/normal", {"normal": True}, "no such episode"),
        ("/api/sources/pump/relearn", {"from": 2, "to": 1}, "one after the other"),
        ("/api/sources/pump/relearn", {"from": "yesterday", "to": 1e9}, "two times"),
        ("/api/sources/pump/relearn", {"from": True, "to": 1e9}, "two times"),
        ("/api/sources/pump/relearn", {"from": 0, "to": 60}, "nothing to learn from is remembered"),
        ("/api/sources/pump/relearn", {}, "no episode was called normal"),
        ("/api/sources/mixer/relearn", {}, "no such source"),
        ("/api/settings", {"sources": {"pump": {"threshold": "high"}}}, "threshold"),
        ("/api/settings", {"sources": {"mixer": {}}}, "mixer"),
        ("/api/settings", {"shelve_minutes": 1000}, "480"),
        ("/api/settings", {"password": "x"}, "password"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(visitor: Visitor, path: str, content: object, words: str) -> None:
    answer = visitor.post(path, content)

    assert 400 <= answer.status < 500
    assert words in answer.json()["error"]


def test_the_bundle_tells_how_it_is_and_no_secret(paged: Paged, visitor: Visitor) -> None:
    archive = zipfile.ZipFile(io.BytesIO(visitor.ask("/api/bundle").body))

    names = [Path(name).name for name in archive.namelist()]
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert {"versions.json", "health.json", "config.json", "detectors.json", "log.txt"} <= set(names)
    assert json.loads(archive.read("earshot/config.json"))["node"] == "hall"
    assert b"episode opened" in archive.read("earshot/log.txt")
    assert b"wellknown" not in everything
    assert not [name for name in names if name.endswith((".flac", ".wav", ".png"))]
    assert b"fLaC" not in everything


def test_every_text_is_in_the_file_of_texts() -> None:
    """And none is there that nobody says."""
    texts = json.loads((ASSETS / "texts" / "en.json").read_text(encoding="utf-8"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in ASSETS.rglob("*.js"))
    whole = set(re.findall(r"""\bt\(\s*["']([\w.]+)["']""", code))
    begun = {key.rstrip(".") for key in re.findall(r"`([\w.]+)\.\$\{", code)}

    keys = set(_keys(texts))
    assert whole <= keys
    assert begun <= {key.rsplit(".", n)[0] for key in keys for n in range(1, key.count(".") + 1)}
    words = set(re.findall(r"\w+", code))
    unsaid = [key for key in keys if key.rsplit(".")[-1] not in words]
    assert not [key for key in unsaid if not any(key.startswith(f"{start}.") for start in begun)]


# --- What stays ---


def test_episodes_and_what_was_said_of_them_outlive_the_process(tmp_path: Path) -> None:
    with Paged(tmp_path, more=EVERY_WINDOW_IS_ABNORMAL) as first:
        first.hear()
        wait_until(lambda: first.visitor().get("/api/episodes"))
        (episode,) = first.visitor().get("/api/episodes")
        assert first.visitor().post(f"/api/episodes/{episode['id']}/normal", {"normal": True}).status == 200

    with Paged(tmp_path, more=EVERY_WINDOW_IS_ABNORMAL) as second:
        (again,) = second.visitor().get("/api/episodes")

    assert (again["id"], again["normal"], again["open"]) == (episode["id"], True, False)
    assert again["reason"] in ("shutdown", "source_lost")  # its pipe ends, too


def test_what_was_chosen_is_in_force_at_once_and_after_a_restart_and_config_yaml_is_left_alone(tmp_path: Path) -> None:
    with Paged(tmp_path) as paged:
        before = paged.config.read_bytes()
        visitor = paged.visitor()
        chosen = {"sources": {"pump": {"title": "The old pump", "threshold": 3.25}}, "shelve_minutes": 30}
        assert visitor.post("/api/settings", chosen).json() == {"listens_anew": True}
        wait_until(lambda: "the new configuration" in paged.log())
        wait_until(lambda: _answers(visitor))
        paged.hear(hop())
        wait_until(lambda: visitor.get("/api/now")["sources"][0]["state"])
        (source,) = visitor.get("/api/now")["sources"]
        assert (source["title"], source["state"]["threshold"]) == ("The old pump", 3.25)
        assert visitor.get("/api/settings")["shelve_minutes"] == 30
        assert "threshold 3.25, as was chosen on the page" in paged.log()
        assert paged.config.read_bytes() == before

        again = {"sources": {"pump": {"title": "Pump 1", "threshold": 3.25}}}
        assert visitor.post("/api/settings", again).json() == {"listens_anew": False}


def test_learning_goes_on_when_settings_are_saved(tmp_path: Path) -> None:
    with Paged(tmp_path) as paged:
        visitor = paged.visitor()
        assert visitor.post("/api/sources/pump/enrolment", {"minutes": 12}).status == 200
        paged.hear()
        wait_until(lambda: visitor.get("/api/sources/pump/enrolment")["progress"]["stage"] == "listening")
        assert visitor.post("/api/settings", {"learning": "off"}).json() == {"listens_anew": True}
        wait_until(lambda: "the new configuration" in paged.log())
        wait_until(lambda: _answers(visitor))
        progress = visitor.get("/api/sources/pump/enrolment")["progress"]
        assert progress["stage"] in ("checking", "listening")
        assert visitor.post("/api/sources/pump/enrolment/stop", {}).json()["progress"]["stage"] == "stopped"


def test_days_are_shown_where_there_are_some(visitor: Visitor) -> None:
    assert visitor.get("/api/sources/pump/days") == {"time": [], "score": [], "level": [], "drift": {}}


@pytest.mark.parametrize("content", ["{", '{"sources": {"pump": {"threshold": "high"}}}', "[" * 100_000, "\0"])
def test_choices_that_cannot_be_believed_are_left_aside_and_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "page.json").write_text(content)
    with Paged(tmp_path) as paged:
        (source,) = paged.visitor().get("/api/settings")["sources"]

    assert source["threshold"] is None
    assert "what was chosen on the page is not in force" in paged.log()


# --- What it is not allowed to cost ---


def test_a_port_that_is_taken_does_not_make_the_device_deaf(tmp_path: Path) -> None:
    paged = Paged(tmp_path, more=EVERY_WINDOW_IS_ABNORMAL)
    with socket.socket() as other:
        other.bind(("127.0.0.1", paged.port))
        other.listen()
        with paged:
            paged.hear()
            wait_until(lambda: "episode opened" in paged.log())

    (line,) = [line for line in paged.log().splitlines() if "no page" in line]
    assert f"127.0.0.1:{paged.port}: Address already in use" in line


def test_a_device_without_the_web_extra_listens_on(tmp_path: Path) -> None:
    """Starlette hidden by a package of its name that is none."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "starlette.py").write_text("raise ModuleNotFoundError(name='starlette')")
    path = os.pathsep.join([str(tmp_path / "hidden"), *filter(None, sys.path)])
    with Paged(tmp_path, environment={"PYTHONPATH": path}) as paged:
        paged.hear()
        wait_until(lambda: "pump: listening" in paged.log())

    assert "no page: starlette is not installed: pip install 'earshot[web]'" in paged.log()


def test_a_viewer_who_does_not_read_holds_nobody_up() -> None:
    viewer = Viewer("pump")

    for i in range(MOST_WAITING + 10):
        viewer.say(("state", {"i": i}))

    assert viewer.waiting.qsize() == MOST_WAITING
    assert viewer.waiting.get_nowait() == ("state", {"i": 10})


def test_nothing_is_counted_for_nobody() -> None:
    feed = Feed(["pump"], finely=True)

    feed.hear("pump", np.zeros(16_000, np.float32))

    assert not feed._spectra


@pytest.mark.parametrize(("finely", "n_columns"), [(True, 15), (False, 3)])
def test_a_tone_stands_in_its_band_as_loud_as_it_is(finely: bool, n_columns: int) -> None:
    """And what may not be kept is shown no finer than half a second: who speaks there is not understood."""
    spectrum = Spectrum(finely=finely)
    samples = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(32_000) / 16_000)).astype(np.float32)

    columns = [column for part in np.array_split(samples, 7) for column in spectrum.feed(part)]

    levels = [np.frombuffer(base64.b64decode(column), np.uint8) * STEP_DB + FLOOR_DB for column in columns]
    edges_hz = spectrum._frontend.band_edges_hz
    assert len(columns) == n_columns
    for column in levels:
        loudest = int(column.argmax())
        assert edges_hz[loudest] <= 1000 <= edges_hz[loudest + 2]
        assert column.max() > column[0] + 40


# --- The configuration ---


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("{port: 80, host: 0.0.0.0}", "host 0.0.0.0 without password_file: expected one, or 127.0.0.1 and no names"),
        ("{host: '::'}", "host :: without password_file"),
        ("{host: 192.168.1.2}", "host 192.168.1.2 without password_file"),
        ("{names: [pump.example]}", "names pump.example without password_file"),
        ("{tls: {key_file: key.pem}}", "one of certificate_file and key_file without the other"),
    ],
)
def test_a_page_for_others_needs_a_password(tmp_path: Path, page: str, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"sources: [{{name: pump, type: folder, path: sounds, detector: d}}]\npage: {page}\n")

    with pytest.raises(ConfigError, match="page") as caught:
        load(path)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), ("", "got 0 characters"), ("secret", "got 6 characters, expected 8")]
)
def test_a_password_that_is_none_opens_no_page(tmp_path: Path, content: str | None, words: str) -> None:
    paged = Paged(tmp_path, page=f", password_file: {tmp_path / 'own'}")
    if content is not None:
        (tmp_path / "own").write_text(content)
    with paged:
        pass

    (line,) = [line for line in paged.log().splitlines() if "no page" in line]
    assert f"page.password_file {tmp_path / 'own'}: {words}" in line


def _keys(texts: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _answers(visitor: Visitor) -> bool:
    try:
        return visitor.ask("/api/session").status == 200
    except OSError:
        return False


def test_the_picture_in_the_readme_is_of_this_page() -> None:
    root = Path(__file__).parents[1]
    assert "(docs/page.webp)" in (root / "README.md").read_text()
    digest, _ = (root / "docs" / "page.sha256").read_text().split(maxsplit=1)
    assert digest == look_of_the_page(), "the page has changed: scripts/screenshots --readme takes its picture anew"
