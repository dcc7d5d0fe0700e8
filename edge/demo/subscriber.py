"""What a subscriber sees, printed for a person: the other end of the bus, for `make run`."""

import json
import sys
import threading
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.voice import evidence_in_words, provisional_in_words

BAR_CHARACTERS: Final = 24


class Subscriber:
    """A client of its own that prints every message below a topic, as long as the `with` block lasts."""

    def __init__(self, port: int, topic: str, *, quiet: bool = False) -> None:
        """Subscribe to `topic` at 127.0.0.1; with `quiet`, nothing is done at all."""
        self._port = port
        self._topic = topic
        self._quiet = quiet
        self._seen: dict[str, bytes] = {}
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "earshot-demo-subscriber")
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self._print(message)

    def __enter__(self) -> Self:
        if not self._quiet:
            print(f"mosquitto_sub -p {self._port} -v -t '{self._topic}' would now see:\n", flush=True)
            self._client.connect("127.0.0.1", self._port)
            self._client.loop_start()
            self._subscribed.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._quiet:
            self._client.disconnect()
            self._client.loop_stop()

    def _print(self, message: paho.MQTTMessage) -> None:
        # The demo's broker sends a retained message again for each subscription that it matches.
        leaf = message.topic.rsplit("/", 1)[-1]
        payload = bytes(message.payload)
        if leaf != "event" and self._seen.get(message.topic) == payload:
            return
        self._seen[message.topic] = payload
        sys.stdout.write(f"{message.topic:<40} {_in_words(leaf, payload)}\n")
        sys.stdout.flush()


def _in_words(leaf: str, payload: bytes) -> str:
    """Return a payload as a person reads it; what is not known is shown as it came."""
    if leaf == "spectrogram":
        return f"PNG, {len(payload) / 1000:.0f} kB"
    text = payload.decode(errors="replace")
    if leaf not in ("state", "event", "health"):
        return text
    content: dict[str, Any] = json.loads(text)
    return {"state": _state, "event": _event, "health": _health}[leaf](content)


def _state(state: dict[str, Any]) -> str:
    if state["score"] is None:
        return f"{state['status']}{': ' + state['reason'] if state['reason'] else ''}"
    filled = min(BAR_CHARACTERS, round(BAR_CHARACTERS * state["score"] / (2 * state["threshold"])))
    bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
    bar = bar[: BAR_CHARACTERS // 2] + "|" + bar[BAR_CHARACTERS // 2 :]
    alarm = "  ANOMALY" if state["episode"] else "  not taught yet" if state["status"] == "untaught" else ""
    known = state.get("provisional")
    provisional = f", {provisional_in_words(known['hours'], known['of'])}" if known else ""
    score = f"score {state['score']:6.2f} of {state['threshold']:.2f}"
    return f"{score} [{bar}] {state['level_dbfs']:.0f} dBFS{provisional}{alarm}"


def _event(event: dict[str, Any]) -> str:
    cause = f": {event['why']['sentence']}" if event.get("why") else ""
    bands = ", ".join(f"{b['hz_lo']:.0f}-{b['hz_hi']:.0f} Hz {b['delta_db']:+.0f} dB" for b in event["bands"])
    why = f" ({bands})" if bands else ""
    reason = f", {event['reason']}" if "reason" in event else ""
    basis = event.get("evidence") if event["kind"] == "opened" else None
    seen = f" {evidence_in_words(basis['seconds'], basis['against'])}" if basis else ""
    return f"*** episode {event['kind']}{reason}: {event['machine']} scores {event['score']:.2f}{seen}{cause}{why}"


def _health(health: dict[str, Any]) -> str:
    sources = ", ".join(f"{name} {status}" for name, status in health["sources"].items())
    return f"up {health['uptime_s']:.0f} s: {sources}"
