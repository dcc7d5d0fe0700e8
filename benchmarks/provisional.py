"""`python -m benchmarks.provisional DETECTOR`: what a machine just enrolled learns, and that no fault is among it.

Simulated machines are enrolled on DETECTOR from a quarter of an hour. Then days go by, with a fault that grows from
nothing to all there is of it over 1, 3 or 7 of them, with one that is there from the first minute, and with none. Each
is heard twice, with `event.learning` off and on, where the machine's condition stays, and where it changes. There,
faults also come half a day before the end of the days without one: what was learnt of the conditions must not hide
them. Reported is a fault by the first episode that the same days without it have not.

The scores are measured, the days are put together of them: `SCENES` recordings of a machine are scored at each of
`SEVERITIES`, and as the same recording sounds the same but for the fault, every severity between is had by
interpolation. A condition lasts for hours, and is one recording, of which random parts follow each other; its level
wanders slowly. Minutes of simulation a machine; what was scored is kept in `--folder`.
"""

import argparse
import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from benchmarks.measure import Table
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, Judge, Line, Stretch, enroll_windows, normal_windows
from edge.judge import STEP_SHARE, Learner, Ordinary, rate_at, scales_of
from trainer.simulator.recording import Scene, clip

MACHINES: Final = {"pump": "cavitation", "fan": "bearing", "gearbox": "chipped"}

SEVERITIES: Final = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
SCENES: Final = 8
SCENE_SECONDS: Final = 300.0
ENROLLED: Final = 5
ENROLLED_SECONDS: Final = 180.0

CONDITION_HOURS: Final = 4.0
"""Mean of how long a condition lasts; exponential."""

BLOCK_HOPS: Final = 120
"""A minute of a recording, from a random place in it, follows another."""

WANDER: Final = 0.01
WANDER_HOURS: Final = 1.0
"""Deviation of the log score that comes and goes within a condition, and how long it remembers."""

HOP_SECONDS: Final = 0.512
DAY_HOPS: Final = round(86_400 / HOP_SECONDS)

ALIKE_HOURS: Final = 0.25
"""An episode that opens so near to one of the same days without the fault is not the fault's."""

STAYS_DAYS: Final = 1.0
LAST_DAYS: Final = 0.5

LEARNING: Final = ("off", "until_promised")

_FROM_LOUD: Final = SEVERITIES[:0:-1]

Kind = Literal["stays", "changes"]
Rows = list[list[str]]

DoubleArray = NDArray[np.float64]
Severity = Callable[[DoubleArray], DoubleArray]
"""How bad the fault is, 0 to 1, by days."""


@dataclass(frozen=True)
class Machine:
    """An enrolled machine. scores: log scores of its recordings by severity, (severities, scenes, hops).

    stays_in  the recording that is its condition where that stays: the first that is not reported as it is
    """

    name: str
    detector: Detector
    scores: DoubleArray
    stays_in: int

    def days(self, n_days: float, severity: Severity, kind: Kind) -> DoubleArray:
        """Return log scores, a hop each: always of the same week. kind: whether its condition changes."""
        n = round(n_days * DAY_HOPS)
        scene = (
            _conditions(np.random.default_rng(1), 7 * DAY_HOPS)[:n] if kind == "changes" else np.full(n, self.stays_in)
        )
        rng = np.random.default_rng(2)
        place = _places(rng, 7 * DAY_HOPS, self.scores.shape[2])[:n]
        at = np.interp(severity(np.arange(n) / DAY_HOPS), SEVERITIES, np.arange(len(SEVERITIES)))
        low = np.minimum(at.astype(int), len(SEVERITIES) - 2)
        share = at - low
        x = (1 - share) * self.scores[low, scene, place] + share * self.scores[low + 1, scene, place]
        memory = np.exp(-HOP_SECONDS / 3600 / WANDER_HOURS)
        drive = rng.normal(0, WANDER * np.sqrt(1 - memory**2), 7 * DAY_HOPS)[:n]
        return np.asarray(x + scipy.signal.lfilter([1], [1, -memory], drive))


def _conditions(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    changes = rng.random(n) < HOP_SECONDS / 3600 / CONDITION_HOURS
    return rng.integers(SCENES, size=n)[np.maximum.accumulate(np.where(changes, np.arange(n), 0))]


def _places(rng: np.random.Generator, n: int, n_hops: int) -> NDArray[np.int64]:
    first = rng.integers(n_hops - BLOCK_HOPS, size=-(-n // BLOCK_HOPS))
    return np.asarray((first[:, None] + np.arange(BLOCK_HOPS)).reshape(-1)[:n])


@dataclass(frozen=True)
class Heard:
    """What became of it.

    hours, bases      when each episode opened, and by what evidence
    hops_within       hops of each day that lay in an episode
    """

    hours: Sequence[float]
    bases: Sequence[str]
    hops_within: Counter[int]


def judge_of(machine: Machine, learning: str) -> Judge:
    """Return the judge of a live source, which has heard nothing yet."""
    settings = EventSettings.model_validate({"learning": learning})
    return Judge(settings, machine.detector, machine.detector.section(None), learns=True)


def hear(judge: Judge, scores: DoubleArray, expected_hours: Sequence[float] | None = None, *, first: int = 0) -> Heard:
    """Carry log scores, from hop `first` on, through a judge: to their end, or to the first episode not expected."""
    hours, bases, within = list[float](), list[str](), Counter[int]()
    for i, score in enumerate(np.exp(scores[first:]).tolist(), first):
        opened = [each for each in judge.weigh(score, i * HOP_SECONDS) if each.kind == "opened"]
        within[i // DAY_HOPS] += judge.episode is not None
        for event in opened:
            now = i * HOP_SECONDS / 3600
            if expected_hours is None or all(abs(now - one) > ALIKE_HOURS for one in expected_hours):
                hours.append(now)
                bases.append(f"{event.basis.seconds:g} s, {event.basis.against}")
        if hours and expected_hours is not None:
            break
    return Heard(hours, bases, within)


def tables(machines: Sequence[Machine], kinds: Sequence[Kind], normal_days: float) -> list[Table]:
    """Return what was reported, and what was not."""
    rows = [_days_of(machine, kind, normal_days) for machine in machines for kind in kinds]
    grows, stays, normal, later = ([row for each in rows for row in each[i]] for i in range(4))
    both = [f"learning {learning}" for learning in LEARNING]
    head = ["machine", "condition"]
    return [
        Table("A fault that grows to severity 1", [*head, "days", both[0], "by", both[1], "by"], grows, "At severity."),
        Table(f"A fault from the first minute on, {STAYS_DAYS:g} days", [*head, "severity", *both], stays),
        Table(
            f"{normal_days:g} days of normal sound",
            [*head, "learning", "episodes by day", "part of the day in one", "h learnt", "threshold"],
            normal,
        ),
        Table(
            f"A fault after {normal_days - LAST_DAYS:g} days without one, within {LAST_DAYS:g} days",
            [*head, "severity", *both],
            later,
        ),
    ]


def taught(machines: Sequence[Machine]) -> Table:
    """Return what two days of a fault teach at worst: had no evidence ever spoken against it."""
    rows = []
    for machine in machines:
        section = machine.detector.section(None)
        enrolled, plan = section.ordinary["fused"], machine.detector.plan
        rate = rate_at(enrolled, math.log(section.card.thresholds["fused"]))
        scales = scales_of(plan.window_seconds, EventSettings().averages_seconds, plan.hop_seconds)
        hops = [scale.hops for scale in scales]
        before = [f"{_reported(enrolled, rate, n):.2f}" for n in (hops[0], hops[-1])]
        rows.append([machine.name, "enrolled", "", f"{enrolled.level:.2f}", *before])
        for severity in SEVERITIES:
            own = Learner(enrolled, rate=rate, hop_seconds=plan.hop_seconds, scales_hops=hops, hours_needed=48.0)
            x = machine.days(2, partial(_staying, severity=severity), "stays")
            for score in x.tolist():
                own.hear(score, is_ordinary=True)
            known = own.believed
            after = [f"{_reported(known, rate, n):.2f}" for n in (hops[0], hops[-1])]
            rows.append([machine.name, f"{severity:g}", f"{x.mean():.2f}", f"{known.level:.2f}", *after])
    columns = ["machine", "severity", "its level", "level believed", "reported from: a window", "an hour"]
    note = "Log scores. The last two: from which average on it is reported against all that is believed of the machine."
    return Table("What two days of a fault teach, if nothing ever spoke against it", columns, rows, note)


def _reported(ordinary: Ordinary, rate: float, hops: int) -> float:
    return ordinary.threshold(rate * (1 - STEP_SHARE), hops)


def _days_of(machine: Machine, kind: Kind, normal_days: float) -> tuple[Rows, Rows, Rows, Rows]:
    """Return the rows of the four tables, and print them as they come."""
    grows, stays, normal, later = Rows(), Rows(), Rows(), Rows()

    def add(rows: Rows, *cells: str) -> None:
        rows.append([machine.name, kind, *cells])
        print("|", " | ".join(rows[-1]), "|", flush=True)

    false = {learning: [] for learning in LEARNING} if kind == "stays" else dict[str, Sequence[float]]()
    later_of = dict[str, list[str]]()
    for learning in LEARNING if kind == "changes" else ():
        judge, x = judge_of(machine, learning), machine.days(normal_days, np.zeros_like, kind)
        turn = round((normal_days - LAST_DAYS) * DAY_HOPS)
        before, known, last = hear(judge, x[:turn]), copy.deepcopy(judge), hear(judge, x, first=turn)
        learnt = f"{judge.learnt.hours:.1f}" if judge.learnt else "0"
        add(normal, learning, *_by_day([before, last], normal_days), learnt, f"{judge.threshold:.2f}")
        false[learning] = [*before.hours, *last.hours]
        later_of[learning] = _late(machine, known, normal_days, turn, last.hours)
    for severity, *cells in zip(_FROM_LOUD, *later_of.values(), strict=True) if later_of else ():
        add(later, f"{severity:g}", *cells)
    for days in (1, 3, 7):
        x = machine.days(days, partial(_growing, days=days), kind)
        found = [_grown(hear(judge_of(machine, learning), x, false[learning]), days) for learning in LEARNING]
        add(grows, str(days), *found[0], *found[1])
    for severity in _FROM_LOUD:
        x = machine.days(STAYS_DAYS, partial(_staying, severity=severity), kind)
        add(stays, f"{severity:g}", *(_first(hear(judge_of(machine, one), x, false[one])) for one in LEARNING))
    return grows, stays, normal, later


def _by_day(heard: Sequence[Heard], n_days: float) -> tuple[str, str]:
    """Return how many episodes opened on each day, and what part of it lay in one."""
    days = range(math.ceil(n_days))
    opened = Counter(int(hour // 24) for each in heard for hour in each.hours)
    within = sum((each.hops_within for each in heard), Counter[int]())
    return ", ".join(str(opened[day]) for day in days), ", ".join(f"{within[day] / DAY_HOPS:.0%}" for day in days)


def _late(machine: Machine, judge: Judge, n_days: float, first: int, without: Sequence[float]) -> list[str]:
    """Return of each of `_FROM_LOUD` whether it is reported from hop `first` on, by a judge that has heard the others.

    without: hours of the episodes that the same days have without a fault.
    """
    found = list[str]()
    for severity in _FROM_LOUD:
        x = machine.days(n_days, partial(_staying, severity=severity), "changes")
        heard = hear(copy.deepcopy(judge), x, without, first=first)
        after = heard.hours[0] - first * HOP_SECONDS / 3600 if heard.hours else math.inf
        found.append(f"{after:.2f} h: {heard.bases[0]}" if heard.hours else "never")
    return found


def _growing(day: DoubleArray, *, days: float) -> DoubleArray:
    return day / days


def _staying(day: DoubleArray, *, severity: float) -> DoubleArray:
    return np.full_like(day, severity)


def _grown(heard: Heard, days: float) -> list[str]:
    return [f"{heard.hours[0] / 24 / days:.2f}", heard.bases[0]] if heard.hours else ["never", ""]


def _first(heard: Heard) -> str:
    return f"{heard.hours[0]:.2f} h: {heard.bases[0]}" if heard.hours else "never"


def machine_of(name: str, base: Detector, folder: Path, *, changes: bool) -> Machine:
    """Enrol a machine, and score its recordings, unless that was done.

    changes: whether all are wanted, or only that of a condition that stays.
    """
    own = folder / f"{name}-{base.sha256[:12]}"
    own.mkdir(parents=True, exist_ok=True)
    enrolled = own / "detector"
    if not enrolled.is_dir():
        heard = [
            Stretch(f"{i}", base.ear().feed(_sound(name, f"enrolled_{i}", ENROLLED_SECONDS))) for i in range(ENROLLED)
        ]
        enroll_windows(name, normal_windows(base.ear(), heard), base, enrolled)
    detector, kept = detectors.read(enrolled), own / ("scores.npy" if changes else "scores-of-one.npy")
    if not kept.exists():
        scenes = range(SCENES) if changes else [_first_quiet(detector, partial(_scores, detector, name, severity=0.0))]
        np.save(kept, [[_scores(detector, name, i, s) for i in scenes] for s in SEVERITIES])
    scores = np.load(kept).astype(np.float64)
    return Machine(name, detector, scores, _first_quiet(detector, lambda scene: scores[0, scene]) if changes else 0)


def _first_quiet(detector: Detector, scores_of: Callable[[int], DoubleArray]) -> int:
    """Return the first recording of a machine that is well, of such log scores, that is not reported."""

    def is_quiet(scene: int) -> bool:
        judge = Judge(EventSettings(), detector, detector.section(None))
        scores = np.exp(scores_of(scene)).tolist()
        return not any(judge.weigh(score, i * HOP_SECONDS) for i, score in enumerate(scores))

    return next(scene for scene in range(SCENES) if is_quiet(scene))


def _scores(detector: Detector, name: str, scene: int, severity: float) -> DoubleArray:
    line = Line(detector, detector.section(None))
    readings = line.feed(_sound(name, f"day_{scene}", SCENE_SECONDS, severity))
    return np.log([reading.scores["fused"] for reading in readings])


def _sound(name: str, scene: str, seconds: float, severity: float = 0.0) -> NDArray[np.float32]:
    fault = MACHINES[name] if severity else None
    which = Scene(machine=name, section=0, domain="source", name=scene, seed=0)
    return clip(which, seconds=seconds, fault=fault, severity=severity)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provisional", description=__doc__.split("\n")[0])
    parser.add_argument("detector", type=Path, nargs="?", default=Path("edge/demo/detector"))
    parser.add_argument("--machines", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--conditions", nargs="+", choices=("stays", "changes"), default=["stays", "changes"])
    parser.add_argument("--normal-days", type=float, default=7.0, help="without a fault, where the condition changes")
    parser.add_argument("--folder", type=Path, default=Path("build/provisional"), help="keeps what was scored")
    wanted = parser.parse_args()
    base = detectors.read(wanted.detector)
    changes = "changes" in wanted.conditions
    machines = [machine_of(name, base, wanted.folder, changes=changes) for name in wanted.machines]
    print(taught(machines).as_markdown())
    for each in tables(machines, wanted.conditions, wanted.normal_days):
        print("\n" + each.as_markdown())


if __name__ == "__main__":
    main()
