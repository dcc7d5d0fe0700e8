"""What the daemon has to say, over MQTT. Nothing here waits for the broker except the thread that talks to it.

    earshot/<node>/status                   online | offline   retained, QoS 1, and `offline` is the will
    earshot/<node>/health                   JSON               retained, QoS 0
    earshot/<node>/<source>/availability    online | offline   retained, QoS 1
    earshot/<node>/<source>/anomaly         ON | OFF           retained, QoS 1
    earshot/<node>/<source>/state           JSON               retained, QoS 0
    earshot/<node>/<source>/event           JSON               not retained, QoS 1, kept while the broker is away

Two kinds of things are said. Of a *retained* topic only the newest value matters: it is remembered here, and all of
them are said again at every connect, because a broker may have lost them. An *event* matters by itself: it stays in the
outbox until the broker has acknowledged it. It may so arrive twice (the broker had it, we did not hear so): both have
the same `id`, `kind` and `time`, and the second is `delayed`.

Each connection is a new paho client, and hands it a few messages at a time: what paho holds it can neither show nor
mark as delayed, and after a lost connection it would send the old behind the new. The schemas of the payloads stand
in `edge/schemas/`; this room adds `delayed` to an event and reads nothing else of them.
"""

import json
import logging
import random
import re
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSettings, TlsSettings, machine_name
from edge.errors import EarshotError

log = logging.getLogger(__name__)

Payload = Mapping[str, Any]

MOST_IN_FLIGHT: Final = 20
"""Messages that paho may hold at once; its own limit is the same, so nothing queues inside it."""

SHORT_LIFE_SECONDS: Final = 5.0
"""A connection that ends sooner counts as a failed one: the wait goes on growing."""

SHORT_LIVES_OF_A_FIGHT: Final = 3


class Publisher:
    """A connection to the broker that is kept up for ever, and what is to be said over it.

    Every method may be called from any thread, at any time, connected or not, and returns at once; `close` alone may
    take the time it is given. A broker that is absent, refuses or hangs is a state (`reason`), never an exception.
    """

    def __init__(
        self, settings: MqttSettings, *, node: str, sources: Iterable[str], retry_seconds: tuple[float, float] = (1, 60)
    ) -> None:
        """Remember what to do; nothing is opened before `start`.

        retry_seconds: the shortest and the longest wait before the next attempt. It doubles from one towards the other,
        and up to half of it is added at random: a fleet does not come back to a restarted broker in one second. (paho's
        own waits have nothing random in them.)
        Raises ValueError for a name that is no topic level, or without `settings.host`.
        """
        if settings.host is None:
            raise ValueError("mqtt.host is null: expected the address of a broker, the demo's own included")
        self._settings = settings
        self._host = settings.host
        self._client_id = settings.client_id or machine_name()
        self._retry_seconds = retry_seconds
        self._base = f"{settings.topic_prefix}/{_level(node)}"
        self._sources = frozenset(_level(source) for source in sources)

        # One lock for all that follows. It is never held while paho is called: paho calls back with its own locks held.
        self._changed = threading.Condition()
        self._retained: OrderedDict[str, _Retained] = OrderedDict()
        self._outbox = _Outbox(settings.max_queued_events)
        self._link: _Link | None = None
        self._reason: str | None = "not started"
        self._closing_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

        # A stale ON or online of an earlier run must not outlive its daemon.
        for source in sorted(self._sources):
            self.availability(source, False)
            self.anomaly(source, False)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and is still there, as far as known."""
        link = self._link
        return link is not None and link.accepted and link.ended is None

    @property
    def reason(self) -> str | None:
        """Why not connected, for a person; None while connected."""
        return None if self.connected else self._reason

    @property
    def queued(self) -> int:
        """Events that the broker has not acknowledged yet."""
        with self._changed:
            return len(self._outbox)

    @property
    def dropped(self) -> int:
        """Events given up since the start because more than `max_queued_events` were waiting."""
        with self._changed:
            return self._outbox.dropped

    def start(self) -> None:
        """Begin to connect, in a thread of its own. Once only."""
        self._reason = "connecting"
        self._thread.start()

    def close(self, timeout_seconds: float = 1.5) -> None:
        """Deliver what can be delivered, say `offline`, and disconnect, within `timeout_seconds`.

        A broker that does not answer in this time loses the connection without a farewell: then it says `offline`
        itself, as our will.
        """
        with self._changed:
            self._closing_at = time.monotonic() + timeout_seconds
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        if self.queued:
            log.warning("mqtt: %d events were not delivered before the end", self.queued)

    def availability(self, source: str, online: bool) -> None:
        """Say whether sound comes from `source`."""
        self._retain(self._topic(source, "availability"), "online" if online else "offline", qos=1)

    def anomaly(self, source: str, abnormal: bool) -> None:
        """Say whether an episode is open at `source`."""
        self._retain(self._topic(source, "anomaly"), "ON" if abnormal else "OFF", qos=1)

    def state(self, source: str, payload: Payload) -> None:
        """Say how `source` is (schemas/state.json). Only the newest is kept while offline."""
        self._retain(self._topic(source, "state"), _json(payload), qos=0)

    def health(self, payload: Payload) -> None:
        """Say how this device is (schemas/health.json). Only the newest is kept while offline."""
        self._retain(f"{self._base}/health", _json(payload), qos=0)

    def event(self, source: str, payload: Payload) -> None:
        """Say that an episode was opened, updated or closed (schemas/event.json); kept until acknowledged.

        `delayed` is set here: true if the event had to wait for a connection.
        Raises ValueError for an unknown source, and ValueError or TypeError for a payload that is not JSON (NaN is
        not), as the other methods do.
        """
        topic, text = self._topic(source, "event"), _json({**payload, "delayed": False})
        with self._changed:
            born = self._link if self.connected else None
            if self._outbox.put(_Event(topic, text, born)):
                log.log(
                    logging.WARNING if self._outbox.dropped == 1 else logging.DEBUG,
                    "mqtt: more than %d events are waiting, the oldest is dropped",
                    self._settings.max_queued_events,
                )
            self._changed.notify_all()

    def _topic(self, source: str, leaf: str) -> str:
        if source not in self._sources:
            raise ValueError(f"source {source!r}: expected one of {', '.join(sorted(self._sources))}")
        return f"{self._base}/{source}/{leaf}"

    def _retain(self, topic: str, text: str, *, qos: int) -> None:
        with self._changed:
            self._retained[topic] = _Retained(topic, text, qos)
            if self._link is not None:
                self._link.unsaid[topic] = None
            self._changed.notify_all()

    # --- The thread: connect, serve, wait, again ---

    def _run(self) -> None:
        shortest_seconds, longest_seconds = self._retry_seconds
        wait_seconds, short_lives = shortest_seconds, 0
        while True:
            link = self._connect_and_serve()
            if link.lived_seconds >= SHORT_LIFE_SECONDS:
                wait_seconds, short_lives = shortest_seconds, 0
            elif link.accepted:
                short_lives += 1
                if short_lives == SHORT_LIVES_OF_A_FIGHT:
                    self._warn_of_a_fight()
            if self._wait_for_closing(wait_seconds * random.uniform(1, 1.5)):
                return
            wait_seconds = min(2 * wait_seconds, longest_seconds / 1.5)

    def _connect_and_serve(self) -> "_Link":
        """Return after one connection, or one attempt at it, has ended; `link.ended` says why."""
        link = _Link(unsaid=OrderedDict())
        try:
            client = self._new_client(link)
            client.connect(self._host, self._settings.broker_port, self._settings.keepalive_seconds)
        except (OSError, ValueError, EarshotError) as error:
            self._end(link, _in_words(error))
            return link

        with self._changed:
            self._link = link
            link.unsaid.update(dict.fromkeys(self._retained))
        client.loop_start()
        while (message := self._next_message(link)) is not None:
            self._hand_over(client, link, message)
        self._hang_up(client, link)
        return link

    def _next_message(self, link: "_Link") -> "_Message | None":
        """Wait for something to say; None when the connection has ended or there is nothing left before closing."""
        with self._changed:
            while link.ended is None:
                if link.accepted and len(link.in_flight) < MOST_IN_FLIGHT:
                    message = self._choose(link)
                    if message is not None:
                        return message
                if self._closing_at is None:
                    self._changed.wait()
                elif self._said_all(link) or time.monotonic() >= self._closing_at:
                    return None
                else:
                    self._changed.wait(self._closing_at - time.monotonic())
            return None

    def _choose(self, link: "_Link") -> "_Message | None":
        """Return what is said next: that we are here, what changed, the events in their order, and goodbye last."""
        if not link.said_online:
            link.said_online = True
            return self._status("online")
        if link.unsaid:
            topic, _ = link.unsaid.popitem(last=False)
            retained = self._retained[topic]
            return _Message(topic, retained.text, retained.qos, retain=True)
        numbered = self._outbox.after(link.last_number)
        if numbered is not None:
            link.last_number, event = numbered
            text = event.text if event.born is link else _json({**json.loads(event.text), "delayed": True})
            return _Message(event.topic, text, qos=1, retain=False, number=link.last_number)
        if self._closing_at is not None and not link.said_offline:
            link.said_offline = True
            return self._status("offline")
        return None

    def _status(self, text: str) -> "_Message":
        return _Message(f"{self._base}/status", text, qos=1, retain=True)

    def _said_all(self, link: "_Link") -> bool:
        return link.said_offline and not link.in_flight

    def _hand_over(self, client: paho.Client, link: "_Link", message: "_Message") -> None:
        """Give one message to paho, and remember under which id its acknowledgement will come."""
        info = client.publish(message.topic, message.text, qos=message.qos, retain=message.retain)
        with self._changed:
            # info.is_published() is of no use: it raises for ever once a message was given to a closed connection.
            if info.mid in link.early:
                link.early.remove(info.mid)
                self._outbox.remove(message.number)
            else:
                link.in_flight[info.mid] = message.number

    def _hang_up(self, client: paho.Client, link: "_Link") -> None:
        with self._changed:
            polite = self._said_all(link)
        sock = client.socket()
        if polite:
            client.disconnect()
        elif isinstance(sock, socket.socket):
            # A DISCONNECT would cancel the will, which is all that is left to say `offline` for us. The plain shutdown,
            # not TLS's own: paho's thread may be inside it.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        client.loop_stop()
        self._end(link, "closed")

    def _wait_for_closing(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closing_at is not None, seconds)

    def _new_client(self, link: "_Link") -> paho.Client:
        """Return a client that knows us and this link. The password and the certificates are read anew every time."""
        s = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=paho.MQTTv311, reconnect_on_failure=False
        )
        if s.username is not None:
            client.username_pw_set(s.username, None if s.password_file is None else _password(s.password_file))
        if s.tls.enabled:
            client.tls_set_context(_tls_context(s.tls))
        client.will_set(f"{self._base}/status", "offline", qos=1, retain=True)
        client.on_connect = lambda _client, _data, _flags, code, _properties: self._on_connect(link, code)
        client.on_publish = lambda _client, _data, mid, _code, _properties: self._on_publish(link, mid)
        client.on_disconnect = lambda _client, _data, _flags, code, _properties: self._on_disconnect(link, code)
        return client

    # --- What paho calls, in its thread ---

    def _on_connect(self, link: "_Link", code: ReasonCode) -> None:
        if code.is_failure:
            self._end(link, f"refused by the broker: {code}; see mqtt.username, password_file and client_id")
            return
        log.info("mqtt: connected to %s:%d", self._host, self._settings.broker_port)
        with self._changed:
            link.accepted_at = time.monotonic()
            self._reason = None
            self._changed.notify_all()

    def _on_publish(self, link: "_Link", mid: int) -> None:
        """Take one message as delivered. It can come before `publish` has returned the id."""
        with self._changed:
            if mid in link.in_flight:
                self._outbox.remove(link.in_flight.pop(mid))
            else:
                link.early.add(mid)
            self._changed.notify_all()

    def _on_disconnect(self, link: "_Link", code: ReasonCode) -> None:
        because = "" if str(code) == "Unspecified error" else f": {code}"
        if link.accepted:
            self._end(link, f"connection lost{because}")
        else:
            self._end(link, f"no answer to our greeting{because}; does only one side expect TLS?")

    def _end(self, link: "_Link", reason: str) -> None:
        """Note why `link` ended, for the first time it is said, and log it if it is another reason than before."""
        with self._changed:
            if link.ended is not None:
                return
            link.ended, link.ended_at = reason, time.monotonic()
            if reason != self._reason and self._closing_at is None:
                log.warning("mqtt: %s:%d: %s", self._host, self._settings.broker_port, reason)
            self._reason = reason
            self._changed.notify_all()

    def _warn_of_a_fight(self) -> None:
        log.warning(
            "mqtt: accepted and cut off within %g s, %d times in a row: another client may use the same client_id, %s",
            SHORT_LIFE_SECONDS,
            SHORT_LIVES_OF_A_FIGHT,
            self._client_id,
        )


@dataclass(frozen=True)
class _Retained:
    topic: str
    text: str
    qos: int


@dataclass(frozen=True)
class _Message:
    """What goes to paho; `number` is the outbox's, for an event."""

    topic: str
    text: str
    qos: int
    retain: bool
    number: int | None = None


@dataclass
class _Link:
    """One connection, from the attempt to its end: paho's callbacks of an older one cannot touch a newer one."""

    unsaid: OrderedDict[str, None]
    """Retained topics whose newest value this connection has not seen yet, in the order of their change."""
    in_flight: dict[int, int | None] = field(default_factory=dict)
    """paho's message ids that are not acknowledged (QoS 0: not written), each with the outbox's number of its event."""
    early: set[int] = field(default_factory=set)
    last_number: int = 0
    accepted_at: float | None = None
    ended_at: float | None = None
    ended: str | None = None
    said_online: bool = False
    said_offline: bool = False

    @property
    def accepted(self) -> bool:
        return self.accepted_at is not None

    @property
    def lived_seconds(self) -> float:
        if self.accepted_at is None or self.ended_at is None:
            return 0.0
        return self.ended_at - self.accepted_at


@dataclass(frozen=True)
class _Event:
    topic: str
    text: str
    born: _Link | None
    """The connection that was up when it happened: over any other, it is delayed."""


class _Outbox:
    """Events until they are acknowledged, oldest first, numbered from 1; in memory.

    This is the seam for one that outlives the process: `put`, `after` and `remove` are all that the publisher knows.
    """

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._newest = 0
        self._events: OrderedDict[int, _Event] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: _Event) -> bool:
        """Take `event`; return whether the oldest had to go for it (one in flight may still arrive)."""
        self._newest += 1
        self._events[self._newest] = event
        if len(self._events) <= self._most:
            return False
        self._events.popitem(last=False)
        self.dropped += 1
        return True

    def after(self, number: int) -> tuple[int, _Event] | None:
        """Return the oldest event that is newer than `number`, with its own number; None if there is none."""
        # Acknowledged and dropped ones leave from the front, so what is not handed over yet has no holes.
        oldest = next(iter(self._events), self._newest + 1)
        number = max(number + 1, oldest)
        return (number, self._events[number]) if number <= self._newest else None

    def remove(self, number: int | None) -> None:
        """Forget an event that was acknowledged; None, or one dropped before, is nothing."""
        if number is not None:
            self._events.pop(number, None)


def _level(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
        raise ValueError(f"topic level {name!r}: expected letters, digits, _ and -")
    return name


def _json(payload: Payload) -> str:
    return json.dumps(payload, allow_nan=False, separators=(",", ":"))


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EarshotError(f"mqtt.password_file {file}: {_in_words(error)}") from error


def _tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return a context that asks the broker for a certificate and a host name that fits. ssl names no files; we do."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise EarshotError(f"mqtt.tls.ca_file {tls.ca_file}: {_in_words(error)}") from error
    if tls.certificate_file is not None and tls.key_file is not None:
        try:
            # An empty passphrase: without one, OpenSSL would ask for it on a terminal that nobody sits at.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
        except OSError as error:
            files = f"mqtt.tls.certificate_file {tls.certificate_file}, key_file {tls.key_file}"
            raise EarshotError(f"{files}: {_in_words(error)}") from error
    return context


def _in_words(error: Exception) -> str:
    """Return the part of an error that a person can use: no numbers, no line of C source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the broker's certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
