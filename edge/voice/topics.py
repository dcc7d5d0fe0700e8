"""The names of what is said and heard (the list is in `publisher`). Pure: made once, of names that are checked here."""

import re
from collections.abc import Iterable


class Topics:
    """The topics of one node and its sources."""

    def __init__(self, prefix: str, node: str, sources: Iterable[str]) -> None:
        """Raises ValueError for a name that is no topic level."""
        self._base = f"{prefix}/{_level(node)}"
        self.sources = frozenset(_level(source) for source in sources)
        self.status = f"{self._base}/status"
        self.health = f"{self._base}/health"
        self.commands = f"{self._base}/+/cmd/+"

    def of(self, source: str, leaf: str) -> str:
        """Return a topic of `source`. Raises ValueError for an unknown one."""
        if source not in self.sources:
            raise ValueError(f"source {source!r}: expected one of {', '.join(sorted(self.sources))}")
        return f"{self._base}/{source}/{leaf}"

    def command_on(self, topic: str) -> tuple[str, str] | None:
        """Return the source and the command that a topic names; None if it is another one, our own results included.

        Raises ValueError for a topic of another depth.
        """
        source, cmd, name = topic.removeprefix(f"{self._base}/").split("/")
        return None if source not in self.sources or cmd != "cmd" or name == "result" else (source, name)


def _level(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
        raise ValueError(f"topic level {name!r}: expected letters, digits, _ and -")
    return name
