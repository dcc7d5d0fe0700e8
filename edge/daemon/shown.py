"""What happens at one source, as the page is shown it."""

import time
from typing import Final

from edge import clock
from edge.daemon import payloads
from edge.daemon.happening import Happening, Moment, Standing
from edge.daemon.payloads import Origin, Record
from edge.daemon.telling import by_now
from edge.detector import Judge
from edge.page import Page
from edge.source import Block

STEP_SECONDS: Final = 0.5
"""Between two states while no window is judged: the window fills before one's eyes."""


class Shown:
    """Hands what happens at one source to the page. For the listening thread; waits for nobody."""

    def __init__(self, page: Page, origin: Origin, judge: Judge) -> None:
        self._feed = page.feed
        self._origin = origin
        self._judge = judge
        self._seconds = judge.averages_seconds
        self._standing = Standing("waiting")
        self._due = 0.0

    def hear(self, block: Block) -> None:
        """Take sound."""
        self._feed.hear(self._origin.source, block.samples)

    def see(self, happening: Happening) -> None:
        """Look on."""
        match happening:
            case Standing():
                self._standing = happening
            case Moment() if happening.reading is not None or time.monotonic() >= self._due:
                self._due = time.monotonic() + STEP_SECONDS
                self._show(by_now(happening))

    def _show(self, moment: Moment) -> None:
        epoch = clock.utc(0.0)
        record = payloads.state_of(self._origin, self._standing, moment, epoch=epoch)
        listens = self._standing.status == "listening"
        said = {seconds: (score, near) for seconds, score, near in self._judge.scales} if listens else {}
        self._feed.state(
            self._origin.source,
            {
                **record,
                "unix": round(epoch + moment.time, 3),
                "scales": [
                    _scale_of(seconds, *said.get(seconds, (None, None))) for seconds in self._seconds if listens
                ],
            },
        )


def _scale_of(seconds: float, score: float | None, near: float | None) -> Record:
    """Return a scale of the evidence; None what one that waits does not say yet."""
    return {
        "seconds": seconds,
        "score": None if score is None else round(score, 4),
        "near": None if near is None else round(near, 3),
    }
