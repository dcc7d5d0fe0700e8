"""Are the promises kept? False alarms on normal sound that was never heard, against what was asked for.

    python -m benchmarks.false_alarms clips DETECTOR DATA... [--enroll]     a rate of clips, section by section
    python -m benchmarks.false_alarms week DETECTOR [--hours 168]           episodes a week, through the real line
    python -m benchmarks.false_alarms reach                                 how far a calibration can be extrapolated

`clips` takes the normal test clips of DATA, in the DCASE layout. With --enroll the sections are first enrolled from
their training clips on the network of DETECTOR, which has never heard them.

`week` listens to the shipped simulator's pump, made on the fly: some hours to enrol it from, then others that go
through the line and the event detector at the thresholds for several rates. It takes about 25 CPU-seconds an hour of
sound, in --jobs processes, and goes on where it was stopped: what was heard is kept in --folder.

`reach` needs no sound: scores of three known processes, calibrated for one false alarm a week from ever fewer hours,
and what that makes of weeks to come. `edge.detector.judge.calibration.FARTHEST` was chosen by it.
"""

import argparse
import math
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import scipy.signal
import scipy.stats
from tqdm import tqdm

from benchmarks.measure import Table
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import (
    Detector,
    Line,
    Promise,
    Recording,
    Section,
    Stretch,
    enroll_windows,
    learn_section,
    measure_normal,
    normal_windows,
    score_file,
)
from edge.ear import FloatArray, HopPlan, Measurement
from edge.judge import (
    EventDetector,
    Ordinary,
    Rules,
    ScoreName,
    ScoreSeries,
    evidence_of,
    hours_needed,
    log_score,
    openings,
    rate_of,
    unrefused_threshold,
)
from trainer.cores import usable_cores
from trainer.dataset import Clip, read_layout
from trainer.simulator.recording import Scene, clip

RATES: Final = (0.05, 0.01)
SCORES: Final[tuple[ScoreName, ...]] = ("fused", "mahalanobis", "bands", "l90")

STRETCH_SECONDS: Final = 120.0
"""Of simulated sound at a time: a start of the pump, at one of its operating points, in today's hall."""

ASKED_PER_WEEK: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0)

PROCESSES: Final = ("steady", "clanks", "heavy")
"""Normal scores; with clanks of exponential size, a hundred seconds apart; the same with a Pareto's second moment."""

REACH_HOURS: Final = (48.0, 24.0, 8.0, 3.0)
REACH_TIMES: Final = 16
REACH_WEEKS: Final = 4
REACH_HOP_SECONDS: Final = 0.512
WINDOW_HOPS: Final = 19


# --- A rate of clips ---


def clips(detector: Detector, data: Sequence[Path], *, enrolled: bool) -> Table:
    """Return the share of normal test clips above the threshold for each of `RATES`, per section and score."""
    by_section: defaultdict[str, list[Clip]] = defaultdict(list)
    for one in read_layout(data):
        by_section[one.name].append(one)

    rows: list[list[str]] = []
    for name, own in sorted(by_section.items()):
        unheard = [one for one in own if one.split == "test" and one.label == "normal"]
        section = _enrolled(detector, own) if enrolled else detector.sections.get(name)
        if section is None or not unheard:
            continue
        line = Line(detector, section)
        scores = [score_file(line, one.path) for one in tqdm(unheard, name, unit="clip", leave=False)]
        recordings = len({one.recording for one in unheard})
        for rate in RATES:
            alarms = {s: sum(each[s] > section.threshold(s, rate) for each in scores) for s in SCORES}
            cells = [f"{alarms[s] / len(unheard):.1%} {_interval_text(alarms[s], len(unheard))}" for s in SCORES]
            rows.append([name, f"{len(unheard)} of {recordings}", f"{rate:.0%}", *cells])
    return Table(
        title="False alarms on normal clips never heard",
        columns=["section", "clips of recordings", "asked", *SCORES],
        rows=rows,
        note="In brackets what the rate may be with 95 % as far as the number of clips goes (Clopper and Pearson); "
        "clips of one recording are alike, so it may be more.",
    )


def _enrolled(detector: Detector, own: Sequence[Clip]) -> Section | None:
    recordings = [Recording(one.path, one.recording, one.domain) for one in own if one.split == "train"]
    windows = measure_normal(detector.ear(), recordings)
    if windows is None:
        return None
    return learn_section(
        own[0].machine,
        own[0].section,
        windows,
        class_index=None,
        promise=Promise(RATES[0]),
        plan=detector.plan,
    )


def _interval_text(k: int, n: int) -> str:
    interval = scipy.stats.binomtest(k, n).proportion_ci(0.95)
    return f"({interval.low:.0%} to {interval.high:.0%})"


# --- A week ---


def week(path: Path, *, hours: float, calibration_hours: float, jobs: int, folder: Path) -> Table:
    """Return how many episodes there were in so many hours of normal sound, at the threshold for each asked rate."""
    base = detectors.read(path)
    folder = folder / base.sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)

    heard = _in_parallel(partial(_measured, path, folder), _stretches("calibration", calibration_hours), jobs)
    windows = normal_windows(base.ear(), [Stretch(one.stem, _read_measurements(one)) for one in heard])
    enrolled_path = folder / f"pump-{calibration_hours:g}h"
    enrolled = enroll_windows("pump", windows, base, enrolled_path)
    section = enrolled.section(None)
    if section.card.weekly is None:
        raise SystemExit(f"{calibration_hours:g} hours to calibrate from: expected more, nothing can be promised")

    # Scores of before a change to how sections are fitted or scores fused would be held against thresholds of after it.
    fitted = f"{enrolled.card.files['scorer.npz'][:12]}-{section.card.fusion}"
    scored = folder / f"scores-{calibration_hours:g}h-{fitted}"
    scored.mkdir(exist_ok=True)
    files = _in_parallel(partial(_scored, enrolled_path, scored), _stretches("week", hours), jobs)
    series = [np.load(one) for one in files]
    listened_hours = sum(one.size for one in series) * base.plan.hop_seconds / 3600
    curve = section.weekly["fused"]
    rows = [
        _week_row(asked, section, series, listened_hours, base.plan)
        for asked in ASKED_PER_WEEK
        if section.card.weekly.rarest <= asked <= curve.per_week[-1]
    ]
    return Table(
        title=f"A simulated pump, calibrated on {curve.hours:.3g} h of normal sound, then heard for another "
        f"{listened_hours:.3g} h",
        columns=["asked a week", "threshold", "interval of the rate, 90 %", "expected", "alarms", "a week", "95 %"],
        rows=rows,
        note="`expected` are the alarms that the asked rate makes in the hours listened to; the last column what the "
        "rate may be for the number that was counted (Poisson).",
    )


def _week_row(
    asked: float, section: Section, series: Sequence[FloatArray], listened_hours: float, plan: HopPlan
) -> list[str]:
    found = section.weekly["fused"].at(asked)
    ordinary, rate = section.ordinary["fused"], rate_of(found.threshold)
    threshold = section.threshold("fused", rate)
    alarms = sum(_episodes(one, ordinary, rate, threshold, plan) for one in series)
    weeks = listened_hours / 168
    low = scipy.stats.chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0
    high = scipy.stats.chi2.ppf(0.975, 2 * (alarms + 1)) / 2
    return [
        f"{asked:g}",
        f"{threshold:.3f}",
        f"{found.interval[0]:.2g} to {found.interval[1]:.2g}",
        f"{asked * weeks:.1f}",
        str(alarms),
        f"{alarms / weeks:.1f}",
        f"{low / weeks:.1f} to {high / weeks:.1f}",
    ]


def _episodes(scores: FloatArray, ordinary: Ordinary, rate: float, threshold: float, plan: HopPlan) -> int:
    """Count what the event detector itself opens."""
    settings = EventSettings()
    evidence = evidence_of(settings, ordinary, window_seconds=plan.window_seconds, hop_seconds=plan.hop_seconds)
    events = EventDetector(settings, evidence, rate=rate, threshold=threshold)
    return sum(
        event.kind == "opened"
        for i, (score, x) in enumerate(zip(scores, log_score(scores, "fused"), strict=True))
        for event in events.step(i * plan.hop_seconds, float(score), float(x))
    )


# --- How far ---


def reach() -> Table:
    """Return what a calibration for one false alarm a week makes of weeks to come, from ever fewer hours."""
    rules = Rules.of_settings(EventSettings(), REACH_HOP_SECONDS)
    rows: list[list[str]] = []
    for name in PROCESSES:
        rng = np.random.default_rng(1)
        weeks = [_process(name, 168, rng) for _ in range(REACH_WEEKS)]
        for hours in REACH_HOURS:
            counted = [_counted(_process(name, hours, rng), weeks, rules) for _ in range(REACH_TIMES)]
            within = "yes" if hours >= hours_needed(1) else "no"
            cells = [np.mean(counted), np.median(counted), np.max(counted)]
            rows.append([name, f"{hours:g}", within, *(f"{cell:.1f}" for cell in cells)])
    return Table(
        title="One false alarm a week asked for: what came",
        columns=["process", "hours heard", "not refused", "mean", "median", "largest"],
        rows=rows,
        note=f"Each {REACH_TIMES} calibrations, heard for the same {REACH_WEEKS} weeks to come.",
    )


def _counted(heard: FloatArray, weeks: Sequence[FloatArray], rules: Rules) -> float:
    """Return the alarms a week of a calibration as it would be if nothing was ever refused."""
    n = round(300 / REACH_HOP_SECONDS)
    series = [ScoreSeries(heard[i : i + n], str(i)) for i in range(0, heard.size - n + 1, n)]
    threshold = unrefused_threshold(series, EventSettings(), 1.0, hop_seconds=REACH_HOP_SECONDS)
    return float(np.mean([len(openings(week, threshold, rules)) for week in weeks]))


def _process(name: str, hours: float, rng: np.random.Generator) -> FloatArray:
    """Return scores, a hop apart: they remember ten seconds, as windows that overlap do, and things are dropped."""
    n = round(3600 * hours / REACH_HOP_SECONDS)
    memory = 0.93
    steady = scipy.signal.lfilter([math.sqrt(1 - memory**2)], [1, -memory], rng.normal(size=n))
    dropped = np.zeros(n)
    if name != "steady":
        at = np.flatnonzero(rng.random(n) < 0.01 * REACH_HOP_SECONDS)
        dropped[at] = rng.exponential(0.15, at.size) if name == "clanks" else 0.05 * rng.pareto(2, at.size)
        dropped = scipy.signal.lfilter(np.ones(WINDOW_HOPS), [1], dropped)
    return np.asarray(1 + 0.12 * steady + dropped, np.float32)


def _stretches(what: str, hours: float) -> list[str]:
    return [f"{what}-{i:05d}" for i in range(math.ceil(hours * 3600 / STRETCH_SECONDS))]


def _in_parallel(work: Callable[[str], Path], names: Sequence[str], jobs: int) -> list[Path]:
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(tqdm(pool.map(work, names, chunksize=4), total=len(names), unit="stretch"))


@lru_cache(maxsize=1)
def _detector(path: Path) -> Detector:
    return detectors.read(path)


def _sound(name: str) -> FloatArray:
    scene = Scene(machine="pump", section=0, domain="source", name=f"normal_{name}", seed=0)
    return clip(scene, seconds=STRETCH_SECONDS)


def _measured(detector_path: Path, folder: Path, name: str) -> Path:
    """Leave what a stretch measures in a file, unless it is there."""
    done = folder / f"{name}.npz"
    if not done.exists():
        heard = _detector(detector_path).ear().feed(_sound(name))
        part = folder / f".{name}.part.npz"
        np.savez(
            part,
            end_sample=[one.end_sample for one in heard],
            embedding=[one.embedding for one in heard],
            texture=[one.texture for one in heard],
            logits=[one.logits for one in heard],
            bands=[one.bands for one in heard],
        )
        part.replace(done)
    return done


def _read_measurements(path: Path) -> list[Measurement]:
    with np.load(path) as stored:
        rows = zip(*(stored[key] for key in ("end_sample", "embedding", "texture", "logits", "bands")), strict=True)
        return [Measurement(int(row[0]), row[1], row[2], row[3], row[4], 0.0) for row in rows]


def _scored(detector_path: Path, folder: Path, name: str) -> Path:
    """Leave the fused scores of a stretch in a file, as the line of a device gives them, unless it is there."""
    done = folder / f"{name}.npy"
    if not done.exists():
        detector = _detector(detector_path)
        readings = Line(detector, detector.section(None)).feed(_sound(name))
        part = folder / f".{name}.part.npy"
        np.save(part, np.array([reading.scores["fused"] for reading in readings], np.float32))
        part.replace(done)
    return done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_alarms", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    per_clip = commands.add_parser("clips", help="a rate of clips, section by section")
    per_clip.add_argument("detector", type=Path)
    per_clip.add_argument("data", type=Path, nargs="+")
    per_clip.add_argument("--enroll", action="store_true", help="enrol the sections of DATA first")
    per_week = commands.add_parser("week", help="episodes a week, through the real line")
    per_week.add_argument("detector", type=Path)
    per_week.add_argument("--hours", type=float, default=168.0, help="to listen to")
    per_week.add_argument("--calibration-hours", type=float, default=26.0, help="to enrol from, before")
    per_week.add_argument("--jobs", type=int, default=usable_cores())
    per_week.add_argument("--folder", type=Path, default=Path("build/false_alarms"), help="keeps what was heard")
    commands.add_parser("reach", help="how far a calibration can be extrapolated")
    wanted = parser.parse_args()
    if wanted.command == "clips":
        print(clips(detectors.read(wanted.detector), wanted.data, enrolled=wanted.enroll).as_markdown())
    elif wanted.command == "reach":
        print(reach().as_markdown())
    else:
        table = week(
            wanted.detector,
            hours=wanted.hours,
            calibration_hours=wanted.calibration_hours,
            jobs=wanted.jobs,
            folder=wanted.folder,
        )
        print(table.as_markdown())


if __name__ == "__main__":
    main()
