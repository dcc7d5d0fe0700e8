"""A child process, begun before its parent has loaded what it needs itself: it loads as much, on the other processor.

Python and its libraries take each of them most of a second. Nothing is loaded here, and nobody has to take what was
begun: at the end of its parent the child finds its standard input closed.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

TRIAL: Final = (sys.executable, "-P", "-c", "from edge.detector.trial import main; main()")
"""Tries detectors (edge/detector/trial.py)."""

_begun: "list[subprocess.Popen[bytes]]" = []


def begin(command: Sequence[str]) -> None:
    """Start a child that will be asked for soon."""
    _begun.append(_start(command))


def take(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Return a child: the one that was begun, where it is of this command and lives, or else a new one."""
    while _begun:
        child = _begun.pop()
        if tuple(child.args) == tuple(command) and child.poll() is None:  # type: ignore[arg-type]  # we gave a sequence
            return child
    return _start(command)


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    # In a session of its own: what a terminal says to all of us is its parent's business.
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
