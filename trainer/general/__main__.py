"""`python -m trainer.general DATA --output RUN`: the network of the detector for strangers.

DATA holds `sounds`, `background` and `motors` (trainer/general/recordings.py). Twelve minutes of one core and 0.6 GB in
RUN, which goes on where it was stopped; then

    earshot export RUN --texture --output GENERAL
    earshot enroll boiler --from recordings/ --detector GENERAL --output boiler
"""

import logging
from pathlib import Path

import click

from edge.errors import EarshotError
from trainer.general import gather
from trainer.recipe import load_recipe
from trainer.training import train


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder; an unfinished one goes on.")
@click.option("--recipe", "recipe_name", default="strangers", show_default=True, help="A shipped recipe or a file.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option("--threads", type=click.IntRange(min=0), help="Instead of the recipe's.")
def main(data: Path, output: Path, recipe_name: str, seed: int | None, threads: int | None) -> None:
    """Train on DATA the network that strangers are enrolled on."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = {"seed": seed, "threads": threads}
    recipe = load_recipe(recipe_name).model_copy(update={k: value for k, value in given.items() if value is not None})
    data = data.absolute()
    try:
        clips, credited = gather(data, output.absolute())
        train(clips, recipe, output)
    except EarshotError as error:
        raise click.ClickException(str(error)) from error
    (output / "CREDITS.md").write_text(credited, encoding="utf-8")
    click.echo(f"{output}: trained on {len(clips)} clips of {len({clip.name for clip in clips})} classes")


if __name__ == "__main__":
    main()
