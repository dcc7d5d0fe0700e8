"""What came of a link, told to those whom it concerns: the agenda, the orders, the outbox, and who lays the blame."""

import threading
from collections.abc import Callable
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.voice.agenda import Agenda
from edge.voice.blame import Blame
from edge.voice.dialect import Dialect, Terms
from edge.voice.herald import Herald
from edge.voice.link import Link
from edge.voice.message import Message
from edge.voice.orders import Orders
from edge.voice.second_try import SecondTry
from edge.voice.waiting import Cause

TRUST_SECONDS: Final = 300.0
"""A link that lived so long with a subscription has not been harmed by it."""

ONLY_THIS_MESSAGE: Final = frozenset({0x95, 0x99})
"""Reason codes of a PUBACK that speak against the message: too large, payload format. Others mean the topic."""


class Reckoning:
    """The `Ear` of each link, and whether the end of the last one was weighed. `changed` guards it."""

    def __init__(
        self,
        dialect: Dialect,
        agenda: Agenda,
        blame: Blame,
        second_try: SecondTry,
        orders: Orders,
        herald: Herald,
        changed: threading.Condition,
        delivered: Callable[[int], None],
    ) -> None:
        """delivered: given the outbox's number of each event that the broker has acknowledged, with `changed` held."""
        self._dialect = dialect
        self._agenda = agenda
        self._blame = blame
        self._second_try = second_try
        self._orders = orders
        self._herald = herald
        self._changed = changed
        self._delivered = delivered
        self._weighed = True
        self._renewed = 0

    @property
    def renewed(self) -> int:
        """Links ended by us since the start, because an answer did not come."""
        return self._renewed

    def welcomed(self, granted: Properties | None) -> Terms:
        """See Ear."""
        return self._dialect.terms(granted)

    def answered(self, message: Message, refusal: ReasonCode | None) -> None:
        """See Ear."""
        self._agenda.answered(message, taken=refusal is None)
        if refusal is not None:
            only_this = refusal.value in ONLY_THIS_MESSAGE
            if not self._second_try.refused(message, f"refused by the broker: {refusal}") or not only_this:
                self._blame.refused(message, str(refusal), only_this=only_this)
            return
        self._blame.acknowledged(message)
        self._second_try.acknowledged(message)
        if message.number is not None:
            self._delivered(message.number)

    def heard(self, message: paho.MQTTMessage) -> None:
        """See Ear."""
        if not self._herald.hear(message):
            self._orders.hear(message)

    def weigh(self, link: Link) -> None:
        """Tell how the broker was found after the last end; once, when it is known."""
        with self._changed:
            if not self._weighed and (link.accepted or link.over):
                self._weighed = True
                self._blame.weigh(was_there=link.accepted)
            if not link.over and link.flight.heard_for_seconds >= TRUST_SECONDS:
                for topic in self._agenda.wishes:
                    self._blame.trusted(topic)

    def charge(self, link: Link, reason: str) -> None:
        """Lay the end of a link to what was on its way."""
        reason = f"the broker hung up at it ({reason})"
        with self._changed:
            charges = link.charges
            if self._second_try.cost(Cause.HUNG_UP, reason):
                charges = [message for message in charges if message.hears]  # by poison that came to us
            elif link.unexplained:
                self._blame.ended_without_it(link.lived_seconds)
            if charges:
                self._blame.charge(charges, reason)
                self._weighed = False

    def overdue(self, link: Link) -> str | None:
        """Return why a link should be ended that waits for an answer which should have come long ago; None if not."""
        if not link.accepted:
            return "no answer to our greeting in time" if link.due_seconds <= 0 else None
        overdue = link.flight.overdue()
        if overdue is None:
            return None
        message, others_came = overdue
        self._renewed += 1
        if self._second_try.cost(Cause.UNANSWERED, "it was not acknowledged in time"):
            pass
        elif others_came:
            self._blame.ignored(message, "the broker acknowledges others, and not this")
        return f"no acknowledgement of {message.topic} in time: the connection is made anew"
