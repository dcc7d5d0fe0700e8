"""Is what a detector says it would hear what it hears? `python -m benchmarks.limits DETECTOR [--data FOLDER]`

Machines are enrolled on the network of DETECTOR, which had better not know them, and say which changes they would
report, from altered frames of the recordings they learnt (edge/detector/limits.py). Then other recordings of the same
machines are altered, sample by sample, and replayed through the whole line and its judge: normal sound, then the
change, at strengths as fine. Printed are both limits, and by how much the first was wrong. Recordings that are reported
as they are say nothing of changes, and are set aside. "At its level": what would have been said if the mean score of
the recordings tried had been known, so that what is left is the physics of the changes and the rules of the judge.

What is said is of recordings to come, nine of ten of them, and one recording is no tenth of anything: a simulated
machine is tried on twelve, and a car, of which there are three, is enrolled three times, each time without one of them,
and all that is said and heard is put together. Simulated machines are made on the fly; of FOLDER (see shared/data)
there are the four cars, uav-00 and the desk fan. One to two minutes of one core a machine.
"""

import argparse
import copy
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from edge.detector import (
    BLOCK_SAMPLES,
    Detector,
    Judge,
    Line,
    Recording,
    Recordings,
    enroll_windows,
    measure_normal,
    trials_of,
)
from edge.ear import Frontend, Samples
from edge.judge import (
    RANGES_DB,
    REPORTED,
    Changes,
    Kind,
    NormalWindows,
    Place,
    Trial,
    added_sound,
    band_of,
    limits,
    log_score,
    places,
)
from edge.source import SAMPLE_RATE_HZ, read_samples
from trainer.simulator.recording import Scene, clip

NORMAL_SECONDS: Final = 300
CHANGED_SECONDS: Final = 120
TRIALS: Final = 12
"""Of each kind of change, of a machine."""

UAV_FLIGHTS: Final = (10, 11, 12, 13)
SIMULATED: Final = (("fan", 1), ("gearbox", 1), ("pump", 2))
SEED: Final = 41


@dataclass(frozen=True)
class Take:
    """Recordings to enrol a machine from, and others to try it on: normal sound, each as long as it takes."""

    learnt: Sequence[Samples]
    others: Sequence[Samples]


@dataclass(frozen=True)
class Machine:
    """A machine, and the ways that its recordings are dealt."""

    name: str
    takes: Sequence[Take]


def simulated(kind: str, section: int) -> Machine:
    """Return a machine of the simulator: eight half minutes to learn, twelve others of seven minutes."""
    takes = [("learnt", 30.0)] * 8 + [("other", float(NORMAL_SECONDS + CHANGED_SECONDS))] * TRIALS
    made = [
        clip(Scene(machine=kind, section=section, domain="source", name=f"{name} {i}", seed=SEED), seconds=seconds)
        for i, (name, seconds) in enumerate(takes)
    ]
    return Machine(f"{kind}-{section}", [Take(made[:8], made[8:])])


def real(folder: Path) -> Iterator[Machine]:
    """Yield machines of recordings; too short ones go round, and what is changed was not in the normal sound before."""
    for car in range(1, 5):
        three = [read_samples(folder / "cars" / f"car{car}_normal_0{i}.flac") for i in range(3)]
        yield Machine(f"car-{car}", [Take([*three[:i], *three[i + 1 :]], [_stretched(three[i])]) for i in range(3)])
    flights = [sorted((folder / "uav" / "test").glob(f"section_00*normal*flight_{i}_*")) for i in UAV_FLIGHTS]
    yield Machine("uav-00", [_of_clips(folder / "uav" / "train", "section_00*", flights)])
    on = sorted((folder / "fan" / "test").glob("*normal*"))
    yield Machine(
        "desk fan", [_of_clips(folder / "fan" / "train", "*normal*", [on[i : i + 3] for i in range(0, 12, 3)])]
    )


def _of_clips(learnt: Path, pattern: str, others: Sequence[Sequence[Path]]) -> Take:
    """Return a take of short clips; those tried are joined, so many at a time."""
    joined = [np.concatenate([read_samples(path) for path in paths]) for paths in others]
    return Take([read_samples(path) for path in sorted(learnt.glob(pattern))], [_stretched(sound) for sound in joined])


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
        for start in range(0, changed.size, BLOCK_SAMPLES):
            for reading in self._line.feed(changed[start : start + BLOCK_SAMPLES]):
                after = (reading.end_sample - self._latest.size) / SAMPLE_RATE_HZ
                if judge.hear(reading, NORMAL_SECONDS + after):
                    return after
        return None


def altered(place: Place, sound: Samples, changes: Changes, *, seed: int) -> Callable[[float], Samples]:
    """Return a recording with the change, sample by sample, of a strength, dB."""
    if place.kind == "level":
        return lambda strength_db: (sound * 10 ** (strength_db / 20)).astype(np.float32)
    if place.kind == "modulation":
        seconds = np.arange(sound.size) / SAMPLE_RATE_HZ
        swing, band = np.sin(2 * np.pi * place.per_second * seconds), band_of(sound, place, SAMPLE_RATE_HZ)
        return lambda strength_db: (sound + (10 ** (strength_db * swing / 20) - 1) * band).astype(np.float32)
    added = added_sound(place, sound.size, SAMPLE_RATE_HZ, np.random.default_rng(seed))
    gain = changes.gain(place, added)
    return lambda strength_db: (sound + added * math.sqrt(10 ** (strength_db / 10) / gain)).astype(np.float32)


@dataclass(frozen=True)
class Tried:
    """A take, enrolled: the trials that it says, also at the levels of the recordings it is tried on, and those."""

    said: Sequence[Trial]
    at_level: Sequence[Trial]
    replays: Sequence[Replay]
    changes: Changes


def tried(take: Take, base: Detector, folder: Path) -> Tried:
    """Enrol a take in an empty folder, and ask it what it would hear."""
    detector, windows, sound = enrolled(take.learnt, base, folder, limits=False)
    replays = [Replay(detector, other) for other in take.others]
    quiet = [replay for replay in replays if replay.wait_seconds(replay.changed) is None]
    print(f"{len(quiet)} of {len(replays)} recordings are not reported as they are", flush=True)
    ask = partial(trials_of, detector.section(None), windows, sound, base.model, base.plan, EventSettings())
    said, at_level = ask(), ask(log_levels=[one.log_level for one in replays])
    frontend = Frontend(detector.frontend)
    changes = Changes.of(frontend, [frontend(one) for one in take.learnt], 16)
    return Tried(said, at_level, quiet or replays, changes)


def enrolled(
    learnt: Sequence[Samples], base: Detector, folder: Path, *, limits: bool
) -> tuple[Detector, NormalWindows, Recordings]:
    """Return recordings enrolled on the network of `base`, in `folder`, with what was measured, and of which files.

    limits: whether the detector shall say what it would hear.
    """
    for i, sound in enumerate(learnt):
        soundfile.write(folder / f"normal_{i:03d}.wav", sound, SAMPLE_RATE_HZ)
    paths = sorted(folder.glob("*.wav"))
    windows = measure_normal(base.ear(), [Recording(path, str(path)) for path in paths])
    assert windows is not None
    files = Recordings(paths)
    detector = enroll_windows("machine", windows, base, folder / "detector", sound=files if limits else None)
    return detector, windows, files


def real_limits(machine: str, base: Detector, takes: Sequence[Tried]) -> dict[Kind, tuple[float, float | None]]:
    """Return from which strength on each kind is reported in nine of ten replays, and their median wait there."""
    found: dict[Kind, tuple[float, float | None]] = {}
    replays = [(replay, take.changes) for take in takes for replay in take.replays]
    everywhere = places(base.frontend.f_min_hz, base.frontend.f_max_hz)
    for kind in RANGES_DB:
        own = [place for place in everywhere if place.kind == kind]
        trials = []
        for i in range(TRIALS):
            place, (replay, changes) = own[i % len(own)], replays[(i + i // len(own)) % len(replays)]
            start = i * 8192 % (20 * SAMPLE_RATE_HZ)  # the level has one place, and there are few recordings
            trials.append(RealTrial(replay, place, replay.changed[start:], changes, seed=i))
        came = [trial.limit_db() for trial in trials]
        least = sorted(came)[math.ceil(REPORTED * TRIALS) - 1]
        waits = sorted(math.inf if (w := t.wait(least)) is None else w for t in trials) if math.isfinite(least) else []
        found[kind] = least, waits[TRIALS // 2] if waits else None
        print(machine, kind, "real", [_decibels(one) for one in came], flush=True)
    return found


class RealTrial:
    """One change to one recording, at any strength."""

    def __init__(self, replay: Replay, place: Place, sound: Samples, changes: Changes, seed: int) -> None:
        self._range, self._known = RANGES_DB[place.kind], dict[float, float | None]()
        self._replay = replay
        self._altered = altered(place, sound, changes, seed=seed)

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
        takes = []
        for take in machine.takes:
            with tempfile.TemporaryDirectory() as folder:
                takes.append(tried(take, base, Path(folder)))
        every = [trial for take in takes for trial in take.said]
        for kind in RANGES_DB:
            own = [trial.limit_db() for trial in every if trial.kind == kind]
            print(machine.name, kind, "said", [_decibels(math.inf if one is None else one) for one in own], flush=True)
        said = limits(every)
        at_level = limits([trial for take in takes for trial in take.at_level])
        came = real_limits(machine.name, base, takes)
        for limit, known in zip(said, at_level, strict=True):
            real_db, wait = came[limit.kind]
            predicted = [math.inf if one is None else one for one in (limit.limit_db, known.limit_db)]
            errors.append([0.0 if one == real_db else one - real_db for one in predicted])
            cells = [*map(_decibels, predicted), _decibels(real_db), *map(_decibels, errors[-1])]
            rows.append([machine.name, limit.kind, *cells, _s(limit.wait_seconds), _s(wait)])
            print(*rows[-1], flush=True)
    columns = ["machine", "change", "predicted, dB", "at its level", "real, dB", "error, dB", "at its level"]
    title = "From which strength on nine of ten changes are reported"
    return Table(title, [*columns, "wait predicted, s", "wait, s"], rows, _note(np.array(errors)))


def _note(errors: NDArray[np.float64]) -> str:
    """Return what the errors, (n, 2), come to."""
    within = (np.abs(errors) <= 2).sum(axis=0)
    mean = np.nanmean(np.where(np.isfinite(errors), errors, np.nan), axis=0)
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
    parser.add_argument("--data", type=Path, help="recordings of the cars, uav-00 and the desk fan")
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
