"""Does an event say rightly why? Simulated machines with tonal, impact and broadband faults.

    python -m benchmarks.why DETECTOR --seeds 201 202

Each machine is enrolled on DETECTOR from its normal clips. Then it is heard, ten seconds normal and seventeen faulty:
whether that alarms is the judge's own verdict on the faulty part, and the cause that of its newest seconds beside the
normal ones. The faults are the simulator's own at three severities, and sounds laid over the healthy machine at two
or three strengths. The constants of edge/judge/why.py were set on seeds 101 to 116, 202 to 209 and
301 to 327; report others.

    right    the kind that was made, in a place that rose at least half as much as the place, as wide, that rose most
    unknown  it said that it cannot tell
    wrong    anything else
"""

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, Judge, Line, enroll
from edge.ear import Frontend, Samples
from edge.judge import Cause, Place, Usual, added_sound, cause_of, portrait
from trainer.simulator.machines import KINDS
from trainer.simulator.recording import Scene, clip, episode

Group = Literal["tonal", "impact", "broadband", "level"]

FAULTS: Final[dict[str, tuple[Group, tuple[str, ...]]]] = {
    "imbalance": ("tonal", ("tone",)),
    "belt": ("tonal", ("tone", "impacts")),  # a squeal that comes with each turn of the belt
    "bearing": ("impact", ("impacts",)),
    "chipped": ("impact", ("impacts",)),
    "sticking": ("impact", ("impacts",)),
    "cavitation": ("broadband", ("broadband",)),
    "leak": ("broadband", ("broadband",)),
    "tone": ("tonal", ("tone",)),
    "impacts": ("impact", ("impacts",)),
    "hiss": ("broadband", ("broadband",)),
    "level": ("level", ("level",)),
}
SEVERITIES: Final = (0.3, 0.6, 1.0)
STRENGTHS_DB: Final = {"tone": (4, 10, 16), "impacts": (4, 10, 16), "hiss": (4, 10), "level": (4, 8)}

NORMAL_CLIPS, NORMAL_SECONDS = 6, 21.0
START_SECONDS, FULL_SECONDS, FADES_SECONDS, END_SECONDS = 10.0, 13.0, 27.0, 30.0
"""The fault sets in, has its full strength, fades, and is gone."""

LEAST_SHARE: Final = 0.5
RATE_HZ: Final = 16_000


@dataclass(frozen=True)
class Case:
    """A recording that turns faulty, and what was added at its end, as long as the fault: `rise` is by band, dB."""

    fault: str
    sound: Samples
    rise: NDArray[np.float64]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--verbose", action="store_true", help="each case")
    asked = parser.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    base = detectors.read(asked.detector)
    with tempfile.TemporaryDirectory() as scratch:
        for seed in asked.seeds:
            for kind in KINDS:
                machine = _enrolled(kind, seed, base, Path(scratch, f"{kind}-{seed}"))
                for case in _cases(kind, seed, Frontend(base.frontend)):
                    verdict, cause = _tried(machine, case)
                    counts[case.fault][verdict] += 1
                    if asked.verbose:
                        print(kind, seed, case.fault, verdict, cause, flush=True)
    print(_table(counts))


def _enrolled(kind: str, seed: int, base: Detector, folder: Path) -> Detector:
    folder.mkdir()
    paths = []
    for i in range(NORMAL_CLIPS):
        scene = Scene(machine=kind, section=0, domain="source", name=f"normal_{i}", seed=seed)
        paths.append(folder / f"normal_{i}.flac")
        soundfile.write(paths[-1], clip(scene, seconds=NORMAL_SECONDS), RATE_HZ, subtype="PCM_16")
    return enroll(kind, paths, base, folder / "detector")


def _cases(kind: str, seed: int, frontend: Frontend) -> Iterator[Case]:
    healthy = _heard(kind, seed, KINDS[kind].faults[0], 0.0)
    own = _power(healthy, frontend)
    for fault in KINDS[kind].faults:
        before = _heard(kind, seed, fault, 0.0)
        for severity in SEVERITIES:
            sound = _heard(kind, seed, fault, severity)
            yield Case(fault, sound, _rise(_power(sound - before, frontend), _power(before, frontend)))
    rng = np.random.default_rng([seed, *kind.encode()])
    for fault, strengths in STRENGTHS_DB.items():
        for strength_db in strengths:
            added = _added(fault, strength_db, healthy, own, frontend, rng)
            yield Case(fault, healthy + added, _rise(_power(added, frontend), own))


def _heard(kind: str, seed: int, fault: str, severity: float) -> Samples:
    return episode(
        kind,
        0,
        fault=fault,
        start_seconds=START_SECONDS,
        end_seconds=END_SECONDS,
        seconds=END_SECONDS,
        seed=seed,
        severity=severity,
    )


def _added(
    fault: str,
    strength_db: float,
    healthy: Samples,
    own: NDArray[np.float64],
    frontend: Frontend,
    rng: np.random.Generator,
) -> Samples:
    """Return what is laid over a healthy recording once the fault sets in, so much above its own power there."""
    onset = np.arange(healthy.size) >= START_SECONDS * RATE_HZ
    if fault == "level":
        return healthy * np.float32(10 ** (strength_db / 20) - 1) * onset
    hz = float(np.exp(rng.uniform(np.log(300), np.log(3500))))
    rate = float(rng.choice([1.0, 2.5, 6.0, 12.0])) if fault == "impacts" else 0.0
    place = Place(fault, hz, hz if fault == "tone" else 2 * hz, rate)  # type: ignore[arg-type]
    sound = added_sound(place, healthy.size, RATE_HZ, rng) * onset
    middles, width = frontend.band_edges_hz[1:-1], frontend.band_edges_hz[2:] - frontend.band_edges_hz[:-2]
    there = (middles >= place.low_hz) & (middles <= place.high_hz)
    there[np.abs(middles - place.low_hz).argmin()] = True
    added = _power(sound, frontend)
    gain = (own * width)[there].sum() / (added * width)[there].sum() * 10 ** (strength_db / 10)
    return np.asarray(sound * np.float32(np.sqrt(gain)), np.float32)


def _power(sound: Samples, frontend: Frontend) -> NDArray[np.float64]:
    """Return the mean power of each band while the fault has its full strength."""
    return np.asarray(np.power(10.0, frontend(_faulty(sound)) / 10).mean(axis=1), np.float64)


def _faulty(sound: Samples) -> Samples:
    return sound[int(FULL_SECONDS * RATE_HZ) : int(FADES_SECONDS * RATE_HZ)].astype(np.float32)


def _rise(added: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10 * np.log10(1 + added / own))


def _tried(detector: Detector, case: Case) -> tuple[str, Cause | None]:
    section, frontend, sound = detector.section(None), Frontend(detector.frontend), _faulty(case.sound)
    judge = Judge(EventSettings(), detector, section)
    readings = Line(detector, section).feed(sound)
    if not any(judge.hear(reading, reading.end_sample / RATE_HZ) for reading in readings):
        return "no alarm", None
    normal = section.statistics
    past = portrait(case.sound[: int(START_SECONDS * RATE_HZ)], frontend)
    usual = Usual(normal.nearest_normal(readings[-1].band_level), normal.band_deviation, past)
    cause = cause_of(portrait(sound, frontend), usual, frontend)
    if cause.kind == "unknown":
        return "unknown", cause
    right = cause.kind in FAULTS[case.fault][1] and _is_there(cause, case.rise, frontend)
    return "right" if right else "wrong", cause


def _is_there(cause: Cause, rise: NDArray[np.float64], frontend: Frontend) -> bool:
    middles = frontend.band_edges_hz[1:-1]
    there = (middles >= cause.hz_lo) & (middles <= cause.hz_hi)
    there[np.abs(middles - (cause.hz_lo + cause.hz_hi) / 2).argmin()] = True
    n = int(there.sum())
    best = np.convolve(rise, np.ones(n) / n, "valid").max()
    return bool(rise[there].mean() >= LEAST_SHARE * best)


def _table(counts: dict[str, Counter[str]]) -> str:
    rows = ["| fault | alarms | right | unknown | wrong |", "|---|---|---|---|---|"]
    rows += [_row(fault, counts[fault]) for fault in FAULTS if fault in counts]
    groups: Sequence[Group] = ("tonal", "impact", "broadband", "level")
    for group in groups:
        together = sum((counts[f] for f in FAULTS if FAULTS[f][0] == group and f in counts), Counter[str]())
        rows.append(_row(f"**{group}**", together))
    return "\n".join(rows)


def _row(name: str, count: Counter[str]) -> str:
    alarms = sum(count.values()) - count["no alarm"]
    right = f"{count['right']} ({100 * count['right'] / max(alarms, 1):.0f} %)"
    return f"| {name} | {alarms} of {sum(count.values())} | {right} | {count['unknown']} | {count['wrong']} |"


if __name__ == "__main__":
    main()
