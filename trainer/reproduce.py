"""The paper from beginning to end, on data in the layout of DCASE 2021: one call, many hours, resumable.

    general networks    on all machines, without a high-pass and at each cut-off that Table 7 asks for
    specific networks   of each machine, from the general one of its cut-off, without and with centre loss (Table 6)
    peers               the autoencoder, and an ensemble like that of the winner of 2021 (Table 3)
    tables              Tables 2 to 7, the honest table, the challenge's files, a report, a detector a machine

Every network is exported and scored through the device's own line. The output folder:

    seed<k>/<step>/     run, detector and scores of a step; step.json is written last, with the key of all it rests on
    peers/              scores of the peers
    features/           shared by all
    detectors/          the specific detector of each machine, of the first seed
    tables.json, tables.txt, metrics.json, challenge/, report.html

A step whose key is as it was is not done again, one that was cut off goes on, one whose recipe, data or beginning has
changed is done anew, and so is what rests on it. Only step folders of ours are ever removed.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from edge import detector as detectors
from edge.detector import Detector
from edge.errors import EarshotError
from trainer.audit import check_data
from trainer.dataset import Clip
from trainer.evaluation import paper
from trainer.evaluation.challenge import write_challenge
from trainer.evaluation.honest import honest_table
from trainer.evaluation.metrics import Cells
from trainer.evaluation.scores import Scored, System, read_system, write_system, write_whole
from trainer.evaluation.scoring import DOMAIN_RULES, DomainRule, score_detector
from trainer.evaluation.tables import Configuration, Role, Tables, paper_tables, write_tables
from trainer.peers.peer import Peer, folder_of
from trainer.recipe import Recipe
from trainer.report import report_of, write_report
from trainer.report.tables import compared_table, honest_tables
from trainer.report.tables import paper_tables as shown_tables
from trainer.training import train

log = logging.getLogger(__name__)

REVISION: Final = 1
"""Part of every key: raise it when the same recipe and data come to give other scores."""

CENTRE_WEIGHT: Final = 0.003
"""Of the centre loss in Table 6, where the machine's own recipe is without; that of the shipped ones that have it."""

LABEL_FREE: Final = "fused"
"""What our systems are used with. The recipes' own scores were picked by the paper with test labels."""

UNSAID_HIGH_PASS_HZ: Final[Mapping[str, float]] = {"slider": 1000.0}
"""Table 5 shows slider with a high-pass, and nothing says at which cut-off: the lower one of the two in Table 7."""

FALSE_ALARM_RATE: Final = 0.01
"""Of the detectors' thresholds, a window."""

DECISION_RATE: Final = 0.1
"""Of the decisions for the challenge: its baseline takes the 90th percentile of its scores of normal sound."""

Export = Callable[[Path, Path, str, float, Sequence[str] | None], Detector]
"""Run, output, name, false-alarm rate a clip, sections or None for all: export/bundle.py does it."""

ABOUT: Final[Mapping[Role, tuple[str, str]]] = {
    "general": ("general", "one network for all machines, no high-pass"),
    "general/high-pass": (
        "general (high-pass)",
        "general networks of the machines that Table 5 shows with a high-pass",
    ),
    "general/Table 7": ("general (cut-offs)", "the general network of each machine's cut-off"),
    "plain": ("specific (no centre loss)", "a network a machine, at its cut-off, without centre loss"),
    "centre": ("specific (centre loss)", "a network a machine, at its cut-off, with centre loss"),
    "specific": ("specific", "a network a machine, at its cut-off, with centre loss where Table 7 has it"),
}
"""Our systems: what each is called, and what it is."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    base        recipe of the general networks, without high-pass
    machines    recipe of each machine: its cut-off, centre loss and score are what Table 7 has of it
    seeds       a reproduction each; tables show their means
    about       what the recipes are called, for the tables; command: what was called, for the report
    """

    base: Recipe
    machines: Mapping[str, Recipe]
    seeds: Sequence[int] = (0,)
    about: str = "own recipes"
    command: str = ""

    def general(self, f_min_hz: float, seed: int) -> Recipe:
        """Return the recipe of the general network at a cut-off."""
        return self.base.model_copy(update={"f_min_hz": f_min_hz, "seed": seed, "centre_weight": 0.0})

    def specific(self, machine: str, seed: int, *, centre: bool) -> Recipe:
        """Return the recipe of a machine, with or without centre loss."""
        own = self.machines[machine]
        weight = (own.centre_weight or CENTRE_WEIGHT) if centre else 0.0
        return own.model_copy(update={"seed": seed, "centre_weight": weight})

    def high_pass_hz(self, machine: str) -> float | None:
        """Return the cut-off of Table 5's second half, or None where it has none."""
        return self.machines[machine].f_min_hz or UNSAID_HIGH_PASS_HZ.get(machine)

    def cut_offs_hz(self) -> list[float]:
        """Return every cut-off that a general network is needed for."""
        others = {self.high_pass_hz(machine) for machine in self.machines} - {None}
        return sorted({0.0, *(hz for hz in others if hz is not None)})

    def configurations(self) -> dict[str, Configuration]:
        """Return what Table 7 shows."""
        return {name: Configuration(own.centre_weight > 0, own.f_min_hz) for name, own in self.machines.items()}


@dataclass(frozen=True)
class Step:
    """One network: trained, exported and scored."""

    name: str
    recipe: Recipe
    clips: Sequence[Clip] = field(repr=False)
    start: "Step | None" = None

    @property
    def seed(self) -> int:
        """The recipe's."""
        return self.recipe.seed


@dataclass(frozen=True)
class Done:
    """What a step left: the scores of its test clips, by domain rule."""

    folder: Path
    systems: Mapping[DomainRule, System]


def steps_of(plan: Plan, train_clips: Sequence[Clip], seed: int) -> list[Step]:
    """Return the networks of one seed, each after the one that it begins with."""
    steps = [Step(_general(hz), plan.general(hz, seed), train_clips) for hz in plan.cut_offs_hz()]
    general = {step.recipe.f_min_hz: step for step in steps}
    for machine, recipe in plan.machines.items():
        own = [clip for clip in train_clips if clip.machine == machine]
        if len({clip.name for clip in own}) < 2:
            continue  # one section has nothing to be told from: `reproduce` says so
        for centre in (False, True):
            name = f"{machine}-{'centre' if centre else 'plain'}"
            steps.append(Step(name, plan.specific(machine, seed, centre=centre), own, start=general[recipe.f_min_hz]))
    return steps


class Reproduction:
    """The state of one output folder. `run` does what is left to do."""

    def __init__(
        self,
        clips: Sequence[Clip],
        output: Path,
        plan: Plan,
        *,
        export: Export,
        peers: Mapping[Role, Peer],
        now: Clock = time.monotonic,
    ) -> None:
        self.train_clips = [clip for clip in clips if clip.split == "train"]
        self.test_clips = [clip for clip in clips if clip.split == "test"]
        self.output = output
        self.plan = plan
        self._export = export
        self._peers = peers
        self._now = now
        self._done: dict[tuple[int, str], Done] = {}

    def run(self) -> Tables:
        """Do every step that is not done, write all that comes of them, and return the tables.

        Raises EarshotError if the data is wrong, before anything is trained, or if a step fails.
        """
        warnings = check_data(
            [*self.train_clips, *self.test_clips],
            for_evaluation=True,
            cache=self.output / "audit.json",
            window_seconds=self.plan.base.window_seconds,
        )
        for warning in warnings:
            log.warning("%s", warning)
        steps = [step for seed in self.plan.seeds for step in steps_of(self.plan, self.train_clips, seed)]
        n_all = len(steps) + len(self._peers) * len(self.plan.seeds)
        log.info("%d steps: %s", n_all, ", ".join(dict.fromkeys([*(s.name for s in steps), *self._peer_names()])))
        for machine in self._lonely():
            log.warning("%s: one section only, nothing to fine-tune on: its general network stands for it", machine)

        for i, step in enumerate(steps, 1):
            self._done[step.seed, step.name] = self._network(
                step, f"step {i} of {n_all}, {step.name}, seed {step.seed}"
            )
        systems = {**self._systems("oracle"), **self._peer_systems(len(steps), n_all)}
        return self._write(systems, warnings)

    # --- One network ---

    def _network(self, step: Step, title: str) -> Done:
        folder = self.output / f"seed{step.seed}" / step.name
        key, marker = self._key(step), folder / "step.json"
        if _key_in(marker) == key:
            log.info("%s: done already", title)
            return Done(folder, {rule: read_system(folder / f"scores-{rule}.json") for rule in DOMAIN_RULES})
        begun = folder / "begun.json"
        if folder.exists() and not begun.exists() and any(folder.iterdir()):
            raise EarshotError(f"{folder}: holds something else: expected a new folder for the reproduction")
        if folder.exists() and _key_in(begun) != key:
            log.info("%s: recipe, data or beginning has changed: done anew", title)
            shutil.rmtree(folder)
        elif (folder / "run").exists():
            log.info("%s: goes on", title)
        else:
            log.info("%s", title)
        write_whole(begun, json.dumps({"key": key}) + "\n")

        started = self._now()
        start = None if step.start is None else self.output / f"seed{step.seed}" / step.start.name / "run"
        if not (folder / "run" / "network.pt").exists():
            train(step.clips, step.recipe, folder / "run", start=start, features=self.output / "features")
        detector = self._detector(step, folder)
        systems = {rule: self._score(step, detector, rule, folder) for rule in DOMAIN_RULES}
        write_whole(marker, json.dumps({"key": key, "seconds": round(self._now() - started, 1)}) + "\n")
        log.info("%s: finished after %.0f s", title, self._now() - started)
        return Done(folder, systems)

    def _detector(self, step: Step, folder: Path) -> Detector:
        path = folder / "detector"
        if (path / "detector.json").exists():
            return detectors.read(path)
        own = {clip.name for clip in step.clips}
        if step.start is None:  # for all machines: only to be graded
            tested = sorted({clip.name for clip in self.test_clips} & own)
            return self._export(folder / "run", path, step.name, FALSE_ALARM_RATE, tested)
        return self._export(folder / "run", path, step.clips[0].machine, FALSE_ALARM_RATE, sorted(own))

    def _score(self, step: Step, detector: Detector, rule: DomainRule, folder: Path) -> System:
        path = folder / f"scores-{rule}.json"
        log.info("%s: scoring, domain %s", step.name, rule)
        system, skipped = score_detector(detector, self.test_clips, rule, name=step.name)
        for reason in skipped:
            log.warning("left out: %s", reason)
        system = replace(system, seed=step.seed)
        write_system(system, path)
        return system

    def _key(self, step: Step) -> str:
        own = {clip.machine for clip in step.clips}
        content = {
            "revision": REVISION,
            "recipe": step.recipe.model_dump(mode="json"),
            "train": [_identity(clip) for clip in step.clips],
            "test": [_identity(clip) for clip in self.test_clips if clip.machine in own],
            "start": None if step.start is None else self._key(step.start),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    # --- Peers ---

    def _peer_names(self) -> list[str]:
        return [peer.name for peer in self._peers.values()]

    def _peer_systems(self, n_before: int, n_all: int) -> dict[Role, list[System]]:
        test = [clip for clip in self.test_clips if clip.label]
        systems: dict[Role, list[System]] = {}
        n_done = n_before
        for role, peer in self._peers.items():
            for seed in self.plan.seeds:
                n_done += 1
                log.info("step %d of %d, %s, seed %d", n_done, n_all, peer.name, seed)
                folder = folder_of(self.output / "peers", peer.name, seed)
                systems.setdefault(role, []).append(
                    peer.fit_and_score(self.train_clips, test, seed=seed, folder=folder)
                )
        return systems

    # --- What the networks are, put together ---

    def _systems(self, rule: DomainRule) -> dict[Role, list[System]]:
        """Return the systems that the tables compare, a run a seed."""
        return {role: [self._system(role, rule, seed) for seed in self.plan.seeds] for role in ABOUT}

    def _system(self, role: Role, rule: DomainRule, seed: int) -> System:
        """Put a system together from the network that it has for each machine."""
        name, about = ABOUT[role]
        scored = [
            s
            for machine in self.plan.machines
            if (step := self._network_of(role, machine)) is not None
            for s in self._done[seed, step].systems[rule].scored
            if s.clip.machine == machine
        ]
        return System(name, seed, about, scored, LABEL_FREE, one_recipe=role == "general")

    def _network_of(self, role: Role, machine: str) -> str | None:
        """Return the step whose network a system has for a machine, or None where the paper has none."""
        recipe = self.plan.machines[machine]
        if role == "general":
            return _general(0.0)
        if role == "general/high-pass":
            hz = self.plan.high_pass_hz(machine)
            return None if hz is None else _general(hz)
        if role == "general/Table 7":
            return _general(recipe.f_min_hz)
        return self._own_step(machine) if role == "specific" else self._specific(machine, centre=role == "centre")

    def _specific(self, machine: str, *, centre: bool) -> str:
        if machine in self._lonely():
            return _general(self.plan.machines[machine].f_min_hz)
        return f"{machine}-{'centre' if centre else 'plain'}"

    def _lonely(self) -> list[str]:
        names = {clip.name for clip in self.train_clips}
        return [m for m in self.plan.machines if sum(name.startswith(f"{m}/") for name in names) < 2]

    # --- What comes of it ---

    def _write(self, systems: Mapping[Role, Sequence[System]], warnings: Sequence[str]) -> Tables:
        with_paper = paper.is_dcase_2021([*self.train_clips, *self.test_clips])
        shown = paper_tables(systems, self.plan.configurations(), with_paper=with_paper)
        labels: Mapping[DomainRule, tuple[Cells, str]] = {
            "oracle": ("domain", "domain known, a cell a domain"),
            "min": ("section", "domain unknown, a cell a section"),
        }
        honest: dict[str, str] = {}
        data: dict[str, Any] = {}
        for rule in DOMAIN_RULES:
            cells, what = labels[rule]
            compared = {**systems, **self._systems(rule)}  # a peer knows no domain rule
            runs = [run for role, own in compared.items() if role != "general/high-pass" for run in own]
            table = honest_table(runs, cells)
            honest[rule] = f"The honest table, {what}\n{table.as_text()}"
            data[rule] = table.as_json()
        tables = Tables(self._about(), shown, honest, data)
        write_tables(self.output, tables)
        self._write_challenge(systems["specific"])
        found = self._write_detectors()
        self._write_report(found, warnings, tables)
        return tables

    def _about(self) -> str:
        sections = sorted({clip.section for clip in self.test_clips})
        seeds = ", ".join(map(str, self.plan.seeds))
        return (
            f"{len(self.train_clips)} training clips and {len(self.test_clips)} test clips; machines "
            f"{', '.join(self.plan.machines)}; tested sections {', '.join(sections)}; {self.plan.about}; seed {seeds}"
        )

    def _write_challenge(self, runs: Sequence[System]) -> None:
        for run in runs:
            names = {s.clip.name for s in run.scored}
            expected = [clip for clip in self.test_clips if clip.name in names]
            folder = self.output / "challenge" / "teams" / f"specific-seed{run.seed}"
            try:
                write_challenge(self._decided(run), folder, run.default_score, expected)
            except EarshotError as error:
                log.warning("no files for the challenge's evaluator: %s", error)

    def _decided(self, run: System) -> list[Scored]:
        """Give the clips the thresholds of `DECISION_RATE`."""
        steps = {name: self._done[run.seed, name] for name in map(self._own_step, self.plan.machines)}
        found = {name: detectors.read(done.folder / "detector") for name, done in steps.items()}
        decided = []
        for s in run.scored:
            section = found[self._own_step(s.clip.machine)].sections[s.clip.name]
            own = {
                str(score): calibration.threshold(DECISION_RATE) for score, calibration in section.calibration.items()
            }
            decided.append(replace(s, thresholds=own))
        return decided

    def _own_step(self, machine: str) -> str:
        """The network that a machine ends up with."""
        return self._specific(machine, centre=self.plan.machines[machine].centre_weight > 0)

    def _write_detectors(self) -> list[Detector]:
        """Put the specific detector of each machine, with all its sections, where a person looks for it."""
        seed = self.plan.seeds[0]
        for machine in self.plan.machines:
            folder, output = self._done[seed, self._own_step(machine)].folder, self.output / "detectors" / machine
            key, marker = _key_in(folder / "step.json"), self.output / "detectors" / f"{machine}.json"
            if _key_in(marker) == key and (output / "detector.json").exists():
                continue
            if machine in self._lonely():
                sections = sorted({clip.name for clip in self.train_clips if clip.machine == machine})
                self._export(folder / "run", output, machine, FALSE_ALARM_RATE, sections)
            else:
                _copy(folder / "detector", output)
            write_whole(marker, json.dumps({"key": key}) + "\n")
        return [detectors.read(self.output / "detectors" / machine) for machine in self.plan.machines]

    def _write_report(self, found: Sequence[Detector], warnings: Sequence[str], tables: Tables) -> None:
        """Show the first seed: the specific networks, as a customer would use them, beside the others."""
        seed = self.plan.seeds[0]
        own = self._systems("min")
        mine = [run for role in ("specific", "general") for run in own[role] if run.seed == seed]
        content = report_of(
            found,
            [*self.train_clips, *self.test_clips],
            systems=mine,
            runs=[done.folder / "run" for (of, _), done in self._done.items() if of == seed],
            honest=[shown for table in tables.honest_data.values() for shown in honest_tables(table)],
            compared=[compared_table(tables.honest_data["min"]), *shown_tables(tables.tables)],
            warnings=warnings,
            command=self.plan.command,
            title="The paper, reproduced",
        )
        write_report(self.output / "report.html", content)


def _general(f_min_hz: float) -> str:
    return f"general-{f_min_hz:04.0f}"


def _copy(folder: Path, to: Path) -> None:
    """Copy a folder whole: what stood there goes when the new one is complete."""
    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, part)
    shutil.rmtree(to, ignore_errors=True)
    part.rename(to)


def _key_in(path: Path) -> str | None:
    try:
        key: str = json.loads(path.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key


def _identity(clip: Clip) -> list[str | int | None]:
    stat = clip.path.stat()
    return [str(clip.path), clip.name, clip.domain, clip.label, stat.st_size, stat.st_mtime_ns]
