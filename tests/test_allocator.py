"""Memory that a training step frees is there for the next one, and a daemon's threads have one heap."""

import subprocess
import sys

import pytest

# Counts the page faults of touching 200 MB a second time, after the first 200 MB were freed.
FAULTS = """
import resource, sys
import numpy as np
from edge.allocator import keep_freed_memory

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


# Counts glibc's heaps, by malloc_info(3), after eight threads have held memory at the same time.
HEAPS = """
import ctypes, sys, tempfile, threading
from edge.allocator import share_one_heap

if sys.argv[1] == "one" and not share_one_heap():
    sys.exit(77)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)

def hold():
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(file.read().count(b"<heap nr="))
"""


def heaps(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_threads_share_one_heap() -> None:
    assert heaps("one") == 1 < heaps("many")
