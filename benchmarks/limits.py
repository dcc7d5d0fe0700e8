"""Is what a detector says it would hear what it hears? `python -m benchmarks.limits DETECTOR [--data FOLDER]`

Machines are enrolled on the network of DETECTOR, which had better not know them, and say which changes they would
report, from altered frames of the recordings they learnt (edge/detector/limits.py). Then other recordings of the same
machines are altered, sample by sample, and replayed through the whole line and its judge: normal sound, then the
change, at strengths as fine. Printed are both limits, and by how much the first was wrong. Recordings that are reported
as they are say nothing of changes, and are set aside. "At its level": what would have been said if the mean score of
the recordings tried had been known, so that what is left is the physics of the changes and the rules of the judge.

Simulated machines are made on the fly; of FOLDER (see shared/data) there are car-1 and uav-00. About 3 minutes of one
core a machine.
"""

import argparse
import copy
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.measure import Table
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, Judge, Line, Recording, Recordings, enroll_windows, measure_normal, would_hear
from edge.ear import Frontend, Samples
from edge.judge import RANGES_DB, Changes, Kind, NormalWindows, Place, added_sound, band_of, log_score, places
from edge.source import SAMPLE_RATE_HZ, read_samples
from trainer.simulator.recording import Scene, clip

NORMAL_SECONDS: Final = 300
CHANGED_SECONDS: Final = 120
TRIALS: Final = 12
REPORTED: Final = 0.9
SIMULATED: Final = (("fan", 1), ("gearbox", 1), ("pump", 2))
SEED: Final = 41


@dataclass(frozen=True)
class Machine:
    """Recordings to enrol it from, and others to try it on: normal sound, each as long as it takes."""

    name: str
    learnt: Sequence[Samples]
    others: Sequence[Samples]


def simulated(kind: str, section: int) -> Machine:
    """Return a machine of the simulator: eight half minutes to learn, four others of seven minutes."""
    takes = [("learnt", 30.0)] * 8 + [("other", float(NORMAL_SECONDS + CHANGED_SECONDS))] * 4
    made = [
        clip(Scene(machine=kind, section=section, domain="source", name=f"{name} {i}", seed=SEED), seconds=seconds)
        for i, (name, seconds) in enumerate(takes)
    ]
    return Machine(f"{kind}-{section}", made[:8], made[8:])


def real(folder: Path) -> Iterator[Machine]:
    """Yield machines of recordings; too short ones go round, and what is changed was not in the normal sound before."""
    cars = [read_samples(folder / "cars" / f"car1_normal_0{i}.flac") for i in range(3)]
    yield Machine("car-1", cars[:2], [_stretched(cars[2])])
    learnt = [read_samples(path) for path in sorted((folder / "uav" / "train").glob("section_00*"))]
    others = [read_samples(path) for path in sorted((folder / "uav" / "test").glob("section_00*normal*"))]
    yield Machine("uav-00", learnt, [_stretched(np.concatenate(part)) for part in (others[::2], others[1::2])])


def _stretched(sound: Samples) -> Samples:
    """Return seven minutes: the first 5/7 of a sound go round until the change begins, the rest goes on."""
    cut = sound.size * NORMAL_SECONDS // (NORMAL_SECONDS + CHANGED_SECONDS)
    before, after = NORMAL_SECONDS * SAMPLE_RATE_HZ, CHANGED_SECONDS * SAMPLE_RATE_HZ
    return np.concatenate([np.resize(sound[:cut], before), np.resize(sound[cut:], after)])


class Replay:
    """One other recording, replayed through the product up to where a change begins, and on from there."""

    def __init__(self, detector: Detector, sound: Samples) -> None:
        section = detector.section(None)
        self._line, self._judge = Line(detector, section), Judge(EventSettings(), detector, section)
        self._hop = detector.plan.hop_samples
        onset = NORMAL_SECONDS * SAMPLE_RATE_HZ
        self._latest, self.changed = sound[onset - detector.plan.window_samples : onset], sound[onset:]
        before = self._line.feed(sound[:onset])
        self.log_level = float(np.mean(log_score(np.array([one.scores["fused"] for one in before]), "fused")))
        for reading in before:
            self._judge.hear(reading, reading.end_sample / SAMPLE_RATE_HZ)
        self._judge.interrupt("source_lost")  # a false alarm is not a change that was found

    def wait_seconds(self, changed: Samples) -> float | None:
        """Return after how long an episode opens when the recording goes on with this; None if none does."""
        judge = copy.deepcopy(self._judge)
        self._line.reset()
        self._line.feed(self._latest)
        for start in range(0, changed.size, self._hop):
            for reading in self._line.feed(changed[start : start + self._hop]):
                after = (reading.end_sample - self._latest.size) / SAMPLE_RATE_HZ
                if judge.hear(reading, NORMAL_SECONDS + after):
                    return after
        return None


def altered(place: Place, sound: Samples, changes: Changes, strength_db: float, *, seed: int) -> Samples:
    """Return a recording with the change, sample by sample."""
    if place.kind == "level":
        return (sound * 10 ** (strength_db / 20)).astype(np.float32)
    if place.kind == "modulation":
        seconds = np.arange(sound.size) / SAMPLE_RATE_HZ
        swing = 10 ** (strength_db * np.sin(2 * np.pi * place.per_second * seconds) / 20)
        return (sound + (swing - 1) * band_of(sound, place, SAMPLE_RATE_HZ)).astype(np.float32)
    added = added_sound(place, sound.size, SAMPLE_RATE_HZ, np.random.default_rng(seed))
    return (sound + added * math.sqrt(10 ** (strength_db / 10) / changes.gain(place, added))).astype(np.float32)


def quiet_replays(detector: Detector, machine: Machine) -> list[Replay]:
    """Return its other recordings, but for those that are reported as they are."""
    replays = [Replay(detector, sound) for sound in machine.others]
    quiet = [replay for replay in replays if replay.wait_seconds(replay.changed) is None]
    print(f"{machine.name}: {len(quiet)} of {len(replays)} recordings are not reported as they are", flush=True)
    return quiet or replays


def real_limits(
    detector: Detector, machine: Machine, replays: Sequence[Replay]
) -> dict[Kind, tuple[float, float | None]]:
    """Return from which strength on each kind is reported in nine of ten replays, and their median wait there."""
    frontend = Frontend(detector.frontend)
    changes = Changes.of(frontend, [frontend(sound) for sound in machine.learnt], 16)
    found: dict[Kind, tuple[float, float | None]] = {}
    everywhere = places(detector.frontend.f_min_hz, detector.frontend.f_max_hz)
    for kind in RANGES_DB:
        own = [place for place in everywhere if place.kind == kind]
        trials = []
        for i in range(TRIALS):
            place, replay = own[i % len(own)], replays[(i + i // len(own)) % len(replays)]
            start = i * 8192 % (20 * SAMPLE_RATE_HZ)  # the level has one place, and there are few recordings
            sound = replay.changed[start:]
            trials.append(_Trial(replay, place, sound, changes, seed=i))
        limits = sorted(trial.limit_db() for trial in trials)
        least = limits[math.ceil(REPORTED * TRIALS) - 1]
        waits = sorted(math.inf if (w := t.wait(least)) is None else w for t in trials) if math.isfinite(least) else []
        found[kind] = least, waits[TRIALS // 2] if waits else None
        print(machine.name, kind, limits, found[kind], flush=True)
    return found


class _Trial:
    """One change to one recording, at any strength."""

    def __init__(self, replay: Replay, place: Place, sound: Samples, changes: Changes, seed: int) -> None:
        self._range, self._known = RANGES_DB[place.kind], dict[float, float | None]()
        self._replay = replay
        self._altered = partial(altered, place, sound, changes, seed=seed)

    def wait(self, strength_db: float) -> float | None:
        """Return after how long a strength is reported, None if it is not."""
        if strength_db not in self._known:
            self._known[strength_db] = self._replay.wait_seconds(self._altered(strength_db))
        return self._known[strength_db]

    def limit_db(self) -> float:
        """Return the least strength that is reported, to 1 dB, by halving; infinity if none is."""
        low, high = self._range
        if self.wait(high) is None:
            return math.inf
        if self.wait(low) is not None:
            return low
        while high - low > 1:
            middle = math.floor((low + high) / 2)
            low, high = (low, middle) if self.wait(middle) is not None else (middle, high)
        return high


def table(base: Detector, machines: Iterator[Machine]) -> Table:
    """Enrol each machine, ask it, and try it."""
    rows, errors = list[list[str]](), list[list[float]]()
    for machine in machines:
        with tempfile.TemporaryDirectory() as folder:
            detector, windows, paths = enrolled(machine, base, Path(folder))
            section = detector.section(None)
            replays = quiet_replays(detector, machine)
            own = would_hear(
                section,
                windows,
                Recordings(paths),
                base.model,
                base.plan,
                EventSettings(),
                log_levels=[one.log_level for one in replays],
            )
        came = real_limits(detector, machine, replays)
        for limit, at_level in zip(section.card.would_hear, own, strict=True):
            real_db, wait = came[limit.kind]
            predicted = [math.inf if one is None else one for one in (limit.limit_db, at_level.limit_db)]
            known = math.isfinite(real_db)
            errors.append([one - real_db if known and math.isfinite(one) else math.nan for one in predicted])
            cells = [*map(_decibels, predicted), _decibels(real_db), *map(_decibels, errors[-1])]
            rows.append([machine.name, limit.kind, *cells, _s(limit.wait_seconds), _s(wait)])
            print(*rows[-1], flush=True)
    columns = ["machine", "change", "predicted, dB", "at its level", "real, dB", "error, dB", "at its level"]
    title = "From which strength on nine of ten changes are reported"
    return Table(title, [*columns, "wait predicted, s", "wait, s"], rows, _note(np.array(errors)))


def enrolled(machine: Machine, base: Detector, folder: Path) -> tuple[Detector, NormalWindows, list[Path]]:
    """Return it enrolled on the network of `base`, in `folder`, with what was measured, and of which files."""
    for i, sound in enumerate(machine.learnt):
        soundfile.write(folder / f"normal_{i:03d}.wav", sound, SAMPLE_RATE_HZ)
    paths = sorted(folder.glob("*.wav"))
    windows = measure_normal(base.ear(), [Recording(path, str(path)) for path in paths])
    assert windows is not None
    return enroll_windows(machine.name, windows, base, folder / "detector", sound=Recordings(paths)), windows, paths


def _note(errors: NDArray[np.float64]) -> str:
    """Return what the errors, (n, 2), come to."""
    within = (np.abs(errors) <= 2).sum(axis=0)
    mean = np.nanmean(errors, axis=0)
    return (
        f"Within 2 dB: {within[0]} of {len(errors)}, mean error {mean[0]:+.1f} dB. At the level that the recordings "
        f"tried had, and nobody knew beforehand: {within[1]} of {len(errors)}, mean error {mean[1]:+.1f} dB."
    )


def _decibels(value: float) -> str:
    return f"{value:+.0f}" if math.isfinite(value) else "-"


def _s(seconds: float | None) -> str:
    return "-" if seconds is None or not math.isfinite(seconds) else f"{seconds:.0f}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path)
    parser.add_argument("--data", type=Path, help="recordings of car-1 and uav-00")
    parser.add_argument("--only", help="one machine")
    args = parser.parse_args()

    def machines() -> Iterator[Machine]:
        for kind, section in SIMULATED:
            if args.only in (None, f"{kind}-{section}"):
                yield simulated(kind, section)
        if args.data is not None:
            yield from (machine for machine in real(args.data) if args.only in (None, machine.name))

    print(table(detectors.read(args.detector), machines()).as_markdown())


if __name__ == "__main__":
    main()
