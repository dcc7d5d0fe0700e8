"""The newest lines of the log, in memory: what a support bundle tells of the last days."""

import logging
import time
from collections import deque
from typing import Final

MOST_LINES: Final = 500
MOST_CHARACTERS: Final = 500


class Lines(logging.Handler):
    """A handler that keeps `MOST_LINES`, without tracebacks, and writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[str] = deque(maxlen=MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit: a defect, and not the page's
            text = str(record.msg)
        self._kept.append(f"{when} {record.levelname.lower()} {record.name}: {text[:MOST_CHARACTERS]}")

    def as_text(self) -> str:
        """Return the lines, the oldest first."""
        return "".join(f"{line}\n" for line in tuple(self._kept))
