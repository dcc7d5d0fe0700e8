"""What a person's phone is told, by a webhook: which of all that happens is worth it, and that it arrives.

What is to be told waits in an outbox like that for the broker (edge/voice/outbox.py), on disk where there is a state
directory, until the server has taken it: one after the other, in a thread of its own. A server that is away is tried
again, ever more seldom; a message that it does not take is set aside, and told once more later (`second_try`): what
stands before the server may be new, or have a limit of its own. What is older than two days is told no more.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge.config import NotifySettings, OutboxSettings
from edge.voice.backoff import Backoff
from edge.voice.notice import Notice, of_event, of_picture, of_sensor
from edge.voice.outbox import Outbox
from edge.voice.phrases import say
from edge.voice.second_try import SecondTry
from edge.voice.waiting import Cause, Waiting
from edge.voice.webhook import Answer, Webhook
from edge.voice.worth_telling import WorthTelling

log = logging.getLogger(__name__)

MOST_WAITING: Final = OutboxSettings(max_events=1000, max_megabytes=10.0, max_days=2.0)
"""A phone is no archive: who wants all of it listens to MQTT."""

RETRY_SECONDS: Final = (5.0, 600.0)
CLOSE_SECONDS: Final = 2.0

LATE_SECONDS: Final = 360.0
"""From then on a notification says that it is late: a phone shows when it came, and not when it was true."""


class Notifier:
    """What waits for the phone, and why it does. Any thread may call any method; all but `close` return at once."""

    def __init__(
        self,
        settings: NotifySettings,
        node: str,
        state_path: Path | None,
        retry_seconds: tuple[float, float] = RETRY_SECONDS,
    ) -> None:
        """Open nothing before `start`. state_path: the folder for what waits; None: in memory only.

        Raises ValueError without `settings.url`.
        """
        self._settings = settings
        self._node = node
        self._webhook = Webhook(settings)
        self._worth = WorthTelling(settings.kinds, 60 * settings.minimum_gap_minutes)
        folder = None if state_path is None else state_path / "notify"
        self._outbox = Outbox(MOST_WAITING, folder, patience_seconds=0)
        self._backoff = Backoff(*retry_seconds, str(self._webhook))
        self._changed = threading.Condition()
        self._second_try = SecondTry(self._outbox, self._changed, who="notify")
        self._reason: str | None = None
        self._told_one = False
        self._closing_at = math.inf
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    @property
    def figures(self) -> dict[str, Any]:
        """How things stand, for the `notify` of a health message (schemas/health.json)."""
        return {
            "queued": len(self._outbox),
            "dropped": self._outbox.dropped,
            "dead_letters": len(self._outbox.dead),
            "dead_letters_arrived": self._second_try.figures["dead_letters_arrived"],
            "reason": self._reason,
        }

    def start(self) -> None:
        """Begin to tell, in a thread of its own. Once only."""
        self._thread.start()

    def close(self) -> None:
        """Tell what can be told within `CLOSE_SECONDS`; the rest is kept on disk for the next start."""
        with self._changed:
            self._closing_at = time.monotonic() + CLOSE_SECONDS
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)
        self._outbox.close()

    def event(self, payload: Mapping[str, Any]) -> None:
        """An episode was opened, updated or closed (schemas/event.json)."""
        if self._worth.event(payload["source"], payload["kind"], payload["id"]):
            self._put(of_event(payload, self._settings.language))

    def sensor(self, source: str, status: str, reason: str | None, when: str) -> None:
        """A microphone is lost or not to be trusted, or well again; status: schemas/state.json; when: RFC 3339, UTC."""
        if self._worth.sensor(source, status):
            self._put(of_sensor(self._node, source, status, reason, when, self._settings.language))

    def picture(self, source: str, png: bytes) -> None:
        """The picture of the newest episode of a source: told of, if the episode was."""
        told = self._worth.told_of(source)
        if told is not None and self._settings.picture:
            self._put(of_picture(told, png, self._settings.language))

    @property
    def _is_closing(self) -> bool:
        return self._closing_at < math.inf

    def _put(self, notice: Notice) -> None:
        self._worth.remember(notice)
        # `updated` is what goes first where there is no room: a picture is worth less than a word.
        kind = "updated" if notice.kind == "picture" else notice.kind
        self._outbox.put(notice.source, {"kind": kind, "notice": notice.wire()})
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        self._outbox.open()
        while (found := self._next()) is not None:
            waiting, is_second = found
            answer = self._tell(waiting, is_second=is_second)
            if is_second:
                self._settle_second(waiting, answer)
            elif not self._settle(waiting, answer):
                if self._is_closing:
                    return
                self._wait(answer)

    def _next(self) -> tuple[Waiting, bool] | None:
        """Wait for something to tell, and say whether it had been set aside; None when we have to end."""
        with self._changed:
            while time.monotonic() < self._closing_at:
                if (waiting := self._outbox.after(0)) is not None:
                    return waiting, False
                if self._is_closing:
                    return None
                if (again := self._second_try.take()) is not None:
                    return again, True
                self._changed.wait(self._second_try.due_seconds())
            return None

    def _tell(self, waiting: Waiting, *, is_second: bool) -> Answer:
        try:
            notice = Notice.of_wire(waiting.payload["notice"])
        except (ValueError, KeyError) as error:
            return Answer(f"it is none of ours: {error}", hopeless=True)
        late_seconds = self._outbox.age_seconds(waiting)
        late = say(self._settings.language, "late", hours=late_seconds / 3600) if late_seconds > LATE_SECONDS else None
        return self._webhook.tell(notice, late, apart=is_second)

    def _settle(self, waiting: Waiting, answer: Answer) -> bool:
        """Take an answer in; return whether the next one may be told."""
        if answer.reason is None:
            self._outbox.remove(waiting.number)
            self._told_one = True
        elif answer.hopeless:
            log.error("notify: %s: a message is set aside: %s", self._webhook, answer.reason)
            with self._changed:
                self._second_try.set_aside(waiting.number, Cause.REFUSED, answer.reason)
        elif answer.reason != self._reason:
            log.warning("notify: %s: %s", self._webhook, answer.reason)
        if answer.reason is None and self._reason is not None:
            log.info("notify: %s: notifications arrive again", self._webhook)
        self._reason = None if answer.hopeless else answer.reason
        return self._reason is None

    def _settle_second(self, waiting: Waiting, answer: Answer) -> None:
        """Take in what came of one that had been set aside. A server that is away costs all of them a pause."""
        if answer.reason is None:
            self._outbox.remove(waiting.number)
        with self._changed:
            if answer.reason is None:
                self._second_try.acknowledged(waiting)
            elif answer.hopeless:
                self._second_try.refused(waiting, answer.reason)
            else:
                self._second_try.cost(Cause.UNANSWERED, answer.reason)

    def _wait(self, answer: Answer) -> None:
        """Wait for the next attempt: as long as the server asks for, or ever longer."""
        lived_seconds, self._told_one = (math.inf if self._told_one else 0.0), False
        seconds = self._backoff.after(cut_off=False, lived_seconds=lived_seconds)
        end = time.monotonic() + max(seconds, answer.wait_seconds or 0.0)
        with self._changed:
            while not self._is_closing and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
