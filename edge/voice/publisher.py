"""What the daemon has to say, over MQTT, and what it is told. Here is said; the rooms behind it wait for the broker.

    earshot/<node>/status                   online | offline   retained, and `offline` is the will
    earshot/<node>/health                   JSON               retained
    earshot/<node>/<source>/availability    online | offline   retained
    earshot/<node>/<source>/anomaly         ON | OFF           retained
    earshot/<node>/<source>/state           JSON               retained
    earshot/<node>/<source>/spectrogram     PNG                retained
    earshot/<node>/<source>/event           JSON               not retained, kept while the broker is away
    earshot/<node>/<source>/cmd/<command>   JSON               heard, with mqtt.commands: on (edge/voice/control.py)
    earshot/<node>/<source>/cmd/result      JSON               not retained: what became of a command
    homeassistant/device/<id>/config        JSON               retained: what of all this Home Assistant should show

All of it is said at QoS 1: what is acknowledged has cost nobody the connection (edge/voice/blame.py). MQTT 5 is spoken
where the broker has it, and 3.1.1 elsewhere (edge/voice/dialect.py).

Two kinds of things are said. Of a *retained* topic only the newest value matters: it is remembered, and all of them are
said again at every connect, because a broker may have lost them. An *event* matters by itself: it stays in the outbox
until the broker has acknowledged it. It may so arrive twice (the broker had it, we did not hear so): both have the same
`id`, `kind` and `time`, and the second is `delayed`. An episode that an earlier run left open, because it was killed,
is closed at the start: reason `interrupted`. The schemas of the payloads stand in `edge/schemas/`.

Commands are obeyed by the thread that publishes.
"""

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from edge.config import MqttSettings
from edge.voice.agenda import Agenda
from edge.voice.blame import Blame
from edge.voice.broker import Broker
from edge.voice.connection import Connection
from edge.voice.dialect import Dialect
from edge.voice.discovery import Discovery
from edge.voice.herald import Herald, Notebook
from edge.voice.message import Payload, as_json
from edge.voice.orders import OnCommand, Orders
from edge.voice.outbox import Outbox
from edge.voice.retained import Retained, Worth
from edge.voice.second_try import SecondTry
from edge.voice.topics import Topics

log = logging.getLogger(__name__)

MOST_IMAGE_BYTES: Final = 1_000_000


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
        pictures: bool = True,
        notebook: Notebook | None = None,
        retry_seconds: tuple[float, float] = (1, 60),
    ) -> None:
        """Remember what to do; nothing is opened before `start`.

        state_path: the folder for the events that wait; None: in memory only.
        on_command: with `settings.commands` on, called in the publisher's own thread with the name of one of `sources`
        and a command that was understood. No event goes out before it has returned. What it raises goes no further.
        None: no command is heard.
        pictures: whether there will be any. notebook: remembers what was announced (edge/voice/herald.py).
        retry_seconds: the shortest and the longest wait before the next attempt (edge/voice/backoff.py).
        Raises ValueError for a name that is no topic level, or without `settings.host`.
        """
        broker = Broker(settings)
        topics = Topics(settings.topic_prefix, node, sources)
        # One lock for what the publisher's thread, paho's and all others touch. It also wakes the first.
        self._changed = threading.Condition()
        self._topics = topics
        self._retained = Retained(self._changed)
        commanded = on_command if settings.commands == "on" else None
        self._orders = Orders(topics, commanded, self._changed, most_minutes=settings.largest_shelve_minutes)
        self._outbox = Outbox(settings.outbox, state_path, written=self._wake)
        self._second_try = SecondTry(self._outbox, self._changed)
        self._blame = Blame(self._outbox, self._second_try, self._changed)
        announced = Discovery(settings, topics, node, pictures=pictures) if settings.discovery_prefix else None
        self._herald = Herald(announced, topics.sources, self._retained, notebook)
        wishes = [topics.commands if self._orders.wanted else None, self._herald.birth_topic]
        heard = tuple(topic for topic in wishes if topic is not None)
        self._agenda = Agenda(topics, self._retained, self._orders, self._outbox, self._blame, self._second_try, heard)
        self._connection = Connection(
            broker,
            Dialect(settings),
            topics,
            self._agenda,
            self._blame,
            self._second_try,
            self._orders,
            self._herald,
            self._changed,
            delivered=self._outbox.remove,
            retry_seconds=retry_seconds,
        )

        # A stale ON or online of an earlier run must not outlive its daemon.
        for source in sorted(topics.sources):
            self.availability(source, False)
            self.anomaly(source, False)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and is still there, as far as known."""
        return self._connection.up is not None

    @property
    def reason(self) -> str | None:
        """Why not connected, for a person; None while connected."""
        return self._connection.reason

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
            "commands_dropped": self._orders.dropped,
            "commands_ignored": self._orders.ignored,
            "commands": "on" if self._orders.wanted else "off",
            "largest_shelve_minutes": self._orders.most_minutes,
            "protocol": self._connection.protocol,
            "links_renewed": self._connection.renewed,
            **self._second_try.figures,
            "left_out": self._blame.left_out,
        }

    def start(self) -> None:
        """Read what an earlier run has left, and begin to connect, in a thread of its own. Once only."""
        self._outbox.open()
        self._herald.open()
        self._agenda.close_interrupted()
        self._connection.start()

    def close(self, timeout_seconds: float = 1.5) -> None:
        """Deliver what can be delivered, say `offline`, and disconnect, within `timeout_seconds`.

        A broker that does not answer in this time loses the connection without a farewell: then it says `offline`
        itself, as our will.
        """
        self._connection.close(timeout_seconds)
        self._outbox.close()
        if self.queued:
            kept = "they are kept for the next start" if self._outbox.problem is None else "they are lost"
            log.warning("mqtt: %d events were not delivered before the end: %s", self.queued, kept)

    def availability(self, source: str, online: bool) -> None:
        """Say whether sound comes from `source`."""
        self._retained.say(self._topics.of(source, "availability"), "online" if online else "offline", Worth.WORD)

    def anomaly(self, source: str, abnormal: bool) -> None:
        """Say whether an episode is open at `source`."""
        self._retained.say(self._topics.of(source, "anomaly"), "ON" if abnormal else "OFF", Worth.WORD)

    def state(self, source: str, payload: Payload) -> None:
        """Say how `source` is (schemas/state.json). Only the newest is kept while offline."""
        self._retained.say(self._topics.of(source, "state"), as_json(payload), Worth.FIGURES)

    def health(self, payload: Payload) -> None:
        """Say how this device is (schemas/health.json). Only the newest is kept while offline.

        A broker that remembers nothing is told everything else anew with it.
        """
        with self._changed:
            self._agenda.repeat()
        self._retained.say(self._topics.health, as_json(payload), Worth.FIGURES)

    def image(self, source: str, png: bytes) -> None:
        """Show what `source` sounds like, as a PNG of at most `MOST_IMAGE_BYTES`. Only the newest is kept.

        Raises ValueError for a larger one.
        """
        if len(png) > MOST_IMAGE_BYTES:
            raise ValueError(f"image of {len(png)} bytes, expected at most {MOST_IMAGE_BYTES}")
        self._retained.say(self._topics.of(source, "spectrogram"), png, Worth.PICTURE)

    def event(self, source: str, payload: Payload) -> None:
        """Say that an episode was opened, updated or closed (schemas/event.json); kept until acknowledged.

        It is on disk when this returns, if there is a state directory and the disk keeps up; a disk that stalls is not
        waited for (edge/voice/scribe.py).

        `delayed` is set here: true if the event had to wait for a connection.
        Raises ValueError for an unknown source, and ValueError or TypeError for a payload that is not JSON (NaN is
        not), as the other methods do.
        """
        topic = self._topics.of(source, "event")
        with self._changed:
            born = self._connection.up
        self._outbox.put(topic, {**payload, "delayed": False}, born)  # the disk may be slow: no lock is held
        self._wake()

    def answer(self, source: str, command: str, *, ok: bool, words: str) -> None:
        """Say what became of a command after all (schemas/command_result.json); nothing while not connected."""
        self._orders.answer(source, command, ok=ok, words=words)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
