"""`earshot train`: recordings of normal sound to a run folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from edge.commands import pickup_options
from edge.errors import EarshotError
from edge.source import Pickup
from trainer import distributed
from trainer.audit import check_data
from trainer.dataset import Clip, read_layout
from trainer.recipe import Recipe, load_recipe
from trainer.runs import load_held_out
from trainer.training import train

log = logging.getLogger(__name__)


@click.command("train", short_help="Train a network on normal sound.")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder; an unfinished one goes on.")
@click.option("--recipe", "recipe_name", help="A shipped recipe (general, fan, ...) or a YAML file; else quick.")
@click.option("--from", "start", type=click.Path(path_type=Path), help="A finished run to fine-tune.")
@click.option("--machine", "machines", multiple=True, help="Only this machine of the data; may be repeated.")
@click.option("--features", type=click.Path(path_type=Path), help="Folder of features, shared by runs; else the run's.")
@click.option("--preset", type=click.Choice(["streaming", "paper"]), help="Network, instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option("--all", "take_all", is_flag=True, help="Learn recordings whose names call them a fault or a test, too.")
@pickup_options
def command(
    data: Sequence[Path],
    output: Path,
    recipe_name: str | None,
    start: Path | None,
    machines: Sequence[str],
    features: Path | None,
    preset: str | None,
    epochs: int | None,
    seed: int | None,
    take_all: bool,
    pickup: Pickup,
) -> None:
    """Train on DATA...: machine folders in the DCASE layout, roots of such, or folders with a folder a class.

    Only normal sound is learned; every machine and section is a class. `earshot export` makes a detector of the run.

    The paper trains on all machines first and then on each from there:

    \b
        earshot train DATA --recipe general --output GENERAL
        earshot train DATA --machine fan --recipe fan --from GENERAL --output FAN

    Several processes: torchrun --nproc-per-node 2 --no-python earshot train ...
    """
    recipe = load_recipe(recipe_name) if recipe_name else Recipe()
    given = {"preset": preset, "epochs": epochs, "seed": seed}
    recipe = recipe.model_copy(update={key: value for key, value in given.items() if value is not None})
    recordings = _of(read_layout(data, pickup=pickup, take_all=take_all), machines)
    cache = (features or output) / "audit.json"
    warnings = check_data(recordings, for_evaluation=False, cache=cache, window_seconds=recipe.window_seconds)
    for warning in warnings if distributed.rank() == 0 else []:
        log.warning("%s", warning)
    clips = [clip for clip in recordings if clip.split == "train"]
    classes = sorted({clip.name for clip in clips})
    log.info("%d clips of %d classes", len(clips), len(classes))
    train(clips, recipe, output, start=start, features=features)
    n_held_out = len(load_held_out(output))
    rest = f", {n_held_out} held out" if n_held_out else ""
    if distributed.rank() == 0:
        click.echo(f"{output}: trained on {len(clips) - n_held_out} clips of {len(classes)} classes{rest}")


def _of(clips: Sequence[Clip], machines: Sequence[str]) -> Sequence[Clip]:
    """Return the clips of these machines, or all. Raises EarshotError that names those that have none."""
    there = {clip.machine for clip in clips}
    if missing := sorted(set(machines) - there):
        raise EarshotError(
            f"machine {', '.join(missing)}: not in the data: expected some of {', '.join(sorted(there))}"
        )
    return [clip for clip in clips if not machines or clip.machine in machines]
