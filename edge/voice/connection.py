"""A connection to the broker that is kept up for ever: connect, serve, wait, again. Only its thread waits for anybody.

What is said over it the agenda knows, and what one connection goes through the link. A broker that is absent, refuses
or hangs is a state (`reason`), never an exception. None of its answers is waited for without an end.
"""

import logging
import math
import threading
import time
from collections.abc import Callable

from edge.errors import EarshotError
from edge.voice.agenda import Agenda
from edge.voice.backoff import Backoff
from edge.voice.blame import Blame
from edge.voice.broker import Broker, Client
from edge.voice.credentials import in_words
from edge.voice.dialect import DIALECT, Dialect, version_name
from edge.voice.herald import Herald
from edge.voice.link import Link
from edge.voice.message import Message
from edge.voice.orders import Orders
from edge.voice.reckoning import Reckoning
from edge.voice.second_try import SecondTry
from edge.voice.topics import Topics

log = logging.getLogger(__name__)


class Connection:
    """The newest link, why the one before it ended, and when we have to be gone.

    Any thread may ask, `start` and `close`. The rest happens in the publisher's thread, which is made here. `changed`
    guards the state, and wakes that thread; it is never held while paho, the disk or a command is waited for.
    """

    def __init__(
        self,
        broker: Broker,
        dialect: Dialect,
        topics: Topics,
        agenda: Agenda,
        blame: Blame,
        second_try: SecondTry,
        orders: Orders,
        herald: Herald,
        changed: threading.Condition,
        *,
        delivered: Callable[[int], None],
        retry_seconds: tuple[float, float],
    ) -> None:
        """Remember what to do; nothing is opened before `start`. delivered: see Reckoning; retry_seconds: Publisher."""
        self._broker = broker
        self._dialect = dialect
        self._topics = topics
        self._agenda = agenda
        self._blame = blame
        self._orders = orders
        self._changed = changed
        self._reckoning = Reckoning(dialect, agenda, blame, second_try, orders, herald, changed, delivered)
        self._backoff = Backoff(*retry_seconds, broker.client_id)
        self._link: Link | None = None
        self._reason = "not started"
        self._closing_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def up(self) -> Link | None:
        """The link, if the broker has accepted us and is still there, as far as known."""
        link = self._link
        return link if link is not None and link.accepted and not link.over else None

    @property
    def reason(self) -> str | None:
        """Why it is not up, for a person; None while it is."""
        return None if self.up else self._reason

    @property
    def protocol(self) -> str | None:
        """The version of MQTT that is spoken now; None while it is not up."""
        link = self.up
        return None if link is None else version_name(link.version)

    @property
    def renewed(self) -> int:
        """Links ended by us since the start, because an answer did not come."""
        return self._reckoning.renewed

    def start(self) -> None:
        """Begin to connect, in a thread of its own. Once only."""
        self._reason = "connecting"
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered, say `offline`, and disconnect, within `timeout_seconds`."""
        with self._changed:
            self._closing_at = time.monotonic() + timeout_seconds
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            link = self._connect_and_serve()
            again_at_once = link.greeted and self._dialect.learn(link.answer)
            wait_seconds = self._backoff.after(cut_off=link.unexplained, lived_seconds=link.lived_seconds)
            if self._wait_for_closing(0.0 if again_at_once else wait_seconds):
                return

    def _connect_and_serve(self) -> Link:
        """Return after one connection, or one attempt at it, has ended."""
        link = Link(self._broker, self._topics, self._changed, self._reckoning, self._note)
        try:
            client = link.open(self._dialect)
        except (OSError, ValueError, LookupError, EarshotError) as error:  # LookupError: paho's, of no websocket
            link.end(in_words(error))
            self._reckoning.weigh(link)
            return link

        with self._changed:
            self._link = link
            self._agenda.begin(link)
        client.loop_start()
        self._serve(link, client)
        with self._changed:
            polite = self._said_all(link)
        link.hang_up(client, polite=polite)
        self._reckoning.weigh(link)
        if self._closing_at is None:
            self._reckoning.charge(link, self._reason)
        return link

    def _serve(self, link: Link, client: Client) -> None:
        while (message := self._next_message(link)) is not None:
            link.hand_over(client, message)

    def _next_message(self, link: Link) -> Message | None:
        """Wait for something to say; None when the connection has ended or there is nothing left before closing."""
        while True:
            self._agenda.close_interrupted()  # a disk that could not be read at the start may have come back
            turn_seconds = self._orders.obey() if self._closing_at is None else None
            with self._changed:
                if link.over or self._is_overdue(link):
                    return None
                self._reckoning.weigh(link)
                closing = self._closing_at is not None
                if link.ready(careful=self._blame.careful):
                    if (message := self._agenda.next(link.terms, closing=closing)) is not None:
                        return message
                    if link.idle:
                        self._blame.all_said()
                    if not closing and link.ready(careful=True) and (message := self._agenda.once_more()) is not None:
                        return message
                if self._closing_at is not None and (self._said_all(link) or time.monotonic() >= self._closing_at):
                    return None
                if self._orders.waiting and turn_seconds is None and not closing:
                    continue  # it has come since we looked
                self._changed.wait(self._sleep_seconds(link, turn_seconds))

    def _sleep_seconds(self, link: Link, turn_seconds: float | None) -> float | None:
        """Return until when nothing has to be done, unless something happens."""
        closing_seconds = None if self._closing_at is None else max(0.0, self._closing_at - time.monotonic())
        waits = (
            turn_seconds,
            closing_seconds,
            link.due_seconds,
            link.flight.settled_in_seconds,
            self._blame.due_seconds,
            self._agenda.once_more_seconds if link.ready(careful=True) else None,
        )
        seconds = min(each for each in waits if each is not None)
        return None if seconds == math.inf else max(0.0, seconds)

    def _is_overdue(self, link: Link) -> bool:
        """End a link that waits for an answer which should have come long ago; return whether it was one."""
        reason = self._reckoning.overdue(link)
        if reason is not None:
            link.end(reason)
        return reason is not None

    def _said_all(self, link: Link) -> bool:
        return self._agenda.said_goodbye and link.idle

    def _wait_for_closing(self, seconds: float) -> bool:
        """Wait so long for the next attempt; return whether there is to be none."""
        end = time.monotonic() + seconds
        self._agenda.close_interrupted()
        with self._changed:
            while True:
                left_seconds = end - time.monotonic()
                if self._closing_at is not None or left_seconds <= 0:
                    return self._closing_at is not None
                self._changed.wait(left_seconds)

    def _note(self, link: Link, reason: str) -> None:
        """Remember why a link has ended, and log it if it is another reason than before. `changed` is held."""
        if (link.accepted or reason != self._reason) and self._closing_at is None:
            learns = link.answer is not None and link.answer.value in DIALECT
            log.log(logging.DEBUG if learns else logging.WARNING, "mqtt: %s: %s", self._broker, reason)
        self._reason = reason
