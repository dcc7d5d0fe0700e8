"""What is to be done: the recipe of every network. It knows no clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from trainer.evaluation import paper
from trainer.evaluation.tables import Configuration
from trainer.recipe import Recipe, load_recipe

CENTRE_WEIGHT: Final = 0.003
"""Of the centre loss in Table 6, where the machine's own recipe is without; that of the shipped ones that have it."""

UNSAID_HIGH_PASS_HZ: Final[Mapping[str, float]] = {"slider": 1000.0}
"""Table 5 shows slider with a high-pass, and nothing says at which cut-off: the lower one of the two in Table 7."""


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


def plan_of(
    recipes: str,
    machines: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    epochs: int | None = None,
    command: str = "",
) -> Plan:
    """Return the plan with shipped recipes (`quick`, `paper`) or with a recipe file for all networks.

    A machine that the paper has not has neither high-pass nor centre loss.
    """
    if recipes == "paper":
        base = load_recipe("general")
        own = {name: load_recipe(name) if name in paper.MACHINES else base for name in machines}
    else:
        base = load_recipe(recipes)
        own = {name: _as_table_7(base, name) for name in machines}
    given = {} if epochs is None else {"epochs": epochs}
    return Plan(
        base.model_copy(update=given),
        {name: recipe.model_copy(update=given) for name, recipe in own.items()},
        seeds,
        about=f"recipes: {recipes}" + (f", {epochs} epochs" if epochs else ""),
        command=command,
    )


def _as_table_7(base: Recipe, machine: str) -> Recipe:
    if machine not in paper.MACHINES:
        return base
    shipped = load_recipe(machine)
    return base.model_copy(update={"f_min_hz": shipped.f_min_hz, "centre_weight": shipped.centre_weight})
