"""What the device keeps of what it heard, bounded: clips and pictures of episodes, minutes in numbers, notes.

    clips      the newest seconds of each source, and the thread that packs what an episode needs of them
    shelf      the disk: whole files, a quota, a floor
    picture    a spectrogram as PNG
    history    each minute of each source in numbers, for days; its files are
    books      of `table`s of `minute`s, and of `day`s, which are kept for a year
    charts     as many points of them as there is room for
    notes      small, in JSON, for who wants to know them after a restart

No sound is kept without an episode.
"""

from edge.memory.books import Book, read_books, sources_in
from edge.memory.charts import WHEN, Chart, chart, series, times
from edge.memory.clips import ClipStore, Evidence
from edge.memory.history import Diary, History
from edge.memory.minute import Flag, Heard
from edge.memory.notes import Notes
from edge.memory.picture import spectrogram

__all__ = [
    "WHEN",
    "Book",
    "Chart",
    "ClipStore",
    "Diary",
    "Evidence",
    "Flag",
    "Heard",
    "History",
    "Notes",
    "chart",
    "read_books",
    "series",
    "sources_in",
    "spectrogram",
    "times",
]
