"""Fits every section of a trained network, with the device's own functions, from the recordings themselves."""

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from tqdm import tqdm

from edge.detector import Promise, Recording, Section, learn_section, measure_normal
from edge.ear import Ear
from edge.judge import MIN_WINDOWS, NormalWindows, ScoreName, Shift, cross_fit, network_shift
from trainer.dataset import Clip

log = logging.getLogger(__name__)


def fit_sections(
    ear: Ear,
    clips: Sequence[Clip],
    classes: Sequence[str],
    wanted: Sequence[str],
    promise: Promise,
    held_out: AbstractSet[Path] = frozenset(),
) -> Mapping[str, Section]:
    """Return the statistics and thresholds of the wanted sections with enough normal sound, by `machine/section`.

    classes: what the network tells apart, in the order of its logits. Those without statistics stay classes that
    nothing is scored against; where there was too little sound for them the log says so.
    held_out: the clips that the network was not trained on, from which thresholds learn what new sound is like.
    Raises TooLittleSoundError if false alarms a week are promised and a section has too little sound for them.
    """
    heard = _heard(ear, clips, wanted, held_out)
    shifts = _shifts(heard, classes)
    sections: dict[str, Section] = {}
    for name, windows in heard.items():
        machine, section = name.split("/")
        sections[name] = learn_section(
            machine,
            section,
            windows,
            class_index=classes.index(name),
            promise=promise,
            plan=ear.plan,
            shifts=shifts[machine],
        )
    return sections


def _heard(
    ear: Ear, clips: Sequence[Clip], wanted: Sequence[str], held_out: AbstractSet[Path]
) -> Mapping[str, NormalWindows]:
    """Return the normal windows of the wanted sections that have enough of them; the log names the others."""
    heard: dict[str, NormalWindows] = {}
    too_little: list[str] = []
    for name in tqdm(wanted, "fit", unit="section"):
        own = [
            Recording(clip.path, clip.recording, clip.domain, trained_on=clip.path not in held_out, pickup=clip.pickup)
            for clip in clips
            if clip.name == name and clip.split == "train"
        ]
        windows = measure_normal(ear, own, skip=log.debug)
        n_windows = 0 if windows is None else windows.n_apart
        if windows is None or n_windows < MIN_WINDOWS:
            too_little.append(f"{name} ({n_windows})")
            continue
        heard[name] = windows
    if too_little:
        log.info(
            "classes only, with fewer than %d whole windows of normal sound to score against: %s",
            MIN_WINDOWS,
            ", ".join(too_little),
        )
    return heard


def _shifts(heard: Mapping[str, NormalWindows], classes: Sequence[str]) -> dict[str, dict[ScoreName, Shift]]:
    """Return how much farther unseen sound is, for each machine: from its own sections, else from all."""
    measured = {name: (windows, cross_fit(windows, classes.index(name))) for name, windows in heard.items()}
    overall = network_shift(list(measured.values()))
    if measured and not overall:
        log.warning(
            "no recordings were held out of the network's training, or too few: thresholds do not know how much nearer "
            "it is to what it was trained on, and false alarms will be more frequent than asked for. "
            "`holdout: 0.2` in the recipe keeps some back"
        )
    machines = {name.split("/")[0] for name in heard}
    return {
        machine: network_shift([one for name, one in measured.items() if name.split("/")[0] == machine]) or overall
        for machine in machines
    }
