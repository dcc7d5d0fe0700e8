"""What glibc's malloc does with memory that is freed: it was made for neither a training nor a year of listening."""

import ctypes
from typing import Final

# Of malloc.h; mallopt(3): "setting M_TRIM_THRESHOLD to -1 disables trimming completely".
M_TRIM_THRESHOLD: Final = -1
M_TOP_PAD: Final = -2
M_MMAP_THRESHOLD: Final = -3
M_MMAP_MAX: Final = -4
M_ARENA_MAX: Final = -8

TOP_PAD_BYTES: Final = 64 << 20

LARGE_BYTES: Final = 512 << 10
"""More than what a hop needs at once, which would pay for mapping it anew each time, and less than a clip."""


def keep_freed_memory() -> bool:
    """Have this process reuse the memory that it frees rather than give it back; return whether its C library can.

    Else every block of more than 32 MB is mapped anew and unmapped when it is freed, and each step of a training pays
    for gigabytes of page faults: a quarter to a third of its time on the machine of benchmarks/README.md.
    """
    return _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: TOP_PAD_BYTES})


def keep_one_small_heap() -> bool:
    """Have all threads take memory from one heap, and give back what is large as soon as it is freed.

    Returns whether the C library can. Call it before there are threads. Else each thread gets a heap of its own, which
    grows to the most that this thread ever needed at once; and malloc learns from the first clip that is freed to cut
    the next ones out of the heap too, where small things come to lie between them: the daemon grew by 6 MB in a day.
    """
    return _set({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: LARGE_BYTES})


def _set(parameters: dict[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl, macOS: their allocators are left as they are
        return False
    return all(mallopt(parameter, value) for parameter, value in parameters.items())
