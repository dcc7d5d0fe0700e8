"""The whole line at work: a thread a source, one publisher, systemd told. No other wing sees all stages.

    daemon       makes the parts, starts them, says how they are, ends them in order
    service      a daemon until it is told to stop, and a new one at each reload
    preparing    where the next one is made, so that nobody waits for it
    opening      sources by their settings
    listener     one source, and the rooms that its sound goes through:
    lasting      its life: opened, lost, opened again
    hearing      its sound, judged
    telling      what happened, told
    asked        what people ask of it, until its next sound
    school       what a person has sources learn, each a `proposal`: a `teaching`, with an enrolment (`enrolling`), or a
                 `relearning` from what is remembered (`hindsight`); `in_force` finds what was learnt
    trends       how a source changes over weeks
    shown        what the page is shown of it; `paging`: the page, and what it may ask

`happening` and `payloads` are what they give each other and the world. `notify` talks to systemd, and `allocator` keeps
the heap small.
"""

from edge.daemon.allocator import keep_freed_memory, keep_one_small_heap
from edge.daemon.enrolling import Enrolment, conditions_of, record_of
from edge.daemon.hearing import knows_machine_of
from edge.daemon.hindsight import in_stretch, learn, normal_episodes
from edge.daemon.in_force import learnt_path
from edge.daemon.opening import openers, pickup_of
from edge.daemon.payloads import Record
from edge.daemon.preparing import expect_free
from edge.daemon.service import Service

__all__ = [
    "Enrolment",
    "Record",
    "Service",
    "conditions_of",
    "expect_free",
    "in_stretch",
    "keep_freed_memory",
    "keep_one_small_heap",
    "knows_machine_of",
    "learn",
    "learnt_path",
    "normal_episodes",
    "openers",
    "pickup_of",
    "record_of",
]
