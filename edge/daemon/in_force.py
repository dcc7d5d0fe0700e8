"""What sources have learnt in place of the detectors that the configuration names.

What a person has a running daemon learn lies in the state directory, for a daemon writes nowhere else:

    <state>/detectors/<source>            in force, as long as the configuration names the detector it was learnt for
    <state>/detectors/<source>.old        the one before
    <state>/detectors/<source>.proposed   learnt, and not accepted yet
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge.config import Config
from edge.detector import Detector
from edge.errors import EarshotError

log = logging.getLogger(__name__)

IN_PLACE_OF: Final = "in_place_of"
"""In the `training` of its card: the SHA-256 of the detector that the configuration named."""

Open = Callable[[Sequence[Path]], Mapping[Path, Detector]]


def learnt_path(state: Path, source: str) -> Path:
    """Return where what a source has learnt lies."""
    return state / "detectors" / source


def learnt_detectors(config: Config, configured: Mapping[Path, Detector], open_verified: Open) -> dict[str, Detector]:
    """Return what sources have learnt, by their names; the log says what is used, and what is not.

    configured: by the paths that the configuration names. open_verified: opens detectors that have proved themselves.
    """
    learnt = dict[str, Detector]()
    for source in config.sources:
        if config.state_path is None or not (path := learnt_path(config.state_path, source.name)).is_dir():
            continue
        try:
            own = open_verified([path])[path]
        except EarshotError as error:
            log.warning("%s: what was learnt cannot be used: %s", source.name, error)
            continue
        if own.card.training.get(IN_PLACE_OF) != configured[source.detector].sha256:
            log.warning("%s: %s was learnt in place of another detector, and is not used", source.name, path)
            continue
        log.info("%s: judged by what it has learnt, %s", source.name, path)
        learnt[source.name] = own
    return learnt
