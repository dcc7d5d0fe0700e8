"""`python -m benchmarks.capture`: what the process that holds a sound card costs, beside ways it was not made.

On the virtual microphone of tests/real/microphone.py: 48 kHz, two channels of which one is wanted. The plugins of
PulseAudio, which a card without a sound server does not need, are counted too, in every row.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import Table
from edge.source import BLOCK_SECONDS, SoundCard
from tests.real.microphone import VirtualMicrophone, children, heard_here

RATE_HZ: Final = 48_000
BLOCK_SAMPLES: Final = round(RATE_HZ * BLOCK_SECONDS)
SECONDS: Final = 20.0

PREPARED: Final = """
import sys, threading, time
{imports}
import sounddevice
stream = sounddevice.{kind}(samplerate=48_000, channels=2, dtype="float32", blocksize={block}, latency=0.2{callback})
stream.start()
{loop}
"""

OTHERS: Final = {
    "callback with numpy": {
        "imports": "import numpy",
        "kind": "InputStream",
        "callback": ", callback=lambda frames, n, t, status: frames[:, 0].copy()",
        "loop": "time.sleep(600)",
    },
    "blocking read, no numpy": {
        "imports": "",
        "kind": "RawInputStream",
        "callback": "",
        "loop": f"while True: stream.read({BLOCK_SAMPLES})",
    },
}


def main() -> None:
    """Measure and print."""
    with VirtualMicrophone(rate_hz=RATE_HZ, channels=2) as virtual, heard_here(virtual.environment):
        rows = [("callback, no numpy: ours", *_cost_of(_child()))]
        rows += [(name, *_cost_of(_other(PREPARED.format(block=BLOCK_SAMPLES, **how)))) for name, how in OTHERS.items()]
    print(Table("A process for a sound card", ("process", "PSS, MB", "RSS, MB", "% of one core"), rows).as_markdown())


@contextmanager
def _child() -> Iterator[int]:
    before = set(children())
    card = SoundCard(None, channels=[0], rate_hz=RATE_HZ)
    inbox = card.listen(0)
    pieces = inbox.pieces()
    next(pieces)
    (pid,) = set(children()) - before
    yield pid
    card.leave(inbox)


@contextmanager
def _other(code: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", code])
    time.sleep(3)
    yield process.pid
    process.kill()
    process.wait()


def _cost_of(process: AbstractContextManager[int]) -> tuple[str, str, str]:
    with process as pid:
        before, began = _cpu_seconds(pid), time.monotonic()
        time.sleep(SECONDS)
        share = (_cpu_seconds(pid) - before) / (time.monotonic() - began)
        memory = _memory_kb(pid)
        return f"{memory['Pss'] / 1e3:.1f}", f"{memory['Rss'] / 1e3:.1f}", f"{100 * share:.2f}"


def _cpu_seconds(pid: int) -> float:
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _memory_kb(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


if __name__ == "__main__":
    main()
