"""Would the daemon be heard? Its version of MQTT, its will, its client id, its topics, with what it says on them.

What is said is true, or marked: `offline` and `OFF` of a daemon that does not run, an event of the kind `check`, and a
grey picture that nobody remembers. Where a daemon runs, only what is marked is said, under another client id, and the
will says that it is online.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from edge.commands import check_call
from edge.commands.check_call import Call, greeted
from edge.commands.check_greeting import Greeting
from edge.commands.steps import Doubt, Trouble
from edge.config import MqttSettings
from edge.voice import Broker, Dialect, Topics, as_json, version_name

PICTURE_BYTES: Final = 50_000
"""What a minute of a busy machine takes."""

AFTERMATH_SECONDS: Final = 0.1
"""Mosquitto 2.0.11 acknowledges in 3.1.1 what its access list forbids, and then hangs up."""

MOST_SOURCES: Final = 10
"""Whose topics are tried: an access list does not tell the eleventh from the tenth."""


class _Word(NamedTuple):
    topic: str
    text: str | bytes
    retain: bool


class AsTheDaemon:
    """The daemon's connection, made by somebody else. `greeting` is let in already, and is hung up here."""

    def __init__(self, mqtt: MqttSettings, node: str, sources: Sequence[str], greeting: Greeting) -> None:
        self._mqtt = mqtt
        self._node = node
        self._sources = sources[:MOST_SOURCES]
        self._topics = Topics(mqtt.topic_prefix, node, sources)
        self._greeting = greeting
        self._doubts: list[Doubt] = []

    def speak(self) -> str:
        """Return what was tried. Raises Trouble for what the daemon cannot do, Doubt for what it can do without."""
        runs = self._daemon_runs()
        self._greeting.close()
        client_id = None if runs is False else self._greeting.client_id
        broker = Broker(self._mqtt, client_id=client_id)
        call = self._let_in(broker, will="online" if runs else "offline")
        try:
            words = [
                word
                for word in _words(self._topics, self._node, self._sources, quiet=runs is not False)
                if self._fits(word, call)
            ]
            reads = self._reads_back(call, words)
            for word in words:
                self._say(call, word)
            self._hear_commands(call)
            if reads:
                self._compare(call, words)
        finally:
            call.close()
        beside = "" if runs is False else ", beside the daemon that is online" if runs else ", perhaps beside a daemon"
        found = (
            f"MQTT {version_name(call.version)} as {broker.client_id}{beside}: {len(words)} topics take what is said"
        )
        if self._doubts:
            raise Doubt("; ".join([found, *map(str, self._doubts)]), self._doubts[0].hint)
        return found

    def _daemon_runs(self) -> bool | None:
        """Return whether a daemon of this node is online; None if we are not let see."""
        call = self._greeting.call
        assert call is not None
        code = call.hear(self._topics.status)
        if code is None or code.is_failure:
            return None
        call.wait(lambda: call.heard, check_call.REMEMBERED_SECONDS)
        return any(message.payload == b"online" for message in call.heard)

    def _let_in(self, broker: Broker, *, will: str) -> Call:
        dialect = Dialect(self._mqtt)
        call = greeted(broker, dialect, self._topics.status, will)
        if not call.is_let_in:
            said = call.answer or "it hung up, or was silent"
            forgetful = Dialect(self._mqtt.model_copy(update={"retain": False}))
            if dialect.retain and greeted(broker, forgetful, self._topics.status, will).is_let_in:
                raise Trouble(
                    f"a will that is to be remembered: {said}; without that it lets us in",
                    "this broker remembers nothing: mqtt.retain: false",
                )
            raise Trouble(
                f"{broker.client_id}, with a will on {self._topics.status}: {said}, and without a will "
                f"{self._greeting.client_id} is let in",
                "does the access list let us write there, and is mqtt.client_id one that the broker takes?",
            )
        if self._mqtt.retain and not call.terms.retain:
            self._doubt("nothing is remembered there", "who comes later waits for news; mqtt.retain: false says so")
        if not call.terms.qos:
            self._doubt("nothing is acknowledged there (QoS 0)", "events may be lost on the way: another broker")
        return call

    def _fits(self, word: _Word, call: Call) -> bool:
        size, most = len(word.topic) + len(word.text) + 10, call.terms.most_bytes
        if most is None or size <= most:
            return True
        hint = f"the broker's limit, or mqtt.max_packet_bytes, is {most}: such messages are left out"
        if word.topic.endswith("/event"):
            raise Trouble(f"{word.topic}: an event has {size} bytes", hint)
        self._doubt(f"{word.topic}: {size} bytes are too many", hint)
        return False

    def _say(self, call: Call, word: _Word) -> None:
        code = call.say(word.topic, word.text, retain=word.retain)
        if code is None and call.ended is not None:
            self._hung_up(call, word)
        elif code is None:
            raise Trouble(
                f"{word.topic}: not acknowledged within {check_call.ANSWER_SECONDS:g} s",
                "the broker's own log says more",
            )
        elif code.is_failure:
            raise Trouble(f"{word.topic}: {code}", self._hint_for_access("write"))
        elif call.wait(lambda: call.ended is not None, AFTERMATH_SECONDS):
            self._hung_up(call, word)

    def _hung_up(self, call: Call, word: _Word) -> None:
        found = f"{word.topic}: the broker hangs up at {len(word.text)} bytes" + (
            f": {call.ended}" if call.ended else ""
        )
        if not word.topic.endswith("/spectrogram"):
            raise Trouble(found, self._hint_for_access("write"))
        self._doubt(
            found, "the largest packet it takes: mqtt.max_packet_bytes; else pictures are left out after a while"
        )

    def _hear_commands(self, call: Call) -> None:
        if self._mqtt.commands == "off" or call.ended is not None:
            return
        code = call.hear(self._topics.commands)
        if code is None or code.is_failure:
            found = f"{self._topics.commands}: {code or 'the broker hangs up, or is silent'}"
            self._doubt(found, f"{self._hint_for_access('read')}; else mqtt.commands: off")

    def _reads_back(self, call: Call, words: Sequence[_Word]) -> bool:
        """Subscribe to what will be said, where the acknowledgement is no promise; return whether we may."""
        if version_name(call.version) == "5":
            return False
        codes = [call.hear(topic) for topic in {word.topic for word in words}]
        if all(code is not None and not code.is_failure for code in codes):
            return True
        self._doubt_the_promise()
        return False

    def _compare(self, call: Call, words: Sequence[_Word]) -> None:
        said = {word.topic for word in words}

        def missing() -> set[str]:
            return said - {message.topic for message in call.heard if not message.retain}

        call.wait(lambda: not missing() or call.ended is not None, check_call.REMEMBERED_SECONDS)
        if call.ended is not None:
            return
        if missing() == said:
            self._doubt_the_promise()
        elif missing():
            raise Trouble(
                f"{', '.join(sorted(missing()))}: acknowledged, and thrown away", self._hint_for_access("write")
            )

    def _doubt_the_promise(self) -> None:
        self._doubt(
            "acknowledged, which before version 5 of MQTT a broker says even of what its access list forbids",
            f"watch with `mosquitto_sub -t '{self._mqtt.topic_prefix}/#' -v`",
        )

    def _doubt(self, found: str, hint: str) -> None:
        self._doubts.append(Doubt(found, hint))

    def _hint_for_access(self, verb: str) -> str:
        who = self._mqtt.username or "strangers"
        return (
            f"the broker's access list does not let {who} {verb} there, it seems: it needs "
            f"{self._mqtt.topic_prefix}/#, to write and to read"
        )


def _words(topics: Topics, node: str, sources: Sequence[str], *, quiet: bool) -> Iterator[_Word]:
    """Yield what is to be said; with `quiet`, only what nobody remembers."""
    for source in sources:
        yield _Word(topics.of(source, "event"), as_json(_event(node, source)), retain=False)
    if not quiet:
        yield _Word(topics.status, "offline", retain=True)
        for source in sources:
            yield _Word(topics.of(source, "availability"), "offline", retain=True)
            yield _Word(topics.of(source, "anomaly"), "OFF", retain=True)
    for source in sources[:1]:
        yield _Word(topics.of(source, "spectrogram"), _grey_picture(PICTURE_BYTES), retain=False)


def _event(node: str, source: str) -> dict[str, object]:
    """Return an event that nobody heard, as long as one that somebody did."""
    return {
        "schema": 1,
        "id": "0" * 32,
        "kind": "check",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "node": node,
        "source": source,
        "machine": "check",
        "section": "check/00",
        "score": 0.0,
        "peak": 0.0,
        "threshold": 0.0,
        "duration_s": 0.0,
        "bands": [{"hz_lo": 0, "hz_hi": 8000, "delta_db": 0.0}] * 6,
        "acknowledged": False,
        "detector": {"name": "check", "version": "0", "sha256": "0" * 64},
        "clip": None,
        "delayed": False,
        "clock_synced": None,
    }


def _grey_picture(n_bytes: int) -> bytes:
    """Return a PNG of one grey pixel, with a comment that makes it so long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    comment = b"Comment\0earshot check "
    return head + chunk(b"tEXt", comment.ljust(n_bytes - len(head) - len(tail) - 12, b".")) + tail
