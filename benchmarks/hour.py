"""An hour of each simulated machine, well and then faulty: `python -m benchmarks.hour DETECTOR [--machines NAME...]`

Each is enrolled on the network of DETECTOR from a quarter of an hour of normal sound, and says what it would hear
(edge/detector/limits.py). Then it is heard for an hour of six takes, each a condition of its own (speed, load, the
day), once as six recordings and once as one run whose condition changes five times: how many episodes open, and in
what part of the hour, against the rate of windows that was asked for.

Then six kinds of faults, each at three strengths: those of the simulator at three severities, and of the known changes
(edge/judge/changes.py) as many as make six, 6 dB below the strength that was said to be reported, at it, and 6 dB above
it. Each is tried on `TRIED_TAKES` takes, from minute 5 to their end. A fault of the simulator is held against the known
change that is most like it, by its strength over the machine's own level in the octave, or band, where it is strongest.
Takes that are reported as they are say nothing, and are set aside.

About two minutes of one core a machine.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from benchmarks.limits import Replay, altered, enrolled
from benchmarks.measure import Table
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, Judge, Line
from edge.ear import Frontend, Samples
from edge.judge import Changes, Kind, Place, places
from trainer.simulator.machines import KINDS
from trainer.simulator.recording import Scene, clip

SEED: Final = 43
ENROLLED: Final = 5
ENROLLED_SECONDS: Final = 180.0
TAKES: Final = 6
TAKE_SECONDS: Final = 600.0
TRIED_TAKES: Final = 1

SEVERITIES: Final = (0.1, 0.3, 1.0)
ABOUT_THE_LIMIT_DB: Final = (-6.0, 0.0, 6.0)
N_KINDS: Final = 6

LIKE: Final[dict[str, Kind]] = {
    "imbalance": "tone",
    "bearing": "hiss",
    "cavitation": "hiss",
    "belt": "impacts",
    "leak": "hiss",
    "chipped": "hiss",
    "sticking": "impacts",
}
"""Which known change each fault of the simulator is most like: blows that come faster than frames, 16 a second, are a
hiss."""

CHANGES: Final[tuple[Kind, ...]] = ("hiss", "tone", "impacts", "modulation")


@dataclass(frozen=True)
class Tried:
    """One fault at one strength.

    over_db     over the machine's own level where it is strongest, as of a known change
    waits       s until it was reported, of each take; None: never
    """

    over_db: float
    waits: Sequence[float | None]

    @property
    def reported(self) -> int:
        """On how many takes."""
        return sum(wait is not None for wait in self.waits)

    def __str__(self) -> str:
        found = [wait for wait in self.waits if wait is not None]
        of = f" ({len(found)} of {len(self.waits)})" if 0 < len(found) < len(self.waits) else ""
        return f"{self.over_db:+.0f} dB: " + (f"{np.median(found):.0f} s{of}" if found else "no")


@dataclass(frozen=True)
class Fault:
    """One kind of fault at three strengths, faint to loud, and the known change that it is like."""

    name: str
    like: Kind
    tried: Sequence[Tried]


class Hour:
    """One simulated machine: enrolled, and heard well and faulty."""

    def __init__(self, name: str, base: Detector) -> None:
        """Make it, and enrol it."""
        self.name = name
        learnt = [self._clip(f"enrolled {i}", ENROLLED_SECONDS) for i in range(ENROLLED)]
        with TemporaryDirectory() as folder:
            self.detector = enrolled(learnt, base, Path(folder), limits=True)[0]
        self.card = self.detector.section(None).card
        self.limit_db = {own.kind: own.limit_db for own in self.card.would_hear}
        frontend = Frontend(self.detector.frontend)
        self._changes = Changes.of(frontend, [frontend(sound) for sound in learnt], 16)
        self.takes = [self._clip(f"hour {i}", TAKE_SECONDS) for i in range(TAKES)]
        self._readings = [Line(self.detector, self.detector.section(None)).feed(take) for take in self.takes]

    def well(self, *, as_one_run: bool) -> tuple[int, float]:
        """Return how many episodes open in the hour, and what part of its windows lies in one."""
        judge = Judge(EventSettings(), self.detector, self.detector.section(None))
        opened = within = heard = 0
        for readings in self._readings:
            if not as_one_run:
                judge.forget()
            for reading in readings:
                heard += 1
                events = judge.hear(reading, heard * self.detector.plan.hop_seconds)
                opened += sum(event.kind == "opened" for event in events)
                within += judge.episode is not None
            if not as_one_run:
                judge.interrupt("source_lost")
        return opened, within / heard

    def faults(self) -> Iterator[Fault]:
        """Try its six kinds of faults, on takes that are not reported as they are."""
        replays = ((i, Replay(self.detector, take)) for i, take in enumerate(self.takes))
        quiet = list(islice(((i, one) for i, one in replays if one.wait_seconds(one.changed) is None), TRIED_TAKES))
        own = KINDS[self.name].faults
        for fault in own:
            yield Fault(fault, LIKE[fault], [self._simulated(fault, severity, quiet) for severity in SEVERITIES])
        for kind in CHANGES[: N_KINDS - len(own)]:
            if (limit_db := self.limit_db[kind]) is not None:
                tried = [self._known(kind, limit_db + over_db, quiet) for over_db in ABOUT_THE_LIMIT_DB]
                yield Fault(f"a known {kind}", kind, tried)

    def _simulated(self, fault: str, severity: float, quiet: Sequence[tuple[int, Replay]]) -> Tried:
        waits, over_db = list[float | None](), list[float]()
        for i, replay in quiet:
            sound = self._clip(f"hour {i}", TAKE_SECONDS, fault, severity)
            over_db.append(self._over_db(sound - self.takes[i], LIKE[fault]))
            waits.append(replay.wait_seconds(sound[-replay.changed.size :]))
        return Tried(float(np.mean(over_db)), waits)

    def _known(self, kind: Kind, strength_db: float, quiet: Sequence[tuple[int, Replay]]) -> Tried:
        own = self._places(kind)
        waits = [
            replay.wait_seconds(altered(own[i % len(own)], replay.changed, self._changes, seed=i)(strength_db))
            for i, replay in quiet
        ]
        return Tried(strength_db, waits)

    def _over_db(self, added: Samples, like: Kind) -> float:
        """Return how far what a fault adds is above the machine's own level, where that is most."""
        return max(10 * math.log10(max(self._changes.gain(place, added), 1e-9)) for place in self._places(like))

    def _places(self, kind: Kind) -> list[Place]:
        frontend = self.detector.frontend
        return [place for place in places(frontend.f_min_hz, frontend.f_max_hz) if place.kind == kind]

    def _clip(self, take: str, seconds: float, fault: str | None = None, severity: float = 0.0) -> Samples:
        scene = Scene(machine=self.name, section=0, domain="source", name=take, seed=SEED)
        return clip(scene, seconds=seconds, fault=fault, severity=severity)


def tables(base: Detector, names: Sequence[str]) -> tuple[Table, Table]:
    """Return what came of the hours, and of the faults; print the rows as they come."""
    well, faulty = list[list[str]](), list[list[str]]()
    said, unsaid = Count(), Count()
    for name in names:
        hour = Hour(name, base)
        apart, whole = hour.well(as_one_run=False), hour.well(as_one_run=True)
        well.append([name, *(cell for n, share in (apart, whole) for cell in (str(n), f"{share:.1%}"))])
        print("|", " | ".join(well[-1]), "|", flush=True)
        for fault in hour.faults():
            limit_db = hour.limit_db[fault.like]
            from_db = "never" if limit_db is None else f"{limit_db:+.0f} dB"
            faulty.append([name, fault.name, fault.like, from_db, *map(str, fault.tried)])
            print("|", " | ".join(faulty[-1]), "|", flush=True)
            for tried in fault.tried:
                (said if limit_db is not None and tried.over_db >= limit_db else unsaid).add(tried)
    asked = f"{base.card.false_alarm_rate:.0%} of windows was asked for."
    note = f"Said to be reported, and reported: {said}. Not said to be, and reported: {unsaid}."
    return (
        Table(
            "An hour of normal sound", ["machine", "six takes: episodes", "in one", "one run", "in one"], well, asked
        ),
        Table("Faults", ["machine", "fault", "as", "said from", "faint", "middling", "loud"], faulty, note),
    )


@dataclass
class Count:
    """Of so many trials so many were reported."""

    reported: int = 0
    tried: int = 0

    def add(self, one: Tried) -> None:
        """Count its takes."""
        self.reported += one.reported
        self.tried += len(one.waits)

    def __str__(self) -> str:
        return f"{self.reported} of {self.tried}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path, nargs="?", default=Path("edge/demo/detector"))
    parser.add_argument("--machines", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    args = parser.parse_args()
    for table in tables(detectors.read(args.detector), args.machines):
        print("\n" + table.as_markdown())


if __name__ == "__main__":
    main()
