"""What became of recordings that were replayed: the alarms of each on its own time line, by one setting or two.

Numbers of one pass; what is printed, and what a page shows, is made of them elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from edge.ear import FloatArray
from edge.judge import Event
from edge.voice import cause_in_words, evidence_in_words

POINTS_PER_FILE: Final = 300
"""Of the curve of scores: what a page is wide."""

TOGETHER_SECONDS: Final = 30.0
"""Alarms of two settings that are no further apart are one: the other setting was only earlier, or later."""


@dataclass
class Alarm:
    """One episode. Times are seconds from the beginning of its recording.

    moved  from, to (Hz) and by how much (dB): its bands, the furthest first
    """

    opened: float
    closed: float
    peak: float
    why: str
    moved: Sequence[tuple[float, float, float]]

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
            self.found.append(Alarm(event.time, event.time, event.score, against, ()))
        alarm = self.found[-1]
        alarm.closed, alarm.peak = event.time, max(alarm.peak, event.peak)
        alarm.moved = alarm.moved or tuple((band.hz_lo, band.hz_hi, band.delta_db) for band in event.bands)
        if event.why:
            alarm.why = cause_in_words(**asdict(event.why))


@dataclass
class Replayed:
    """One recording that was heard to its end.

    start    UNIX seconds of its first sample, and `by` what that is known
    scores   second and highest score of so many stretches of it
    usual_db  ordinary levels of each band, dB, (n, M), under each condition known
    others   the alarms of the setting that it is compared with; None without one
    """

    path: Path
    start: float
    by: str
    seconds: float
    threshold: float
    scores: Sequence[tuple[float, float]]
    alarms: Sequence[Alarm]
    usual_db: FloatArray | None = None
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


def bands_in_words(bands: Iterable[tuple[float, float, float]]) -> str:
    """Return bands that moved: from, to (Hz), and by how much (dB)."""
    return ", ".join(f"{low:.0f}-{high:.0f} Hz {delta:+.0f} dB" for low, high, delta in bands)


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
        f"recordings {len(replayed)}, {hours:.2f} h; alarms {len(alarms)}, {minutes:.1f} min of it; "
        f"{len(alarms) / max(hours, 1e-9):.2g} an hour",
        f"without an alarm {quiet} of {len(replayed)}",
    ]
    if any(one.others is not None for one in replayed):
        gained, lost = sum(len(one.gained) for one in replayed), sum(len(one.lost) for one in replayed)
        others = sum(len(one.others or ()) for one in replayed)
        lines.append(f"by the other setting {others}: {gained} gained, {lost} lost")
    return lines
