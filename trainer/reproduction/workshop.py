"""One step: its network trained, exported and scored, or found done. All that it remembers lies in its folder."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edge import detector as detectors
from edge.detector import Detector
from edge.errors import EarshotError
from trainer.dataset import Clip
from trainer.evaluation.scores import System, read_system, write_system
from trainer.evaluation.scoring import DOMAIN_RULES, DomainRule, score_detector
from trainer.exporting import Export
from trainer.reproduction.keys import key_of, read_key, write_key
from trainer.reproduction.steps import Step
from trainer.training import train

log = logging.getLogger(__name__)

FALSE_ALARM_RATE: Final = 0.01
"""Of the detectors' thresholds, a window."""

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
        folder = self._folder(step)
        key, marker = key_of(step, self.test_clips), folder / MARKER
        if read_key(marker) == key:
            log.info("%s: done already", title)
            return Done(folder, {rule: read_system(_scores(folder, rule)) for rule in DOMAIN_RULES})

        _begin(folder, key, title)
        started = time.monotonic()
        if not (folder / "run" / "network.pt").exists():
            start = None if step.start is None else self._folder(step.start) / "run"
            train(step.clips, step.recipe, folder / "run", start=start, features=self.output / "features")
        detector = self._detector(step, folder)
        systems = {rule: self._score(step, detector, rule, folder) for rule in DOMAIN_RULES}
        write_key(marker, key, seconds=round(time.monotonic() - started, 1))
        log.info("%s: finished after %.0f s", title, time.monotonic() - started)
        return Done(folder, systems)

    def _folder(self, step: Step) -> Path:
        return self.output / f"seed{step.seed}" / step.name

    def _detector(self, step: Step, folder: Path) -> Detector:
        path = folder / "detector"
        if (path / "detector.json").exists():
            return detectors.read(path)
        name, sections = step.clips[0].machine, {clip.name for clip in step.clips}
        if step.start is None:  # for all machines: only to be graded
            name, sections = step.name, sections & {clip.name for clip in self.test_clips}
        return self.export(folder / "run", path, name=name, false_alarm_rate=FALSE_ALARM_RATE, only=sorted(sections))

    def _score(self, step: Step, detector: Detector, rule: DomainRule, folder: Path) -> System:
        log.info("%s: scoring, domain %s", step.name, rule)
        system, skipped = score_detector(detector, self.test_clips, rule, name=step.name)
        for reason in skipped:
            log.warning("left out: %s", reason)
        system = replace(system, seed=step.seed)
        write_system(system, _scores(folder, rule))
        return system


def _begin(folder: Path, key: str, title: str) -> None:
    """Say whether the step begins, goes on or is done anew; what another key left is removed."""
    begun = folder / "begun.json"
    if folder.exists() and not begun.exists() and any(folder.iterdir()):
        raise EarshotError(f"{folder}: holds something else: expected a new folder for the reproduction")
    if folder.exists() and read_key(begun) != key:
        log.info("%s: recipe, data or beginning has changed: done anew", title)
        shutil.rmtree(folder)
    elif (folder / "run").exists():
        log.info("%s: goes on", title)
    else:
        log.info("%s", title)
    write_key(begun, key)


def _scores(folder: Path, rule: DomainRule) -> Path:
    return folder / f"scores-{rule}.json"
