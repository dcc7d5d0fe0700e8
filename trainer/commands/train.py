"""`earshot train`: recordings of normal sound to a run folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

import click

from trainer.dataset import read_layout
from trainer.recipe import Recipe, load_recipe
from trainer.training import train

log = logging.getLogger(__name__)


@click.command("train")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder; an unfinished one goes on.")
@click.option("--preset", type=click.Choice(["streaming", "paper"]), help="Network; else the recipe's, or streaming.")
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path), help="YAML file with training settings.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--seed", type=int, help="Instead of the recipe's.")
def command(
    data: Sequence[Path],
    output: Path,
    preset: str | None,
    recipe_path: Path | None,
    epochs: int | None,
    seed: int | None,
) -> None:
    """Train on DATA...: machine folders in the DCASE layout, roots of such, or folders with a folder a class.

    Only normal sound is learned; every machine and section is a class. `earshot export` makes a detector of the run.
    """
    recipe = load_recipe(recipe_path) if recipe_path else Recipe()
    given = {"preset": preset, "epochs": epochs, "seed": seed}
    recipe = recipe.model_copy(update={key: value for key, value in given.items() if value is not None})
    clips = [clip for clip in read_layout(data) if clip.split == "train"]
    classes = sorted({clip.name for clip in clips})
    log.info("%d clips of %d classes", len(clips), len(classes))
    train(clips, recipe, output)
    click.echo(f"{output}: trained on {len(clips)} clips of {len(classes)} classes")
