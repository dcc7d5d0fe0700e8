"""What became of recordings that were replayed: the alarms of each on its own time line, by one setting or two.

Numbers of one pass; what is printed, and what a page shows, is made of them elsewhere.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from edge.judge import Event
from edge.voice import cause_in_words, evidence_in_words

POINTS_PER_FILE: Final = 300
"""Of the curve of scores: what a page is wide."""

TOGETHER_SECONDS: Final = 30.0
"""Alarms of two settings that are no further apart are one: the other setting was only earlier, or later."""


@dataclass
class Alarm:
    """One episode. Times are seconds from the beginning of its recording; bands as a person reads them."""

    opened: float
    closed: float
    peak: float
    why: str
    bands: str

    def is_beside(self, other: "Alarm") -> bool:
        """Whether the other alarm is of the same stretch of sound."""
        near = TOGETHER_SECONDS
        return self.opened - near <= other.closed and other.opened - near <= self.closed


@dataclass
class Alarms:
    """The alarms of one recording by one setting, in their order."""

    found: list[Alarm] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        """Take a step of an episode."""
        if event.kind == "opened":
            against = evidence_in_words(event.basis.seconds, event.basis.against)
            self.found.append(Alarm(event.time, event.time, event.score, against, ""))
        alarm = self.found[-1]
        alarm.closed, alarm.peak = event.time, max(alarm.peak, event.peak)
        alarm.bands = alarm.bands or bands_in_words(event)
        if event.why:
            alarm.why = cause_in_words(**asdict(event.why))


@dataclass
class Replayed:
    """One recording that was heard to its end.

    start    UNIX seconds of its first sample, and `by` what that is known
    scores   second and highest score of so many stretches of it
    others   the alarms of the setting that it is compared with; None without one
    """

    path: Path
    start: float
    by: str
    seconds: float
    threshold: float
    scores: Sequence[tuple[float, float]]
    alarms: Sequence[Alarm]
    others: Sequence[Alarm] | None = None

    @property
    def lost(self) -> list[Alarm]:
        """What this setting reports, and the other does not."""
        return _without(self.alarms, self.others or ())

    @property
    def gained(self) -> list[Alarm]:
        """What the other setting reports besides."""
        return _without(self.others or (), self.alarms)


def _without(alarms: Sequence[Alarm], others: Sequence[Alarm]) -> list[Alarm]:
    return [alarm for alarm in alarms if not any(alarm.is_beside(other) for other in others)]


def bands_in_words(event: Event) -> str:
    """Return the bands that moved, the furthest first."""
    return ", ".join(f"{b.hz_lo:.0f}-{b.hz_hi:.0f} Hz {b.delta_db:+.0f} dB" for b in event.bands)


def thinned(scores: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the highest score of each of `POINTS_PER_FILE` stretches, at its second."""
    step = max(1, -(-len(scores) // POINTS_PER_FILE))
    return [max(scores[i : i + step], key=lambda each: each[1]) for i in range(0, len(scores), step)]


def summary(replayed: Sequence[Replayed]) -> list[str]:
    """Return what came of it in lines of less than 80 letters."""
    hours = sum(one.seconds for one in replayed) / 3600
    alarms = [alarm for one in replayed for alarm in one.alarms]
    minutes = sum(alarm.closed - alarm.opened for alarm in alarms) / 60
    quiet = sum(not one.alarms for one in replayed)
    lines = [
        f"{len(replayed)} recordings, {hours:.2f} h: {len(alarms)} alarms, {minutes:.1f} min in alarm",
        f"{quiet} of {len(replayed)} recordings without one; {len(alarms) / max(hours, 1e-9):.2g} alarms an hour",
    ]
    if any(one.others is not None for one in replayed):
        gained, lost = sum(len(one.gained) for one in replayed), sum(len(one.lost) for one in replayed)
        others = sum(len(one.others or ()) for one in replayed)
        lines.append(f"by the other setting {others} alarms: {gained} gained, {lost} lost")
    return lines
