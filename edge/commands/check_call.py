"""One connection of `earshot check` to the broker, served in the thread that waits for it."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.commands.steps import Trouble
from edge.voice import Broker, Dialect, Terms, in_words

ANSWER_SECONDS: Final = 5.0

REMEMBERED_SECONDS: Final = 1.0
"""For what a broker remembers, or sends back to us."""

MOST_GREETINGS: Final = 4
"""In 5, in 3.1.1, without retain, at QoS 0."""


class Call:
    """What the broker has answered: to our greeting, and to each message; and what it has sent.

    Make it with `greeted`.
    """

    def __init__(self, broker: Broker, dialect: Dialect, will_topic: str | None, will: str) -> None:
        """Connect and greet. Raises Trouble if the broker is not reached."""
        self.answer: ReasonCode | None = None
        self.ended: str | None = None
        self.heard: list[paho.MQTTMessage] = []
        self.terms = Terms()
        self.version = dialect.version
        self._dialect = dialect
        self._answers: dict[int, ReasonCode] = {}
        self._client = client = broker.new_client(dialect, will_topic, will)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda _client, _data, _flags, code, _properties: self._end(str(code))
        client.on_publish = lambda _client, _data, mid, code, _properties: self._answers.update({mid: code})
        client.on_subscribe = lambda _client, _data, mid, codes, _properties: self._answers.update({mid: codes[-1]})
        client.on_message = lambda _client, _data, message: self.heard.append(message)
        try:
            broker.dial(client, dialect)
        except (OSError, ValueError, LookupError) as error:  # LookupError: paho's, of no websocket
            raise Trouble(f"{broker}: {in_words(error)}") from error
        self.wait(lambda: self.answer is not None or self.ended is not None)

    @property
    def is_let_in(self) -> bool:
        """Whether the broker has accepted us."""
        return self.answer is not None and not self.answer.is_failure

    def say(self, topic: str, text: str | bytes, *, retain: bool) -> ReasonCode | None:
        """Publish, as the daemon does; return the acknowledgement, None if none came."""
        retain = retain and self.terms.retain
        return self._answer_to(self._client.publish(topic, text, qos=self.terms.qos, retain=retain).mid)

    def hear(self, topic: str) -> ReasonCode | None:
        """Subscribe; return the answer, None if none came."""
        _, mid = self._client.subscribe(topic, qos=self.terms.qos)
        return self._answer_to(mid or 0)

    def wait(self, condition: Callable[[], object], seconds: float | None = None) -> bool:
        """Let the client work until `condition` holds; return whether it did in time."""
        end = time.monotonic() + (ANSWER_SECONDS if seconds is None else seconds)
        while not condition() and time.monotonic() < end:
            self._client.loop(0.05)
        return bool(condition())

    def close(self) -> None:
        """Say farewell: no will is left behind."""
        with suppress(OSError, ValueError):
            self._client.disconnect()

    def _answer_to(self, mid: int) -> ReasonCode | None:
        self.wait(lambda: mid in self._answers or self.ended is not None)
        return self._answers.get(mid)

    def _on_connect(
        self, _client: object, _data: object, _flags: object, code: ReasonCode, granted: Properties | None
    ) -> None:
        self.answer = code
        if not code.is_failure:
            self.terms = self._dialect.terms(granted)

    def _end(self, why: str) -> None:
        self.ended = "" if why == "Unspecified error" else why


def greeted(broker: Broker, dialect: Dialect, will_topic: str | None = None, will: str = "offline") -> Call:
    """Return the last of the connections that the daemon would try one after the other. Raises Trouble."""
    for _ in range(MOST_GREETINGS):
        call = Call(broker, dialect, will_topic, will)
        if not dialect.learn(call.answer):
            break
        call.close()
    return call
