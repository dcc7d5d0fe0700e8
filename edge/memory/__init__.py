"""What the device keeps of what it heard, bounded: clips and pictures of episodes, minutes in numbers, notes.

    clips      the newest seconds of each source, and the thread that packs what an episode needs of them
    shelf      the disk: whole files, a quota, a floor
    picture    a spectrogram as PNG
    batches    numbers of a thing that is still being heard, in one file that a power cut does not spoil
    episodes   the newest of them, to be looked at, with what a person said
    history    each minute of each source in numbers, for days; its files are
    books      of `table`s of `minute`s, and of `day`s, which are kept for a year
    charts     as many points of them as there is room for
    stretch    and what was measured in a stretch of them, to learn from
    notes      small, in JSON, for who wants to know them after a restart

No sound is kept without an episode.
"""

from edge.memory.batches import Batches
from edge.memory.books import Book, read_books, sources_in
from edge.memory.charts import WHEN, Chart, chart, series, times
from edge.memory.clips import ClipStore, Evidence
from edge.memory.episode_numbers import EpisodeNumbers
from edge.memory.episodes import Episodes
from edge.memory.history import Diary, History
from edge.memory.minute import Flag, Heard
from edge.memory.notes import Notes
from edge.memory.picture import COLUMN_FRAMES, Beside, spectrogram
from edge.memory.shelf import write_whole
from edge.memory.stretch import MeasuredMinutes, measured_in

__all__ = [
    "COLUMN_FRAMES",
    "WHEN",
    "Batches",
    "Beside",
    "Book",
    "Chart",
    "ClipStore",
    "Diary",
    "EpisodeNumbers",
    "Episodes",
    "Evidence",
    "Flag",
    "Heard",
    "History",
    "MeasuredMinutes",
    "Notes",
    "chart",
    "measured_in",
    "read_books",
    "series",
    "sources_in",
    "spectrogram",
    "times",
    "write_whole",
]
