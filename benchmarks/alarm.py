"""Does the alarm come, where nothing was chosen by it? `python -m benchmarks.alarm DETECTOR [DETECTOR ...] --data DATA`

The four cars of DATA, each of whose three normal takes is once the one that is not enrolled: two takes are learnt, the
third is replayed, and then the car with a coil removed, at default settings. Clean, and under noise: rain, sea, fire
and helicopters as loud as the car and 6 dB louder, with the halves of the recordings that lie over the enrolment and
over the test as `benchmarks.strangers` has them and the other way round; and wind, rain storms and water 6 dB louder.

A fault is reported if an episode opens after it began; of one that is reported, how many episodes it takes is told, and
what part of it they cover. `--repeat N` lets both parts of the replay go round N times, for what needs longer than two
minutes. What was trained on `sounds` may know the wind. Two minutes of one core, and one more each time round.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.limits import enrolled
from benchmarks.measure import Table
from benchmarks.strangers import background, beneath
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Detector, Judge, Line
from edge.ear import Samples
from edge.source import SAMPLE_RATE_HZ, find_audio, read_samples
from trainer.general.recordings import NOISES

WIND: Final = ("wind", "rain_storm", "water")
TAKES: Final = 3
NORMAL_TAKE: Final = 2
"""The take that `benchmarks.strangers` does not enrol: by which parts of the judge were chosen."""


@dataclass(frozen=True)
class Noise:
    """What lies over a car, so many dB louder than it is. folders: of whose recordings every other lies over the
    enrolment, from the first on; where `swapped`, from the second on."""

    name: str
    folders: Sequence[Path]
    louder_db: float
    swapped: bool = False

    def over(self, samples: Samples, *, enrolment: bool) -> Samples:
        """Return a take beneath it."""
        paths = sorted(path for folder in self.folders for path in find_audio(folder))
        half = int(enrolment == self.swapped)
        return beneath(samples, background(paths[half::2], samples.size, seed=half), -self.louder_db)


@dataclass(frozen=True)
class Cell:
    """A car, under what lies over it: takes to enrol, and two to replay one after the other."""

    learnt: Sequence[Samples]
    normal: Samples
    faulty: Samples


@dataclass(frozen=True)
class Heard:
    """What was reported: episodes in so many minutes of normal sound, and after how long the fault, None if never.

    episodes, covered  that opened after the fault began, and the part of it that lies in an episode
    """

    false: int
    minutes: float
    wait_seconds: float | None
    episodes: int
    covered: float


def cells(data: Path, noise: Noise | None) -> Iterator[tuple[int, Cell]]:
    """Yield each choice of takes of each car, and which of them is not enrolled."""
    for car in range(1, 5):
        takes = [read_samples(data / "cars" / f"car{car}_normal_0{i}.flac") for i in range(TAKES)]
        faulty = read_samples(data / "cars" / f"car{car}_faulty_00.flac")
        for apart in range(TAKES):
            learnt, replayed = [*takes[:apart], *takes[apart + 1 :]], [takes[apart], faulty]
            if noise is not None:
                learnt = [noise.over(take, enrolment=True) for take in learnt]
                replayed = [noise.over(take, enrolment=False) for take in replayed]
            yield apart, Cell(learnt, *replayed)


def heard(cell: Cell, base: Detector, repeat: int) -> Heard:
    """Enrol a car on the network of `base`, and replay the rest of it."""
    with tempfile.TemporaryDirectory() as folder:
        detector, _, _ = enrolled(cell.learnt, base, Path(folder), limits=False)
    section = detector.section(None)
    line, judge = Line(detector, section), Judge(EventSettings(), detector, section)
    opened, turn_seconds = list[float](), repeat * cell.normal.size / SAMPLE_RATE_HZ
    within = list[bool]()
    for part in [cell.normal] * repeat + [cell.faulty] * repeat:
        for reading in line.feed(part):
            seconds = reading.end_sample / SAMPLE_RATE_HZ
            opened += [seconds for event in judge.hear(reading, seconds) if event.kind == "opened"]
            if seconds >= turn_seconds:
                within.append(judge.episode is not None)
    waits = [seconds - turn_seconds for seconds in opened if seconds >= turn_seconds]
    wait = waits[0] if waits else None
    return Heard(len(opened) - len(waits), turn_seconds / 60, wait, len(waits), float(np.mean(within)))


def table(base: Detector, data: Path, repeat: int) -> Table:
    """Try every cell, a row a kind of noise."""
    steady, wind = [data / "background" / name for name in NOISES], [data / "sounds" / name for name in WIND]
    noises = (
        None,
        Noise("background, as loud", steady, 0.0),
        Noise("background, +6 dB", steady, 6.0),
        Noise("the same, halves swapped", steady, 6.0, swapped=True),
        Noise("wind and water, +6 dB", wind, 6.0),
    )
    rows, every = list[list[str]](), list[Heard]()
    for noise in noises:
        tried = [(apart, heard(cell, base, repeat)) for apart, cell in cells(data, noise)]
        own = [one for _, one in tried]
        every += own
        others = [one for apart, one in tried if apart != NORMAL_TAKE]
        rows.append(["clean" if noise is None else noise.name, *_row(own), _reported(others)])
        print(*rows[-1], sep=" | ", flush=True)
    columns = ["under", "reported", "median wait, s", "in episodes", "that cover", "false", "in min"]
    columns.append("reported, of takes that chose nothing")
    return Table(f"The alarm: {base.path}", columns, [*rows, ["all", *_row(every), ""]])


def _row(own: Sequence[Heard]) -> list[str]:
    found = [one for one in own if one.wait_seconds is not None]
    told = ["-", "-", "-"]
    if found:
        wait, covered = np.median([one.wait_seconds for one in found]), np.mean([one.covered for one in found])
        told = [f"{wait:.0f}", f"{sum(one.episodes for one in found)}", f"{covered:.0%}"]
    return [_reported(own), *told, f"{sum(one.false for one in own)}", f"{sum(one.minutes for one in own):.0f}"]


def _reported(own: Sequence[Heard]) -> str:
    return f"{sum(one.wait_seconds is not None for one in own)} of {len(own)}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=1, help="how often each part of a replay goes round")
    args = parser.parse_args()
    for path in args.detector:
        print(table(detectors.read(path), args.data, args.repeat).as_markdown())


if __name__ == "__main__":
    main()
