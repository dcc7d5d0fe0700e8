"""Detectors that may be anything, tried in a process of their own before this one opens them.

Whatever a folder can do, it does there: run for ever, eat all memory, end the process within a library. The child has
limits, is the first that the kernel ends when memory is short, and is killed at a deadline. What has passed is known by
its check sum, so that the same bytes are tried once, whatever folder they lie in and however often they are asked for.

The child is edge/detector/trying.py; how it comes to be, edge/detector/child.py.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from edge.detector.child import Child, started, twin
from edge.detector.folder import Detector, read
from edge.detector.trying import SECONDS, START_SECONDS, main
from edge.ear import Model
from edge.errors import DetectorError, shown

_LOOK_SECONDS: Final = 0.2
_END_SECONDS: Final = 5.0
_MOST_ANSWER_BYTES: Final = 65_536
_COMMAND: Final = (sys.executable, "-P", "-c", "from edge.detector.trying import main; main()")


class Trials:
    """Opens detectors that have proved themselves (edge/detector/golden.py), and remembers which bytes have.

    Of files it reads only those that it opens, and once: a daemon of a hundred threads gives no other one a turn for
    each of the thousands of small steps that looking into a hundred folders takes. That is the child's, too.
    """

    def __init__(self, seconds: float = SECONDS, *, early: bool = False) -> None:
        """seconds: for one detector, at most. early: begin the first child now, as a twin if there can be one."""
        self._seconds = seconds
        self._early = twin(main) if early else None
        self._asked: Sequence[Path] = ()
        self._passed: set[str] = set()
        self._held: MutableMapping[str, Detector] = WeakValueDictionary()
        self._models: MutableMapping[str, Model] = WeakValueDictionary()

    def begin(self, paths: Iterable[Path]) -> None:
        """Have the first child, if it is there, try these already, while this process does what else there is to do.

        To be opened first, and once: of anything else that child tells nothing.
        """
        if self._early is not None and self._early.poll() is None:
            self._asked = list(dict.fromkeys(paths))
            _ask(self._early, self._asked, ())

    def open(self, paths: Iterable[Path], cancelled: Callable[[], bool] = lambda: False) -> dict[Path, Detector]:
        """Return the detectors that lie there, each opened once however many name it. Machines of a network share it.

        cancelled: asked now and then whether anybody waits yet.
        Raises DetectorError with every folder that fails, a line each, and why; or because it was cancelled.
        """
        digests = self._try(list(dict.fromkeys(paths)), cancelled)
        detectors: dict[str, Detector] = {}
        for path, digest in digests.items():
            if digest not in detectors:
                detectors[digest] = self._held.get(digest) or self._read(path, digest)
        opened = {path: replace(detectors[digest], path=path) for path, digest in digests.items()}
        self._held.update({detector.sha256: detector for detector in opened.values()})
        return opened

    def _read(self, path: Path, digest: str) -> Detector:
        detector = read(path, self._models)
        if detector.sha256 != digest:
            raise DetectorError(f"{shown(path)}: was changed while it was read: expected it to stay as it is")
        return detector

    def _try(self, paths: Sequence[Path], cancelled: Callable[[], bool]) -> dict[Path, str]:
        """Return the check sum of each, all of which pass. Raises DetectorError for the others."""
        digests: dict[Path, str] = {}
        faults: list[str] = []
        while paths:
            verdicts = list(_verdicts(self._child(paths), paths, cancelled, self._seconds))
            if cancelled():
                raise DetectorError("given up, because nobody waits for it any more")
            digests |= {p: each["sha256"] for p, each in zip(paths, verdicts, strict=False) if "sha256" in each}
            faults += [str(verdict["error"]) for verdict in verdicts if "error" in verdict]
            paths = paths[len(verdicts) :]  # where one ended the child, another goes on after it
            self._passed |= set(digests.values())
        if faults:
            raise DetectorError("\n".join(faults))
        return digests

    def _child(self, paths: Sequence[Path]) -> Child:
        """Return one that was asked for these."""
        early, asked = self._early, self._asked
        self._early, self._asked = None, ()
        if early is not None and asked == paths:
            return early
        if early is not None and (asked or early.poll() is not None):
            _end(early)
            early = None
        child = early or started(_COMMAND)
        _ask(child, paths, sorted(self._passed))
        return child


def _ask(child: Child, paths: Sequence[Path], passed: Sequence[str]) -> None:
    """Let a child begin."""
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin:
        asked = {"folders": [os.fspath(path) for path in paths], "passed": passed}
        child.stdin.write(json.dumps(asked).encode())


def _end(child: Child) -> None:
    assert child.stdout is not None
    child.kill()
    child.wait()
    child.stdout.close()


def _verdicts(
    child: Child, paths: Sequence[Path], cancelled: Callable[[], bool], seconds: float
) -> Iterator[dict[str, str]]:
    """Yield what a child says of each folder, and of the one that it did not outlive; then it is ended."""
    assert child.stdout is not None
    try:
        os.set_blocking(child.stdout.fileno(), False)
        lines = _lines(child.stdout.fileno(), cancelled, seconds)
        for path in paths:
            verdict = _verdict(lines, child)
            if "ended" in verdict:
                yield {"error": f"{shown(path)}: {verdict['ended']}: expected a detector"}
                return
            yield verdict
    finally:
        _end(child)


def _verdict(lines: Iterator[bytes], child: Child) -> dict[str, str]:
    """Return the next answer of a child; `{"ended": how}` of one that gives none."""
    try:
        verdict: dict[str, str] = json.loads(next(lines))
    except TimeoutError as error:
        return {"ended": str(error)}
    except ValueError:
        return {"ended": "confused the process that tried it"}
    except StopIteration:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_END_SECONDS)
        code = child.poll() or 0
        return {"ended": f"ended the process that tried it ({f'signal {-code}' if code < 0 else f'exit code {code}'})"}
    return verdict


def _lines(descriptor: int, cancelled: Callable[[], bool], seconds: float) -> Iterator[bytes]:
    """Yield lines to the end. Raises TimeoutError if one is late, longer than anybody would say, or not waited for."""
    held, give_up = b"", time.monotonic() + START_SECONDS + seconds
    while time.monotonic() < give_up and len(held) <= _MOST_ANSWER_BYTES and not cancelled():
        if not select.select([descriptor], [], [], _LOOK_SECONDS)[0]:
            continue
        came = os.read(descriptor, _MOST_ANSWER_BYTES)
        if not came:
            return
        *whole, held = (held + came).split(b"\n")
        for line in whole:
            yield line
            give_up = time.monotonic() + seconds
    raise TimeoutError(f"was not tried within {seconds:g} s")
