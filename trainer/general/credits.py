"""Whose recordings a network is trained on: licence and author of each, as Markdown for its model card.

    DATA/sounds/manifest.csv               file, original file, source, licence, credit
    DATA/background/LICENCE-ESC-10.md      a line a clip, as its makers wrote it
    DATA/motors/LICENSE                    of all of them

A recording of which nothing is told there is refused; what a shipped detector may not be trained on is left out.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import EarshotError

_FREE: Final = re.compile(r"CC0|CC[ -]BY(?![ -](NC|ND))|MIT|public[ -]domain", re.IGNORECASE)

_ESC_LINE: Final = re.compile(
    r"\[(?P<clip>[\d\w-]+)\.ogg\]\(.*?\)\*\*:\s+clip derived from "
    r"\[(?P<title>.*)\]\((?P<link>\S+)\) by \*(?P<author>.+)\* \(\[(?P<licence>[^\]]+)\]\((?P<terms>\S+)\)\)"
)
_ESC_CLASS: Final = re.compile(r"-\d+$")


@dataclass(frozen=True)
class Credit:
    """Who made a recording: the row of the table of its folder, and the licence's name."""

    row: str
    licence: str

    @property
    def is_free(self) -> bool:
        """Whether a detector that was trained on it may be given away, with credits."""
        return _FREE.match(self.licence) is not None


def read_credits(data: Path, recordings: Iterable[Path]) -> dict[Path, Credit]:
    """Return the credit of each recording below DATA, in their order.

    Raises EarshotError that names a recording, or the file of licences, that is not there.
    """
    sounds, background = _sounds(data / "sounds"), _background(data / "background")
    motors = Credit("", _text(data / "motors" / "LICENSE").split()[0])
    found: dict[Path, Credit] = {}
    for path in recordings:
        folder, own = path.relative_to(data).parts[0], path.relative_to(data)
        credit = {"sounds": sounds, "background": background}.get(folder, {}).get(_key(own))
        credit = motors if folder == "motors" else credit
        if credit is None:
            raise EarshotError(f"{path}: its licence is not told in {data / folder}: expected a line for {_key(own)}")
        found[path] = credit
    return found


def as_markdown(data: Path, credited: Mapping[Path, Credit]) -> str:
    """Return the credits of recordings below DATA, for a model card."""

    def rows(folder: str) -> str:
        return "\n".join(dict.fromkeys(own.row for path, own in credited.items() if (data / folder) in path.parents))

    return f"""Trained with `python -m trainer.general DATA`, on the recordings below, on alterations of them, and on
simulated machines. Each recording was cut, brought to 16 kHz and one channel, and mixed with others.

### Sounds

| recording | from | licence | credit |
|---|---|---|---|
{rows("sounds")}

### Background: ESC-10

K. J. Piczak, *ESC: Dataset for Environmental Sound Classification*, ACM Multimedia 2015, doi:10.1145/2733373.2806390;
the data set is under [CC BY 3.0](https://creativecommons.org/licenses/by/3.0/).

| clip | derived from | by | licence |
|---|---|---|---|
{rows("background")}

### Motors: github.com/grigoriev-vladimir/drone-audio-dataset

{_text(data / "motors" / "LICENSE").strip()}
"""


def _key(path: Path) -> str:
    """Return what a recording is called in its folder's file of licences."""
    return _ESC_CLASS.sub("", path.stem) if path.parts[0] == "background" else str(path.relative_to(path.parts[0]))


def _sounds(folder: Path) -> dict[str, Credit]:
    rows = csv.DictReader(_text(folder / "manifest.csv").splitlines())
    return {
        row["file"]: Credit(
            f"| {_cell(row['original file'])} | {_cell(row['source'])} | {row['licence']} | {_cell(row['credit'])} |",
            row["licence"],
        )
        for row in rows
    }


def _background(folder: Path) -> dict[str, Credit]:
    return {
        found["clip"]: Credit(
            f"| {found['clip']} | [{_cell(found['title'])}]({found['link']}) | {_cell(found['author'])} "
            f"| [{found['licence']}]({found['terms']}) |",
            found["licence"],
        )
        for found in _ESC_LINE.finditer(_text(folder / "LICENCE-ESC-10.md"))
    }


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise EarshotError(f"{path}: {error.strerror}: expected the licences of what is trained on") from error
