"""From the settings of sources to sources that can be listened to: for the daemon, and for `earshot check`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edge.config import FolderSettings, MicrophoneSettings, SourceSettings, StdinSettings
from edge.memory import Notes
from edge.source import FolderSource, Input, NewFiles, PcmStream, Pickup, Source, microphones


def openers(sources: Sequence[SourceSettings], notes: Notes | None = None) -> Mapping[str, Callable[[], Source]]:
    """Return what opens each source, by its name, as often as it is called. Microphones on one card share it.

    notes: keep up to where a folder of new files was heard, from start to start.
    """
    inputs = {
        each.name: Input(each.device, each.channel, each.rate_hz)
        for each in sources
        if isinstance(each, MicrophoneSettings)
    }
    heard = microphones(inputs)
    return {each.name: _opener(each, heard, notes) for each in sources}


def _opener(settings: SourceSettings, heard: Mapping[str, Source], notes: Notes | None) -> Callable[[], Source]:
    if isinstance(settings, FolderSettings):
        return partial(
            FolderSource,
            settings.path,
            pickup_of(settings),
            realtime=settings.realtime,
            loop=settings.loop,
            only_new=_new_files(settings, notes) if settings.watch == "new" else None,
        )
    if isinstance(settings, StdinSettings):
        return partial(_stdin, settings)
    # The same one every time: it counts what was lost, and its card is shared.
    return partial(heard.__getitem__, settings.name)


def _new_files(settings: FolderSettings, notes: Notes | None) -> NewFiles:
    key, folder = (settings.name, settings.path), str(settings.path)
    if key not in _HEARD:
        note = (notes.read(settings.name) if notes else None) or {}
        came_ns = note.get("came_ns") if note.get("folder") == folder else None

        def keep(came_ns: int) -> None:
            if notes is not None:
                notes.write(settings.name, {"folder": folder, "came_ns": came_ns})

        _HEARD[key] = NewFiles(since_ns=came_ns if type(came_ns) is int else None, keep=keep)
    return _HEARD[key]


_HEARD: dict[tuple[str, Path], NewFiles] = {}
"""What of a folder was heard before, by source: a source that is opened anew, or a reload, goes on after it."""


def pickup_of(settings: SourceSettings) -> Pickup:
    """Return channel, gain and salvage of a source."""
    if isinstance(settings, FolderSettings):
        return Pickup(settings.channel, settings.gain_db, settings.salvage)
    return Pickup(settings.channel, settings.gain_db if isinstance(settings, StdinSettings) else 0.0)


_BEFORE: dict[StdinSettings, PcmStream] = {}


def _stdin(settings: StdinSettings) -> PcmStream:
    """Open standard input, or go on with it after a reload: there is one, and its frames must not come apart."""
    before = _BEFORE.get(settings)
    _BEFORE[settings] = stream = PcmStream(
        None if sys.stdin is None else sys.stdin.buffer,
        rate_hz=settings.rate_hz,
        channels=settings.channels,
        channel=settings.channel,
        sample_format=settings.format,
        gain_db=settings.gain_db,
        held=before.held if before else b"",
    )
    return stream
