"""How long the sound has to be ordinary again until an episode is over. Pure; no clock.

What comes again within minutes was not over: ISA-18.2 calls such an alarm chattering. Its off-delay is doubled each
time, so that a fault that comes and goes is one episode in the end, and one message on somebody's phone.
"""

import math
from typing import Final

AGAIN_SECONDS: Final = 600.0
"""After the end of an episode: what comes sooner is the same again."""

MOST_SECONDS: Final = 300.0
"""No off-delay is doubled beyond this: nobody waits longer than minutes to be told of a repair."""


class OffDelay:
    """The off-delay of one machine's episodes; times are s, of a clock that runs forward.

    hops  of an episode that comes by itself, >= 0
    """

    def __init__(self, seconds: float, hop_seconds: float) -> None:
        """seconds: of an episode that comes by itself, >= 0; what is more than `MOST_SECONDS` stays as it is."""
        self.hops = math.ceil(seconds / hop_seconds - 1e-9)
        self._most_hops = max(self.hops, math.ceil(MOST_SECONDS / hop_seconds))
        self._calm_hops = self.hops
        self._recovered = -math.inf

    def opened(self, time: float) -> int:
        """Take note that an episode opens; return for how many hops (>= `hops`) it will have to be over."""
        is_again = time - self._recovered < AGAIN_SECONDS
        self._calm_hops = min(2 * self._calm_hops, self._most_hops) if is_again else self.hops
        return self._calm_hops

    def recovered(self, time: float) -> None:
        """Take note that it is over, by itself."""
        self._recovered = time

    def forget(self) -> None:
        """Nothing connects what comes with what came before."""
        self._recovered = -math.inf
