"""What the page may ask of the daemon, and nothing else: the daemon answers, and the page knows no other wing of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from edge.voice import Command

Record = dict[str, Any]


class Device(Protocol):
    """A daemon, as the page sees it. Called from the page's threads; nothing here waits for a sound."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources, in the order of the configuration."""

    def health(self) -> Record:
        """Return how the device is (schemas/health.json), with `broker`: whether it is connected, and why not."""

    def obey(self, source: str, command: Command) -> str:
        """Have a command done; return what will be done. Raises CommandError where it cannot be."""

    def cards(self) -> Mapping[str, Record]:
        """Return, for each source, what its detector is: name, machine, thresholds, what it would hear."""

    def configuration(self) -> Record:
        """Return the configuration as plain values."""

    @property
    def clips_folder(self) -> Path | None:
        """Where the clips and pictures of episodes lie, a folder a source; None: nothing is kept."""

    def listen_anew(self) -> bool:
        """Ask for the configuration, and what was chosen here, to be read anew; False where nobody can."""
