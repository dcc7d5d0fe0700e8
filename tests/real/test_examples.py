"""The examples run: Node-RED says a sentence, InfluxDB answers the dashboard, promtool takes the rules.

Needs mosquitto, and what is there of Node-RED (`npm install node-red`, 117 MB), influxd and promtool.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.aedes import PARTS, node
from tests.real.mosquitto import HOST, Listener, Mosquitto, free_port, wait_until
from tests.test_examples import EXAMPLES, FLOW, queries
from tests.test_publisher import CLOSED, EVENT, HEALTH, STATE

START_SECONDS = 90.0


def part(name: str) -> str:
    """Return a program that no other test needs. Skips where it is not there."""
    path = shutil.which(name, path=os.defpath + ":/usr/sbin:" + os.environ.get("PATH", ""))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


# --- Prometheus ---


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "earshot.rules.yml"),
        ("test", "rules", "earshot.test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
)
def test_promtool_takes_it(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [part("promtool"), *command], cwd=EXAMPLES / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- Node-RED ---


def test_node_red_says_in_a_sentence_what_happened(tmp_path: Path) -> None:
    node()
    red = PARTS / "node_modules" / "node-red" / "red.js"
    if not red.exists():
        pytest.skip(f"Node-RED is not installed: npm install --prefix {PARTS} node-red")
    with Mosquitto(tmp_path, more=["log_type all"]) as broker, Listener(broker) as listener:
        flow = [{**each, "port": str(broker.port)} if each["type"] == "mqtt-broker" else each for each in FLOW]
        (tmp_path / "flow.json").write_text(json.dumps(flow))
        (tmp_path / "settings.js").write_text(
            f'module.exports = {{uiHost: "{HOST}", uiPort: {free_port()}, flowFile: "flow.json"}}'
        )
        command = [node(), str(red), "--userDir", str(tmp_path), "--settings", str(tmp_path / "settings.js")]
        log = tmp_path / "red.log"
        with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
            try:
                wait_until(lambda: "earshot/+/+/event" in broker.log(), "it listens", START_SECONDS)
                said = "alerts/hall/pump"
                listener.say("earshot/hall/pump/event", json.dumps({**EVENT, "kind": "updated"}))
                listener.say("earshot/hall/pump/event", json.dumps(EVENT))
                listener.say("earshot/hall/pump/event", json.dumps(CLOSED))
                wait_until(lambda: len(listener.payloads(said)) == 2, f"two sentences: {log.read_text()}")
            finally:
                process.kill()
    assert listener.payloads(said) == [
        "pump sounds wrong: 1000 to 1251 Hz -6 dB",
        "pump: over after 61 s (recovered)",
    ]


# --- InfluxDB ---


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty InfluxDB with the database of the example; its address."""
    program, folder, port = part("influxd"), tmp_path_factory.mktemp("influx"), free_port()
    (folder / "influx.conf").write_text(
        f'reporting-disabled = true\nbind-address = "{HOST}:{free_port()}"\n[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n[http]\nbind-address = "{HOST}:{port}"\n'
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-config", str(folder / "influx.conf")], stdout=log, stderr=log)
    address = f"http://{HOST}:{port}"

    def answers() -> bool:
        try:
            return bool(ask(address, "CREATE DATABASE earshot"))
        except OSError:
            return False

    wait_until(answers, "InfluxDB answers", START_SECONDS)
    yield address
    process.kill()
    process.wait()


def ask(address: str, query: str) -> dict[str, Any]:
    form = urllib.parse.urlencode({"db": "earshot", "q": query}).encode()
    with urllib.request.urlopen(f"{address}/query", form, timeout=20) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


def lines(measurement: str, tags: list[str], payload: dict[str, Any], path: str = "") -> str:
    """Return a payload as Telegraf writes it: numbers under the names of their levels, and these texts."""

    def fields(content: dict[str, Any], path: str) -> Iterator[str]:
        for name, value in content.items():
            if isinstance(value, dict):
                yield from fields(value, f"{path}{name}_")
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{path}{name}={float(value)}"
            elif isinstance(value, str) and name in ("status", "reason") and not path:
                yield f'{name}="{value}"'

    keys = ",".join([measurement, *(f"{tag}={payload[tag]}" for tag in tags)])
    return f"{keys} {','.join(fields(payload, ''))}"


def test_the_dashboard_shows_what_is_written(influx: str) -> None:
    written = [
        lines("earshot_state", ["node", "source"], {**STATE, "evidence": 0.5}),
        lines("earshot_event", ["node", "source", "kind"], CLOSED),
        lines("earshot_health", ["node"], HEALTH),
    ]
    urllib.request.urlopen(f"{influx}/write?db=earshot", "\n".join(written).encode(), timeout=20).close()
    for query in queries():
        query = query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "10s")
        query = re.sub(r"\$(node|machine)\b", ".*", query)
        (result,) = ask(influx, query)["results"]
        assert "error" not in result, query
        values = [value for series in result["series"] for row in series["values"] for value in row[1:]]
        assert [value for value in values if value is not None], query
