"""Our systems: which network each has for a machine, and what it scored. Nothing is trained here."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from trainer.evaluation.scores import System
from trainer.evaluation.scoring import DomainRule
from trainer.evaluation.tables import Role
from trainer.reproduction.plan import Plan
from trainer.reproduction.steps import general_name, specific_name
from trainer.reproduction.workshop import Done

LABEL_FREE: Final = "fused"
"""What our systems are used with. The recipes' own scores were picked by the paper with test labels."""

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


def network_of(plan: Plan, lonely: AbstractSet[str], role: Role, machine: str) -> str | None:
    """Return the step whose network a system has for a machine, or None where the paper has none.

    lonely: machines without a network of their own: a general one stands for it (`lonely_machines`).
    """
    recipe = plan.machines[machine]
    if role == "general":
        return general_name(0.0)
    if role == "general/high-pass":
        hz = plan.high_pass_hz(machine)
        return None if hz is None else general_name(hz)
    if role == "general/Table 7" or machine in lonely:
        return general_name(recipe.f_min_hz)
    return specific_name(machine, centre=recipe.centre_weight > 0 if role == "specific" else role == "centre")


@dataclass(frozen=True)
class Networks:
    """What the steps left, by seed and step, and how the systems of the tables are put together from it."""

    plan: Plan
    lonely: AbstractSet[str]
    done: Mapping[tuple[int, str], Done]

    def systems(self, rule: DomainRule) -> dict[Role, list[System]]:
        """Return the systems that the tables compare, a run a seed."""
        return {role: [self._system(role, rule, seed) for seed in self.plan.seeds] for role in ABOUT}

    def specific(self, machine: str, seed: int) -> Done:
        """Return what the step left whose network a machine ends up with."""
        step = network_of(self.plan, self.lonely, "specific", machine)
        assert step is not None
        return self.done[seed, step]

    def of_seed(self, seed: int) -> Sequence[Done]:
        """Return what all steps of a seed left, in their order."""
        return [done for (of, _), done in self.done.items() if of == seed]

    def _system(self, role: Role, rule: DomainRule, seed: int) -> System:
        name, about = ABOUT[role]
        scored = [
            s
            for machine in self.plan.machines
            if (step := network_of(self.plan, self.lonely, role, machine)) is not None
            for s in self.done[seed, step].systems[rule].scored
            if s.clip.machine == machine
        ]
        return System(name, seed, about, scored, LABEL_FREE, one_recipe=role == "general")
