"""The whole: the data is looked at, every step is done one after the other, and what comes of it is written."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.audit import check_data
from trainer.dataset import Clip
from trainer.evaluation.scores import System
from trainer.evaluation.tables import Role, Tables
from trainer.exporting import Export
from trainer.peers import Peer, folder_of
from trainer.reproduction.outcome import Outcome
from trainer.reproduction.plan import Plan
from trainer.reproduction.steps import Step, lonely_machines, steps_of
from trainer.reproduction.systems import Networks
from trainer.reproduction.workshop import Done, Workshop

log = logging.getLogger(__name__)


class Reproduction:
    """The state of one output folder. `run` does what is left to do."""

    def __init__(
        self, clips: Sequence[Clip], output: Path, plan: Plan, *, export: Export, peers: Mapping[Role, Peer]
    ) -> None:
        self.train_clips = [clip for clip in clips if clip.split == "train"]
        self.test_clips = [clip for clip in clips if clip.split == "test"]
        self.output = output
        self.plan = plan
        self._export = export
        self._peers = peers

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
        lonely = lonely_machines(self.plan, self.train_clips)
        n_all = len(steps) + len(self._peers) * len(self.plan.seeds)
        names = [*(step.name for step in steps), *(peer.name for peer in self._peers.values())]
        log.info("%d steps: %s", n_all, ", ".join(dict.fromkeys(names)))
        for machine in lonely:
            log.warning("%s: one section only, nothing to fine-tune on: its general network stands for it", machine)

        networks = Networks(self.plan, frozenset(lonely), self._train(steps, n_all))
        peers = self._fit_peers(len(steps), n_all)
        outcome = Outcome(self.output, networks, peers, self.train_clips, self.test_clips)
        return outcome.write(warnings, export=self._export)

    def _train(self, steps: Sequence[Step], n_all: int) -> dict[tuple[int, str], Done]:
        workshop = Workshop(self.output, self.test_clips, self._export)
        return {
            (step.seed, step.name): workshop.do(step, f"step {i} of {n_all}, {step.name}, seed {step.seed}")
            for i, step in enumerate(steps, 1)
        }

    def _fit_peers(self, n_before: int, n_all: int) -> dict[Role, list[System]]:
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
