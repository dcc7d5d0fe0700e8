"""What the device keeps of what it heard, bounded: clips and pictures of episodes, notes of what it learnt.

    clips      the newest seconds of each source, and the thread that packs what an episode needs of them
    shelf      the disk: whole files, a quota, a floor
    picture    a spectrogram as PNG
    episodes   the newest of them, to be looked at, with what a person said
    notes      small, in JSON, for who wants to know them after a restart

No sound is kept without an episode.
"""

from edge.memory.clips import ClipStore, Evidence
from edge.memory.episodes import Episodes
from edge.memory.notes import Notes
from edge.memory.picture import COLUMN_FRAMES, spectrogram
from edge.memory.shelf import write_whole

__all__ = [
    "COLUMN_FRAMES",
    "ClipStore",
    "Episodes",
    "Evidence",
    "Notes",
    "spectrogram",
    "write_whole",
]
