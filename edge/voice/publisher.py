"""What the daemon has to say, over MQTT, and what it is told. Only the thread that talks to the broker waits for it.

    earshot/<node>/status                   online | offline   retained, QoS 1, and `offline` is the will
    earshot/<node>/health                   JSON               retained, QoS 0
    earshot/<node>/<source>/availability    online | offline   retained, QoS 1
    earshot/<node>/<source>/anomaly         ON | OFF           retained, QoS 1
    earshot/<node>/<source>/state           JSON               retained, QoS 0
    earshot/<node>/<source>/spectrogram     PNG                retained, QoS 0
    earshot/<node>/<source>/event           JSON               not retained, QoS 1, kept while the broker is away
    earshot/<node>/<source>/cmd/<command>   JSON               subscribed, QoS 1 (edge/voice/control.py)
    earshot/<node>/<source>/cmd/result      JSON               not retained, QoS 0: what became of a command

Two kinds of things are said. Of a *retained* topic only the newest value matters: it is remembered here, and all of
them are said again at every connect, because a broker may have lost them. An *event* matters by itself: it stays in the
outbox until the broker has acknowledged it. It may so arrive twice (the broker had it, we did not hear so): both have
the same `id`, `kind` and `time`, and the second is `delayed`. An episode that an earlier run left open, because it was
killed, is closed at the start: reason `interrupted`.

Commands are obeyed by the thread that publishes, a few a second; what comes faster is thrown away and counted, so that
whoever floods these topics delays no event. Retained commands are not obeyed: they would be anew at each connection.

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
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSettings, TlsSettings, machine_name, secret_path
from edge.errors import ConfigError, EarshotError
from edge.voice.control import MOST_BYTES, Command, CommandError, parse, shown
from edge.voice.outbox import Outbox, Payload, as_json

log = logging.getLogger(__name__)

OnCommand = Callable[[str, Command], str | None]
"""Given a source and a command; returns what was done, in words, or None, or raises CommandError if it is not done."""

MOST_IN_FLIGHT: Final = 20
"""Messages that paho may hold at once; its own limit is the same, so nothing queues inside it."""

SHORT_LIFE_SECONDS: Final = 5.0
"""A connection that ends sooner counts as a failed one: the wait goes on growing."""

SHORT_LIVES_OF_A_FIGHT: Final = 3

MOST_COMMANDS: Final = 32
"""Commands that may wait for their turn."""

MOST_NAME: Final = 64
"""Characters of a command's name that its result repeats."""

COMMAND_SECONDS: Final = 0.1
"""Between two commands: a person is slower, a flood is not."""

MOST_IMAGE_BYTES: Final = 1_000_000

CERTIFICATE_NOT_YET_VALID: Final = 9
"""X509_V_ERR_CERT_NOT_YET_VALID. A device whose clock has no battery starts in the past; it passes by itself."""

LARGEST_PACKET_BYTES: Final = 1_000_000
"""What a broker may send us at once. The protocol allows 256 MB, and paho would take them into memory."""


class Publisher:
    """A connection to the broker that is kept up for ever, and what is to be said over it.

    Every method may be called from any thread, at any time, connected or not, and returns at once; `close` alone may
    take the time it is given. A broker that is absent, refuses or hangs is a state (`reason`), never an exception.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        node: str,
        sources: Iterable[str],
        state_path: Path | None = None,
        on_command: OnCommand | None = None,
        retry_seconds: tuple[float, float] = (1, 60),
    ) -> None:
        """Remember what to do; nothing is opened before `start`.

        state_path: the folder for the events that wait; None: in memory only.
        on_command: called in the publisher's own thread with the name of one of `sources` and a command that was
        understood. No event goes out before it has returned. What it raises goes no further. None: no command is heard.
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
        self._outbox = Outbox(settings.outbox, state_path)
        self._on_command = on_command
        self._commands: deque[_Heard] = deque()
        self._commands_dropped = 0
        self._next_command_at = 0.0
        self._results: deque[_Message] = deque(maxlen=MOST_COMMANDS)
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
        return len(self._outbox)

    @property
    def dropped(self) -> int:
        """Events given up since the start because more were waiting than `mqtt.outbox` allows."""
        return self._outbox.dropped

    @property
    def figures(self) -> dict[str, Any]:
        """How things stand, for the `mqtt` of a health message (schemas/health.json)."""
        return {
            "queued": self.queued,
            "dropped": self.dropped,
            "on_disk": self._outbox.on_disk,
            "problem": self._outbox.problem,
            "bytes_written": self._outbox.bytes_written,
            "set_aside": self._outbox.set_aside,
            "commands_dropped": self._commands_dropped,
        }

    def start(self) -> None:
        """Read what an earlier run has left, and begin to connect, in a thread of its own. Once only."""
        self._outbox.open()
        self._close_interrupted()
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
        self._outbox.close()
        if self.queued:
            kept = "they are kept for the next start" if self._outbox.problem is None else "they are lost"
            log.warning("mqtt: %d events were not delivered before the end: %s", self.queued, kept)

    def availability(self, source: str, online: bool) -> None:
        """Say whether sound comes from `source`."""
        self._retain(self._topic(source, "availability"), "online" if online else "offline", qos=1)

    def anomaly(self, source: str, abnormal: bool) -> None:
        """Say whether an episode is open at `source`."""
        self._retain(self._topic(source, "anomaly"), "ON" if abnormal else "OFF", qos=1)

    def state(self, source: str, payload: Payload) -> None:
        """Say how `source` is (schemas/state.json). Only the newest is kept while offline."""
        self._retain(self._topic(source, "state"), as_json(payload), qos=0)

    def health(self, payload: Payload) -> None:
        """Say how this device is (schemas/health.json). Only the newest is kept while offline."""
        self._retain(f"{self._base}/health", as_json(payload), qos=0)

    def image(self, source: str, png: bytes) -> None:
        """Show what `source` sounds like, as a PNG of at most `MOST_IMAGE_BYTES`. Only the newest is kept.

        Raises ValueError for a larger one.
        """
        if len(png) > MOST_IMAGE_BYTES:
            raise ValueError(f"image of {len(png)} bytes, expected at most {MOST_IMAGE_BYTES}")
        self._retain(self._topic(source, "spectrogram"), png, qos=0)

    def event(self, source: str, payload: Payload) -> None:
        """Say that an episode was opened, updated or closed (schemas/event.json); kept until acknowledged.

        It is on disk when this returns, if there is a state directory and the disk does its duty.

        `delayed` is set here: true if the event had to wait for a connection.
        Raises ValueError for an unknown source, and ValueError or TypeError for a payload that is not JSON (NaN is
        not), as the other methods do.
        """
        topic = self._topic(source, "event")
        with self._changed:
            born = self._link if self.connected else None
        self._outbox.put(topic, {**payload, "delayed": False}, born)  # the disk may be slow: no lock is held
        with self._changed:
            self._changed.notify_all()

    def _close_interrupted(self) -> None:
        """Say of every episode that an earlier run left open that it is over, as of when it was last heard of."""
        for topic, payload in self._outbox.orphans():
            self._outbox.put(topic, {**payload, "kind": "closed", "reason": "interrupted"})

    def _topic(self, source: str, leaf: str) -> str:
        if source not in self._sources:
            raise ValueError(f"source {source!r}: expected one of {', '.join(sorted(self._sources))}")
        return f"{self._base}/{source}/{leaf}"

    def _retain(self, topic: str, text: str | bytes, *, qos: int) -> None:
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
            self._end(link, in_words(error))
            return link

        with self._changed:
            self._link = link
            self._commands.clear()
            self._results.clear()
            link.unsaid.update(dict.fromkeys(self._retained))
        client.loop_start()
        while (message := self._next_message(link)) is not None:
            self._hand_over(client, link, message)
        self._hang_up(client, link)
        return link

    def _next_message(self, link: "_Link") -> "_Message | None":
        """Wait for something to say; None when the connection has ended or there is nothing left before closing."""
        while True:
            waits = [self._tend_the_outbox(), self._obey()]
            with self._changed:
                if link.ended is not None:
                    return None
                if link.accepted and len(link.in_flight) < MOST_IN_FLIGHT:
                    message = self._choose(link)
                    if message is not None:
                        return message
                if self._closing_at is not None:
                    if self._said_all(link) or time.monotonic() >= self._closing_at:
                        return None
                    waits.append(self._closing_at - time.monotonic())
                elif self._commands and waits[1] is None:
                    continue  # it has come since we looked
                self._changed.wait(min((seconds for seconds in waits if seconds is not None), default=None))

    def _tend_the_outbox(self) -> float | None:
        """Let it do what is due on disk; return the seconds until something will be, None if nothing will."""
        due_seconds = self._outbox.flush()
        self._close_interrupted()  # a disk that could not be read at the start may have come back
        return due_seconds

    def _obey(self) -> float | None:
        """Carry out one command if it is its turn; return the seconds until the next one's, None if there is none."""
        with self._changed:
            if not self._commands or self._closing_at is not None:
                return None
            wait_seconds = self._next_command_at - time.monotonic()
            if wait_seconds > 0:
                return wait_seconds
            heard = self._commands.popleft()
            self._next_command_at = time.monotonic() + COMMAND_SECONDS
        ok, words = self._carry_out(heard)
        log.info("%s: command %s: %s", heard.source, shown(heard.name), words)
        result = {"schema": 1, "command": heard.name[:MOST_NAME], "ok": ok, "message": words}
        topic = self._topic(heard.source, "cmd/result")
        with self._changed:
            self._results.append(_Message(topic, as_json(result), qos=0, retain=False))
            return COMMAND_SECONDS if self._commands else None

    def _carry_out(self, heard: "_Heard") -> tuple[bool, str]:
        """Return whether it was done, and what a person should know about it."""
        assert self._on_command is not None
        try:
            return True, self._on_command(heard.source, parse(heard.name, heard.payload)) or "done"
        except CommandError as error:
            return False, str(error)
        except Exception:
            log.exception("%s: command %s: a defect of ours", heard.source, shown(heard.name))
            return False, "a defect of ours; the device's log tells more"

    def _choose(self, link: "_Link") -> "_Message | None":
        """Return what is said next: that we are here, what changed, the events in their order, and goodbye last."""
        if not link.said_online:
            link.said_online = True
            return self._status("online")
        if link.unsaid:
            topic, _ = link.unsaid.popitem(last=False)
            retained = self._retained[topic]
            return _Message(topic, retained.text, retained.qos, retain=True)
        if self._results:
            return self._results.popleft()
        event = self._outbox.after(link.last_number)
        if event is not None:
            link.last_number = event.number
            text = event.text if event.born is link else as_json({**json.loads(event.text), "delayed": True})
            return _Message(event.topic, text, qos=1, retain=False, number=event.number)
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
                self._forget(message.number)
            else:
                link.in_flight[info.mid] = message.number

    def _forget(self, number: int | None) -> None:
        if number is not None:
            self._outbox.remove(number)

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
        end = time.monotonic() + seconds
        while True:
            due_seconds = self._tend_the_outbox()
            with self._changed:
                left_seconds = end - time.monotonic()
                if self._closing_at is not None or left_seconds <= 0:
                    return self._closing_at is not None
                self._changed.wait(left_seconds if due_seconds is None else min(left_seconds, due_seconds))

    def _new_client(self, link: "_Link") -> paho.Client:
        """Return a client that knows us and this link. The password and the certificates are read anew every time."""
        s = self._settings
        client = _Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=paho.MQTTv311, reconnect_on_failure=False
        )
        if s.username is not None:
            client.username_pw_set(s.username, None if s.password_file is None else password_in(s.password_file))
        if s.tls.enabled:
            client.tls_set_context(tls_context(s.tls))
        client.will_set(f"{self._base}/status", "offline", qos=1, retain=True)
        client.on_connect = lambda client, _data, _flags, code, _properties: self._on_connect(client, link, code)
        client.on_subscribe = lambda _client, _data, _mid, codes, _properties: self._on_subscribe(codes)
        client.on_message = lambda _client, _data, message: self._on_message(message)
        client.on_publish = lambda _client, _data, mid, _code, _properties: self._on_publish(link, mid)
        client.on_disconnect = lambda _client, _data, _flags, code, _properties: self._on_disconnect(link, code)
        return client

    # --- What paho calls, in its thread ---

    def _on_connect(self, client: paho.Client, link: "_Link", code: ReasonCode) -> None:
        if code.is_failure:
            self._end(link, f"refused by the broker: {code}; see mqtt.username, password_file and client_id")
            return
        log.info("mqtt: connected to %s:%d", self._host, self._settings.broker_port)
        with self._changed:
            link.accepted_at = time.monotonic()
            self._reason = None
            self._changed.notify_all()
        if self._on_command is not None:
            client.subscribe(f"{self._base}/+/cmd/+", qos=1)

    def _on_subscribe(self, codes: Iterable[ReasonCode]) -> None:
        if any(code.is_failure for code in codes):
            log.warning("mqtt: the broker does not let us hear commands, %s/+/cmd/+", self._base)

    def _on_message(self, message: paho.MQTTMessage) -> None:
        """Let a command wait for its turn. Whatever came, nothing may be raised here: it would end paho's thread."""
        try:
            source, cmd, name = message.topic.removeprefix(f"{self._base}/").split("/")
        except ValueError:  # another depth, or no UTF-8
            return
        if source not in self._sources or cmd != "cmd" or name == "result":  # the last are our own
            return
        if message.retain:
            log.info("%s: command %s: a retained one is not obeyed", source, shown(name))
            return
        with self._changed:
            if len(self._commands) < MOST_COMMANDS:
                self._commands.append(_Heard(source, name, bytes(message.payload[: MOST_BYTES + 1])))
                self._changed.notify_all()
                return
            self._commands_dropped += 1
            first = self._commands_dropped == 1
        log.log(logging.WARNING if first else logging.DEBUG, "mqtt: commands come too fast, some are thrown away")

    def _on_publish(self, link: "_Link", mid: int) -> None:
        """Take one message as delivered. It can come before `publish` has returned the id."""
        with self._changed:
            if mid in link.in_flight:
                self._forget(link.in_flight.pop(mid))
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


class _Client(paho.Client):
    def _sock_recv(self, bufsize: int) -> bytes:
        """Read from the connection; end it rather than make room for a packet that nobody should send us."""
        if bufsize > LARGEST_PACKET_BYTES:
            raise ConnectionAbortedError(f"a packet of {bufsize} bytes, expected at most {LARGEST_PACKET_BYTES}")
        return super()._sock_recv(bufsize)


@dataclass(frozen=True)
class _Heard:
    """A command as it came."""

    source: str
    name: str
    payload: bytes


@dataclass(frozen=True)
class _Retained:
    topic: str
    text: str | bytes
    qos: int


@dataclass(frozen=True)
class _Message:
    """What goes to paho; `number` is the outbox's, for an event."""

    topic: str
    text: str | bytes
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


def _level(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
        raise ValueError(f"topic level {name!r}: expected letters, digits, _ and -")
    return name


def password_in(file: Path) -> str | None:
    """Return the password that `file` holds (edge.config.settings.secret_path), None if it is empty."""
    try:
        return secret_path(file).read_text(encoding="utf-8").rstrip("\r\n") or None
    except ConfigError as error:
        raise EarshotError(f"mqtt.password_file {error}") from error
    except UnicodeDecodeError:  # its text shows what it could not read
        raise EarshotError(f"mqtt.password_file {file}: expected UTF-8") from None
    except OSError as error:
        raise EarshotError(f"mqtt.password_file {file}: {in_words(error)}") from error


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return a context that asks the broker for a certificate and a host name that fits. ssl names no files; we do."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise EarshotError(f"mqtt.tls.ca_file {tls.ca_file}: {in_words(error)}") from error
    if tls.certificate_file is not None and tls.key_file is not None:
        try:
            # An empty passphrase: without one, OpenSSL would ask for it on a terminal that nobody sits at.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
        except OSError as error:
            files = f"mqtt.tls.certificate_file {tls.certificate_file}, key_file {tls.key_file}"
            raise EarshotError(f"{files}: {in_words(error)}") from error
    return context


def in_words(error: Exception) -> str:
    """Return the part of an error that a person can use: no numbers, no line of C source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "; is the clock of this device set yet?" if error.verify_code == CERTIFICATE_NOT_YET_VALID else ""
        return f"TLS: the broker's certificate was refused: {error.verify_message}{hint}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
