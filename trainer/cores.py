"""How many processors are ours to use. A container, `taskset` or a batch system may give fewer than there are."""

import os
import re

import joblib


def usable_cores(n_processes: int = 1) -> int:
    """Return the processors that this process, one of so many on this computer, may use; at least 1.

    Affinity and the quota of a control group count, and OMP_NUM_THREADS, by which batch systems say what one process
    was given. `torchrun` says 1 where nobody else has said anything.
    """
    usable = max(1, int(joblib.cpu_count()) // n_processes)
    given = re.match(r"\s*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))  # a list has a number a level
    return min(usable, int(given[1])) if given else usable
