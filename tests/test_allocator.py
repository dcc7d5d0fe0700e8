"""Memory that a training step frees is there for the next one, and a daemon's threads have one heap."""

import subprocess
import sys

import pytest


def printed(script: str, how: str) -> int:
    """Return the number that a script prints in a process of its own, of which `how` is the argument."""
    done = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


# Counts the page faults of touching 200 MB a second time, after the first 200 MB were freed.
FAULTS = """
import resource, sys
import numpy as np
from edge.daemon.allocator import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(77)
np.ones(200 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(200 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_not_faulted_in_again() -> None:
    """Huge pages may make faults few either way, so it is the ratio that counts."""
    assert printed(FAULTS, "kept") * 10 < printed(FAULTS, "given back")


# Counts glibc's heaps, by malloc_info(3), after eight threads have held memory at the same time.
HEAPS = """
import ctypes, sys, tempfile, threading
from edge.daemon.allocator import keep_one_small_heap

if sys.argv[1] == "one" and not keep_one_small_heap():
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


def test_threads_keep_one_heap() -> None:
    assert printed(HEAPS, "one") == 1 < printed(HEAPS, "many")


# Megabytes that a process still has of 100 that it freed, with something small kept beside each of them.
LEFT = """
import ctypes, resource, sys
from pathlib import Path
from edge.daemon.allocator import keep_one_small_heap

if sys.argv[1] == "small" and not keep_one_small_heap():
    sys.exit(77)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def filled(size):
    block = ctypes.c_void_p(libc.malloc(size))
    ctypes.memset(block, 1, size)
    return block

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

libc.free(filled(4 << 20))  # as large as a clip: malloc learns from it
before = resident_mb()
large = []
for _ in range(100):
    large.append(filled(1 << 20))
    filled(100_000)
for block in large:
    libc.free(block)
print(resident_mb() - before)
"""


def test_what_is_large_is_given_back_at_once() -> None:
    """Amid the heap nothing is given back by itself: of 110 MB nothing goes."""
    assert printed(LEFT, "small") < 20
    assert printed(LEFT, "as it comes") > 90
