"""Finds clips and reads their names: the DCASE Task 2 layouts of 2020, 2021 and later, and plain folders of classes.

    <root>/<machine>/{train,source_test,target_test}/section_00_source_train_normal_0000_<attributes>.wav     2021
    <root>/<machine>/{train,test}/section_00_source_train_normal_0000_<attributes>.wav                        later
    <root>/<machine>/{train,test}/{normal,anomaly}_id_00_00000000.wav                                         2020
    <folder>/<class>/*.wav                                                          a folder a class, all normal

A path may be one machine, a root of machines, a folder that holds roots (as `dev_data` and `eval_data` of 2021 stand
side by side), or a folder of classes. A machine that stands in several roots is one machine. Labels that names keep
secret come from the ground truth of the challenge's evaluator. Nothing else is opened here.
"""

import csv
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from edge.detector import Label, Named, Split, only_normal, parse_name, whole_of
from edge.errors import EarshotError, SourceError
from edge.judge import Domain
from edge.source import AS_IT_IS, Pickup, find_audio

log = logging.getLogger(__name__)

# `supplemental` (2024 and later) holds noise or clean machine sound, not the normal state: it is left alone.
_SPLITS: Final[dict[str, Split]] = {"train": "train", "test": "test", "source_test": "test", "target_test": "test"}
_DOMAINS: Final[dict[str, Domain]] = {"source_test": "source", "target_test": "target"}
"""Folders that say in which domain their clips are, whether the names do or not."""

_TRUTH: Final = re.compile(r"ground_truth_(?P<machine>.+)_section_(?P<section>\d+)(?:_(?:source|target))?_test\.csv")
_LABELS: Final[dict[float, Label]] = {0.0: "normal", 1.0: "anomaly"}

Truth = Mapping[tuple[str, str], tuple[Label, str]]
"""Label and where it was read (`file:line`), by machine and name without suffix: a WAV may have become a FLAC."""


@dataclass(frozen=True, order=True)
class Clip:
    """One recording and what its name says. `label` is None where nothing tells it; `pickup` is how it is heard."""

    path: Path
    machine: str
    section: str
    domain: Domain
    split: Split
    label: Label | None
    attributes: str = ""
    pickup: Pickup = AS_IT_IS

    def as_row(self) -> dict[str, Any]:
        """Return it as JSON has it; without `pickup` where it is heard as it is, as rows of before have it."""
        row = {**asdict(self), "path": str(self.path)}
        if self.pickup == AS_IT_IS:
            del row["pickup"]
        return row

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Return what `as_row` gave; other keys are somebody else's. Raises KeyError or TypeError for what is none."""
        own = {each.name: row[each.name] for each in fields(cls) if each.name != "pickup"}
        return cls(**{**own, "path": Path(row["path"]), "pickup": Pickup(**row.get("pickup", {}))})

    @property
    def name(self) -> str:
        """`machine/section`: the class that a network learns, and the key of its statistics."""
        return f"{self.machine}/{self.section}"

    @property
    def recording(self) -> str:
        """What the clip was cut from; clips of one recording belong on one side of every hold-out and fold.

        `machine/section/` and the attributes without their end, where that is `part_N`: `uav/00/cfg_0000_flight_2`.
        Other attributes, as 2021 has them, name a state of the machine that a thousand clips share: then, and where
        there are none, each clip is a recording of its own, `machine/section/` and the file's name without suffix.
        """
        return f"{self.name}/{whole_of(self.attributes) or self.path.stem}"


def read_layout(
    paths: Iterable[Path], ground_truth: Path | None = None, pickup: Pickup = AS_IT_IS, *, take_all: bool = False
) -> list[Clip]:
    """Return every clip below the given folders, sorted by path; a folder that is given twice is read once.

    ground_truth: folder with `ground_truth_<machine>_section_<nn>_<domain>_test.csv`, as the evaluator of 2021 has them
    (two columns, no header: the file's name; 0 for normal, 1 for an anomaly). Every test clip of the machines and
    sections that are in it must be there.

    pickup: how all of them are to be heard.
    take_all: recordings in a folder of classes that their names call a fault or a test are taken for
    normal sound, too; else they are left out.

    Raises EarshotError that names the folder or the file where the layout is not one of those above, where two roots
    have different files for one clip, and the file and line where a label cannot be read or contradicts a name.
    """
    machines: dict[str, list[Path]] = {}
    for path in paths:
        for folder in _machine_folders(Path(os.path.abspath(path))):  # noqa: PTH100  resolve() would follow links
            known = machines.setdefault(folder.name, [])
            if folder not in known:
                known.append(folder)
    clips = sorted(clip for folders in machines.values() for clip in _read_together(folders, take_all))
    if pickup != AS_IT_IS:
        clips = [replace(clip, pickup=pickup) for clip in clips]
    return clips if ground_truth is None else _labelled(clips, read_ground_truth(ground_truth), ground_truth)


def only_sections(clips: Sequence[Clip], wanted: Collection[str]) -> list[Clip]:
    """Return the training clips, and the test clips of the wanted sections (`03`); of all where none is named.

    Raises EarshotError that names the sections without a test clip, and lists those that there are.
    """
    there = {clip.section for clip in clips if clip.split == "test"}
    if unknown := sorted(set(wanted) - there):
        known = f"some of {', '.join(sorted(there))}" if there else "test clips, of which there are none"
        raise EarshotError(f"section {', '.join(unknown)}: no test clips in the data: expected {known}")
    return [clip for clip in clips if clip.split == "train" or not wanted or clip.section in wanted]


def read_ground_truth(folder: Path) -> Truth:
    """Return every label in the ground truth files of a folder.

    Raises EarshotError that names file and line where a row is not a name and 0 or 1, is of another section, or stands
    there twice, and that names the folder where it has no such file.
    """
    if not folder.is_dir():
        raise EarshotError(
            f"{folder}: not a folder: expected ground_truth_<machine>_section_<nn>_<domain>_test.csv in it"
        )
    files = sorted(folder.glob("ground_truth_*.csv"))
    if not files:
        raise EarshotError(f"{folder}: no ground_truth_<machine>_section_<nn>_<domain>_test.csv in it")

    truth: dict[tuple[str, str], tuple[Label, str]] = {}
    for file in files:
        named = _TRUTH.fullmatch(file.name)
        if named is None:
            raise EarshotError(f"{file}: expected a name like ground_truth_fan_section_03_source_test.csv")
        for line, name, label in _rows(file):
            stem = Path(name).stem
            parsed = parse_name(Path(name))
            if parsed is None or parsed.section != named["section"]:
                raise EarshotError(f"{file}:{line}: {name!r}: expected a file of section {named['section']}")
            key = named["machine"], stem
            if key in truth:
                raise EarshotError(f"{file}:{line}: {name} is already in {truth[key][1]}")
            truth[key] = label, f"{file}:{line}"
    return truth


def _rows(file: Path) -> Iterator[tuple[int, str, Label]]:
    """Yield line, file name and label of every row that is not blank."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(text)
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != 2:
                    raise EarshotError(
                        f"{file}:{rows.line_num}: {len(row)} columns: expected 2, a file name and 0 or 1"
                    )
                label = _label_of(row[1])
                if label is None:
                    raise EarshotError(
                        f"{file}:{rows.line_num}: label {row[1]!r} of {row[0]}: expected 0 (normal) or 1 (anomaly)"
                    )
                yield rows.line_num, row[0].strip(), label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EarshotError(f"{file}: cannot be read: {error}: expected rows of a file name and 0 or 1") from error


def _label_of(text: str) -> Label | None:
    try:
        return _LABELS.get(float(text))
    except ValueError:
        return None


def _labelled(clips: Sequence[Clip], truth: Truth, folder: Path) -> list[Clip]:
    """Return the clips with their labels; clips of machines and sections that the truth does not speak of stay."""
    spoken_of = {(machine, named.section) for machine, stem in truth if (named := parse_name(Path(f"{stem}.wav")))}
    told, used = [], set()
    for clip in clips:
        found = truth.get((clip.machine, clip.path.stem)) if clip.split == "test" else None
        if found is not None:
            label, where = found
            if clip.label not in (None, label):
                raise EarshotError(f"{where}: {label}, but the name says {clip.label}: {clip.path}")
            used.add((clip.machine, clip.path.stem))
            told.append(replace(clip, label=label))
            continue
        if clip.split == "test" and clip.label is None and (clip.machine, clip.section) in spoken_of:
            raise EarshotError(
                f"{clip.path}: not in the ground truth of {clip.name} in {folder}: expected a row for it"
            )
        told.append(clip)

    machines = {clip.machine for clip in clips if clip.split == "test"}
    absent = [where for key, (_, where) in truth.items() if key[0] in machines and key not in used]
    if absent:
        log.warning("%s: %d labels have no clip here, the first at %s", folder, len(absent), absent[0])
    return told


def _machine_folders(path: Path) -> list[Path]:
    """Return the folder itself if it is a machine or holds classes, the machines in it, or those in the roots in it."""
    folders = _folders_in(path)
    if _is_machine(path):
        return [path]
    machines = [folder for folder in folders if _is_machine(folder)]
    if machines:
        _name_left_out(set(folders) - set(machines))
        return machines

    roots = {folder: [inner for inner in _visible_folders(folder) if _is_machine(inner)] for folder in folders}
    found = [machine for machines in roots.values() for machine in machines]
    if found:
        _name_left_out(folder for folder, machines in roots.items() if not machines)
    return found or [path]


def _is_machine(folder: Path) -> bool:
    """Whether a folder has train/ or test/ of the layout in it. One of them among other folders, without the names of
    DCASE in it, is a class: of locomotives, say."""
    splits = [folder / split for split in _SPLITS if (folder / split).is_dir()]
    if len(splits) != 1:
        return bool(splits)
    others = {each.name for each in _visible_folders(folder)} - {splits[0].name, "supplemental"}
    return not others or _has_dcase_names(splits[0])


def _has_dcase_names(folder: Path) -> bool:
    try:
        return any(parse_name(file) is not None for file in find_audio(folder))
    except SourceError:
        return True  # it is empty: who made it meant the layout, and is told so


def _name_left_out(folders: Iterable[Path]) -> None:
    """Say which folders with recordings are no machines, and so not read."""
    for folder in sorted(folders):
        try:
            find_audio(folder)
        except SourceError:
            continue
        log.warning("%s: left out: no train or test folder in it, as the machines beside it have", folder)


def _folders_in(path: Path) -> list[Path]:
    if not path.is_dir():
        raise EarshotError(f"{path}: not a folder: expected recordings in the DCASE layout or a folder a class")
    folders = _visible_folders(path)
    if not folders:
        raise EarshotError(f"{path}: no folders in it: expected train/ and test/, machines, or a folder a class")
    return folders


def _visible_folders(path: Path) -> list[Path]:
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]


def _read_together(folders: Sequence[Path], take_all: bool) -> Iterator[Clip]:
    """Yield the clips of one machine from all its folders, which may not disagree."""
    is_machine = [_is_machine(folder) for folder in folders]
    for folder, this in zip(folders[1:], is_machine[1:], strict=True):
        if this != is_machine[0]:
            raise EarshotError(
                f"{folder}: machine {folder.name} is also in {folders[0]}: expected both in the DCASE layout, or both "
                "with a folder a class"
            )

    seen: dict[tuple[str, ...], tuple[Path, Path]] = {}
    for folder in folders:
        for clip in _read(folder, take_all):
            root, path = seen.setdefault(_identity(clip), (folder, clip.path))
            if root != folder:
                raise EarshotError(
                    f"{clip.path}: this {clip.split} clip of section {clip.section} of machine {clip.machine} is also "
                    f"in {path}: expected a clip in one root"
                )
            yield clip


def _identity(clip: Clip) -> tuple[str, ...]:
    """What no two clips of a machine share: split, section, and the name up to its attributes."""
    return clip.split, clip.section, clip.path.stem.removesuffix(f"_{clip.attributes}")


def _read(path: Path, take_all: bool) -> Iterator[Clip]:
    folders = _folders_in(path)
    return _read_machine(path, folders) if _is_machine(path) else _read_classes(path, folders, take_all)


def _read_machine(path: Path, folders: list[Path]) -> Iterator[Clip]:
    for folder in folders:
        if folder.name not in _SPLITS:
            continue
        for file in find_audio(folder):
            named = parse_name(file)
            if named is None:
                raise EarshotError(
                    f"{file}: not a DCASE name: expected section_NN_<domain>_<split>_<label>_NNNN or <label>_id_NN_NNNN"
                )
            _refuse_misplaced(file, folder, named)
            split = _SPLITS[folder.name]
            label: Label | None = "normal" if split == "train" else named.label
            domain = _DOMAINS.get(folder.name, named.domain)
            yield Clip(file, path.name, named.section, domain, split, label, named.attributes)


def _refuse_misplaced(file: Path, folder: Path, named: Named) -> None:
    """A clip that says to be another thing than its folder was moved, and nobody knows which of the two is true."""
    split = _SPLITS[folder.name]
    if split == "train" and named.label == "anomaly":
        raise EarshotError(f"{file}: an anomaly among the training clips: expected normal sound only")
    if named.split not in (None, split):
        raise EarshotError(f"{file}: a {named.split} clip among those of {folder.name}: expected {split} in its name")
    wanted = _DOMAINS.get(folder.name)
    if wanted and named.names_domain and named.domain != wanted:
        raise EarshotError(f"{file}: a {named.domain} clip among those of {folder.name}: expected {wanted} in its name")


def _read_classes(path: Path, folders: list[Path], take_all: bool) -> Iterator[Clip]:
    for folder in folders:
        # A class may be called what it likes, but for `test` and its like: broken glass is a sound.
        root = path if folder.name in {*_SPLITS, "supplemental"} else folder
        for file in find_audio(folder) if take_all else only_normal(find_audio(folder), root):
            yield Clip(file, path.name, folder.name, "source", "train", "normal")
