"""`python -m benchmarks.outbox FOLDER`: how long `put` takes on the disk of a folder, and what an event costs it.

Events are put and acknowledged one by one, with a pause for what gathers, as with a broker that is there; then they are
put alone, as with one that is away.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Table, ms
from edge.config import OutboxSettings
from edge.voice import Outbox

EVENT: dict[str, Any] = {"id": "e" * 32, "kind": "updated", "text": "x" * 800}
N_EVENTS = 2000


def costs(folder: Path, *, acknowledged: bool) -> list[str]:
    """Return the cells of a row: the median and the longest `put`, and bytes written for each event."""
    box = Outbox(OutboxSettings(), folder)
    box.open()
    seconds = []
    for number in range(1, N_EVENTS + 1):
        started = time.perf_counter()
        box.put("earshot/node/source/event", EVENT)
        seconds.append(time.perf_counter() - started)
        if acknowledged:
            box.remove(number)
        box.flush()
    box.close()
    return [ms(float(np.median(seconds))), ms(float(np.max(seconds))), f"{box.bytes_written / N_EVENTS / 1000:.1f}"]


def main() -> None:
    """Measure both and print them."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        rows = [
            [name, *costs(Path(folder, name), acknowledged=acknowledged)]
            for name, acknowledged in (("acknowledged", True), ("waiting", False))
        ]
    columns = ["events", "put, median ms", "longest ms", "kB written an event"]
    print(Table(f"The outbox, {N_EVENTS} events of about 900 bytes", columns, rows).as_markdown())


if __name__ == "__main__":
    main()
