"""`earshot reproduce`: the paper's tables, the challenge's files, a report and a detector a machine, in one command."""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from edge.commands import pickup_options
from edge.source import Pickup
from export.bundle import export
from trainer.dataset import Clip, only_sections, read_layout
from trainer.evaluation import paper
from trainer.evaluation.tables import Role
from trainer.peers import Peer, all_peers
from trainer.reproduction import Reproduction, plan_of

log = logging.getLogger(__name__)

PEER_ROLES: Final[Mapping[Role, str]] = {"baseline": "autoencoder", "top1": "ensemble"}
GROUND_TRUTH: Final = "ground_truth_data"
"""How the evaluator's repository calls its folder; one that lies in DATA is used."""


@click.command("reproduce", short_help="Make the paper's tables anew.")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder; an unfinished one goes on.")
@click.option(
    "--recipes",
    default="quick",
    show_default=True,
    help="quick, paper (a recipe a machine), or any recipe for all networks, with the cut-offs and losses of Table 7.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0,),
    show_default=True,
    help="May be repeated: tables then show means.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipes' and the peers'.")
@click.option("--sections", help="Test these only, as 03,04,05, which the paper does.  [default: all with test clips]")
@click.option(
    "--ground-truth",
    type=click.Path(path_type=Path),
    help=f"Folder of labels.  [default: {GROUND_TRUTH} in DATA, if it is there]",
)
@click.option(
    "--peers/--no-peers", default=True, show_default=True, help="The autoencoder and the ensemble of Table 3."
)
@pickup_options
def command(
    data: Sequence[Path],
    output: Path,
    recipes: str,
    seeds: tuple[int, ...],
    epochs: int | None,
    sections: str | None,
    ground_truth: Path | None,
    peers: bool,
    pickup: Pickup,
) -> None:
    """Reproduce the paper on DATA... in the layout of DCASE 2021: Tables 2 to 7, the honest table, and all the rest.

    Takes hours. What is done is kept: the same command goes on after a kill, and does anew what has changed.
    """
    clips = _clips(data, ground_truth, sections, pickup)
    called = shlex.join(["earshot", *sys.argv[1:]])
    plan = plan_of(recipes, _machines(clips), seeds=tuple(dict.fromkeys(seeds)), epochs=epochs, command=called)
    chosen = _peers(epochs) if peers else {}
    tables = Reproduction(clips, output, plan, export=export, peers=chosen).run()
    click.echo(tables.as_text())


def _clips(data: Sequence[Path], ground_truth: Path | None, sections: str | None, pickup: Pickup) -> list[Clip]:
    if ground_truth is None:
        ground_truth = next((path / GROUND_TRUTH for path in data if (path / GROUND_TRUTH).is_dir()), None)
    if ground_truth is not None:
        log.info("labels from %s", ground_truth)
    wanted = {section.strip() for section in (sections or "").split(",")} - {""}
    return only_sections(read_layout(data, ground_truth, pickup), wanted)


def _machines(clips: Sequence[Clip]) -> list[str]:
    """Return the machines under test: those of the paper in its order, then others by name."""
    found = {clip.machine for clip in clips if clip.split == "test"}
    return [*(name for name in paper.MACHINES if name in found), *sorted(found - set(paper.MACHINES))]


def _peers(epochs: int | None) -> dict[Role, Peer]:
    known = all_peers(export)
    chosen = {role: known[name] for role, name in PEER_ROLES.items()}
    return chosen if epochs is None else {role: peer.with_epochs(epochs) for role, peer in chosen.items()}
