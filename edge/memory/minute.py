"""A minute of one source as a row of numbers: what it was in the mean, and one window of it whole. No file, no clock.

The mean draws charts. The window is there to learn from: a fit takes windows, and the mean of a minute of them varies
less than they do, so that what was fitted to means would call every window odd. With texture and bands it has all that
the detector measured, in float16 as enrolment itself keeps it; a network whose window is too long for the budget leaves
the means alone, and then nothing can be learnt again from them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Final

import numpy as np

from edge.ear import FloatArray, Measurement, band_levels
from edge.memory.table import Column, Layout, Rows

MINUTE_SECONDS: Final = 60.0
MINUTES_A_DAY: Final = 1440

WHOLE_SHARE: Final = 0.9
"""A minute of which more was heard and trusted has no gap."""

LONGEST_STEP_SECONDS: Final = 5.0
"""Sound that came later than this after the last did not come without a break."""

MOST_ROW_BYTES: Final = 3_600
"""1440 of them are 5.2 MB a day; 6 with the pages that a card writes whole."""

LARGEST: Final = float(np.finfo(np.float16).max)


class Flag(IntFlag):
    """What else is known of a minute.

    TRUSTED   nothing of it was heard by a sensor that could not be trusted
    EPISODE   one was open in it
    GAP       less than nine tenths of it was heard and judged
    SHELVED   a person had asked for quiet
    SYNCED    a time server had set the clock
    """

    TRUSTED = 1
    EPISODE = 2
    GAP = 4
    SHELVED = 8
    SYNCED = 16


TIMES: Final[tuple[Column, ...]] = (("boot", "<u8", ()), ("monotonic", "<f8", ()), ("unix", "<f8", ()))
"""When a minute ended: in which life of this computer, by the clock that nobody can set, and by the one on the wall."""

SCALARS: Final = ("heard", "level_dbfs", "score", "score_low", "score_high", "threshold", "evidence", "rarity")
"""Of each minute, float16, NaN where nothing is known:

    heard       the share that was heard and trusted, 0 to 1
    level_dbfs  mean power; score, score_low, score_high: mean, least and greatest of its windows
    threshold   of a single window, at its end; evidence: how near an alarm it came, 1 is one
    rarity      minus the decimal logarithm of the rate of false alarms at which it would have opened an episode
"""

WINDOW: Final = ("embedding", "texture", "logits", "bands")


@dataclass(frozen=True)
class Heard:
    """A moment of one source: a window that was measured, or sound that completed none (`measured` None).

    time      of its end, by `time.monotonic()`
    trusted   whether the sensor was; without it there is neither score nor window
    averages  the mean score over each of the evidence's scales; None where one waits
    """

    time: float
    trusted: bool
    measured: Measurement | None = field(default=None, repr=False)
    score: float | None = None
    threshold: float = np.nan
    evidence: float = 0.0
    rarity: float = 0.0
    averages: Sequence[float | None] = ()
    episode: bool = False
    shelved: bool = False


def layout_of(window: Mapping[str, tuple[int, ...]], about: Mapping[str, Any], *, n_averages: int, days: int) -> Layout:
    """Return what a row holds.

    window: the shape of each part of a measurement (`WINDOW`), say `texture` (512,). about: whose minutes these are.
    """
    fixed: list[Column] = [
        *TIMES,
        ("flags", "|u1", ()),
        *((name, "<f2", ()) for name in SCALARS),
        ("averages", "<f2", (n_averages,)),
        ("band_level", "<f2", window["bands"][-1:]),
    ]
    whole: list[Column] = [(name, "<f2", shape) for name, shape in window.items() if 0 not in shape]
    columns = tuple(fixed + whole)
    if Layout(columns, 1, {}).dtype.itemsize > MOST_ROW_BYTES:
        columns = tuple(fixed)
    return Layout(columns, days * MINUTES_A_DAY, json.loads(json.dumps(about)))  # as it will be read


class Minute:
    """The minute that is being heard. For the listening thread."""

    def __init__(self, layout: Layout, hop_seconds: float) -> None:
        self._layout = layout
        self._hop_seconds = hop_seconds
        self._so_far: _SoFar | None = None

    @property
    def latest(self) -> float:
        """When the newest moment of it was, by `time.monotonic()`; 0 where there is none."""
        return 0.0 if self._so_far is None else self._so_far.latest

    def hear(self, heard: Heard) -> bool:
        """Take a moment; return whether the minute is over: then take `row`, and the next begins."""
        if self._so_far is None:
            self._so_far = _SoFar(heard.time)
        return self._so_far.hear(heard) >= MINUTE_SECONDS

    def row(self, *, boot: int, unix: float, synced: bool) -> Rows | None:
        """Return the minute as one row, (1,), and begin the next; None if nothing was heard in it.

        unix: what the clock on the wall says of its end.
        """
        so_far, self._so_far = self._so_far, None
        if so_far is None:
            return None
        row = self._layout.empty(1)
        share = min(1.0, len(so_far.scores) * self._hop_seconds / MINUTE_SECONDS)
        gap = Flag.GAP if share < WHOLE_SHARE else 0
        row["boot"], row["monotonic"], row["unix"] = boot, so_far.latest, unix
        row["flags"] = so_far.flags | gap | (Flag.SYNCED if synced else 0)
        _put(row, {"heard": share, **so_far.means(), **so_far.window()})
        return row


def _put(row: Rows, values: Mapping[str, Any]) -> None:
    """Put in what there is a column for. float16 ends at 65504."""
    for name, value in values.items():
        if name in (row.dtype.names or ()):
            row[name] = np.clip(np.asarray(value, np.float64), -LARGEST, LARGEST)


class _SoFar:
    """What of a minute was heard so far.

    flags   all but those that only its end tells
    scores  of the windows that could be trusted; `newest` is the last of them
    """

    def __init__(self, begun: float) -> None:
        self.latest = begun
        self.flags = Flag.TRUSTED
        self.scores: list[float] = []
        self.newest: Heard | None = None
        self._begun = begun
        self._heard_seconds = 0.0
        self._powers: list[float] = []
        self._levels: FloatArray | None = None
        self._evidence = self._rarity = 0.0

    def hear(self, heard: Heard) -> float:
        """Take a moment; return for how long it has lasted, s.

        By the sound, and by its clock: a folder may be read much faster than it sounded.
        """
        self._heard_seconds += min(max(heard.time - self.latest, 0.0), LONGEST_STEP_SECONDS)
        self.latest = heard.time
        if not heard.trusted:
            self.flags &= ~Flag.TRUSTED
        self.flags |= Flag.EPISODE * heard.episode | Flag.SHELVED * heard.shelved
        if heard.measured is not None:
            self._powers.append(10 ** (heard.measured.level_dbfs / 10))
            if heard.trusted and heard.score is not None:
                self._weigh(heard, heard.score, band_levels(heard.measured.bands))
        return max(self._heard_seconds, heard.time - self._begun)

    def means(self) -> dict[str, Any]:
        """Return `SCALARS` but `heard`, and what else is a mean."""
        newest, scores = self.newest, self.scores
        level = {"level_dbfs": 10 * np.log10(np.mean(self._powers)) if self._powers else np.nan}
        if newest is None or self._levels is None:
            names = (*SCALARS[2:], "averages", "band_level")
            return {**dict.fromkeys(names, np.nan), **level}
        return {
            **level,
            "score": np.mean(scores),
            "score_low": min(scores),
            "score_high": max(scores),
            "threshold": newest.threshold,
            "evidence": self._evidence,
            "rarity": self._rarity,
            "averages": [np.nan if average is None else average for average in newest.averages],
            "band_level": self._levels / len(scores),
        }

    def window(self) -> dict[str, Any]:
        """Return the newest window that could be trusted: of two whole minutes they are most of a minute apart."""
        measured = None if self.newest is None else self.newest.measured
        return {name: np.nan if measured is None else getattr(measured, name) for name in WINDOW}

    def _weigh(self, heard: Heard, score: float, levels: FloatArray) -> None:
        self.scores.append(score)
        self._levels = levels if self._levels is None else self._levels + levels
        self._evidence, self._rarity = max(self._evidence, heard.evidence), max(self._rarity, heard.rarity)
        self.newest = heard
