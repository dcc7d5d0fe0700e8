"""What the device keeps of what it heard, bounded: clips and pictures of episodes."""

from edge.memory.clips import ClipStore, Evidence
from edge.memory.picture import spectrogram

__all__ = [
    "ClipStore",
    "Evidence",
    "spectrogram",
]
