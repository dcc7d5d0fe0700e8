"""Small notes that outlive the process: a JSON file each, written whole, seldom, and never in the way of listening.

A disk that fails costs the note and nothing else. What is read may be anything: who asked for it checks it.
"""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge.files import read_plain
from edge.memory.shelf import write_whole

log = logging.getLogger(__name__)

MOST_BYTES: Final = 65_536


class Notes:
    """The notes of one folder. Any thread may call any method; none waits for the disk but `read` and `close`."""

    def __init__(self, folder: Path | None) -> None:
        """Open nothing. folder: None, and nothing is kept."""
        self._folder = folder
        self._lock = threading.Lock()
        self._due: dict[str, bytes] = {}
        self._thread: threading.Thread | None = None
        self._fails = False

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the note of that name; None where there is none, or none that can be read."""
        if self._folder is None:
            return None
        path = self._path(self._folder, name)
        try:
            content = json.loads(read_plain(path, MOST_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: %s: it is not used", path, error)
            return None
        return content if isinstance(content, dict) else None

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Have a note written, soon, in place of the one of that name."""
        if self._folder is None:
            return
        with self._lock:
            self._due[name] = json.dumps(content).encode()
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, args=(self._folder,), name="notes", daemon=True)
                self._thread.start()

    def close(self, seconds: float) -> None:
        """Wait for what is due, so long at most: a disk may hang."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _write(self, folder: Path) -> None:
        while True:
            with self._lock:
                if not self._due:
                    self._thread = None
                    return
                name, data = self._due.popitem()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(self._path(folder, name), data)
                self._fails = False
            except OSError as error:
                if not self._fails:
                    log.warning("%s: %s: it is not kept", self._path(folder, name), error.strerror or error)
                self._fails = True

    @staticmethod
    def _path(folder: Path, name: str) -> Path:
        return folder / f"{name}.json"
