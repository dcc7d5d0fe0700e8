"""`earshot evaluate`: how well detectors, and their peers, tell anomalies from normal sound."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from edge import detector as detectors
from edge.detector import Detector, verify
from edge.errors import EarshotError
from edge.judge import SCORE_NAMES
from trainer.audit import check_data
from trainer.dataset import Clip, only_sections, read_layout
from trainer.evaluation.challenge import write_challenge
from trainer.evaluation.honest import HonestTable, comparison, honest_table
from trainer.evaluation.metrics import Cells, Grade, grade
from trainer.evaluation.plain import grades_table
from trainer.evaluation.scores import System, write_whole
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
def command(
    paths: Sequence[Path],
    output: Path | None,
    compare: bool,
    seeds: tuple[str, ...],
    domain: DomainRule,
    sections: tuple[str, ...],
    ground_truth: Path | None,
    tables: Path | None,
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
    if compare and not seeds:
        raise click.UsageError("--seeds is empty: expected one or more for --compare.")
    if not paths:
        raise click.UsageError("Missing argument '[DETECTOR...] DATA...'.")
    found = [path for path in dict.fromkeys(paths) if _is_detector(path)]
    data = [path for path in paths if path not in found]
    if not found and not compare:
        detectors.read(paths[0])  # says what is missing
    if not data:
        raise click.UsageError("Missing argument 'DATA...'.")

    clips = only_sections(read_layout(data, ground_truth), sections)
    systems: list[System] = []
    skipped: list[str] = []
    read = [detectors.read(path) for path in found]
    for detector in read:
        verify(detector)
    if compare:  # before hours are spent on training
        for warning in check_data(clips, for_evaluation=True, cache=output / "audit.json"):
            log.warning("%s", warning)
    for detector in read:
        system, reasons = score_detector(detector, clips, domain, name=_name(detector, systems))
        systems.append(system)
        skipped += reasons
    for reason in skipped:
        log.warning("left out: %s", reason)
    if compare:
        systems += _peers(clips, [int(seed) for seed in seeds], output / "peers")
    if not any(system.scored for system in systems):
        known = ", ".join(name for detector in read for name in detector.sections)
        raise EarshotError(f"no test clips{f' of {known}' if known else ''} in the data: expected some to score")
    click.echo(_write(output, systems, read, clips, skipped, domain))


def _is_detector(path: Path) -> bool:
    """Also after a crash while it was replaced: `read` then takes the one before."""
    return (path / "detector.json").exists() or (
        not path.exists() and (path.with_name(f"{path.name}.old") / "detector.json").exists()
    )


def _name(detector: Detector, before: Sequence[System]) -> str:
    """What the card says without its seed; the folder too where that name and seed are taken."""
    name = _SEED.sub("", detector.card.name)
    seed = int(detector.card.training.get("recipe", {}).get("seed", 0))
    taken = (name, seed) in {(system.name, system.seed) for system in before}
    return f"{name} ({detector.path})" if taken else name


def _peers(clips: Sequence[Clip], seeds: Sequence[int], folder: Path) -> Iterator[System]:
    from trainer.peers import PEERS  # loads torch, which grading a detector does not need

    train = [clip for clip in clips if clip.split == "train"]
    test = [clip for clip in clips if clip.split == "test" and clip.label]
    for name, peer in PEERS.items():
        for seed in seeds:
            try:
                yield peer.fit_and_score(train, test, seed=seed, folder=folder / f"{name}-seed{seed}")
            except EarshotError as error:
                log.warning("%s, seed %d: not compared: %s", name, seed, error)


def _write(
    output: Path,
    systems: Sequence[System],
    read: Sequence[Detector],
    clips: Sequence[Clip],
    skipped: Sequence[str],
    domain: DomainRule,
) -> str:
    """Write all files and return what the terminal shows."""
    grades = [grade(system.scored) for system in systems]
    has_labels = any(s.clip.label for system in systems for s in system.scored)
    if has_labels and not any(grades):
        names = sorted({s.clip.name for system in systems for s in system.scored})
        raise EarshotError(f"no normal and anomalous test clips of {', '.join(names)} in the data")

    cells: Cells = "domain" if domain == "oracle" else "section"
    table = honest_table([s for s, own in zip(systems, grades, strict=True) if own], cells) if has_labels else None
    metrics = {
        **({"detector": read[0].card.name, "sha256": read[0].sha256} if read else {}),
        "grades": [{**asdict(g), "hmean": g.hmean} for g in grades[0]],
        "skipped": list(skipped),
        "domain": domain,
        "systems": [
            {
                **{key: getattr(system, key) for key in ("name", "seed", "about", "default_score", "one_recipe")},
                "grades": [{**asdict(g), "hmean": g.hmean} for g in own],
            }
            for system, own in zip(systems, grades, strict=True)
        ],
        "honest": table.as_json() if table else None,
    }
    write_whole(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_whole(output / "scores.csv", _scores_csv(systems))
    _write_challenge(output / "challenge", systems, clips)
    text = _shown(systems, grades[0], table)
    write_whole(output / "tables.txt", text + "\n")
    return text


def _shown(systems: Sequence[System], grades: Sequence[Grade], table: HonestTable | None) -> str:
    if table is None:
        n_clips = sum(len(system.scored) for system in systems)
        return f"{n_clips} clips scored; none has a label, so there is nothing to grade"
    parts = [grades_table(grades)] if len(systems) == 1 else [comparison(table)]
    return "\n\n".join([*parts, table.as_text()])


def _scores_csv(systems: Sequence[System]) -> str:
    given = {name for system in systems for s in system.scored for name in s.scores}
    names = [*SCORE_NAMES, *sorted(given - set(SCORE_NAMES))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "machine", "section", "domain", "label", *names, "system", "seed"])
    for system in systems:
        for s in system.scored:
            clip = s.clip
            values = [s.scores.get(name, "") for name in names]
            about = [clip.path, clip.machine, clip.section, clip.domain, clip.label or ""]
            rows.writerow([*about, *values, system.name, system.seed])
    return text.getvalue()


def _write_challenge(folder: Path, systems: Sequence[System], clips: Sequence[Clip]) -> None:
    """A team a system and seed; a system that left out a clip has none, because the evaluator goes by place."""
    for system in systems:
        names = {s.clip.name for s in system.scored}
        expected = [clip for clip in clips if clip.split == "test" and clip.name in names]
        if not any(s.clip.label is None for s in system.scored):
            expected = [clip for clip in expected if clip.label]
        team = re.sub(r"[^\w.-]+", "-", f"{system.name}-seed{system.seed}").strip("-")
        try:
            write_challenge(system.scored, folder / "teams" / team, system.default_score, expected)
        except EarshotError as error:
            log.warning("%s: no files for the challenge's evaluator: %s", system.name, error)
