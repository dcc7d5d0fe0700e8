"""Memory that a training step frees is there for the next one."""

import subprocess
import sys

import pytest

# Counts the page faults of touching 200 MB a second time, after the first 200 MB were freed.
FAULTS = """
import resource, sys
import numpy as np
from trainer.allocator import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(77)
np.ones(200 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(200 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_freed_memory_is_not_faulted_in_again() -> None:
    """Huge pages may make faults few either way, so it is the ratio that counts."""
    assert faults("kept") * 10 < faults("given back")
