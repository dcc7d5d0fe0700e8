"""`earshot evaluate`: how well detectors, and their peers, tell anomalies from normal sound."""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from edge import detector as detectors
from edge.commands import pickup_options
from edge.detector import Detector, verify
from edge.errors import EarshotError
from edge.source import Pickup
from trainer.audit import check_data
from trainer.dataset import Clip, only_sections, read_layout
from trainer.evaluation.results import write_results
from trainer.evaluation.scores import System
from trainer.evaluation.scoring import DOMAIN_RULES, DomainRule, score_detector
from trainer.evaluation.tables import read_tables

log = logging.getLogger(__name__)

_SEED = re.compile(r"-seed\d+")


def _numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:  # noqa: ARG001  click's signature
    """Read `0,1,2`."""
    parts = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"{text!r}: expected whole numbers with commas between them")
    return tuple(dict.fromkeys(parts))  # one seed twice would pass for two, and narrow the interval


@click.command("evaluate", short_help="Grade detectors on labelled test clips.")
@click.argument("paths", metavar="[DETECTOR...] DATA...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder for scores, figures and the challenge's files.")
@click.option("--compare", is_flag=True, help="Train and grade the peers of the field too, on the same clips.")
@click.option(
    "--seeds", default="0", show_default=True, callback=_numbers, help="Of the peers, with commas between them."
)
@click.option(
    "--domain",
    type=click.Choice(DOMAIN_RULES),
    default="min",
    show_default=True,
    help="min: the nearer domain's normal sound, a section one cell. oracle: the clip's own, each domain a cell.",
)
@click.option("--sections", callback=_numbers, help="Only these, as 03,04,05.  [default: all with test clips]")
@click.option(
    "--ground-truth", type=click.Path(path_type=Path), help="Folder with the labels that names keep secret, DCASE 2021."
)
@click.option(
    "--tables",
    type=click.Path(path_type=Path),
    help="Print the tables of this folder of `earshot reproduce` again, and do nothing else.",
)
@pickup_options
def command(
    paths: Sequence[Path],
    output: Path | None,
    compare: bool,
    seeds: tuple[str, ...],
    domain: DomainRule,
    sections: tuple[str, ...],
    ground_truth: Path | None,
    tables: Path | None,
    pickup: Pickup,
) -> None:
    """Grade detectors on the test clips in DATA...: AUC, pAUC (p = 0.1) and their harmonic mean.

    Folders with a detector.json in them are detectors; several are several rows, or seeds of one. Without labels there
    are only scores and decisions.
    """
    if tables is not None:
        click.echo(read_tables(tables).as_text())
        return
    if output is None:
        raise click.UsageError("Missing option '--output'.")
    if not compare and click.get_current_context().get_parameter_source("seeds") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--seeds: of the peers: expected --compare with it.")
    if compare and not seeds:
        raise click.UsageError("--seeds is empty: expected one or more for --compare.")
    found, data = _told_apart(paths, compare=compare)

    clips = only_sections(read_layout(data, ground_truth, pickup), sections)
    read = [detectors.read(path) for path in found]
    for detector in read:
        verify(detector)
        if words := detector.mismatch(pickup):
            log.warning("%s", words)
    if compare:  # before hours are spent on training
        for warning in check_data(clips, for_evaluation=True, cache=output / "audit.json"):
            log.warning("%s", warning)

    systems, skipped = _scored(read, clips, domain)
    if compare:
        systems += _peers(clips, [int(seed) for seed in seeds], output / "peers")
    if not any(system.scored for system in systems):
        known = ", ".join(name for detector in read for name in detector.sections)
        raise EarshotError(f"no test clips{f' of {known}' if known else ''} in the data: expected some to score")
    click.echo(write_results(output, systems, detectors=read, clips=clips, skipped=skipped, domain=domain))


def _told_apart(paths: Sequence[Path], *, compare: bool) -> tuple[list[Path], list[Path]]:
    """Return which paths are detectors, each once, and which are data. Raises click.UsageError where some are missing.

    compare: peers are graded too, so that no detector is needed.
    """
    if not paths:
        raise click.UsageError("Missing argument '[DETECTOR...] DATA...'.")
    found = [path for path in dict.fromkeys(paths) if _is_detector(path)]
    data = [path for path in paths if path not in found]
    if not found and not compare:
        detectors.read(paths[0])  # says what is missing
    if not data:
        raise click.UsageError("Missing argument 'DATA...'.")
    return found, data


def _is_detector(path: Path) -> bool:
    """Also after a crash while it was replaced: `read` then takes the one before."""
    there = path.resolve()
    return (there / "detector.json").exists() or (
        not there.exists() and (there.with_name(f"{there.name}.old") / "detector.json").exists()
    )


def _scored(read: Sequence[Detector], clips: Sequence[Clip], domain: DomainRule) -> tuple[list[System], list[str]]:
    """Return the detectors as systems, and why clips were left out."""
    systems: list[System] = []
    skipped: list[str] = []
    for detector in read:
        scored, reasons = score_detector(detector, clips, (domain,), name=_name(detector, systems))
        systems.append(scored[domain])
        skipped += reasons
    for reason in skipped:
        log.warning("left out: %s", reason)
    return systems, skipped


def _name(detector: Detector, before: Sequence[System]) -> str:
    """What the card says without its seed; the folder too where that name and seed are taken."""
    name = _SEED.sub("", detector.card.name)
    seed = int(detector.card.training.get("recipe", {}).get("seed", 0))
    taken = (name, seed) in {(system.name, system.seed) for system in before}
    return f"{name} ({detector.path})" if taken else name


def _peers(clips: Sequence[Clip], seeds: Sequence[int], folder: Path) -> Iterator[System]:
    # Both load torch, which grading a detector does not need.
    from export.bundle import export
    from trainer.peers import all_peers

    train = [clip for clip in clips if clip.split == "train"]
    test = [clip for clip in clips if clip.split == "test" and clip.label]
    for name, peer in all_peers(export).items():
        for seed in seeds:
            try:
                yield peer.fit_and_score(train, test, seed=seed, folder=folder / f"{name}-seed{seed}")
            except EarshotError as error:
                log.warning("%s, seed %d: not compared: %s", name, seed, error)
