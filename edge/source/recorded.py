"""When a recording was made: by its name, where a recorder wrote it there, else by the time of its file.

    20230515_142300.WAV             AudioMoth, in UTC; before 2019 the same as eight hexadecimal digits, 646241D4.WAV
    S4A01234_20230515_142300.wav    Song Meter (SM4 and its kin), the recorder's local time
    230515_142300.WAV               Zoom, the recorder's local time

Local time is taken for that of this computer.
"""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from edge.errors import SourceError, shown
from edge.source.audio_file import read_blocks, seconds_in
from edge.source.block import SAMPLE_RATE_HZ
from edge.source.pickup import AS_IT_IS, Pickup

_DATED: Final = re.compile(r"(?:(?P<recorder>.+)_)?(?P<stamp>(?:20)?\d{6}_\d{6})(?:_\w+)?")
_HEXADECIMAL: Final = re.compile(r"(?=.*[A-F])[0-9A-F]{8}")
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Recorded:
    """When the first sample was recorded, UNIX seconds, and where that is written."""

    start: float
    by: Literal["name", "file"]


def recorded(path: Path, pickup: Pickup = AS_IT_IS) -> Recorded:
    """Return when a recording was made: never so that it would end later than now.

    Raises SourceError as `read_blocks` does.
    """
    seconds = seconds_in(path, pickup)
    if seconds is None:  # a stream that was written into a file: only its end tells
        n_samples = sum(each.size for each in read_blocks(path, pickup, block_samples=1 << 18))
        seconds = n_samples / SAMPLE_RATE_HZ
    now = time.time()
    named = start_in_name(path.stem)
    if named is not None and named + seconds <= now:
        return Recorded(named, "name")
    try:
        return Recorded(min(path.stat().st_mtime, now) - seconds, "file")
    except OSError as error:
        raise SourceError(f"{shown(path)}: {error.strerror}") from error


def start_in_name(stem: str) -> float | None:
    """Return the UNIX time that a name says, None if it says none."""
    if _HEXADECIMAL.fullmatch(stem):
        found = float(int(stem, 16))
    elif (dated := _DATED.fullmatch(stem)) is None:
        return None
    else:
        stamp = dated["stamp"]
        try:
            when = datetime.strptime(stamp, "%Y%m%d_%H%M%S" if len(stamp) == 15 else "%y%m%d_%H%M%S")
        except ValueError:
            return None
        is_audiomoth = dated["recorder"] is None and len(stamp) == 15
        found = (when.replace(tzinfo=UTC) if is_audiomoth else when.astimezone()).timestamp()
    return found if found > _EARLIEST else None
