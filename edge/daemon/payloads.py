"""What happened, as the JSON of edge/schemas/ and of `earshot run --json`. Pure: values in, a dict out.

No clock is read. Inside the process all times are those of `time.monotonic()`; whoever tells adds `epoch`, the UNIX
time at which that clock stood at zero by what the clock on the wall says now: `clock.utc(0.0)`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edge import __version__, clock
from edge.daemon.happening import Commanded, Moment, Standing
from edge.detector import Detector, Judge, Reading, Section, would_hear_text
from edge.judge import Cause, Event, Provisional
from edge.voice import cause_in_words

Record = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """Who speaks: a source of a node, and the detector and its section that judge it."""

    node: str
    source: str
    detector: Detector
    section: Section

    @property
    def window_seconds(self) -> float:
        """What has to be heard before anything is judged."""
        return self.detector.plan.window_samples / self.detector.frontend.sample_rate_hz


def event_of(origin: Origin, event: Event, *, epoch: float, clip: str | None, clock_synced: bool | None) -> Record:
    """Return the payload of schemas/event.json; `delayed` is the publisher's to say. clip: where its sound is kept."""
    detector, section = origin.detector, origin.section.card
    return {
        "schema": 1,
        "id": event.id,
        "kind": event.kind,
        "time": clock.rfc3339(epoch + event.time),
        "node": origin.node,
        "source": origin.source,
        "machine": section.machine,
        "section": section.section,
        "score": _rounded(event.score),
        "peak": _rounded(event.peak),
        "threshold": _rounded(event.threshold),
        "duration_s": round(event.duration_s, 3),
        "bands": [asdict(band) for band in event.bands],
        "why": None if event.why is None else why_of(event.why),
        **({"reason": event.reason} if event.reason else {}),
        "acknowledged": event.acknowledged,
        "evidence": {**asdict(event.basis), "probability": float(f"{event.basis.probability:.3g}")},
        "detector": {"name": detector.card.name, "version": detector.card.version, "sha256": detector.sha256},
        "clip": clip,
        "delayed": False,
        "clock_synced": clock_synced,
    }


def why_of(cause: Cause) -> Record:
    """Return a cause as it stands in an event: its numbers, and the sentence that a person would say."""
    return {**asdict(cause), "sentence": cause_in_words(**asdict(cause))}


def state_of(origin: Origin, standing: Standing, moment: Moment, *, epoch: float) -> Record:
    """Return the payload of schemas/state.json. Of a window that fills, the reason is how full it is."""
    filled = f"{moment.unbroken_seconds:.1f} of {origin.window_seconds:g} s"
    return {
        "schema": 1,
        "time": clock.rfc3339(epoch + moment.time),
        "node": origin.node,
        "source": origin.source,
        "status": standing.status,
        "reason": filled if standing.status == "filling" else standing.reason,
        "score": _rounded(moment.score),
        "threshold": _rounded(moment.threshold),
        "level_dbfs": None if moment.reading is None else round(moment.reading.level_dbfs, 1),
        "lag_s": round(moment.lag_seconds, 3),
        "episode": moment.episode,
        "shelved_until": None if moment.shelved_until is None else clock.rfc3339(epoch + moment.shelved_until),
        "recording": moment.recording,
        **_judging_of(moment.evidence, moment.provisional),
    }


def reading_of(origin: Origin, moment: Moment, reading: Reading, *, epoch: float) -> Record:
    """Return the record of a window that was judged, or was found unfit for it."""
    return {
        "type": "reading",
        "source": origin.source,
        "recording": moment.recording,
        "time": clock.rfc3339(epoch + moment.time),
        "end_sample": reading.end_sample,
        "score": moment.score,
        "threshold": moment.threshold,
        "level_dbfs": reading.level_dbfs,
        "fault": reading.fault,
    }


def card_of(origin: Origin, judge: Judge) -> Record:
    """Return what a source is judged by, for the page."""
    card, own = origin.detector.card, origin.section.card
    return {
        "name": card.name,
        "version": card.version,
        "created": card.created,
        "sha256": origin.detector.sha256,
        "section": own.name,
        "score": judge.score_name,
        "threshold": _rounded(judge.own_threshold),
        "hours": round(own.windows * origin.window_seconds / 3600, 2),
        "false_alarm_rate": card.false_alarm_rate,
        "would_hear": [each.model_dump(mode="json") for each in own.would_hear],
        "would_hear_words": would_hear_text(own),
    }


def health_of(
    node: str,
    *,
    unix_seconds: float,
    uptime_seconds: float,
    clock_synced: bool | None,
    sources: Mapping[str, Standing],
    commanded: Mapping[str, Commanded],
    epoch: float,
    judging: Mapping[str, tuple[float, Provisional | None]],
    defects: Mapping[str, str],
    mqtt: Mapping[str, object],
    clips: Mapping[str, object],
    notify: Mapping[str, object] | None = None,
    drift: Mapping[str, object] | None = None,
) -> Record:
    """Return the payload of schemas/health.json, said at `unix_seconds`. mqtt, clips, notify: their figures.

    drift: of those sources that do, what changes over weeks.
    defects: why those sources are lost that have failed, by name.
    commanded, judging: of each source; evidence, and how far its machine is known, as in `Moment`.
    """
    return {
        "schema": 1,
        "time": clock.rfc3339(unix_seconds),
        "node": node,
        "version": __version__,
        "uptime_s": round(uptime_seconds, 1),
        "clock_synced": clock_synced,
        "sources": {name: standing.status for name, standing in sources.items()},
        "commanded": {
            name: {
                "shelved_until": None if each.shelved_until is None else clock.rfc3339(epoch + each.shelved_until),
                "threshold": _rounded(each.threshold),
            }
            for name, each in commanded.items()
            if each != Commanded(None, None)
        },
        "judging": {name: _judging_of(*each) for name, each in judging.items()},
        "defects": dict(defects),
        **({"drift": dict(drift)} if drift else {}),
        "mqtt": mqtt,
        **({"notify": notify} if notify is not None else {}),
        "clips": clips,
    }


def _judging_of(evidence: float, provisional: Provisional | None) -> Record:
    hours = provisional and {"hours": round(provisional.hours, 2), "of": round(provisional.of, 2)}
    return {"evidence": round(evidence, 3), "provisional": hours}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
