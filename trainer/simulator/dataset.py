"""Many recordings in the layout of DCASE task 2: a folder a machine, in it `train` and `test`, the rest in the names.

    pump/test/section_00_source_test_anomaly_0003_spd_2860_ld_75_fault_leak_sev_41.flac

Sixteen-bit mono at 16 kHz. `train` has normal clips only. `dataset.json` is written last: where it is, the rest is.
"""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
from tqdm import tqdm

from edge import __version__
from edge.errors import EarshotError
from trainer.simulator.machines import DOMAINS, KINDS, Domain
from trainer.simulator.recording import Scene, clip
from trainer.simulator.sound import SAMPLE_RATE_HZ

Format = Literal["flac", "wav"]

SEVERITIES: Final = (0.1, 1.0)
"""From barely there to plain; uniform between."""

CLIPS_PER_TASK: Final = 8
"""What a process takes at a time: neighbours share a section, and so its room."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to make. Counts of clips are per section; `test` is per section, domain and label."""

    machines: tuple[str, ...] = tuple(KINDS)
    sections: int = 3
    train_source: int = 100
    train_target: int = 3
    test: int = 20
    seconds: float = 10.0
    seed: int = 0
    format: Format = "flac"


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
        for section in range(plan.sections):
            for domain in DOMAINS:
                n_train = plan.train_source if domain == "source" else plan.train_target
                this = partial(Entry, machine=machine, section=section, domain=domain)
                yield from (this(split="train", label="normal", number=i) for i in range(n_train))
                yield from (this(split="test", label="normal", number=i) for i in range(plan.test))
                yield from (this(split="test", label="anomaly", number=i) for i in range(plan.test))


def path_of(entry: Entry, plan: Plan) -> Path:
    """Return where a recording goes, relative to the data set."""
    attributes = entry.scene(plan.seed).operating_point.attributes
    fault, severity = fault_of(entry, plan.seed)
    if fault is not None:
        attributes += f"_fault_{fault}_sev_{round(100 * severity)}"
    stem = f"section_{entry.section:02d}_{entry.domain}_{entry.name}_{attributes}"
    return Path(entry.machine, entry.split, f"{stem}.{plan.format}")


def fault_of(entry: Entry, seed: int) -> tuple[str | None, float]:
    """Return what is wrong in a recording, if anything, and its severity: the machine's faults take turns."""
    if entry.label == "normal":
        return None, 0.0
    faults = KINDS[entry.machine].faults
    severity = entry.scene(seed).dice.stream("severity").uniform(*SEVERITIES)
    return faults[entry.number % len(faults)], float(severity)


def write(out: Path, plan: Plan, *, jobs: int = 1) -> int:
    """Make the data set in `out`, with `jobs` processes, and return how many clips it has.

    Raises EarshotError if `out` is there and not an empty folder, or cannot be written.
    """
    _refuse_if_taken(out)
    wanted = list(entries(plan))
    try:
        for folder in {out / path_of(entry, plan).parent for entry in wanted}:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in tqdm(_each_written(out, plan, wanted, jobs), total=len(wanted), unit="clip", disable=None):
            pass
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
    about = {
        "made_by": f"earshot simulate {__version__}",
        "about": "Simulated machines, no recordings. Layout and names of DCASE task 2.",
        "attributes": {
            "spd": "set speed: revolutions a minute, of slider and valve strokes a minute",
            "ld": "load in per cent",
            "fault": "what is wrong",
            "sev": "how bad it is, in per cent",
        },
        "clips": n_clips,
        **asdict(plan),
    }
    return json.dumps(about, indent=2) + "\n"
