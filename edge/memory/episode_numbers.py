"""What episodes measured, in numbers: a person may say later that one was normal, and then it is learnt from.

    <folder>/<source>/<episode>.npz     the newest `MOST` of a source, as in the list of episodes; 0.1 MB each at most

Plain arrays, whole or not there. A disk that fails costs the numbers of an episode and nothing else.
"""

import io
import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edge.arrays import Array, arrays_of
from edge.files import read_plain
from edge.memory.episodes import MOST
from edge.memory.shelf import MEGABYTE, write_whole

log = logging.getLogger(__name__)

Arrays = Mapping[str, Array]


class EpisodeNumbers:
    """What the episodes of all sources measured. Any thread may call any method; `write` waits for no disk."""

    def __init__(self, folder: Path) -> None:
        """Open nothing."""
        self._folder = folder

    def write(self, source: str, episode: str, measured: Arrays) -> None:
        """Have the numbers of an episode written, soon."""
        threading.Thread(target=self._write, args=(source, episode, measured), name="episodes", daemon=True).start()

    def read(self, source: str, episodes: Iterable[str]) -> dict[str, Arrays]:
        """Return the numbers of those of these episodes that are kept, by their ids."""
        found = dict[str, Arrays]()
        for episode in episodes:
            path = self._path(source, episode)
            try:
                found[episode] = arrays_of(read_plain(path, MEGABYTE))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                log.warning("%s: %s: it is not used", path, error)
        return found

    def _path(self, source: str, episode: str) -> Path:
        return self._folder / source / f"{Path(episode).name}.npz"

    def _write(self, source: str, episode: str, measured: Arrays) -> None:
        packed, path = io.BytesIO(), self._path(source, episode)
        np.savez(packed, **dict[str, Any](measured))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, packed.getvalue())
            own = sorted(path.parent.glob("*.npz"), key=lambda each: each.stat().st_mtime_ns)
        except OSError as error:
            log.warning("%s: %s: it cannot be learnt from later", path, error.strerror or error)
            return
        for old in own[:-MOST]:
            with suppress(OSError):
                old.unlink()
