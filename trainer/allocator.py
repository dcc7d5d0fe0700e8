"""Keeps the memory of one training step for the next.

glibc maps every block of more than 32 MB anew and unmaps it when it is freed, so each step of a training pays for
gigabytes of page faults: a quarter to a third of its time on the machine of benchmarks/README.md.
"""

import ctypes
from typing import Final

# Of malloc.h; mallopt(3): "setting M_TRIM_THRESHOLD to -1 disables trimming completely".
M_TRIM_THRESHOLD: Final = -1
M_TOP_PAD: Final = -2
M_MMAP_MAX: Final = -4

TOP_PAD_BYTES: Final = 64 << 20


def keep_freed_memory() -> bool:
    """Have this process reuse the memory that it frees rather than give it back; return whether its C library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl, macOS: their allocators are left as they are
        return False
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1), mallopt(M_TOP_PAD, TOP_PAD_BYTES)])
