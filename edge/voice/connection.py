"""A connection to the broker that is kept up for ever: connect, serve, wait, again. Only its thread waits for anybody.

What is said over it the agenda knows, and what one connection goes through the link. A broker that is absent, refuses
or hangs is a state (`reason`), never an exception.
"""

import logging
import threading
import time
from collections.abc import Callable

from edge.errors import EarshotError
from edge.voice.agenda import Agenda
from edge.voice.backoff import Backoff
from edge.voice.broker import Broker
from edge.voice.credentials import in_words
from edge.voice.link import Link
from edge.voice.message import Message
from edge.voice.orders import Orders
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
        topics: Topics,
        agenda: Agenda,
        orders: Orders,
        changed: threading.Condition,
        *,
        delivered: Callable[[int], None],
        retry_seconds: tuple[float, float],
    ) -> None:
        """Remember what to do; nothing is opened before `start`. `delivered`: see Link; `retry_seconds`: Publisher."""
        self._broker = broker
        self._topics = topics
        self._agenda = agenda
        self._orders = orders
        self._changed = changed
        self._delivered = delivered
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
            wait_seconds = self._backoff.after(accepted=link.accepted, lived_seconds=link.lived_seconds)
            if self._wait_for_closing(wait_seconds):
                return

    def _connect_and_serve(self) -> Link:
        """Return after one connection, or one attempt at it, has ended."""
        link = Link(
            self._broker,
            self._topics,
            self._changed,
            heard=self._orders.hear if self._orders.wanted else None,
            delivered=self._delivered,
            ended=self._note,
        )
        try:
            client = link.open()
        except (OSError, ValueError, EarshotError) as error:
            link.end(in_words(error))
            return link

        with self._changed:
            self._link = link
            self._agenda.begin(link)
        client.loop_start()
        while (message := self._next_message(link)) is not None:
            link.hand_over(client, message)
        with self._changed:
            polite = self._said_all(link)
        link.hang_up(client, polite=polite)
        return link

    def _next_message(self, link: Link) -> Message | None:
        """Wait for something to say; None when the connection has ended or there is nothing left before closing."""
        while True:
            due_seconds = self._agenda.tend_the_outbox()
            turn_seconds = self._orders.obey() if self._closing_at is None else None
            closing_seconds = None
            with self._changed:
                if link.over:
                    return None
                closing = self._closing_at is not None
                if link.ready and (message := self._agenda.next(closing=closing)) is not None:
                    return message
                if self._closing_at is not None:
                    closing_seconds = self._closing_at - time.monotonic()
                    if self._said_all(link) or closing_seconds <= 0:
                        return None
                elif self._orders.waiting and turn_seconds is None:
                    continue  # it has come since we looked
                waits = (due_seconds, turn_seconds, closing_seconds)
                self._changed.wait(min((seconds for seconds in waits if seconds is not None), default=None))

    def _said_all(self, link: Link) -> bool:
        return self._agenda.said_goodbye and link.idle

    def _wait_for_closing(self, seconds: float) -> bool:
        """Wait so long for the next attempt; return whether there is to be none."""
        end = time.monotonic() + seconds
        while True:
            due_seconds = self._agenda.tend_the_outbox()
            with self._changed:
                left_seconds = end - time.monotonic()
                if self._closing_at is not None or left_seconds <= 0:
                    return self._closing_at is not None
                self._changed.wait(left_seconds if due_seconds is None else min(left_seconds, due_seconds))

    def _note(self, link: Link, reason: str) -> None:
        """Remember why a link has ended, and log it if it is another reason than before. `changed` is held."""
        if (link.accepted or reason != self._reason) and self._closing_at is None:
            log.warning("mqtt: %s: %s", self._broker, reason)
        self._reason = reason
