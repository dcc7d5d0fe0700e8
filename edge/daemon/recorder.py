"""Looks on at one source, and keeps what its episodes measured: a person may say later that one was normal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.daemon.happening import Happening, Moment
from edge.detector import Detector, Reading
from edge.ear import measured_shapes
from edge.judge import Event, NormalWindows
from edge.memory import EpisodeNumbers, Episodes, Notes

MOST_WINDOWS: Final = 60
"""Ten minutes; of longer episodes, the beginning. 2 kB each."""

MOST_NORMAL: Final = 50
LIST_FOLDER: Final = "episodes"
NUMBERS_FOLDER: Final = "measured"
"""In the state directory: what people are shown of episodes and said of them, and what was measured."""

MEASURED: Final = ("embedding", "texture", "logits", "bands")


class EpisodeRecorder:
    """The open episode of one source. For the listening thread; waits for nobody."""

    def __init__(self, numbers: EpisodeNumbers, source: str, *, window_hops: int) -> None:
        """Nothing is open. window_hops: how many a window spans; no two that are kept overlap."""
        self._numbers = numbers
        self._source = source
        self._window_hops = window_hops
        self._heard: list[dict[str, NDArray[Any]]] | None = None
        self._hops = 0

    def look(self, happening: Happening) -> None:
        """Look on."""
        match happening:
            case Event(kind="opened"):
                self._heard, self._hops = [], 0
            case Event(kind="closed", id=episode):
                if self._heard:
                    stacked = {name: np.stack([row[name] for row in self._heard]) for name in MEASURED}
                    self._numbers.write(self._source, episode, stacked)
                self._heard = None
            case Moment(reading=Reading(fault=None, measured=measured)) if self._heard is not None:
                is_apart = self._hops % self._window_hops == 0
                if is_apart and len(self._heard) < MOST_WINDOWS and measured is not None:
                    self._heard.append({name: getattr(measured, name).astype(np.float16) for name in MEASURED})
                self._hops += 1


def called_normal(state: Path, source: str, detector: Detector) -> list[tuple[str, NormalWindows]]:
    """Return the episodes of a source that a person called normal, as conditions to be learnt, with their names.

    Those that the detector has learnt already are left out, and those that another network had measured.
    """
    listed = Episodes(Notes(state / LIST_FOLDER), [source])
    listed.recall()
    ids = [str(each["id"]) for each in listed.newest(MOST_NORMAL, source) if each.get("normal") is True]
    known = {name for own in detector.sections.values() for name in own.card.conditions}
    found = list[tuple[str, NormalWindows]]()
    for episode, measured in EpisodeNumbers(state / NUMBERS_FOLDER).read(source, ids).items():
        name = f"normal-{episode[:8]}"
        windows = _windows_of(name, measured, detector)
        if windows is not None and name not in known:
            found.append((name, windows))
    return found


def _windows_of(name: str, measured: Mapping[str, NDArray[Any]], detector: Detector) -> NormalWindows | None:
    """Return what an episode measured as windows of a condition; None if another network had measured it."""
    n = len(measured["bands"]) if "bands" in measured else 0
    own = measured_shapes(detector.model, quiet=detector.section(None).statistics.needs_quiet)
    shapes = {name: (n, *shape) for name, shape in own.items()}
    if not n or {key: measured[key].shape for key in MEASURED if key in measured} != shapes:
        return None
    return NormalWindows(
        domain=[name] * n,
        embedding=measured["embedding"].astype(np.float32),
        texture=measured["texture"],
        logits=measured["logits"].astype(np.float32),
        bands=measured["bands"].astype(np.float32),
        recording=[name] * n,
        apart=np.ones(n, np.bool_),
        trained_on=np.zeros(n, np.bool_),
        series=np.arange(n),
    )
