"""`earshot simulate OUT`: recordings of machines that do not exist, for a first try, a test or a tutorial."""

from pathlib import Path

import click

from trainer.cores import usable_cores
from trainer.simulator.dataset import FORMATS, Format, Layout, Plan, write
from trainer.simulator.machines import KINDS

_DEFAULT = Plan()


@click.command("simulate", short_help="Make recordings of simulated machines.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(list(FORMATS)),
    default=_DEFAULT.layout,
    show_default=True,
    help="plain: train and test a machine, all in the names. dcase2021: dev_data, eval_data, ground_truth_data.",
)
@click.option(
    "--machine",
    "machines",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="A machine type to make; repeat it for more.  [default: all seven]",
)
@click.option(
    "--sections",
    type=click.IntRange(1, 99),
    default=_DEFAULT.sections,
    show_default=True,
    help="Individuals of each type; in layout dcase2021, of dev_data and of eval_data each.",
)
@click.option(
    "--train-source",
    type=click.IntRange(min=0),
    default=_DEFAULT.train_source,
    show_default=True,
    help="Normal clips to learn from, a section, in the source domain.",
)
@click.option(
    "--train-target",
    type=click.IntRange(min=0),
    default=_DEFAULT.train_target,
    show_default=True,
    help="The same in the target domain: another speed, load, place and background.",
)
@click.option(
    "--test",
    type=click.IntRange(min=0),
    default=_DEFAULT.test,
    show_default=True,
    help="Clips to be graded on, for each section, domain and label.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=_DEFAULT.seconds,
    show_default=True,
    help="Length of a clip.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=_DEFAULT.seed,
    show_default=True,
    help="Another seed is another factory; the same one gives the same bytes.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["flac", "wav"]),
    show_default="flac; in layout dcase2021 wav",
    help="File format, 16 bit either way.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=usable_cores,
    show_default="one a processor",
    help="Processes that work at once.",
)
def command(
    out: Path,
    layout: Layout,
    machines: tuple[str, ...],
    sections: int,
    train_source: int,
    train_target: int,
    test: int,
    seconds: float,
    seed: int,
    file_format: Format | None,
    jobs: int,
) -> None:
    """Make recordings of simulated machines in OUT, a new or an empty folder.

    Seven types of machine, healthy and faulty, in two domains, in the layouts of DCASE task 2.
    """
    plan = Plan(
        layout=layout,
        machines=tuple(dict.fromkeys(machines)) or tuple(KINDS),
        sections=sections,
        train_source=train_source,
        train_target=train_target,
        test=test,
        seconds=seconds,
        seed=seed,
        format=file_format,
    )
    n_clips = write(out, plan, jobs=jobs)
    click.echo(f"{out}: {n_clips} clips of {seconds:g} s", err=True)
