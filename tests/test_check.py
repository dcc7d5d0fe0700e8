"""`earshot check`: a verdict and a hint for everything that can be wrong, and no false alarm where nothing is.

The broker is a real Mosquitto, wrong in every way that people meet. Needs mosquitto and openssl.
"""

import importlib.util
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from edge import clock
from edge.commands import check_call
from tests import fakebroker
from tests.conftest import COMMAND, DEMO, Ran, run_process
from tests.fakebroker import PUBLISH, SUBSCRIBE, FakeBroker, Packet, suback
from tests.real.microphone import Faults, VirtualMicrophone, heard_here, need_portaudio
from tests.real.mosquitto import HOST, Listener, Mosquitto, free_port, wait_until
from tests.test_publisher import SCHEMAS

Earshot = Callable[..., Ran]
Steps = dict[str, dict[str, str | None]]

SOUND: Final = f"{{name: pump, type: folder, path: {DEMO / 'recordings'}, detector: {DEMO / 'detector'}}}"

NOTHING: Final = "{name: pump, type: folder, path: nowhere, detector: none}"


@pytest.fixture(autouse=True)
def set_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a time server has set, whatever that of this computer is."""
    monkeypatch.setattr(clock, "synced", lambda: True)


def checked(earshot: Earshot, config: Path, *options: str, code: int = 0) -> Steps:
    """Check; return the steps by their names."""
    ran = earshot("check", "--config", config, "--json", *options)
    assert ran.code == code, ran.stdout
    return {step.pop("step"): step for step in json.loads(ran.stdout)}


def write(folder: Path, *, sources: str = SOUND, mqtt: str = "{}", rest: str = "") -> Path:
    path = folder / "config.yaml"
    path.write_text(f"node: hall\nsources: [{sources}]\nmqtt: {mqtt}\n{rest}")
    return path


# --- The page ---


def paged(folder: Path, more: str = "", *, state: bool = True, port: int | None = None) -> Path:
    (folder / "password").write_text("correct horse\n")
    kept = f"state_directory: {folder}\n" if state else ""
    return write(folder, rest=f"{kept}page: {{port: {port or free_port()}{more}}}\n")


def test_the_page_says_where_it_would_be_and_for_whom(tmp_path: Path, earshot: Earshot) -> None:
    step = checked(earshot, paged(tmp_path), "--listen", "0")["page"]
    assert step["verdict"] == "ok"
    assert (step["found"] or "").startswith("http://127.0.0.1:")
    assert (step["found"] or "").endswith("/, without a password")


@pytest.mark.parametrize(
    ("more", "state", "verdict", "found", "hint"),
    [
        (", host: 0.0.0.0, password_file: password", True, "warn", "with a password, not encrypted", "page.tls"),
        ("", False, "warn", "no state_directory", "state_directory"),
        (", password_file: nowhere", True, "bad", "No such file", None),
        (", tls: {certificate_file: password, key_file: password}", True, "bad", "certificate_file", None),
    ],
)
def test_what_is_half_of_a_page_is_named(
    tmp_path: Path, earshot: Earshot, more: str, state: bool, verdict: str, found: str, hint: str | None
) -> None:
    config, code = paged(tmp_path, more, state=state), int(verdict == "bad")
    step = checked(earshot, config, "--listen", "0", code=code)["page"]
    assert step["verdict"] == verdict
    assert found in (step["found"] or "")
    assert hint is None or hint in (step["hint"] or "")


def test_a_port_of_the_page_that_somebody_holds_is_worth_a_look(tmp_path: Path, earshot: Earshot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        step = checked(earshot, paged(tmp_path, port=held.getsockname()[1]), "--listen", "0")["page"]
    assert step["verdict"] == "warn"
    assert "if Earshot runs" in (step["hint"] or "")


def test_a_page_without_the_web_extra_says_what_to_install(
    tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "starlette" else found(name))
    step = checked(earshot, paged(tmp_path), "--listen", "0", code=1)["page"]
    assert (step["verdict"], step["hint"]) == ("bad", "pip install 'earshot[web]', or page.port: null")


def test_a_machine_that_nobody_has_taught_is_named_until_it_has_learnt(tmp_path: Path, earshot: Earshot) -> None:
    source = f"{{name: pump, type: microphone, device: none such, detector: {DEMO / 'detector'}}}"
    config = write(tmp_path, sources=source, rest=f"state_directory: {tmp_path}\n")
    step = checked(earshot, config, "--listen", "0", code=1)["pump: detector"]
    assert (step["verdict"], "not taught yet" in (step["found"] or "")) == ("warn", True)
    (tmp_path / "detectors" / "pump").mkdir(parents=True)
    assert checked(earshot, config, "--listen", "0", code=1)["pump: detector"]["verdict"] == "ok"


# --- All of it ---


def test_all_is_well(tmp_path: Path, earshot: Earshot) -> None:
    ran = earshot("check", "--config", write(tmp_path))
    assert (ran.code, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines), ran.stdout
    names = [line.split()[1].rstrip(":") + line.split(":")[1][:9] for line in lines if line.startswith("ok    pump")]
    assert names == ["pump detector", "pump folder", "pump sound"]


def test_in_json(tmp_path: Path, earshot: Earshot) -> None:
    steps = checked(earshot, write(tmp_path))
    pump = ["pump: detector", "pump: folder", "pump: sound"]
    assert list(steps) == ["config", "program", "memory", *pump, "broker", "disk", "clock"]
    assert all(step["verdict"] == "ok" and step["found"] and step["hint"] is None for step in steps.values())


@pytest.mark.parametrize("as_json", [False, True])
def test_every_step_that_fails_is_named(tmp_path: Path, earshot: Earshot, as_json: bool) -> None:
    config = write(tmp_path, sources=NOTHING, mqtt="{host: a.invalid}")
    ran = earshot("check", "--config", config, *(["--json"] if as_json else []))
    assert ran.code == 1
    assert "3 of 8 steps failed" in ran.stderr
    found = [step["found"] for step in json.loads(ran.stdout) if step["verdict"] == "bad"] if as_json else []
    found = found or [line for line in ran.stdout.splitlines() if line.startswith("bad")]
    assert f"{tmp_path / 'none'}: not a detector folder" in found[0]
    assert f"{tmp_path / 'nowhere'}: No such file or directory" in found[1]
    assert "mqtt.host a.invalid: " in found[2]


def test_a_hint_stands_below_its_step(tmp_path: Path, earshot: Earshot) -> None:
    ran = earshot("check", "--config", write(tmp_path, mqtt="{host: a.invalid}"))
    lines = ran.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if "broker DNS" in line)
    assert lines[at].startswith("bad   broker DNS: mqtt.host a.invalid: ")
    assert lines[at + 1].startswith("      -> is the name right")


# --- The broker ---


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_call, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(check_call, "REMEMBERED_SECONDS", 0.3)


def broker_steps(folder: Path, earshot: Earshot, mqtt: str) -> list[tuple[str, str | None, str | None, str | None]]:
    """Check; return name, verdict, what was found, and hint, of each step to the broker."""
    ran = earshot("check", "--config", write(folder, sources=NOTHING, mqtt=mqtt), "--json")
    return [
        (step["step"].removeprefix("broker "), step["verdict"], step["found"], step["hint"])
        for step in json.loads(ran.stdout)
        if step["step"].startswith("broker")
    ]


class Bad(NamedTuple):
    step: str
    found: str
    hint: str


def last_bad(folder: Path, earshot: Earshot, mqtt: str) -> Bad:
    """Return the step that ended it: all before it must be well."""
    *before, (name, verdict, found, hint) = broker_steps(folder, earshot, mqtt)
    assert [step[1] for step in before] == ["ok"] * len(before)
    assert verdict == "bad"
    return Bad(name, found or "", hint or "")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


def test_a_broker_that_takes_all_that_the_daemon_says(broker: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    with Listener(broker) as listener:
        mqtt = f"{{host: {HOST}, port: {broker.port}, topic_prefix: plant/sound, commands: on}}"
        steps = broker_steps(tmp_path, earshot, mqtt)
        assert [(name, verdict) for name, verdict, _, _ in steps] == [
            ("DNS", "ok"),
            ("TCP", "ok"),
            ("CONNECT", "ok"),
            ("as the daemon", "ok"),
        ]
        pump = "plant/sound/hall/pump"
        wait_until(lambda: listener.payloads(f"{pump}/spectrogram"), "all is there")
    said = json.loads(listener.payloads(f"{pump}/event")[0])
    jsonschema.validate(said, SCHEMAS["event"])
    assert said["kind"] == "check"
    with Listener(broker, name="late") as late:  # nothing is remembered but what is true
        wait_until(lambda: len(late.messages) == 3, "what is remembered comes")
        time.sleep(0.1)
    found = {message.topic: message.payload for message in late.messages}
    status = "plant/sound/hall/status"
    assert found == {status: "offline", f"{pump}/availability": "offline", f"{pump}/anomaly": "OFF"}


def test_the_daemon_that_runs_is_not_thrown_out_and_not_talked_over(
    broker: Mosquitto, tmp_path: Path, earshot: Earshot
) -> None:
    with Listener(broker, name="its-id") as daemon:
        daemon.say("earshot/hall/status", "online", retain=True)
        daemon.wait_for("earshot/hall/status", "online")
        mqtt = f"{{host: {HOST}, port: {broker.port}, client_id: its-id}}"
        steps = broker_steps(tmp_path, earshot, mqtt)
        assert [step[1] for step in steps] == ["ok"] * 4
        assert "as its-id-check, beside the daemon that is online" in (steps[-1][2] or "")
        assert "already connected" not in broker.log()
        wait_until(lambda: daemon.payloads("earshot/hall/pump/event"), "the event has come")
        assert daemon.payloads("earshot/hall/status") == ["online"]
        assert daemon.payloads("earshot/hall/pump/anomaly") == []


def test_a_name_that_is_none(tmp_path: Path, earshot: Earshot) -> None:
    bad = last_bad(tmp_path, earshot, "{host: wrong.invalid}")
    assert bad.step == "DNS"
    assert "mqtt.host wrong.invalid: " in bad.found
    assert "getent hosts wrong.invalid" in bad.hint


def test_a_port_where_nobody_listens(broker: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    broker.kill()
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {broker.port}}}")
    assert (bad.step, bad.found) == ("TCP", f"{HOST}:{broker.port}: Connection refused")
    assert "is the broker running, and is mqtt.port right" in bad.hint


def test_a_broker_that_hangs(broker: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    broker.freeze()
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {broker.port}}}")
    assert bad.step == "CONNECT"
    assert "did not answer our greeting" in bad.found


def test_something_that_is_no_broker(tmp_path: Path, earshot: Earshot) -> None:
    with socket.create_server((HOST, 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {server.getsockname()[1]}}}")
        server.shutdown(socket.SHUT_RDWR)
    assert bad.step == "CONNECT"
    assert "is it a broker that listens there" in bad.hint


def test_tls_where_plain_mqtt_is_spoken(broker: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {broker.port}, tls: {{enabled: true}}}}")
    assert bad.step == "TLS"
    assert f"no TLS on port {broker.port}" in bad.found
    assert "mqtt.tls.enabled: false" in bad.hint


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, tls=True) as running:
        yield running


def test_plain_mqtt_where_tls_is_spoken(secure: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {secure.port}}}")
    assert bad.step == "CONNECT"
    assert "this port speaks TLS" in bad.found
    assert "mqtt.tls.enabled: true" in bad.hint


def over_tls(broker: Mosquitto, host: str = "localhost", **tls: Path | None) -> str:
    files = "".join(f", {key}: {path}" for key, path in {"ca_file": broker.ca_file, **tls}.items() if path)
    return f"{{host: '{host}', port: {broker.port}, tls: {{enabled: true{files}}}}}"


def test_a_broker_with_tls(secure: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    steps = broker_steps(tmp_path, earshot, over_tls(secure))
    assert [step[:2] for step in steps] == [(n, "ok") for n in ("DNS", "TCP", "TLS", "CONNECT", "as the daemon")]
    assert "TLSv1.3, certificate good until " in (steps[2][2] or "")


def test_an_authority_that_nobody_named(secure: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    bad = last_bad(tmp_path, earshot, over_tls(secure, ca_file=None))
    assert bad.step == "TLS"
    assert "certificate was refused: unable to get local issuer certificate" in bad.found
    assert bad.hint == "mqtt.tls.ca_file: the certificate of the authority that signed the broker's"


def test_another_authority(secure: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    folder = tmp_path / "another"
    folder.mkdir()
    other = Mosquitto(folder, tls=True)
    bad = last_bad(tmp_path, earshot, over_tls(secure, ca_file=other.ca_file))
    assert bad.step == "TLS"
    assert bad.hint == f"mqtt.tls.ca_file {other.ca_file} is not the authority that signed the broker's certificate"


@pytest.mark.parametrize("file", ["missing", "no certificate"])
def test_an_authority_that_cannot_be_read(secure: Mosquitto, tmp_path: Path, earshot: Earshot, file: str) -> None:
    path = tmp_path / "authority"
    if file != "missing":
        path.write_text("hello")
    bad = last_bad(tmp_path, earshot, over_tls(secure, ca_file=path))
    assert bad.step == "TLS"
    assert f"mqtt.tls.ca_file {path}: " in bad.found


@pytest.mark.parametrize(
    ("valid_from", "found", "hint"),
    [
        (datetime(2090, 1, 1, tzinfo=UTC), "certificate is not yet valid", "the clock of this computer says 20"),
        (datetime(2001, 1, 1, tzinfo=UTC), "certificate has expired", "needs a new certificate"),
    ],
    ids=["not yet valid", "expired"],
)
def test_a_certificate_at_another_time(
    tmp_path: Path, earshot: Earshot, valid_from: datetime, found: str, hint: str
) -> None:
    with Mosquitto(tmp_path, tls=True, valid_from=valid_from) as broker:
        bad = last_bad(tmp_path, earshot, over_tls(broker))
    assert bad.step == "TLS"
    assert found in bad.found
    assert hint in bad.hint


def test_a_certificate_for_another_name(secure: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    bad = last_bad(tmp_path, earshot, over_tls(secure, "127.1"))  # 127.0.0.1, as nobody writes it
    assert bad.step == "TLS"
    assert "Hostname mismatch" in bad.found
    assert bad.hint == "mqtt.host must be a name in the broker's certificate, and 127.1 is none of them"


def test_a_broker_that_asks_who_we_are(tmp_path: Path, earshot: Earshot) -> None:
    with Mosquitto(tmp_path, tls=True, asks_for_certificates=True) as broker:
        bad = last_bad(tmp_path, earshot, over_tls(broker))
        assert "mqtt.tls.certificate_file and key_file" in bad.hint
        ours = over_tls(broker, certificate_file=tmp_path / "client.crt", key_file=tmp_path / "client.key")
        (tmp_path / "client.key").chmod(0o600)
        assert [step[1] for step in broker_steps(tmp_path, earshot, ours)] == ["ok"] * 6


def secret(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets in "fan" with "s3cret", who may write to earshot/hall alone."""
    with Mosquitto(tmp_path, password=("fan", "s3cret"), may="user fan\ntopic readwrite earshot/hall/#") as running:
        yield running


def test_the_right_password(guarded: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    secret(tmp_path / "password", "s3cret\n")
    mqtt = f"{{host: {HOST}, port: {guarded.port}, username: fan, password_file: password}}"
    names = ["secrets", "DNS", "TCP", "CONNECT", "as the daemon"]
    assert [step[:2] for step in broker_steps(tmp_path, earshot, mqtt)] == [(name, "ok") for name in names]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_password_that_others_may_read(mode: int, guarded: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    secret(tmp_path / "password", "s3cret\n")
    (tmp_path / "password").chmod(mode)
    mqtt = f"{{host: {HOST}, port: {guarded.port}, username: fan, password_file: password}}"
    first, *others = broker_steps(tmp_path, earshot, mqtt)
    assert first[:2] == ("secrets", "warn")
    assert f"has mode {mode:04o}: everybody here may read it" in (first[2] or "")
    assert first[3] == f"chmod 600 {tmp_path / 'password'}"
    assert [step[1] for step in others] == ["ok"] * 4


def test_a_wrong_password(guarded: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    secret(tmp_path / "password", "secret\n")
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {guarded.port}, username: fan, password_file: password}}")
    assert (bad.step, bad.found) == ("CONNECT", "refused: Not authorized")
    assert f"mqtt.username fan and the 6 characters of {tmp_path / 'password'} do not go together" in bad.hint


@pytest.mark.parametrize(
    ("user", "hint"), [("", "lets nobody in without a name"), (", username: fan", "without a password_file")]
)
def test_no_password(guarded: Mosquitto, tmp_path: Path, earshot: Earshot, user: str, hint: str) -> None:
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {guarded.port}{user}}}")
    assert (bad.step, bad.found) == ("CONNECT", "refused: Not authorized")
    assert hint in bad.hint


def test_a_password_file_that_is_not_there(guarded: Mosquitto, tmp_path: Path, earshot: Earshot) -> None:
    bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {guarded.port}, username: fan, password_file: password}}")
    assert bad.step == "CONNECT"
    assert f"mqtt.password_file {tmp_path / 'password'}: No such file or directory" in bad.found


def test_a_credential_of_the_service_outside_of_it(
    guarded: Mosquitto, tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    mqtt = f"{{host: {HOST}, port: {guarded.port}, username: fan, password_file: 'credential:mqtt-password'}}"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "sudo env CREDENTIALS_DIRECTORY=/etc/earshot" in last_bad(tmp_path, earshot, mqtt).hint
    secret(tmp_path / "mqtt-password", "s3cret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert [step[1] for step in broker_steps(tmp_path, earshot, mqtt)] == ["ok"] * 4


@pytest.mark.parametrize("version", ["auto", "3.1.1"])
def test_an_access_list_that_forbids_our_topics(
    version: str, guarded: Mosquitto, tmp_path: Path, earshot: Earshot
) -> None:
    secret(tmp_path / "password", "s3cret\n")
    who = f"host: {HOST}, port: {guarded.port}, username: fan, password_file: password, protocol: {version}"
    *_, (name, verdict, found, hint) = broker_steps(tmp_path, earshot, f"{{{who}, topic_prefix: plant}}")
    assert name == "as the daemon"
    assert verdict == "bad"
    assert (found or "").startswith("plant/hall/pump/event: ")
    assert (version == "3.1.1") == ("hangs up" in (found or ""))  # Mosquitto 2.0.11 acknowledges, and then does so
    assert "access list does not let fan write there, it seems: it needs plant/#" in (hint or "")


@pytest.mark.parametrize("version", ["auto", "3.1.1"])
def test_an_access_list_without_the_events(version: str, tmp_path: Path, earshot: Earshot) -> None:
    """MQTT 3.1.1 acknowledges them, and throws them away."""
    may = "topic read earshot/#\ntopic write earshot/+/status\ntopic write earshot/+/+/availability\n"
    may += "topic write earshot/+/+/anomaly\ntopic write earshot/+/+/spectrogram"
    with Mosquitto(tmp_path, may=may) as broker:
        mqtt = f"{{host: {HOST}, port: {broker.port}, protocol: {version}}}"
        bad = last_bad(tmp_path, earshot, mqtt)
    assert bad.step == "as the daemon"
    assert bad.found.startswith("earshot/hall/pump/event: ")


@pytest.mark.parametrize("version", ["auto", "3.1.1"])
def test_a_broker_that_remembers_nothing(version: str, tmp_path: Path, earshot: Earshot) -> None:
    with Mosquitto(tmp_path, more=["retain_available false"]) as broker:
        mqtt = f"host: {HOST}, port: {broker.port}, protocol: {version}"
        *before, (name, verdict, found, hint) = broker_steps(tmp_path, earshot, f"{{{mqtt}}}")
        assert [step[1] for step in before] == ["ok"] * 3
        assert (name, verdict) == ("as the daemon", "bad" if version == "3.1.1" else "warn")
        assert "remembered" in (found or "")
        assert "mqtt.retain: false" in (hint or "")
        assert [s[1] for s in broker_steps(tmp_path, earshot, f"{{{mqtt}, retain: false}}")] == ["ok"] * 4


@pytest.mark.parametrize("version", ["auto", "3.1.1"])
def test_a_broker_that_takes_small_packets(version: str, tmp_path: Path, earshot: Earshot) -> None:
    with Mosquitto(tmp_path, more=["max_packet_size 12000"]) as broker:
        mqtt = f"{{host: {HOST}, port: {broker.port}, protocol: {version}}}"
        *before, (name, verdict, found, hint) = broker_steps(tmp_path, earshot, mqtt)
        assert [step[1] for step in before] == ["ok"] * 3
        assert ("12000" in (before[2][2] or "")) == (version == "auto")
        assert (name, verdict) == ("as the daemon", "warn")
        assert "earshot/hall/pump/spectrogram: " in (found or "")
        assert "max_packet_bytes" in (hint or "")


def test_a_broker_that_takes_no_event(tmp_path: Path, earshot: Earshot) -> None:
    with Mosquitto(tmp_path, more=["max_packet_size 300"]) as broker:
        bad = last_bad(tmp_path, earshot, f"{{host: {HOST}, port: {broker.port}}}")
    assert bad.step == "as the daemon"
    assert "earshot/hall/pump/event: an event has" in bad.found


def test_a_broker_that_acknowledges_nothing(tmp_path: Path, earshot: Earshot) -> None:
    with Mosquitto(tmp_path, more=["max_qos 0"]) as broker:
        *before, (_, verdict, found, _) = broker_steps(tmp_path, earshot, f"{{host: {HOST}, port: {broker.port}}}")
    assert ([step[1] for step in before], verdict) == (["ok"] * 3, "warn")
    assert "nothing is acknowledged there (QoS 0)" in (found or "")


def told_by(fake: FakeBroker, folder: Path, earshot: Earshot, more: str = "") -> tuple[str | None, ...]:
    """Return what the last step says of a fake broker."""
    *before, last = broker_steps(folder, earshot, f"{{host: {fake.host}, port: {fake.port}{more}}}")
    assert [step[1] for step in before] == ["ok"] * 3
    assert last[0] == "as the daemon"
    return last[1:]


def test_a_subscription_that_is_refused(tmp_path: Path, earshot: Earshot) -> None:
    def answers(packet: Packet) -> bytes | None:
        is_ours = packet.kind == SUBSCRIBE and packet.topic.endswith("cmd/+")
        return suback(packet, 0x87, five=True) if is_ours else None

    with FakeBroker(answers, version=5) as fake:
        assert told_by(fake, tmp_path, earshot)[0] == "ok"
        verdict, found, hint = told_by(fake, tmp_path, earshot, ", commands: on")
    assert verdict == "warn"
    assert "earshot/hall/+/cmd/+: Not authorized" in (found or "")
    assert "mqtt.commands: off" in (hint or "")


@pytest.mark.parametrize("thrown_away", ["/event", "/anomaly"])
def test_an_acknowledgement_that_is_no_promise(thrown_away: str, tmp_path: Path, earshot: Earshot) -> None:
    """In 3.1.1 there is no other word: what is said has to come back."""

    def answers(packet: Packet) -> bytes | None:
        if packet.kind != PUBLISH or packet.topic.endswith(thrown_away):
            return None
        return bytes([fakebroker.PUBACK << 4, 2]) + packet.mid + fakebroker.publish(packet.topic, packet.text)

    with FakeBroker(answers) as fake:
        verdict, found, _ = told_by(fake, tmp_path, earshot)
        assert (verdict, found) == ("bad", f"earshot/hall/pump{thrown_away}: acknowledged, and thrown away")


def test_a_broker_that_lets_nobody_read_gets_the_benefit_of_the_doubt(tmp_path: Path, earshot: Earshot) -> None:
    with FakeBroker() as fake:
        verdict, found, hint = told_by(fake, tmp_path, earshot)
    assert verdict == "warn"
    assert "a broker says even of what its access list forbids" in (found or "")
    assert "mosquitto_sub" in (hint or "")


@pytest.mark.parametrize("retains", [True, False])
def test_a_will_that_is_refused(retains: bool, tmp_path: Path, earshot: Earshot) -> None:
    def answers(packet: Packet) -> bytes | None:
        bits = packet.body[7] if packet.kind == fakebroker.CONNECT else 0
        refused = bits & 0x20 if retains else bits & 0x04
        return bytes([fakebroker.CONNACK << 4, 2, 0, 5]) if refused else None

    with FakeBroker(answers) as fake:
        verdict, found, hint = told_by(fake, tmp_path, earshot, ", protocol: 3.1.1")
    assert verdict == "bad"
    assert "Not authorized" in (found or "")
    assert ("mqtt.retain: false" in (hint or "")) == retains


def test_a_broker_of_old_is_no_reason_to_worry(tmp_path: Path, earshot: Earshot) -> None:
    """A broker without MQTT 5, the demo's own: what is said comes back."""
    pytest.importorskip("amqtt")
    from edge.demo.broker import DemoBroker

    with DemoBroker(None) as old:
        *before, (name, verdict, found, _) = broker_steps(tmp_path, earshot, f"{{host: {old.host}, port: {old.port}}}")
    assert [step[1] for step in before] == ["ok"] * 3
    assert (name, verdict) == ("as the daemon", "ok"), found
    assert "MQTT 3.1.1 as " in (found or "")


# --- Sound ---


def hears(folder: Path, samples: NDArray[np.float64], *options: str) -> Steps:
    """Check with these samples on standard input, in a process of its own; return the steps."""
    config = write(folder, sources=f"{{name: mixer, type: stdin, detector: {DEMO / 'detector'}}}")
    data = np.round(samples * 32_767).astype("<i2").tobytes()
    ran = run_process([*COMMAND, "check", "--config", config, "--json", *options], stdin=data)
    return {step.pop("step"): step for step in json.loads(ran.stdout)}


SECOND: Final = np.arange(16_000) / 16_000
TONE: Final = np.sin(2 * np.pi * 440 * SECOND)


@pytest.mark.parametrize(
    ("samples", "verdict", "found"),
    [
        (0.1 * TONE, "ok", "level -23.0 dBFS, peak -20.0 dBFS in 1.0 s"),
        (np.zeros(16_000), "bad", "one value, 0, for 1.0 s: silent or stuck"),
        (np.full(16_000, 0.25), "bad", "silent or stuck"),
        (np.clip(3 * TONE, -1, 1), "warn", "of it clipped"),
        (1e-4 * TONE, "warn", "level -8"),
    ],
    ids=["well", "silent", "stuck", "clipped", "quiet"],
)
def test_what_it_hears(tmp_path: Path, samples: NDArray[np.float64], verdict: str, found: str) -> None:
    step = hears(tmp_path, samples)["mixer: sound"]
    assert step["verdict"] == verdict
    assert found in (step["found"] or "")
    assert (step["hint"] is None) == (verdict == "ok")


def test_it_listens_as_long_as_it_is_told(tmp_path: Path) -> None:
    assert "in 0.5 s" in (hears(tmp_path, TONE, "--listen", "0.5")["mixer: sound"]["found"] or "")
    assert "mixer: sound" not in hears(tmp_path, TONE, "--listen", "0")


def test_a_pipe_that_gives_nothing(tmp_path: Path) -> None:
    step = hears(tmp_path, np.zeros(0))["mixer: sound"]
    assert (step["verdict"], step["found"]) == ("bad", "stdin: ended before any sound came")


MICROPHONE: Final = f"{{name: fan, type: microphone, rate_hz: 16000, detector: {DEMO / 'detector'}}}"


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    with VirtualMicrophone() as virtual, heard_here(virtual.environment):
        yield virtual


def test_a_microphone(microphone: VirtualMicrophone, tmp_path: Path, earshot: Earshot) -> None:
    microphone.play(np.tile(np.round(3277 * TONE), 60).astype(np.int16)[:, None])
    steps = checked(earshot, write(tmp_path, sources=MICROPHONE), "--listen", "1")
    assert "16000 Hz" in (steps["fan: microphone"]["found"] or "")
    assert steps["fan: sound"]["found"] == "level -23.0 dBFS, peak -20.0 dBFS in 1.0 s"


def test_a_microphone_that_is_muted(microphone: VirtualMicrophone, tmp_path: Path, earshot: Earshot) -> None:
    step = checked(earshot, write(tmp_path, sources=MICROPHONE), "--listen", "0.5", code=1)["fan: sound"]
    assert "silent or stuck" in (step["found"] or "")
    assert "alsamixer" in (step["hint"] or "")


def test_a_microphone_that_another_program_holds(
    microphone: VirtualMicrophone, tmp_path: Path, earshot: Earshot
) -> None:
    faults = Faults(tmp_path)
    faults.set("b")
    with heard_here(faults.environment):
        step = checked(earshot, write(tmp_path, sources=MICROPHONE), code=1)["fan: microphone"]
    assert "busy: another program records from it" in (step["found"] or "")


def test_a_microphone_that_is_not_there(tmp_path: Path, earshot: Earshot) -> None:
    need_portaudio()
    source = MICROPHONE.replace("type:", "device: 'usb:1234:5678', type:")
    step = checked(earshot, write(tmp_path, sources=source), code=1)["fan: microphone"]
    assert "there is no such card. Inputs that are there: " in (step["found"] or "")


# --- This computer ---


def test_a_library_that_dies_on_a_raspberry_pi(
    tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        return "1.21.0" if name == "onnxruntime" else "1"

    monkeypatch.setattr(metadata, "version", version)
    steps = checked(earshot, write(tmp_path), code=1)
    assert steps["program"]["verdict"] == "bad"
    assert "onnxruntime 1.21.0" in (steps["program"]["found"] or "")
    assert "pump: detector" not in steps  # it would take the check with it


def test_a_library_for_another_processor(tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -ILL $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    step = checked(earshot, write(tmp_path), code=1)["program"]
    assert "cannot be loaded: SIGILL" in (step["found"] or "")


@pytest.mark.parametrize(("free", "verdict"), [(10**7, "bad"), (10**8, "warn"), (10**9, "ok")])
def test_a_disk_that_fills(
    tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    usage = type("usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    step = checked(earshot, write(tmp_path), code=int(verdict == "bad"))["disk"]
    assert step["verdict"] == verdict
    assert str(tmp_path) in (step["found"] or "")


@pytest.mark.parametrize(("synced", "verdict"), [(True, "ok"), (False, "warn"), (None, "warn")])
def test_the_clock(
    tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch, synced: bool | None, verdict: str
) -> None:
    monkeypatch.setattr(clock, "synced", lambda: synced)
    assert checked(earshot, write(tmp_path))["clock"]["verdict"] == verdict


def test_metrics_without_the_library(tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path, rest="metrics: {port: 9100}\n")
    assert checked(earshot, config)["metrics"]["verdict"] == "ok"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prometheus_client" else Any)
    assert checked(earshot, config, code=1)["metrics"]["hint"] == "pip install 'earshot[web]', or metrics.port: null"


def test_a_demo_without_its_broker(tmp_path: Path, earshot: Earshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "amqtt" else Any)
    assert checked(earshot, write(tmp_path), code=1)["broker"]["hint"] == "name a broker"
