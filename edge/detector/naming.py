"""What DCASE Task 2 file names say of a recording: its section, domain, label and attributes.

section_00_source_train_normal_0000_<attributes>.wav     2021 and later; domain, split and label may be missing
normal_id_00_00000000.wav                                2020
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from edge.detector.folder import Detector
from edge.detector.sections import Section
from edge.errors import DetectorError, shown
from edge.judge import Domain

log = logging.getLogger(__name__)

Label = Literal["normal", "anomaly"]
Split = Literal["train", "test"]

_NAME_2021: Final = re.compile(
    r"section_(?P<section>\d+)(?:_(?P<domain>source|target))?(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly))?_(?P<number>\d+)(?:_(?P<attributes>.*))?"
)
_NAME_2020: Final = re.compile(r"(?:(?P<label>normal|anomaly)_)?id_(?P<section>\d+)_(?P<number>\d+)")
_TEST_FOLDERS: Final = {"test", "source_test", "target_test"}
_CALLS_A_FAULT: Final = re.compile(
    r"(?<![a-z])(anomal(y|ies|ous)|abnormal|(?<!no.)(?<!not.)(faulty?|faults|defect(s|ive)?|broken|damaged)(?!.?free))(?![a-z])"
)
_PART: Final = re.compile(r"(?P<whole>.+)_part_\d+")


@dataclass(frozen=True)
class Named:
    """What a name says; `label` is None where it is kept secret, `split` where it is not named.

    A domain that is not named is the source; `names_domain` tells the two apart.
    """

    section: str
    domain: Domain
    label: Label | None
    attributes: str
    split: Split | None = None
    names_domain: bool = False


def parse_name(path: Path) -> Named | None:
    """Return what the name of a file says, or None if it is not a DCASE one."""
    match = _NAME_2021.fullmatch(path.stem) or _NAME_2020.fullmatch(path.stem)
    if match is None:
        return None
    found = match.groupdict()
    return Named(
        section=found["section"],
        domain="target" if found.get("domain") == "target" else "source",
        label=cast("Label | None", found["label"]),
        attributes=found.get("attributes") or "",
        split=cast("Split | None", found.get("split")),
        names_domain=found.get("domain") is not None,
    )


def why_not_normal(path: Path, root: Path) -> str | None:
    """Return why a recording below `root` should not be learned as normal sound, by its name and its folders' alone.

    None if nothing speaks against it. The folders above `root` say nothing: whoever named it meant it.
    """
    folders = [part.lower() for part in path.relative_to(root).parts[:-1]] if path.is_relative_to(root) else []
    named = parse_name(path)
    for part in (*folders, path.stem.lower()):
        if fault := _CALLS_A_FAULT.search(part):
            return f"its name calls it {fault[0]}"
    if named and named.split == "test":
        return "its name calls it a test clip"
    for folder in folders:
        if folder in _TEST_FOLDERS:
            return f"it lies in {folder}/, with what is for testing"
        if folder == "supplemental":
            return "it lies in supplemental/, which holds noise or other sound than the normal state"
    return None


def only_normal(paths: Sequence[Path], root: Path) -> list[Path]:
    """Return the recordings below `root` that nothing calls a fault or a test; the log names the others, a line a
    reason."""
    why = {path: reason for path in paths if (reason := why_not_normal(path, root))}
    for reason, n in Counter(why.values()).items():
        first = next(path for path in why if why[path] == reason)
        log.warning("%s%s: left out: %s", shown(first), f" and {n - 1} more" if n > 1 else "", reason)
    return [path for path in paths if path not in why]


def machines_in(paths: Iterable[Path]) -> list[str]:
    """Return the machines and sections that DCASE names tell apart: `pump/section 00`, sorted; nothing of others."""
    found = set()
    for path in paths:
        if named := parse_name(path):
            folder = path.absolute().parent
            machine = folder.parent.name if folder.name in _TEST_FOLDERS | {"train"} else folder.name
            found.add(f"{machine}/section {named.section}")
    return sorted(found)


def whole_of(text: str) -> str | None:
    """Return what stands before `_part_N` at the end: what a recording was cut from. None where no part is named."""
    part = _PART.fullmatch(text)
    return part and part["whole"]


def section_of(path: Path, detector: Detector, asked: str | None = None) -> Section:
    """Return the section that a recording is scored as: the one asked for, the one in its name, or the only one.

    The machine is the nearest folder above the file that is called like one of the detector's.
    Raises DetectorError that lists what there is.
    """
    if asked is not None:
        return detector.section(asked)
    if len(detector.sections) == 1:
        return detector.section(None)
    named = parse_name(path)
    if named is None:
        raise DetectorError(
            f"{path}: no section in its name: expected section_NN_..., or --section with one of "
            f"{', '.join(detector.sections)}"
        )
    machines = {card.machine for card in detector.card.sections}
    machine = next((parent.name for parent in path.absolute().parents if parent.name in machines), None)
    return detector.section(f"{machine}/{named.section}" if machine else named.section)
