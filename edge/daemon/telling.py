"""What happened at one source, told: over MQTT, in the journal, to who reads along (`--json`) and who keeps clips."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from edge import clock
from edge.daemon import payloads
from edge.daemon.happening import Happening, Moment, Standing
from edge.daemon.payloads import Origin, Record
from edge.judge import Event, Provisional
from edge.memory import Beside, Evidence
from edge.voice import Acknowledge, Notifier, Publisher, Shelve, Threshold, evidence_in_words, provisional_in_words

log = logging.getLogger(__name__)

_Heard = TypeVar("_Heard", Event, Moment)


class Telling:
    """Tells of one source, and remembers what it told last, so as to tell what has changed at once and the rest seldom.

    standing  how the source is, as it was told last; may be read from any thread

    Its method is for the listening thread, and waits for nobody.
    """

    def __init__(
        self,
        origin: Origin,
        publisher: Publisher,
        evidence: Evidence | None,
        *,
        state_seconds: float,
        stop: threading.Event,
        on_record: Callable[[Record], None] | None,
        notifier: Notifier | None = None,
    ) -> None:
        """state_seconds: how often the state is said anew. stop: once it is set, an end is nothing to warn of."""
        self.standing = Standing("waiting")
        self._origin = origin
        self._publisher = publisher
        self._notifier = notifier
        self._evidence = evidence
        self._state_seconds = state_seconds
        self._stop = stop
        self._record = on_record or (lambda _: None)
        self._beside = Beside(origin.detector.frontend, origin.section.statistics.band_mean)
        self._state_due = -math.inf
        self._provisional: Provisional | None = None

    def tell(self, happening: Happening) -> None:
        """Say to everybody what concerns them. Tell everything, in its order."""
        match happening:
            case Event():
                self._tell_event(happening)
            case Standing():
                self._tell_standing(happening)
            case Moment():
                self._tell_moment(happening)
            case Acknowledge() | Shelve() | Threshold():
                log.info("%s: %s", self._origin.source, happening)
                self._state_due = -math.inf

    def _tell_event(self, event: Event) -> None:
        source, clip = self._origin.source, None
        if self._evidence is not None:
            if event.kind == "opened":
                self._evidence.opened(event.id, event.time, self._beside)
            self._evidence.moved(event.id, [(band.hz_lo, band.hz_hi, band.delta_db) for band in event.bands])
            clip = self._evidence.clip_name(event.id)

        payload = payloads.event_of(
            self._origin, by_now(event), epoch=clock.utc(0.0), clip=clip, clock_synced=clock.synced()
        )
        self._publisher.event(source, payload)
        self._publisher.anomaly(source, event.kind != "closed")
        if self._notifier is not None:
            self._notifier.event(payload)
        self._record({"type": "event", **payload})
        if self._evidence is not None and event.kind == "closed":
            self._evidence.closed(event.id)
        # > episode opened: score 2.31 (threshold 3.70), for the last minute, against its enrolment
        why = f", {evidence_in_words(event.basis.seconds, event.basis.against)}" if event.kind == "opened" else ""
        why += f": {payload['why']['sentence']}" if payload["why"] else ""
        log.warning(
            "%s: episode %s: score %.2f (threshold %.2f)%s", source, event.kind, event.score, event.threshold, why
        )
        self._state_due = -math.inf

    def _tell_standing(self, standing: Standing) -> None:
        source, is_lost = self._origin.source, standing.status == "lost"
        if not standing.hears and self._evidence is not None:
            self._evidence.flush()
        is_new = standing != self.standing
        if is_new:
            # Said once, not at each attempt: a card that is away for a month would fill the journal.
            unwell = standing.status in ("lost", "degraded") and not self._stop.is_set()
            log.log(logging.WARNING if unwell else logging.INFO, "%s: %s", source, standing)
            self.standing = standing
            self._state_due = -math.inf
            if self._notifier is not None and not self._stop.is_set():
                self._notifier.sensor(source, standing.status, standing.reason, clock.rfc3339(time.time()))
        if is_lost or standing.status == "filling" or (is_new and standing.status == "waiting"):  # an end, a beginning
            self._publisher.availability(source, not is_lost)

    def _tell_moment(self, moment: Moment) -> None:
        moment = by_now(moment)
        if (moment.provisional is None) != (self._provisional is None):
            known = moment.provisional
            words = "known well enough" if known is None else provisional_in_words(known.hours, known.of)
            log.info("%s: %s", self._origin.source, words)
        self._provisional = moment.provisional
        if moment.reading is not None:
            self._record(payloads.reading_of(self._origin, moment, moment.reading, epoch=clock.utc(0.0)))
        elif self.standing.is_scored:
            return  # the next window is near, and has a score

        now = time.monotonic()
        if now >= self._state_due or self.standing.status == "lost":
            self._state_due = now + self._state_seconds
            payload = payloads.state_of(self._origin, self.standing, moment, epoch=clock.utc(0.0))
            self._publisher.state(self._origin.source, payload)


def by_now(what: _Heard) -> _Heard:
    """Return it with a time that is not later than now: a pipe or a folder may be read faster than it sounded."""
    now = time.monotonic()
    return replace(what, time=now) if what.time > now else what
