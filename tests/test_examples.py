"""The examples fit what is really said: topics, keys of payloads, names of metrics. A key that goes takes them with it.

Whether they run is tried in tests/real/test_examples.py.
"""

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edge.config import MetricsSettings
from edge.voice.metrics import serve
from edge.voice.notice import Notice, of_event
from edge.voice.webhook import Answer, Webhook
from tests.real.mosquitto import free_port, wait_until
from tests.test_metrics import SNAPSHOT
from tests.test_notify import PNG, settings
from tests.test_publisher import EVENT, SCHEMAS

EXAMPLES = Path(__file__).parents[1] / "examples"
FLOW = json.loads((EXAMPLES / "node-red" / "flow.json").read_text())
TELEGRAF = tomllib.loads((EXAMPLES / "telegraf" / "telegraf.conf").read_text())
DASHBOARD = json.loads((EXAMPLES / "grafana" / "dashboard.json").read_text())
RULES = yaml.safe_load((EXAMPLES / "prometheus" / "earshot.rules.yml").read_text())

TOPICS = {"earshot/+/+/state": "state", "earshot/+/+/event": "event", "earshot/+/health": "health"}


def fields_of(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The numbers and texts of a payload, as Telegraf names them: a level below is behind a `_`."""
    for name, each in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from fields_of(each, f"{path}{name}_")


def queries() -> list[str]:
    return [target["query"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("consumer", TELEGRAF["inputs"]["mqtt_consumer"], ids=lambda each: each["name_override"])
def test_telegraf_reads_keys_that_are_said(consumer: dict[str, Any]) -> None:
    (topic,) = consumer["topics"]
    schema = SCHEMAS[TOPICS[topic]]
    known = schema["properties"]
    assert consumer["name_override"] == f"earshot_{TOPICS[topic]}"
    assert {*consumer["tag_keys"], *consumer["json_string_fields"], consumer["json_time_key"]} <= known.keys()
    for name in consumer["json_string_fields"]:
        assert known[name].get("type", "string") != "number"
        assert "integer" not in known[name].get("type", "")


@pytest.mark.parametrize("query", queries())
def test_the_dashboard_asks_for_what_telegraf_writes(query: str) -> None:
    (measurement,) = re.findall(r'FROM "(\w+)"', query)
    (consumer,) = [each for each in TELEGRAF["inputs"]["mqtt_consumer"] if each["name_override"] == measurement]
    schema = SCHEMAS[TOPICS[consumer["topics"][0]]]
    named = set(re.findall(r'"(\w+)"', query)) - {measurement}
    assert named <= set(fields_of(schema))
    assert {"node"} <= set(consumer["tag_keys"])


def test_every_panel_and_target_has_a_name_of_its_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["title"] for panel in DASHBOARD["panels"])


def test_the_flow_listens_to_events_and_reads_keys_that_they_have() -> None:
    nodes = {node["id"]: node for node in FLOW}
    (heard,) = [node["topic"] for node in FLOW if node["type"] == "mqtt in"]
    assert TOPICS[heard] == "event"
    known = SCHEMAS["event"]["properties"]
    for node in FLOW:
        assert set(re.findall(r"event\.(\w+)", node.get("func", ""))) <= known.keys()
        assert {rule["v"] for rule in node.get("rules", ())} <= set(known["kind"]["enum"])
        assert {each for wires in node.get("wires", ()) for each in wires} <= nodes.keys()
        assert node.get("broker", "earshot-broker") in nodes or node["type"] == "mqtt-broker"


def test_rules_name_metrics_that_there_are() -> None:
    port = free_port()
    server = serve(MetricsSettings(port=port), lambda: SNAPSHOT)
    assert server is not None
    with server, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    known = {sample.name for family in families for sample in family.samples} | {"earshot_evidence"}
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    asked = {name for rule in rules for name in re.findall(r"\bearshot_\w+", rule["expr"])}
    assert asked <= known
    assert len({rule["alert"] for rule in rules}) == len(rules)


def test_the_receiver_prints_what_is_told_and_keeps_the_picture(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, str(EXAMPLES / "webhook" / "receiver.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as receiver:
        assert receiver.stdout is not None
        hook = Webhook(settings(f"http://127.0.0.1:{port}/", format="json"))
        notice = Notice(**{**vars(of_event(EVENT, "en")), "png": PNG})
        wait_until(lambda: hook.tell(notice) == Answer(), "it listens")
        assert receiver.stdout.readline() == "2026-11-23T21:53:00.512Z hall: pump sounds wrong\n"
        (picture,) = tmp_path.glob("pump-*.png")
        assert picture.read_bytes() == PNG
        receiver.kill()
