"""How well machines are told from their faults that the network never heard: AUC / pAUC, score by score.

    python -m benchmarks.strangers DATA --detector DETECTOR [DETECTOR ...] [--simulated FOLDER]

DATA holds `uav`, `fan`, `cars` and `background`. Each machine is enrolled on the network of DETECTOR from its normal
recordings, and its test recordings are scored: windows of 9.6 s, one of each clip, of long recordings one every 4.6 s.
Several detectors are seeds of one training: the figures are their means. `cars 0`, `-6` and `-12` lie under background
as loud as the car, 6 and 12 dB louder; what lies over the enrolment is not what lies over the test. `simulated` are fan
and valve, three of each in two places, of a simulator of whose other machines the network may have heard. They are made
in FOLDER if they are not there: a minute.

What a network was trained on must not be graded here; `trainer.general` leaves all this out.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.measure import Table
from edge import detector as detectors
from edge.detector import Detector, Stretch, normal_windows
from edge.ear import Ear, FloatArray, Measurement, Samples
from edge.judge import SCORE_NAMES, Fusion, Scorer, fit_section, fuse
from edge.source import find_audio, read_samples
from trainer.dataset import Clip, read_layout
from trainer.evaluation.metrics import auc_and_pauc
from trainer.general.recordings import NOISES, STRANGERS
from trainer.simulator.dataset import Plan, write

SNRS_DB: Final = (None, 0.0, -6.0, -12.0)
"""How much louder a car is than the background over it; None: nothing is over it."""

STEP_HOPS: Final = 9
FADE_SAMPLES: Final = 800
SIMULATED: Final = Plan(machines=STRANGERS, sections=3, train_source=24, train_target=24, test=24, seed=5)
FUSIONS: Final[tuple[Fusion, ...]] = ("largest", "mean", "ratio")

Scores = Mapping[str, tuple[FloatArray, FloatArray]]
"""By name, those of the normal and of the anomalous windows."""


@dataclass(frozen=True)
class Cell:
    """One machine in one place: recordings (T,) to enrol from, and to be told apart."""

    group: str
    train: Sequence[Samples]
    normal: Sequence[Samples]
    anomaly: Sequence[Samples]


def cells(data: Path, simulated: Path) -> Iterator[Cell]:
    """Yield every machine."""
    for group, folder in (("uav", data / "uav"), ("fan", data / "fan")):
        yield from _of_layout(group, read_layout([folder]))
    for snr_db in SNRS_DB:
        for car in range(1, 5):
            yield _car(data, car, snr_db)
    if not (simulated / "dataset.json").exists():
        write(simulated, SIMULATED)
    yield from _of_layout("simulated", read_layout([simulated]))


def table(cells_: Sequence[Cell], chosen: Sequence[Detector]) -> Table:
    """Grade every score, and every fusion of those that are fused."""
    graded: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for detector in chosen:
        for cell in tqdm(cells_, detector.path.name, unit="machine", leave=False):
            for name, (normal, anomaly) in scored(cell, detector).items():
                truth = np.repeat([False, True], [normal.size, anomaly.size])
                graded[name, cell.group].append(auc_and_pauc(truth, np.concatenate([normal, anomaly]).astype(float)))

    groups = list(dict.fromkeys(cell.group for cell in cells_))
    names = list(dict.fromkeys(name for name, _ in graded))
    rows = []
    for name in names:
        means = [np.mean(graded[name, group], axis=0) for group in groups]
        rows.append([name, *(_figure(pair) for pair in (*means, np.mean(means, axis=0)))])
    title = f"Strangers, AUC / pAUC (p = 0.1): {', '.join(d.path.name for d in chosen)}"
    return Table(title, ["score", *groups, "mean"], rows)


def scored(cell: Cell, detector: Detector) -> Scores:
    """Return every score of the test windows of a machine that is enrolled on the detector's network."""
    ear = detector.ear()
    windows = normal_windows(ear, [Stretch(str(i), _heard(ear, each)) for i, each in enumerate(cell.train)])
    if windows is None:
        raise ValueError(f"{cell.group}: expected recordings of a window or more")
    fit = fit_section(windows, None)
    unseen = {name: scores[windows.apart] for name, scores in fit.scores.items()}
    typical = {name: (float(unseen[name].mean()), float(unseen[name].std())) for name in fit.statistics.typical}

    def score(recordings: Sequence[Samples]) -> dict[str, FloatArray]:
        heard = [one for each in recordings for one in _heard(ear, each)[::STEP_HOPS]]
        own = Scorer(fit.statistics)(*_columns(heard))
        named: dict[str, FloatArray] = {name: own[name] for name in SCORE_NAMES if name in own and name != "fused"}
        return named | {f"fused: {fusion}": fuse(own, typical, fusion) for fusion in FUSIONS}

    normal, anomaly = score(cell.normal), score(cell.anomaly)
    return {name: (normal[name], anomaly[name]) for name in normal}


def _heard(ear: Ear, samples: Samples) -> list[Measurement]:
    ear.reset()
    return [one for one in ear.feed(samples) if one.fault is None]


def _columns(heard: Sequence[Measurement]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    names: tuple[str, ...] = ("embedding", "texture", "logits", "bands")
    embedding, texture, logits, bands = (np.stack([getattr(one, name) for one in heard]) for name in names)
    return embedding, texture, logits, bands


def _figure(pair: NDArray[np.float64]) -> str:
    return f"{pair[0]:.3f} / {pair[1]:.3f}"


def _of_layout(group: str, clips: Sequence[Clip]) -> Iterator[Cell]:
    """Yield the sections, each domain by itself where both have clips to learn from."""
    by_place: defaultdict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        by_place[clip.name, clip.domain].append(clip)
    for own in by_place.values():
        normal, anomaly = (
            [read_samples(c.path) for c in own if c.split == "test" and c.label == label]
            for label in ("normal", "anomaly")
        )
        yield Cell(group, [read_samples(c.path) for c in own if c.split == "train"], normal, anomaly)


def _car(data: Path, car: int, snr_db: float | None) -> Cell:
    paths = sorted(path for kind in NOISES for path in find_audio(data / "background" / kind))

    def take(name: str, half: int) -> list[Samples]:
        samples = read_samples(data / "cars" / f"car{car}_{name}.flac")
        if snr_db is None:
            return [samples]
        return [beneath(samples, background(paths[half::2], samples.size, seed=half), snr_db)]

    group = "cars" if snr_db is None else f"cars {snr_db:g}"
    train = [*take("normal_00", 0), *take("normal_01", 0)]
    return Cell(group, train, take("normal_02", 1), take("faulty_00", 1))


def beneath(samples: Samples, background: Samples, snr_db: float) -> Samples:
    """Lay background over a recording, and turn both down to where a microphone would be set."""
    mixed = samples + background * samples.std() * 10 ** (-snr_db / 20)
    pcm = np.rint(np.clip(0.3 * mixed, -1, 1) * 32_767)
    return np.asarray(pcm / 32_768, np.float32)


def background(paths: Sequence[Path], n_samples: int, *, seed: int) -> Samples:
    """Return so much of these recordings, in an order by the seed, each as loud as the next."""
    paths = list(paths)
    np.random.default_rng(seed).shuffle(paths)
    parts = [read_samples(path) for path in paths]
    joined, rising = parts[0] / max(parts[0].std(), 1e-4), np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    for part in (each / max(each.std(), 1e-4) for each in parts[1:]):
        seam = joined[-FADE_SAMPLES:] * (1 - rising) + part[:FADE_SAMPLES] * rising
        joined = np.concatenate([joined[:-FADE_SAMPLES], seam, part[FADE_SAMPLES:]])
    return np.resize(joined, n_samples)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--detector", type=Path, nargs="+", required=True)
    parser.add_argument("--simulated", type=Path)
    asked = parser.parse_args()
    kept = asked.simulated and nullcontext(asked.simulated)
    with kept or tempfile.TemporaryDirectory() as folder:
        every = list(cells(asked.data, Path(folder)))
        print(table(every, [detectors.read(path) for path in asked.detector]).as_markdown())


if __name__ == "__main__":
    main()
