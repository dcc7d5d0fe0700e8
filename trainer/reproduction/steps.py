"""The steps of a plan on some clips: a network each, after the one that it begins with. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.dataset import Clip
from trainer.recipe import Recipe
from trainer.reproduction.plan import Plan


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


def steps_of(plan: Plan, train_clips: Sequence[Clip], seed: int) -> list[Step]:
    """Return the networks of one seed, each after the one that it begins with.

    A machine's begins with the general one without a high-pass, whatever its own cut-off. "In the fine-tuning phase, we
    use the enhanced input features, the time spectrum after short-time Fourier transform is passed through a high-pass
    filter" (Sec. 2); general networks with one are for Table 5.
    """
    steps = [Step(general_name(hz), plan.general(hz, seed), train_clips) for hz in plan.cut_offs_hz()]
    general, lonely = steps[0], lonely_machines(plan, train_clips)
    for machine in plan.machines:
        if machine in lonely:
            continue
        own = [clip for clip in train_clips if clip.machine == machine]
        for centre in (False, True):
            name = specific_name(machine, centre=centre)
            steps.append(Step(name, plan.specific(machine, seed, centre=centre), own, start=general))
    return steps


def lonely_machines(plan: Plan, train_clips: Sequence[Clip]) -> list[str]:
    """Return the machines of one section, which has nothing to be told from: no network is fine-tuned on them."""
    names = {clip.name for clip in train_clips}
    return [m for m in plan.machines if sum(name.startswith(f"{m}/") for name in names) < 2]


def general_name(f_min_hz: float) -> str:
    """Return the name of the step that trains the general network at a cut-off."""
    return f"general-{f_min_hz:04.0f}"


def specific_name(machine: str, *, centre: bool) -> str:
    """Return the name of the step that fine-tunes on one machine."""
    return f"{machine}-{'centre' if centre else 'plain'}"
