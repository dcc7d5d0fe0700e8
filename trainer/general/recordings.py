"""Which recordings the general network may learn from, and what each is a class of.

    DATA/sounds/<kind>/*       anything, a class a recording; cuts of one, `<name>_0` and `<name>_1`, are one
    DATA/background/<kind>/*   clips of 5 s, a class each, but for those that noisy machines are graded under
    DATA/motors/<state>/*      a class a folder
    simulated machines         a class an individual, domain and fault, of types other than `STRANGERS`

and alterations of each recording of the first three as further classes. Nothing else of DATA is opened.
"""

import logging
import re
import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from tqdm import tqdm

from edge.errors import EarshotError
from edge.source import find_audio, read_samples
from trainer.dataset import Clip, read_layout
from trainer.general.alterations import ALTERATIONS, RATE_HZ, alter
from trainer.general.credits import as_markdown, read_credits
from trainer.simulator.dataset import Plan, write
from trainer.simulator.machines import KINDS

log = logging.getLogger(__name__)

NOISES: Final = ("rain", "sea_waves", "crackling_fire", "helicopter")
"""Kinds of `background` that strangers are graded under (benchmarks/strangers.py): never trained on."""

STRANGERS: Final = ("fan", "valve")
"""Types of simulated machines that are graded as strangers: never trained on."""

ALTERED: Final = 4
"""Kinds of alterations of each recording; of each class of `motors`, which are few, all."""

FOLDERS: Final = ("sounds", "background", "motors")

_SIMULATED: Final = Plan(
    machines=tuple(kind for kind in KINDS if kind not in STRANGERS),
    sections=4,
    train_source=8,
    train_target=8,
    test=6,
    seed=11,
)

_CUT: Final = re.compile(r"_\d+$")
_FAULT: Final = re.compile(r"fault_([a-z]+)")


def gather(data: Path, work: Path) -> tuple[list[Clip], str]:
    """Return every clip to learn from, `machine/section` being its class, and the credits that are due, Markdown.

    What is not there yet is made in `work`. Recordings whose licence does not allow it are left out, and named.

    The simulated ones come first: of the first clips a detector's golden recording is made, and nobody's recording
    is to travel in it. Raises EarshotError that names what is missing: a folder, or a recording's licence.
    """
    if absent := [name for name in FOLDERS if not (data / name).is_dir()]:
        raise EarshotError(f"{data}: no {', '.join(absent)} in it: expected folders {', '.join(FOLDERS)}")
    credited = read_credits(data, [clip.path for clip in recordings(data)])
    for path, credit in credited.items():
        if not credit.is_free:
            log.warning("left out: %s: its licence is %s", path, credit.licence)
    free = {path: credit for path, credit in credited.items() if credit.is_free}
    real = [clip for clip in recordings(data) if clip.path in free]
    clips = [*_simulated(work / "simulated"), *real, *_altered(real, work / "altered")]
    return clips, as_markdown(data, free)


def recordings(data: Path) -> Iterator[Clip]:
    """Yield the recordings of DATA, by folder and path."""
    for folder in FOLDERS:
        for path in sorted(find_audio(data / folder)):
            kind = path.parent.name
            if folder == "background" and kind in NOISES:
                continue
            section = {"sounds": _CUT.sub("", path.stem), "background": f"{kind}-{path.stem}", "motors": kind}[folder]
            yield Clip(path, folder, section, "source", "train", "normal")


def _simulated(folder: Path) -> Iterator[Clip]:
    """Yield simulated clips, made now if they are not there whole."""
    if not (folder / "dataset.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, _SIMULATED)
    for clip in read_layout([folder]):
        fault = _FAULT.search(clip.attributes)
        state = f"{clip.section}-{fault[1]}" if fault else f"{clip.section}-{clip.domain}"
        yield replace(clip, machine=f"simulated-{clip.machine}", section=state, split="train", label="normal")


def _altered(real: Sequence[Clip], folder: Path) -> Iterator[Clip]:
    """Yield the alterations: the clips of one class are altered in the same way, which depends on its name alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in tqdm(_by_class(real).items(), "alterations", unit="class", leave=False):
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        kinds = list(rng.permutation(list(ALTERATIONS)))[: None if clips[0].machine == "motors" else ALTERED]
        for kind in kinds:
            seed = int(rng.integers(1 << 31))
            for clip in clips:
                path = folder / f"{clip.machine}-{clip.section}-{clip.path.stem}-{kind}.flac"
                if not path.exists():
                    _write(path, clip.path, str(kind), seed)
                yield replace(clip, path=path, section=f"{clip.section}-{kind}")


def _by_class(clips: Sequence[Clip]) -> Mapping[str, list[Clip]]:
    classes: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        classes[clip.name].append(clip)
    return classes


def _write(path: Path, original: Path, kind: str, seed: int) -> None:
    """Write whole or not at all."""
    part = path.with_suffix(".part")
    samples = alter(read_samples(original), kind, np.random.default_rng(seed))
    soundfile.write(part, samples, RATE_HZ, subtype="PCM_16", format="FLAC")
    part.replace(path)
