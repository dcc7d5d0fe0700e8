"""What the hearing of one source gives to who tells of it: plain values, in the order in which they happened.

    Event       of an episode, from the judge
    Standing    how the source is, when it may have changed
    Moment      where the judging stands: after each window, and after a block that completed none
    Command     what a person asked for and was done

Who looks on (a count, a memory, a page) takes these, and asks no room for more. All times are those of the sound, by
`time.monotonic()`, s.
"""

from dataclasses import dataclass
from typing import Literal

from edge.detector import Reading
from edge.judge import Event, Provisional
from edge.voice import Command

Status = Literal["waiting", "filling", "untaught", "listening", "degraded", "lost"]


@dataclass(frozen=True)
class Standing:
    """How a source is, in the words of edge/schemas/state.json, and why, if there is something to explain."""

    status: Status
    reason: str | None = None

    @property
    def hears(self) -> bool:
        """Whether sound comes, to be trusted or not."""
        return self.status not in ("waiting", "lost")

    @property
    def is_scored(self) -> bool:
        """Whether windows have scores that can be trusted, whatever they are held against."""
        return self.status in ("untaught", "listening")

    def __str__(self) -> str:
        return f"{self.status} ({self.reason})" if self.reason else self.status


@dataclass(frozen=True)
class Moment:
    """Where the judging of a source stands.

    time              of the newest sound; of the loss, where nothing is heard
    lag_seconds       from that sound to now, when it was judged; 0 where nothing is heard
    unbroken_seconds  of sound before `time` that nothing interrupted: what fills the window
    threshold         what a score has to exceed
    episode           id of the one that is open, if there is one
    shelved_until     until when none opens, if a person asked for that
    recording         what is being read, or was last
    evidence          how near an alarm is, 0 and more: 1 is one
    rarity            the same whatever the threshold; averages: the score over each scale. As `Judge` has them
    provisional       how far the machine is known, while that is not far enough for what is promised
    reading, score    of the window that ends here, if one does; no score where it could not be trusted
    """

    time: float
    lag_seconds: float
    unbroken_seconds: float
    threshold: float
    episode: str | None
    shelved_until: float | None
    recording: str | None
    evidence: float = 0.0
    provisional: Provisional | None = None
    reading: Reading | None = None
    score: float | None = None
    rarity: float = 0.0
    averages: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Commanded:
    """What people have asked of a source over MQTT, and is in force: until when it is shelved, and its threshold."""

    shelved_until: float | None
    threshold: float | None


Happening = Event | Standing | Moment | Command
