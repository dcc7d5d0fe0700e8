"""`python -m benchmarks.provisional DETECTOR`: what a machine just enrolled learns, and that no fault is among it.

Simulated machines are enrolled on DETECTOR from a quarter of an hour. Then days go by, with a fault that grows from
nothing to all there is of it over 1, 3 or 7 of them, with one that is there from the first hour, and with none. Each is
heard twice, with `event.learning` off and on.

The scores are measured, the days are put together of them: `SCENES` recordings of a machine are scored at each of
`SEVERITIES`, and as the same recording sounds the same but for the fault, every severity between is had by
interpolation. A condition lasts for hours, and is one recording, of which random parts follow each other; its level
wanders slowly. Minutes of simulation a machine; what was scored is kept in `--folder`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from benchmarks.measure import Table
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, Judge, Line, Stretch, enroll_windows, normal_windows
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

WANDER: Final = 0.03
WANDER_HOURS: Final = 1.0
"""Deviation of the log score that comes and goes within a condition, and how long it remembers."""

DAY_HOPS: Final = round(86_400 / 0.512)

DoubleArray = NDArray[np.float64]
Severity = Callable[[DoubleArray], DoubleArray]
"""How bad the fault is, 0 to 1, by days."""


@dataclass(frozen=True)
class Machine:
    """An enrolled machine. scores: log scores of its recordings by severity, (severities, scenes, hops)."""

    name: str
    detector: Detector
    scores: DoubleArray

    def days(self, n_days: float, severity: Severity, seed: int) -> DoubleArray:
        """Return log scores, a hop each."""
        rng = np.random.default_rng(seed)
        n = round(n_days * DAY_HOPS)
        scene, place = _conditions(rng, n), _places(rng, n, self.scores.shape[2])
        at = np.interp(severity(np.arange(n) / DAY_HOPS), SEVERITIES, np.arange(len(SEVERITIES)))
        low = np.minimum(at.astype(int), len(SEVERITIES) - 2)
        share = at - low
        x = (1 - share) * self.scores[low, scene, place] + share * self.scores[low + 1, scene, place]
        memory = np.exp(-0.512 / 3600 / WANDER_HOURS)
        drive = rng.normal(0, WANDER * np.sqrt(1 - memory**2), n)
        return np.asarray(x + scipy.signal.lfilter([1], [1, -memory], drive))


def _conditions(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    changes = rng.random(n) < 0.512 / 3600 / CONDITION_HOURS
    return rng.integers(SCENES, size=n)[np.maximum.accumulate(np.where(changes, np.arange(n), 0))]


def _places(rng: np.random.Generator, n: int, n_hops: int) -> NDArray[np.int64]:
    first = rng.integers(n_hops - BLOCK_HOPS, size=-(-n // BLOCK_HOPS))
    return np.asarray((first[:, None] + np.arange(BLOCK_HOPS)).reshape(-1)[:n])


@dataclass(frozen=True)
class Heard:
    """What became of it.

    reported_hours, basis    when the first episode opened, and by what; None without one
    learnt_hours, threshold  at the end
    """

    reported_hours: float | None
    episodes: int
    learnt_hours: float
    threshold: float
    basis: str = ""


def hear(machine: Machine, scores: DoubleArray, learning: str, *, until_reported: bool = True) -> Heard:
    """Carry days of log scores through the judge of a live source."""
    settings = EventSettings.model_validate({"learning": learning})
    judge = Judge(settings, machine.detector, machine.detector.section(None), learns=True)
    reported, basis, episodes = None, "", 0
    for i, score in enumerate(np.exp(scores).tolist()):
        for event in judge.weigh(score, i * 0.512):
            if event.kind == "opened":
                episodes += 1
                if reported is None:
                    reported, basis = i * 0.512 / 3600, f"{event.basis.seconds:g} s, {event.basis.against}"
        if reported is not None and until_reported:
            break
    hours = judge.learnt.hours if judge.learnt else 0.0
    return Heard(reported, episodes, hours, judge.threshold, basis)


def table(machines: Sequence[Machine]) -> list[Table]:
    """Return what was reported, and what was not."""
    grows, stays, normal = list[list[str]](), list[list[str]](), list[list[str]]()
    for machine in machines:
        for days in (1, 3, 7):
            x = machine.days(days, lambda t, days=days: t / days, seed=days)  # type: ignore[misc]
            for learning in ("off", "until_promised"):
                heard = hear(machine, x, learning)
                strength = "never" if heard.reported_hours is None else f"{heard.reported_hours / 24 / days:.2f}"
                hours = "" if heard.reported_hours is None else f"{heard.reported_hours:.1f}"
                grows.append([machine.name, str(days), learning, strength, hours, heard.basis])
                print(*grows[-1], sep=" | ", flush=True)
        for severity in SEVERITIES[1:]:
            x = machine.days(2, lambda t, s=severity: np.where(t > 1 / 24, s, 0.0), seed=100)  # type: ignore[misc]
            cells = []
            for learning in ("off", "until_promised"):
                heard = hear(machine, x, learning)
                cells += ["never" if heard.reported_hours is None else f"{heard.reported_hours:.2f}", heard.basis]
            stays.append([machine.name, f"{severity:g}", *cells])
            print(*stays[-1], sep=" | ", flush=True)
        x = machine.days(7, np.zeros_like, seed=200)
        for learning in ("off", "until_promised"):
            heard = hear(machine, x, learning, until_reported=False)
            numbers = [str(heard.episodes), f"{heard.learnt_hours:.1f}", f"{heard.threshold:.2f}"]
            normal.append([machine.name, learning, *numbers])
            print(*normal[-1], sep=" | ", flush=True)
    return [
        Table("A fault that grows", ["machine", "days", "learning", "reported at", "after, h", "by"], grows),
        Table(
            "A fault from the first hour on, two days",
            ["machine", "severity", "off: after, h", "by", "until_promised: after, h", "by"],
            stays,
        ),
        Table("A week of normal sound", ["machine", "learning", "episodes", "h learnt", "threshold"], normal),
    ]


def machine_of(name: str, base: Detector, folder: Path) -> Machine:
    """Enrol a machine, and score its recordings, unless that was done."""
    own = folder / f"{name}-{base.sha256[:12]}"
    own.mkdir(parents=True, exist_ok=True)
    enrolled = own / "detector"
    if not enrolled.is_dir():
        heard = [
            Stretch(f"{i}", base.ear().feed(_sound(name, f"enrolled_{i}", ENROLLED_SECONDS))) for i in range(ENROLLED)
        ]
        enroll_windows(name, normal_windows(base.ear(), heard), base, enrolled)
    detector, kept = detectors.read(enrolled), own / "scores.npy"
    if not kept.exists():
        np.save(kept, [[_scores(detector, name, i, s) for i in range(SCENES)] for s in SEVERITIES])
    return Machine(name, detector, np.load(kept).astype(np.float64))


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
    parser.add_argument("--folder", type=Path, default=Path("build/provisional"), help="keeps what was scored")
    wanted = parser.parse_args()
    base = detectors.read(wanted.detector)
    for each in table([machine_of(name, base, wanted.folder) for name in wanted.machines]):
        print("\n" + each.as_markdown())


if __name__ == "__main__":
    main()
