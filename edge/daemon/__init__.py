"""The whole line at work: a thread a source, one publisher, systemd told. No other wing sees all stages.

    daemon       makes the parts, starts them, says how they are, ends them in order
    listener     one source, and what its sound goes through
    service      a daemon until it is told to stop, and a new one at each reload
    opening      sources by their settings

`notify` talks to systemd, and `allocator` keeps the heap small.
"""

from edge.daemon import payloads
from edge.daemon.allocator import keep_freed_memory, keep_one_small_heap
from edge.daemon.opening import openers
from edge.daemon.payloads import Record
from edge.daemon.service import Service

__all__ = [
    "Record",
    "Service",
    "keep_freed_memory",
    "keep_one_small_heap",
    "openers",
    "payloads",
]
