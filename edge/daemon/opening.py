"""From the settings of sources to sources that can be listened to: for the daemon, and for `earshot check`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edge.config import FolderSettings, MicrophoneSettings, SourceSettings, StdinSettings
from edge.source import FolderSource, Input, NewFiles, PcmStream, Pickup, Source, microphones


def openers(sources: Sequence[SourceSettings]) -> Mapping[str, Callable[[], Source]]:
    """Return what opens each source, by its name, as often as it is called. Microphones on one card share it."""
    inputs = {
        each.name: Input(each.device, each.channel, each.rate_hz)
        for each in sources
        if isinstance(each, MicrophoneSettings)
    }
    heard = microphones(inputs)
    return {each.name: _opener(each, heard) for each in sources}


def _opener(settings: SourceSettings, heard: Mapping[str, Source]) -> Callable[[], Source]:
    if isinstance(settings, FolderSettings):
        return partial(
            FolderSource,
            settings.path,
            pickup_of(settings),
            realtime=settings.realtime,
            loop=settings.loop,
            only_new=_HEARD.setdefault((settings.name, settings.path), NewFiles()) if settings.watch == "new" else None,
        )
    if isinstance(settings, StdinSettings):
        return partial(_stdin, settings)
    # The same one every time: it counts what was lost, and its card is shared.
    return partial(heard.__getitem__, settings.name)


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
        sys.stdin.buffer,
        rate_hz=settings.rate_hz,
        channels=settings.channels,
        channel=settings.channel,
        sample_format=settings.format,
        gain_db=settings.gain_db,
        held=before.held if before else b"",
    )
    return stream
