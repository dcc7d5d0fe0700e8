"""Where sound comes from: recordings, a pipe, a microphone. Blocks of mono samples at 16 kHz with their capture time.

This room opens, checks and converts; it never scores and knows no configuration. A constructor opens nothing: the first
`next()` on `blocks()` does. What cannot be had is a `SourceError` that names the file, the pipe or the device.
"""

from edge.source.audio_file import rate_in, read_blocks, read_samples, seconds_in
from edge.source.block import BLOCK_SECONDS, SAMPLE_RATE_HZ, Block, Samples, Source
from edge.source.devices import wait_for_change
from edge.source.folder import FolderSource, NewFiles, find_audio
from edge.source.microphone import Input, Microphone, describe_input, louder_channel, microphones
from edge.source.pcm import PcmStream, SampleFormat
from edge.source.pickup import AS_IT_IS, Note, OnNote, Pickup, say_once
from edge.source.recorded import Recorded, recorded
from edge.source.sound_card import SoundCard

__all__ = [
    "AS_IT_IS",
    "BLOCK_SECONDS",
    "SAMPLE_RATE_HZ",
    "Block",
    "FolderSource",
    "Input",
    "Microphone",
    "NewFiles",
    "Note",
    "OnNote",
    "PcmStream",
    "Pickup",
    "Recorded",
    "SampleFormat",
    "Samples",
    "SoundCard",
    "Source",
    "describe_input",
    "find_audio",
    "louder_channel",
    "microphones",
    "rate_in",
    "read_blocks",
    "read_samples",
    "recorded",
    "say_once",
    "seconds_in",
    "wait_for_change",
]
