"""What comes of a reproduction: tables, the challenge's files, a detector a machine, and a report."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge import detector as detectors
from edge.detector import Detector
from edge.errors import EarshotError
from trainer.dataset import Clip
from trainer.evaluation import paper
from trainer.evaluation.challenge import write_challenge
from trainer.evaluation.honest import honest_table
from trainer.evaluation.metrics import Cells
from trainer.evaluation.scores import Scored, System
from trainer.evaluation.scoring import DOMAIN_RULES, DomainRule
from trainer.evaluation.tables import Role, Tables, paper_tables, write_tables
from trainer.exporting import Export, exported, marker_of
from trainer.keys import read_key, write_key
from trainer.report import compared_table, honest_tables, report_of, write_report
from trainer.report import paper_tables as shown_tables
from trainer.reproduction.plan import Plan
from trainer.reproduction.systems import Networks

log = logging.getLogger(__name__)

DECISION_RATE: Final = 0.1
"""Of the decisions for the challenge: its 2021 baseline takes the 0.9 quantile of a gamma distribution that it fits to
its scores of normal sound."""

_CELLS: Final[Mapping[DomainRule, tuple[Cells, str]]] = {
    "oracle": ("domain", "domain known, a cell a domain"),
    "min": ("section", "domain unknown, a cell a section"),
}
"""What a cell of the honest table is under each rule, and how its heading says so."""


@dataclass(frozen=True)
class Outcome:
    """What is written of networks that are done, beside the systems of the peers, on the clips of both splits."""

    output: Path
    networks: Networks
    peers: Mapping[Role, Sequence[System]]
    train_clips: Sequence[Clip]
    test_clips: Sequence[Clip]

    @property
    def plan(self) -> Plan:
        """What was done."""
        return self.networks.plan

    def write(self, warnings: Sequence[str], *, export: Export) -> Tables:
        """Write all of it, and return the tables. warnings: of the data, for the report."""
        tables = self._tables()
        write_tables(self.output, tables)
        self._write_challenge()
        found = self._write_detectors(export)
        self._write_report(found, warnings, tables)
        return tables

    def _tables(self) -> Tables:
        systems = {**self.networks.systems("oracle"), **self.peers}
        with_paper = paper.is_dcase_2021([*self.train_clips, *self.test_clips])
        shown = paper_tables(systems, self.plan.configurations(), with_paper=with_paper)
        honest: dict[str, str] = {}
        data: dict[str, Any] = {}
        for rule in DOMAIN_RULES:
            cells, what = _CELLS[rule]
            compared = {**systems, **self.networks.systems(rule)}  # a peer knows no domain rule
            runs = [run for role, own in compared.items() if role != "general/high-pass" for run in own]
            table = honest_table(runs, cells)
            honest[rule] = f"The honest table, {what}\n{table.as_text()}"
            data[rule] = table.as_json()
        return Tables(self._about(), shown, honest, data)

    def _about(self) -> str:
        sections = sorted({clip.section for clip in self.test_clips})
        seeds = ", ".join(map(str, self.plan.seeds))
        return (
            f"{len(self.train_clips)} training clips and {len(self.test_clips)} test clips; machines "
            f"{', '.join(self.plan.machines)}; tested sections {', '.join(sections)}; {self.plan.about}; seed {seeds}"
        )

    def _write_challenge(self) -> None:
        for run in self.networks.systems("oracle")["specific"]:
            names = {s.clip.name for s in run.scored}
            expected = [clip for clip in self.test_clips if clip.name in names]
            folder = self.output / "challenge" / "teams" / f"specific-seed{run.seed}"
            try:
                write_challenge(self._decided(run), folder, run.default_score, expected)
            except EarshotError as error:
                log.warning("no files for the challenge's evaluator: %s", error)

    def _decided(self, run: System) -> list[Scored]:
        """Give the clips the thresholds of `DECISION_RATE`."""
        found = {
            machine: detectors.read(self.networks.specific(machine, run.seed).folder / "detector")
            for machine in self.plan.machines
        }
        decided = []
        for s in run.scored:
            section = found[s.clip.machine].sections[s.clip.name]
            own = {str(score): section.threshold(score, DECISION_RATE) for score in section.ordinary}
            decided.append(replace(s, thresholds=own))
        return decided

    def _write_detectors(self, export: Export) -> list[Detector]:
        """Put the specific detector of each machine, with all its sections, where a person looks for it."""
        for machine in self.plan.machines:
            folder, output = (
                self.networks.specific(machine, self.plan.seeds[0]).folder,
                self.output / "detectors" / machine,
            )
            if machine in self.networks.lonely:
                sections = sorted({clip.name for clip in self.train_clips if clip.machine == machine})
                exported(export, folder / "run", output, name=machine, only=sections)
            else:
                _copy_if_other(folder / "detector", output)
        return [detectors.read(self.output / "detectors" / machine) for machine in self.plan.machines]

    def _write_report(self, found: Sequence[Detector], warnings: Sequence[str], tables: Tables) -> None:
        """Show the first seed: the specific networks, as a customer would use them, beside the others."""
        seed = self.plan.seeds[0]
        own = self.networks.systems("min")
        content = report_of(
            found,
            [*self.train_clips, *self.test_clips],
            systems=[run for role in ("specific", "general") for run in own[role] if run.seed == seed],
            runs=[done.folder / "run" for done in self.networks.of_seed(seed)],
            honest=[shown for table in tables.honest_data.values() for shown in honest_tables(table)],
            compared=[compared_table(tables.honest_data["min"]), *shown_tables(tables.tables)],
            warnings=warnings,
            command=self.plan.command,
            title="The paper, reproduced",
        )
        write_report(self.output / "report.html", content)


def _copy_if_other(folder: Path, to: Path) -> None:
    """Copy a detector whole, unless it is there: what stood there goes when the new one is complete.

    Raises EarshotError if that is no detector.
    """
    key = read_key(marker_of(folder))
    is_there = (to / "detector.json").exists()
    if to.exists() and not is_there:
        raise EarshotError(f"{to}: holds something else: expected a new folder for the detector")
    if key is None or (is_there and read_key(marker_of(to)) == key):
        return
    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, part)
    shutil.rmtree(to, ignore_errors=True)
    part.rename(to)
    write_key(marker_of(to), key)
