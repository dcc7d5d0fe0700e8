"""Fits every section of a trained network, with the device's own functions, from the recordings themselves."""

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from tqdm import tqdm

from edge.detector import Promise, Recording, Section, learn_section, measure_normal
from edge.ear import Ear, FloatArray
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
    shifts = _Shifts(ear, clips, classes, held_out, heard)
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
            shifts=shifts.of(machine),
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


class _Shifts:
    """How much farther unseen sound is, for each machine: from its own sections, else from all.

    It is the network's doing, so all that the network was trained on counts, whether a section is wanted or not: the
    threshold of a section is the same whichever others are exported with it.
    """

    def __init__(
        self,
        ear: Ear,
        clips: Sequence[Clip],
        classes: Sequence[str],
        held_out: AbstractSet[Path],
        heard: Mapping[str, NormalWindows],
    ) -> None:
        self._ear, self._clips, self._classes, self._held_out = ear, clips, classes, held_out
        self._measured = {name: self._unseen(name, windows) for name, windows in heard.items()}
        self._of: dict[str, dict[ScoreName, Shift]] = {}

    def of(self, machine: str) -> dict[ScoreName, Shift]:
        """Return it for a machine; nothing where too few recordings were held out of the network's training."""
        if machine not in self._of:
            own = [name for name in self._classes if name.split("/")[0] == machine]
            self._of[machine] = self._pooled(own) or self._pooled(self._classes)
            if not self._of[machine]:
                log.warning(
                    "%s: no recordings were held out of the network's training, or too few: thresholds do not know "
                    "how much nearer it is to what it was trained on, and false alarms will be more frequent than "
                    "asked for. `holdout: 0.2` in the recipe keeps some back",
                    machine,
                )
        return self._of[machine]

    def _pooled(self, names: Sequence[str]) -> dict[ScoreName, Shift]:
        if not self._held_out:
            return {}
        missing = [name for name in names if name not in self._measured]
        others = _heard(self._ear, self._clips, missing, self._held_out) if missing else {}
        self._measured |= {name: self._unseen(name, windows) for name, windows in others.items()}
        return network_shift([self._measured[name] for name in names if name in self._measured])

    def _unseen(self, name: str, windows: NormalWindows) -> tuple[NormalWindows, dict[ScoreName, FloatArray]]:
        return windows, cross_fit(windows, self._classes.index(name))
