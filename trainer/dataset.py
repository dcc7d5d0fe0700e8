"""Finds clips and reads their names: the DCASE Task 2 layouts of 2020, 2021 and later, and plain folders of classes.

    <root>/<machine>/{train,test}/section_00_source_train_normal_0000_<attributes>.wav     2021 and later
    <root>/<machine>/{train,test}/{normal,anomaly}_id_00_00000000.wav                      2020
    <folder>/<class>/*.wav                                                                 a folder a class, all normal

A path may be the root, one machine, or a folder of classes. Nothing is opened here but folders.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edge.errors import EarshotError
from edge.naming import Label, parse_name
from edge.scorer import Domain
from edge.source import find_audio

Split = Literal["train", "test"]

# `supplemental` (2024 and later) holds noise or clean machine sound, not the normal state: it is left alone.
_SPLITS: Final[dict[str, Split]] = {"train": "train", "test": "test", "source_test": "test", "target_test": "test"}


@dataclass(frozen=True, order=True)
class Clip:
    """One recording and what its name says. `label` is None where the name keeps it secret."""

    path: Path
    machine: str
    section: str
    domain: Domain
    split: Split
    label: Label | None
    attributes: str = ""

    @property
    def name(self) -> str:
        """`machine/section`: the class that a network learns, and the key of its statistics."""
        return f"{self.machine}/{self.section}"


def read_layout(paths: Iterable[Path]) -> list[Clip]:
    """Return every clip below the given folders, sorted by path; a machine that is given twice is read once.

    Raises EarshotError that names the folder or the file where the layout is not one of those above, or where two
    folders claim to be the same machine.
    """
    machines: dict[str, Path] = {}
    for path in paths:
        for folder in _machine_folders(Path(os.path.abspath(path))):  # noqa: PTH100  resolve() would follow links
            if machines.setdefault(folder.name, folder) != folder:
                raise EarshotError(
                    f"{folder}: machine {folder.name} is also in {machines[folder.name]}: expected one folder a machine"
                )
    return sorted(clip for folder in machines.values() for clip in _read(folder))


def _machine_folders(path: Path) -> list[Path]:
    """Return the folder itself if it is a machine or holds classes, or the machines in it."""
    folders = _folders_in(path)
    if any(folder.name in _SPLITS for folder in folders):
        return [path]
    return [folder for folder in folders if any((folder / split).is_dir() for split in _SPLITS)] or [path]


def _folders_in(path: Path) -> list[Path]:
    if not path.is_dir():
        raise EarshotError(f"{path}: not a folder: expected recordings in the DCASE layout or a folder a class")
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    if not folders:
        raise EarshotError(f"{path}: no folders in it: expected train/ and test/, machines, or a folder a class")
    return folders


def _read(path: Path) -> Iterator[Clip]:
    folders = _folders_in(path)
    is_machine = any(folder.name in _SPLITS for folder in folders)
    return _read_machine(path, folders) if is_machine else _read_classes(path, folders)


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
            split = _SPLITS[folder.name]
            if split == "train" and named.label == "anomaly":
                raise EarshotError(f"{file}: an anomaly among the training clips: expected normal sound only")
            label: Label | None = "normal" if split == "train" else named.label
            yield Clip(file, path.name, named.section, named.domain, split, label, named.attributes)


def _read_classes(path: Path, folders: list[Path]) -> Iterator[Clip]:
    for folder in folders:
        for file in find_audio(folder):
            yield Clip(file, path.name, folder.name, "source", "train", "normal")
