"""What the device keeps of what it heard, bounded: clips and pictures of episodes.

    clips      the newest seconds of each source, and the thread that packs what an episode needs of them
    shelf      the disk: whole files, a quota, a floor
    picture    a spectrogram as PNG

No sound is kept without an episode.
"""

from edge.memory.clips import ClipStore, Evidence
from edge.memory.picture import spectrogram

__all__ = [
    "ClipStore",
    "Evidence",
    "spectrogram",
]
