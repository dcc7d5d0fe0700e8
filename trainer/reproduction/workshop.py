"""One step: its network trained, exported and scored, or found done. All that it remembers lies in its folder."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edge.detector import Detector
from edge.errors import EarshotError
from trainer.dataset import Clip
from trainer.evaluation.scores import System, read_system, write_system
from trainer.evaluation.scoring import DOMAIN_RULES, DomainRule, score_detector
from trainer.exporting import Export, exported, marker_of
from trainer.keys import key_of, read_key, sound_of, write_key
from trainer.reproduction.steps import Step
from trainer.training import train_anew_if_other

log = logging.getLogger(__name__)

MARKER: Final = "step.json"
"""Written last into the folder of a step."""


@dataclass(frozen=True)
class Done:
    """What a step left: the scores of its test clips, by domain rule."""

    folder: Path
    systems: Mapping[DomainRule, System]


@dataclass(frozen=True)
class Workshop:
    """Where the steps of one output folder are done."""

    output: Path
    test_clips: Sequence[Clip] = field(repr=False)
    export: Export

    def do(self, step: Step, title: str) -> Done:
        """Do what is left of a step. Raises EarshotError if its folder holds something that is not ours."""
        folder, started = self._folder(step), time.monotonic()
        _begin(folder, title)
        start = None if step.start is None else self._folder(step.start) / "run"
        train_anew_if_other(step.clips, step.recipe, folder / "run", start=start, features=self.output / "features")
        detector = self._detector(step, folder)
        key, marker = self._key(step, folder), folder / MARKER
        if read_key(marker) == key:
            log.info("%s: done already", title)
            return Done(folder, {rule: self._kept(folder, rule) for rule in DOMAIN_RULES})

        systems = self._score(step, detector, folder)
        write_key(marker, key, seconds=round(time.monotonic() - started, 1))
        log.info("%s: finished after %.0f s", title, time.monotonic() - started)
        return Done(folder, systems)

    def _folder(self, step: Step) -> Path:
        return self.output / f"seed{step.seed}" / step.name

    def _detector(self, step: Step, folder: Path) -> Detector:
        name, sections = step.clips[0].machine, {clip.name for clip in step.clips}
        if step.start is None:  # for all machines: only to be graded
            name, sections = step.name, sections & {clip.name for clip in self.test_clips}
        return exported(self.export, folder / "run", folder / "detector", name=name, only=sorted(sections))

    def _key(self, step: Step, folder: Path) -> str:
        """Return the key of the scores: the detector, and the clips of its machines without what they are called."""
        own = {clip.machine for clip in step.clips}
        sounds = [sound_of(clip) for clip in self.test_clips if clip.machine in own]
        return key_of({"detector": read_key(marker_of(folder / "detector")), "test": sounds})

    def _score(self, step: Step, detector: Detector, folder: Path) -> dict[DomainRule, System]:
        log.info("%s: scoring", step.name)
        scored, skipped = score_detector(detector, self.test_clips, DOMAIN_RULES, name=step.name)
        for reason in skipped:
            log.warning("left out: %s", reason)
        systems = {rule: replace(system, seed=step.seed) for rule, system in scored.items()}
        for rule, system in systems.items():
            write_system(system, _scores(folder, rule))
        return systems

    def _kept(self, folder: Path, rule: DomainRule) -> System:
        """Return kept scores, with what the clips are called now: labels may have come since."""
        system, now = read_system(_scores(folder, rule)), {clip.path: clip for clip in self.test_clips}
        return replace(system, scored=[replace(s, clip=now[s.clip.path]) for s in system.scored])


def _begin(folder: Path, title: str) -> None:
    """Say whether the step begins or goes on. Raises EarshotError for a folder of somebody else's."""
    run = folder / "run"
    if folder.exists() and not run.exists() and any(folder.iterdir()):
        raise EarshotError(f"{folder}: holds something else: expected a new folder for the reproduction")
    if not (run / "network.pt").exists():
        log.info("%s: goes on" if run.exists() else "%s", title)


def _scores(folder: Path, rule: DomainRule) -> Path:
    return folder / f"scores-{rule}.json"
