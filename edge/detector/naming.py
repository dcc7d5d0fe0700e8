"""What DCASE Task 2 file names say of a recording: its section, domain, label and attributes.

section_00_source_train_normal_0000_<attributes>.wav     2021 and later; domain, split and label may be missing
normal_id_00_00000000.wav                                2020
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from edge.detector.folder import Detector, Section
from edge.errors import DetectorError
from edge.judge import Domain

Label = Literal["normal", "anomaly"]
Split = Literal["train", "test"]

_NAME_2021: Final = re.compile(
    r"section_(?P<section>\d+)(?:_(?P<domain>source|target))?(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly))?_(?P<number>\d+)(?:_(?P<attributes>.*))?"
)
_NAME_2020: Final = re.compile(r"(?:(?P<label>normal|anomaly)_)?id_(?P<section>\d+)_(?P<number>\d+)")
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
