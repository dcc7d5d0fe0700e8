"""A proposal from what is remembered: nothing is listened to, so it takes some seconds, in a thread of its own."""

import threading
from collections.abc import Callable
from pathlib import Path

from edge.daemon.proposal import Proposal
from edge.detector import Detector


class Relearning(Proposal):
    """A detector that is being made, and then waits to be accepted."""

    def __init__(
        self,
        name: str,
        make: Callable[[Path], Detector],
        proposed: Path,
        final: Path,
        on_accepted: Callable[[], None],
    ) -> None:
        """Start. make: writes the detector to where it is told; may raise EarshotError."""
        super().__init__(name, proposed, final, on_accepted)
        threading.Thread(target=self._work, args=(make,), name=f"relearning {name}", daemon=True).start()

    def _work(self, make: Callable[[Path], Detector]) -> None:
        try:
            self._learn(make)
        except Exception:
            self._fail()
        if self._stage == "refused":  # nothing more is heard of which it could learn
            self._enter("stopped", self._reason)
            self._end()
