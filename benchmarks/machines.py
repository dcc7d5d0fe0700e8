"""Many machines, heard once through one ear: what `benchmarks.prior` learns from, and holds its promises against.

Simulated ones are made on the fly; real ones are folders in the DCASE layout, or of files `<machine>_normal_00.flac`
and `<machine>_faulty_00.flac`. What was measured is kept, a file a machine: a second run hears nothing again.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge.detector import Stretch, normal_windows
from edge.ear import Ear, FloatArray, Measurement
from edge.judge import NormalWindows
from edge.source import find_audio, read_blocks
from trainer.dataset import read_layout
from trainer.simulator.machines import KINDS
from trainer.simulator.recording import Scene, clip

SECTIONS: Final = 6
"""Of each simulated type; every other one stands in real noise."""

NORMAL_SECONDS: Final = (577.0, 289.0, *(116.2,) * 3, *(97.0,) * 15, *(77.8,) * 8)
"""Of the normal recordings of a simulated machine: long ones, for enrolments of few; many, for their differences."""

LONG_SECTION: Final = 6
LONG_SECONDS: Final = (*(481.0,) * 20, *(77.8,) * 8)
"""One more section of each type, without noise, has twenty long recordings, for enrolments of a thousand windows."""

HOURS_SECTIONS: Final = (8, 10, 12)
HOURS_WINDOWS: Final = (1000, 500, *(200,) * 3, *(50,) * 15)
"""And some of each type, without noise, by themselves: for a thousand windows of 1, 2, 5 and 20 recordings."""

HEARD_WINDOWS: Final = 20
HEARD_EACH: Final = 8
"""What those enrolments are held against: so many recordings at each operating point, so many windows long."""

WINDOW_SECONDS: Final = 9.728
"""From one window of `_stretch` to the next: whole hops."""

PASSAGE_WINDOWS: Final = 20
"""Simulated at once: twice as fast as fifty, and hours would not fit in memory."""

FAULTS_EACH: Final = 2
FAULT_SECONDS: Final = 39.4
SEVERITIES: Final = (0.3, 1.0)

SEED: Final = 11

SIMULATED_SNR_DB: Final = (-6.0, 6.0)
REAL_SNR_DB: Final = -6.0
"""Of a machine to the noise that is laid over it; each real machine in long recordings is there without and with it."""

NOISE_SHARES: Final = 4
"""Each recording's noise is a quarter of the noise recordings, in an order of its own: weather changes."""

NAMED_FILE: Final = re.compile(r"(?P<machine>\w+?)_(?P<label>normal|faulty)_\d+")

Sound = Callable[[], FloatArray]


@dataclass(frozen=True)
class Machine:
    """What the windows of one machine measured, no two of which overlap.

    family     machines that are left out together
    condition  (B,), how it ran, as far as anybody knows
    faulty     (B,)
    """

    name: str
    family: str
    windows: NormalWindows
    condition: NDArray[np.str_]
    faulty: NDArray[np.bool_]

    @property
    def is_simulated(self) -> bool:
        """Whether it is one of the simulator's."""
        return self.name.startswith("simulated")


@dataclass(frozen=True)
class _Take:
    """Sound without a gap: a recording, or a part of one, that has not been heard yet."""

    sound: Sound
    recording: str
    condition: str = ""
    faulty: bool = False


@dataclass(frozen=True)
class _Unheard:
    name: str
    family: str
    takes: Sequence[_Take]


def machines(
    ear: Ear, data: Sequence[Path], noise: Sequence[Path], folder: Path, *, long_only: bool = False
) -> list[Machine]:
    """Return all machines, real ones first; hear those that are not in `folder` yet, and leave them there.

    long_only: those that were recorded for hours, and no others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool = [path for root in noise for path in find_audio(root)]
    found = [*_recorded_for_hours()] if long_only else [*_real(data, pool), *_simulated(pool)]
    return [_heard(ear, one, folder) for one in tqdm(found, unit="machine")]


# --- Which there are ---


def _real(data: Sequence[Path], pool: Sequence[Path]) -> Iterator[_Unheard]:
    for root in data:
        named = {path: found for path in find_audio(root) if (found := NAMED_FILE.fullmatch(path.stem))}
        if not named:
            yield from _of_layout(root)
            continue
        for snr_db in (None, REAL_SNR_DB):
            for machine in sorted({found["machine"] for found in named.values()}):
                name = machine + ("" if snr_db is None else " noisy")
                takes = [
                    _Take(
                        _noisy(_read(path), pool, snr_db, name + path.stem), path.stem, "", found["label"] == "faulty"
                    )
                    for path, found in named.items()
                    if found["machine"] == machine
                ]
                yield _Unheard(name, root.name, takes)


def _of_layout(root: Path) -> Iterator[_Unheard]:
    """Yield the sections of a DCASE layout."""
    takes: defaultdict[str, list[_Take]] = defaultdict(list)
    for one in read_layout([root]):
        if one.label is not None:
            takes[one.name].append(_Take(_read(one.path), one.recording, "", one.label == "anomaly"))
    for name, own in sorted(takes.items()):
        yield _Unheard(name, root.name, own)


def _simulated(pool: Sequence[Path]) -> Iterator[_Unheard]:
    for section in (LONG_SECTION, *range(SECTIONS)):
        for kind in KINDS:
            name = f"simulated {kind} {section:02d}" + (" noisy" if section % 2 else "")
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            snr_db = float(rng.uniform(*SIMULATED_SNR_DB)) if section % 2 else None
            lengths = LONG_SECONDS if section == LONG_SECTION else NORMAL_SECONDS
            takes = [_take(_scene(kind, section, f"n{i}"), seconds) for i, seconds in enumerate(lengths)]
            takes += _faulty(kind, section, rng)
            noisy = [replace(one, sound=_noisy(one.sound, pool, snr_db, name + one.recording)) for one in takes]
            yield _Unheard(name, kind, noisy)


def _recorded_for_hours() -> Iterator[_Unheard]:
    for section in HOURS_SECTIONS:
        for kind in KINDS:
            name = f"simulated {kind} {section:02d}"
            planned = [(_scene(kind, section, f"h{i}"), n_windows) for i, n_windows in enumerate(HOURS_WINDOWS)]
            planned += [(scene, HEARD_WINDOWS) for scene in _at_each_point(kind, section)]
            takes = [take for scene, n_windows in planned for take in _passages(scene, n_windows)]
            takes += _faulty(kind, section, np.random.default_rng(zlib.crc32(name.encode())))
            yield _Unheard(name, kind, takes)


def _at_each_point(kind: str, section: int) -> Iterator[Scene]:
    """Yield `HEARD_EACH` recordings at each operating point."""
    yielded: Counter[str] = Counter()
    wanted = HEARD_EACH * len(_scene(kind, section, "").individual.points["source"])
    for scene in (_scene(kind, section, f"n{i}") for i in count()):
        point = str(scene.operating_point)
        if yielded[point] < HEARD_EACH:
            yielded[point] += 1
            yield scene
        if yielded.total() == wanted:
            return


def _scene(kind: str, section: int, title: str) -> Scene:
    return Scene(machine=kind, section=section, domain="source", name=title, seed=SEED)


def _take(scene: Scene, seconds: float, fault: str | None = None, severity: float = 0.0) -> _Take:
    sound = partial(clip, scene, seconds=seconds, fault=fault, severity=severity)
    return _Take(sound, scene.name, str(scene.operating_point), fault is not None)


def _passages(scene: Scene, n_windows: int) -> Iterator[_Take]:
    """Yield the passages of a recording that holds so many windows."""
    for passage, start in enumerate(range(0, n_windows, PASSAGE_WINDOWS)):
        seconds = min(PASSAGE_WINDOWS, n_windows - start) * WINDOW_SECONDS
        yield _take(replace(scene, passage=passage), seconds)


def _faulty(kind: str, section: int, rng: np.random.Generator) -> list[_Take]:
    return [
        _take(_scene(kind, section, f"{fault}{i}"), FAULT_SECONDS, fault, float(severity))
        for fault in KINDS[kind].faults
        for i, severity in enumerate(rng.uniform(*SEVERITIES, FAULTS_EACH))
    ]


# --- Their sound ---


def _read(path: Path) -> Sound:
    return lambda: np.concatenate(list(read_blocks(path, block_samples=1 << 16)))


def _noisy(sound: Sound, pool: Sequence[Path], snr_db: float | None, name: str) -> Sound:
    """Return the sound with noise over it, so many dB above it if negative; which noise, `name` draws."""
    if snr_db is None:
        return sound

    def heard() -> FloatArray:
        machine, rng = sound(), np.random.default_rng(zlib.crc32(name.encode()))
        own = pool[int(rng.integers(NOISE_SHARES)) :: NOISE_SHARES]
        pieces = [_read(own[i])() for i in rng.permutation(len(own))]
        noise = np.resize(np.concatenate([piece / max(float(piece.std()), 1e-4) for piece in pieces]), machine.size)
        together = machine + noise * float(machine.std()) * 10 ** (-snr_db / 20)
        return np.clip(0.3 * together, -1, 1).astype(np.float32)

    return heard


# --- What they measure ---


def _heard(ear: Ear, machine: _Unheard, folder: Path) -> Machine:
    path = folder / f"{machine.name.replace('/', '-').replace(' ', '-')}.npz"
    if not path.exists():
        windows = normal_windows(ear, [_stretch(ear, take) for take in machine.takes])
        if windows is None:
            raise SystemExit(f"{machine.name}: no sound: expected recordings that are longer than a window")
        part = path.with_suffix(".part.npz")
        np.savez(part, texture=windows.texture, bands=windows.bands, recording=np.array(windows.recording))
        part.replace(path)
    with np.load(path) as stored:
        texture, bands, recording = stored["texture"], stored["bands"], stored["recording"].tolist()
    none = np.empty((len(bands), 0), np.float32)
    takes = {take.recording: take for take in machine.takes}
    return Machine(
        machine.name,
        machine.family,
        NormalWindows(
            domain=["source"] * len(bands),
            embedding=none,
            texture=texture,
            logits=none,
            bands=bands,
            recording=recording,
            apart=np.ones(len(bands), np.bool_),
            trained_on=np.zeros(len(bands), np.bool_),
            series=np.arange(len(bands)),
        ),
        condition=np.array([takes[name].condition for name in recording]),
        faulty=np.array([takes[name].faulty for name in recording]),
    )


def _stretch(ear: Ear, take: _Take) -> Stretch:
    """Return what the windows of a take that do not overlap measure, as of a file of 16 bits.

    Each is heard by itself: the hops between them would cost five times as much.
    """
    sound = (np.rint(take.sound() * 32767) / 32768).astype(np.float32)
    apart_samples = ear.plan.window_hops * ear.plan.hop_samples
    found = list[Measurement]()
    for start in range(0, sound.size - ear.plan.window_samples + 1, apart_samples):
        ear.reset()
        heard = ear.feed(sound[start : start + ear.plan.window_samples])
        found += [replace(one, end_sample=start + one.end_sample) for one in heard if one.fault is None]
    return Stretch(take.recording, found)
