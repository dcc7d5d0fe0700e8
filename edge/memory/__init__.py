"""What the device keeps of what it heard, bounded: clips and pictures of episodes, notes of what it learnt.

    clips      the newest seconds of each source, and the thread that packs what an episode needs of them
    shelf      the disk: whole files, a quota, a floor
    picture    a spectrogram as PNG
    batches    numbers of a thing that is still being heard, in one file that a power cut does not spoil
    notes      small, in JSON, for who wants to know them after a restart

No sound is kept without an episode.
"""

from edge.memory.batches import Batches
from edge.memory.clips import ClipStore, Evidence
from edge.memory.notes import Notes
from edge.memory.picture import spectrogram

__all__ = [
    "Batches",
    "ClipStore",
    "Evidence",
    "Notes",
    "spectrogram",
]
