"""Where sound comes from: recordings, a pipe, a microphone. Blocks of mono samples at 16 kHz with their capture time.

This room opens, checks and converts; it never scores and knows no configuration. A constructor opens nothing: the first
`next()` on `blocks()` does. What cannot be had is a `SourceError` that names the file, the pipe or the device.
"""

from edge.source.audio_file import read_blocks, read_samples
from edge.source.block import SAMPLE_RATE_HZ, Block, Samples, Source
from edge.source.devices import wait_for_change
from edge.source.folder import FolderSource, find_audio
from edge.source.microphone import Input, Microphone, describe_input, microphones
from edge.source.pcm import PcmStream, SampleFormat
from edge.source.sound_card import BLOCK_SECONDS, SoundCard

__all__ = [
    "BLOCK_SECONDS",
    "SAMPLE_RATE_HZ",
    "Block",
    "FolderSource",
    "Input",
    "Microphone",
    "PcmStream",
    "SampleFormat",
    "Samples",
    "SoundCard",
    "Source",
    "describe_input",
    "find_audio",
    "microphones",
    "read_blocks",
    "read_samples",
    "wait_for_change",
]
