"""Which detector a source is judged by: the one that its configuration names, or what was learnt in its place.

What a person has a running daemon learn lies in the state directory, for a daemon writes nowhere else:

    <state>/detectors/<source>            in force, as long as the configuration names the detector it was learnt for
    <state>/detectors/<source>.old        the one before
    <state>/detectors/<source>.proposed   learnt, and not accepted yet
"""

import logging
from pathlib import Path
from typing import Final

from edge import detector as detectors
from edge.detector import Detector, verify
from edge.errors import EarshotError

log = logging.getLogger(__name__)

IN_PLACE_OF: Final = "in_place_of"
"""In the `training` of its card: the SHA-256 of the detector that the configuration named."""


def read_verified(path: Path) -> Detector:
    """Return a detector that gives what it gave where it was made. Raises DetectorError."""
    detector = detectors.read(path)
    verify(detector)
    return detector


def learnt_path(state: Path, source: str) -> Path:
    """Return where what a source has learnt lies."""
    return state / "detectors" / source


def in_force(source: str, configured: Detector, state: Path | None) -> Detector:
    """Return what was learnt in place of the configured detector, if anything was and can be used; else that one."""
    if state is None or not (path := learnt_path(state, source)).is_dir():
        return configured
    try:
        learnt = read_verified(path)
    except EarshotError as error:
        log.warning("%s: what was learnt cannot be used: %s", source, error)
        return configured
    if learnt.card.training.get(IN_PLACE_OF) != configured.sha256:
        log.warning("%s: %s was learnt in place of another detector, and is not used", source, path)
        return configured
    log.info("%s: judged by what it has learnt, %s", source, path)
    return learnt
