"""Many recordings in the layouts of DCASE task 2. Sixteen-bit mono at 16 kHz; `train` has normal clips only.

`plain`, as from 2022 on: a folder a machine, in it `train` and `test`, the rest in the names, the fault too:

    pump/test/section_00_source_test_anomaly_0003_spd_2860_ld_75_fault_leak_sev_41.flac

`dcase2021`, exactly as the challenge gave it out: development data, additional training data and evaluation data, whose
labels are not in the names but in the ground truth of its evaluator (two columns, no header, 1 is an anomaly):

    dev_data/pump/train/section_00_source_train_normal_0000_spd_2860_ld_75.wav           sections 00, 01, 02
    dev_data/pump/source_test/section_00_source_test_anomaly_0003.wav                    attributes in train only
    eval_data/pump/train/section_03_source_train_normal_0000_spd_2790_ld_50.wav          sections 03, 04, 05
    eval_data/pump/target_test/section_03_target_test_0007.wav
    ground_truth_data/ground_truth_pump_section_03_target_test.csv

A section sounds the same in both, whatever it is called. `dataset.json` is written last: where it is, the rest is.
"""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
from tqdm import tqdm

from edge import __version__
from edge.errors import EarshotError
from trainer.simulator.machines import DOMAINS, KINDS, Domain
from trainer.simulator.recording import Scene, clip
from trainer.simulator.sound import SAMPLE_RATE_HZ, Dice

Format = Literal["flac", "wav"]
Layout = Literal["plain", "dcase2021"]

FORMATS: Final[dict[Layout, Format]] = {"plain": "flac", "dcase2021": "wav"}
"""What each layout is written in unless told otherwise."""

SEVERITIES: Final = (0.1, 1.0)
"""From barely there to plain; uniform between."""

CLIPS_PER_TASK: Final = 8
"""What a process takes at a time: neighbours share a section, and so its room."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to make. Counts of clips are per section; `test` is per section, domain and label.

    sections: individuals of each type; in the layout of 2021, of each of its two sets, six in all as there.
    format: that of the layout in FORMATS if None.
    """

    layout: Layout = "plain"
    machines: tuple[str, ...] = tuple(KINDS)
    sections: int = 3
    train_source: int = 100
    train_target: int = 3
    test: int = 20
    seconds: float = 10.0
    seed: int = 0
    format: Format | None = None

    @property
    def suffix(self) -> Format:
        """The format that files are written in."""
        return self.format or FORMATS[self.layout]

    @property
    def n_sections(self) -> int:
        """Individuals of each type in all."""
        return self.sections * (2 if self.layout == "dcase2021" else 1)

    def is_secret(self, section: int) -> bool:
        """Whether a section belongs to the evaluation data, whose test clips do not say what they are."""
        return section >= self.sections


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recording to be. It depends on these and on the seed, and on no other clip."""

    machine: str
    section: int
    domain: Domain
    split: Literal["train", "test"]
    label: Literal["normal", "anomaly"]
    number: int

    @property
    def name(self) -> str:
        """What sets it apart within its section and domain."""
        return f"{self.split}_{self.label}_{self.number:04d}"

    def scene(self, seed: int) -> Scene:
        """Return what is heard in it."""
        return Scene(machine=self.machine, section=self.section, domain=self.domain, name=self.name, seed=seed)


def entries(plan: Plan) -> Iterator[Entry]:
    """Yield every recording of `plan`, section by section."""
    for machine in plan.machines:
        for section in range(plan.n_sections):
            for domain in DOMAINS:
                n_train = plan.train_source if domain == "source" else plan.train_target
                this = partial(Entry, machine=machine, section=section, domain=domain)
                yield from (this(split="train", label="normal", number=i) for i in range(n_train))
                yield from (this(split="test", label="normal", number=i) for i in range(plan.test))
                yield from (this(split="test", label="anomaly", number=i) for i in range(plan.test))


def path_of(entry: Entry, plan: Plan) -> Path:
    """Return where a recording goes, relative to the data set."""
    return _path_of_2021(entry, plan) if plan.layout == "dcase2021" else _path_of_plain(entry, plan)


def _path_of_plain(entry: Entry, plan: Plan) -> Path:
    attributes = entry.scene(plan.seed).operating_point.attributes
    fault, severity = fault_of(entry, plan.seed)
    if fault is not None:
        attributes += f"_fault_{fault}_sev_{round(100 * severity)}"
    stem = f"section_{entry.section:02d}_{entry.domain}_{entry.name}_{attributes}"
    return Path(entry.machine, entry.split, f"{stem}.{plan.suffix}")


def _path_of_2021(entry: Entry, plan: Plan) -> Path:
    is_secret = plan.is_secret(entry.section)
    root = Path("eval_data" if is_secret else "dev_data", entry.machine)
    stem = f"section_{entry.section:02d}_{entry.domain}"
    if entry.split == "train":
        return root / "train" / f"{stem}_{entry.name}_{entry.scene(plan.seed).operating_point.attributes}.{plan.suffix}"
    told = f"test_{_secret_number(entry, plan):04d}" if is_secret else entry.name
    return root / f"{entry.domain}_test" / f"{stem}_{told}.{plan.suffix}"


def _secret_number(entry: Entry, plan: Plan) -> int:
    """Return a number that does not tell normal from anomalous: both are shuffled together."""
    order = _shuffled(entry.machine, entry.section, entry.domain, plan.seed, 2 * plan.test)
    return order[entry.number + (plan.test if entry.label == "anomaly" else 0)]


@lru_cache(maxsize=64)
def _shuffled(machine: str, section: int, domain: Domain, seed: int, n_clips: int) -> list[int]:
    dice = Dice((str(seed),)).of(machine, section, domain, "secret")
    order: list[int] = dice.stream("order").permutation(n_clips).tolist()
    return order


def ground_truth(plan: Plan) -> dict[Path, str]:
    """Return the files of labels that the evaluator of 2021 reads, relative to the data set, and what is in them."""
    labels: dict[Path, list[str]] = {}
    for entry in entries(plan):
        if plan.layout == "dcase2021" and entry.split == "test" and plan.is_secret(entry.section):
            name = f"ground_truth_{entry.machine}_section_{entry.section:02d}_{entry.domain}_test.csv"
            row = f"{path_of(entry, plan).name},{int(entry.label == 'anomaly')}\n"
            labels.setdefault(Path("ground_truth_data", name), []).append(row)
    return {path: "".join(sorted(rows)) for path, rows in labels.items()}


def fault_of(entry: Entry, seed: int) -> tuple[str | None, float]:
    """Return what is wrong in a recording, if anything, and its severity: the machine's faults take turns."""
    if entry.label == "normal":
        return None, 0.0
    faults = KINDS[entry.machine].faults
    severity = entry.scene(seed).dice.stream("severity").uniform(*SEVERITIES)
    return faults[entry.number % len(faults)], float(severity)


def write(out: Path, plan: Plan, *, jobs: int = 1) -> int:
    """Make the data set in `out`, with `jobs` processes, and return how many clips it has.

    Raises EarshotError if `out` is there and not an empty folder, or cannot be written, or if the sections of both sets
    of 2021 together have no number of two digits.
    """
    _refuse_if_taken(out)
    if plan.n_sections > 100:
        raise EarshotError(f"{plan.n_sections} sections in all: expected at most 100, names have two digits for them")
    wanted = list(entries(plan))
    try:
        for folder in {out / path_of(entry, plan).parent for entry in wanted}:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in tqdm(_each_written(out, plan, wanted, jobs), total=len(wanted), unit="clip", disable=None):
            pass
        for path, text in ground_truth(plan).items():
            (out / path).parent.mkdir(exist_ok=True)
            (out / path).write_text(text, encoding="ascii")
        (out / "dataset.json").write_text(_described(plan, len(wanted)), encoding="utf-8")
    except (OSError, soundfile.LibsndfileError) as failure:
        raise EarshotError(f"{out}: the simulated recordings could not be written: {failure}") from failure
    return len(wanted)


def _refuse_if_taken(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise EarshotError(f"{out}: expected a folder to make, found a file")
    if out.is_dir() and any(out.iterdir()):
        raise EarshotError(f"{out}: expected a new or an empty folder, found something in it; nothing was written")


def _each_written(out: Path, plan: Plan, wanted: list[Entry], jobs: int) -> Iterator[None]:
    """Write the clips and yield after each."""
    write_one = partial(_write_one, out=out, plan=plan)
    if jobs == 1:
        yield from map(write_one, wanted)
        return
    # "spawn", because tqdm runs a thread and a process that has threads must not fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write_one, wanted, chunksize=CLIPS_PER_TASK)


def _write_one(entry: Entry, *, out: Path, plan: Plan) -> None:
    fault, severity = fault_of(entry, plan.seed)
    samples = clip(entry.scene(plan.seed), seconds=plan.seconds, fault=fault, severity=severity)
    pcm = np.rint(samples * np.float32(32_767)).astype(np.int16)
    soundfile.write(out / path_of(entry, plan), pcm, SAMPLE_RATE_HZ)


def _described(plan: Plan, n_clips: int) -> str:
    attributes = {
        "spd": "set speed: revolutions a minute, of slider and valve strokes a minute",
        "ld": "load in per cent",
    }
    if plan.layout == "plain":
        attributes |= {"fault": "what is wrong", "sev": "how bad it is, in per cent"}
    about = {
        "made_by": f"earshot simulate {__version__}",
        "about": "Simulated machines, no recordings. Layout and names of DCASE task 2.",
        "attributes": attributes,
        "clips": n_clips,
        **asdict(plan),
        "format": plan.suffix,
    }
    return json.dumps(about, indent=2) + "\n"
