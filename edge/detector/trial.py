"""Detectors that may be anything, tried in a process of their own before this one opens them.

Whatever a folder can do, it does there: run for ever, eat all memory, end the process within a library. The child has
limits, is the first that the kernel ends when memory is short, and is killed at a deadline. What has passed is known by
its check sum, so that the same bytes are tried once, whatever folder they lie in and however often they are asked for.

The child reads JSON, `{"folders": [...], "passed": [...]}` with check sums, and answers with a line of JSON for each
folder, in order: `{"sha256": "..."}` of its detector.json, or `{"error": "..."}`.
"""

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from edge import early
from edge.detector.folder import Detector, digest_of, read
from edge.detector.golden import Played, verify
from edge.ear import Model
from edge.errors import DetectorError, shown

SECONDS: Final = 30.0
"""For one detector; it takes 0.1 s on a workstation, and a second or two on a Raspberry Pi."""

START_SECONDS: Final = 60.0
"""For the child's imports besides, on a slow and busy computer."""

MOST_BYTES: Final = 1 << 30
"""Of the child's memory."""

_LOOK_SECONDS: Final = 0.2
_END_SECONDS: Final = 5.0
_MOST_ANSWER_BYTES: Final = 65_536
_COMMAND: Final = early.TRIAL


class Trials:
    """Opens detectors that have proved themselves (edge/detector/golden.py), and remembers which bytes have.

    Of files it reads only those that it opens, and once: a daemon of a hundred threads gives no other one a turn for
    each of the thousands of small steps that looking into a hundred folders takes. That is the child's, too.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        """seconds: for one detector, at most."""
        self._seconds = seconds
        self._passed: set[str] = set()
        self._held: MutableMapping[str, Detector] = WeakValueDictionary()
        self._models: MutableMapping[str, Model] = WeakValueDictionary()

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
            verdicts = list(_verdicts(paths, sorted(self._passed), cancelled, self._seconds))
            if cancelled():
                raise DetectorError("given up, because nobody waits for it any more")
            digests |= {p: each["sha256"] for p, each in zip(paths, verdicts, strict=False) if "sha256" in each}
            faults += [str(verdict["error"]) for verdict in verdicts if "error" in verdict]
            paths = paths[len(verdicts) :]  # where one ended the child, another goes on after it
            self._passed |= set(digests.values())
        if faults:
            raise DetectorError("\n".join(faults))
        return digests


def _verdicts(
    paths: Sequence[Path], passed: Sequence[str], cancelled: Callable[[], bool], seconds: float
) -> Iterator[dict[str, str]]:
    """Yield what a child says of each folder, and of the one that it did not outlive."""
    child = early.take(_COMMAND)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with suppress(BrokenPipeError), child.stdin:
            asked = {"folders": [os.fspath(path) for path in paths], "passed": passed}
            child.stdin.write(json.dumps(asked).encode())
        os.set_blocking(child.stdout.fileno(), False)
        lines = _lines(child.stdout.fileno(), cancelled, seconds)
        for path in paths:
            verdict = _verdict(lines, child)
            if "ended" in verdict:
                yield {"error": f"{shown(path)}: {verdict['ended']}: expected a detector"}
                return
            yield verdict
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _verdict(lines: Iterator[bytes], child: "subprocess.Popen[bytes]") -> dict[str, str]:
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


# --- In the child ---


def main() -> None:
    """Try the folders that standard input names."""
    asked = json.load(sys.stdin)
    _limit(len(asked["folders"]))
    passed: set[str] = set(asked["passed"])
    models: dict[str, Model] = {}
    played: Played = {}
    for path in asked["folders"]:
        print(json.dumps(_tried(Path(path), passed, models, played)), flush=True)


def _limit(n_folders: int) -> None:
    cpu_seconds = round(START_SECONDS + SECONDS * n_folders)  # in case nobody is left to kill it
    for limit, most in (
        (resource.RLIMIT_DATA, MOST_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_seconds),
    ):
        with suppress(OSError, ValueError):  # it is lower already
            resource.setrlimit(limit, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _tried(path: Path, passed: set[str], models: dict[str, Model], played: Played) -> dict[str, Any]:
    try:
        digest = digest_of(path)
        if digest not in passed:
            detector = read(path, models)
            verify(detector, played)
            passed.add(digest)
    except DetectorError as error:
        return {"error": str(error)[:4000]}
    except MemoryError:
        return {"error": f"{shown(path)}: takes more memory than there is"}
    except Exception as error:  # whatever it is, it is of this folder, and here it harms nobody
        return {"error": f"{shown(path)}: {type(error).__name__}: {shown(error)[:1000]}: expected a detector"}
    return {"sha256": digest}
