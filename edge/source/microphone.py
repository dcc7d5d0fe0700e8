"""Microphones: channels of sound cards, as sources. A card is a process of its own (edge/source/sound_card.py).

Sound comes at a rate that the card has, and is resampled here and by nobody else.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from edge.errors import SourceError
from edge.source.block import SAMPLE_RATE_HZ, Block, Stretch
from edge.source.convert import Resampler, fault_in
from edge.source.sound_card import Inbox, Piece, SoundCard

log = logging.getLogger(__name__)

LOST_SECONDS: Final = 0.5
MOST_CHANNELS: Final = 8
N_LOOKED_AT: Final = 4
SOUND_DBFS: Final = -65.0
"""What `louder_channel` takes for sound, in so many blocks of so many channels."""

LATE_SECONDS: Final = 10.0
"""Sound that keeps coming so late, for so long, was not held up: some before it was lost, and no driver said so."""


class Input(NamedTuple):
    """What to listen to.

    device   `usb:VID:PID[:SERIAL]`, `usb-port:1-1.2`, `card:ID`, or a part of PortAudio's name that no other input has;
             None: the default one. Never a number
    channel  which one, counted from 0; never a mix of them
    rate_hz  None: 48 kHz, or what the card has
    """

    device: str | None = None
    channel: int = 0
    rate_hz: int | None = None


class Microphone:
    """One channel of one sound card. After a SourceError `blocks()` may be called again, for as long as it takes.

    overruns     how often samples were lost while it was open
    gap_seconds  what was not heard between the first block and the newest one, seconds
    restarts     how often it was heard again after the card had been lost, or closed
    """

    def __init__(
        self,
        device: str | None = None,
        *,
        channel: int = 0,
        rate_hz: int | None = None,
        card: SoundCard | None = None,
    ) -> None:
        """Open nothing. What is opened is what `Input` says; or a `card` shared with others, with such a channel."""
        self.channel = channel
        self.overruns = 0
        self.gap_seconds = 0.0
        self.restarts = 0
        self._card = card or SoundCard(device, channels=[channel], rate_hz=rate_hz)
        self._inbox: Inbox | None = None
        self._dropped_before = 0.0
        self._heard_until: float | None = None

    def blocks(self) -> Iterator[Block]:
        """Yield what the card hears until `close()`. Raises SourceError when it cannot be opened or falls silent.

        Where samples were lost a new stretch begins, with a time of its own.
        """
        self._dropped_before = self.dropped_seconds
        self._inbox = inbox = self._card.listen(self.channel)
        try:
            yield from self._blocks_of(inbox)
        finally:
            self._card.leave(inbox)

    def close(self) -> None:
        """End `blocks()` at once, waiting or not; it may be called again."""
        if self._inbox:
            self._inbox.close()

    @property
    def dropped_seconds(self) -> float:
        """Sound that came and for which there was no time: the part of the gaps that is our own fault."""
        return self._dropped_before + (self._inbox.dropped_seconds if self._inbox else 0.0)

    def _blocks_of(self, inbox: Inbox) -> Iterator[Block]:
        stretch = None
        n_taken = n_late = 0  # samples at the rate of the card
        for piece in inbox.pieces():
            rate_hz = piece.opening.rate_hz
            if fault := fault_in(piece.samples):
                raise SourceError(f"{piece.opening.name}: a sample {fault[1]}")
            if stretch is None or piece.after_gap or n_late > LATE_SECONDS * rate_hz:
                self._begin(piece, again=stretch is not None)
                stretch = Stretch(piece.opening.name, start_time=piece.time)
                resample = Resampler(rate_hz)
                n_taken = n_late = 0

            # The resampler holds some back: what comes out now is not what went in now, only at the same pace.
            captured_at = piece.time - n_taken / rate_hz + stretch.n_samples / SAMPLE_RATE_HZ
            n_taken += piece.samples.size
            n_late = n_late + piece.samples.size if captured_at > stretch.end_time + LOST_SECONDS else 0
            samples = resample(piece.samples)
            if samples.size:
                block = stretch.block(samples, captured_at)
                self._heard_until = stretch.end_time
                yield block

    def _begin(self, piece: Piece, *, again: bool) -> None:
        """Say what begins, and count what is missing before it; `again`: the card was open all the time."""
        opening = piece.opening
        missing_seconds = 0.0 if self._heard_until is None else max(0.0, piece.time - self._heard_until)
        self.gap_seconds += missing_seconds
        if again:
            self.overruns += 1
            log.warning("%s: samples were lost, gap no. %d, %.3f s", opening.name, self.overruns, missing_seconds)
            return
        log.info(
            "%s: %d Hz %d ch -> %d Hz ch %d",
            opening.name,
            opening.rate_hz,
            opening.channels,
            SAMPLE_RATE_HZ,
            self.channel,
        )
        if self._heard_until is not None:
            self.restarts += 1
            log.warning("%s: heard again, after a gap of %.3f s", opening.name, missing_seconds)


def microphones(wanted: Mapping[str, Input]) -> dict[str, Microphone]:
    """Return a source for every name. Those of one device at one rate share it: a card can be opened once only."""
    channels: dict[tuple[str | None, int | None], list[int]] = {}
    for each in wanted.values():
        channels.setdefault((each.device, each.rate_hz), []).append(each.channel)
    cards = {key: SoundCard(key[0], rate_hz=key[1], channels=of_card) for key, of_card in channels.items()}
    return {
        name: Microphone(channel=each.channel, card=cards[each.device, each.rate_hz]) for name, each in wanted.items()
    }


def describe_input(device: str | None, *, channel: int = 0, rate_hz: int | None = None) -> str:
    """Return how an input would be opened, for a person; it is not opened.

    Raises SourceError that lists the inputs there are, or says who holds it.
    """
    return f"{SoundCard(device, channels=[channel], rate_hz=rate_hz).describe()}, channel {channel}"


def louder_channel(device: str | None, channel: int) -> tuple[int, float] | None:
    """Return the other channel of a card that has most sound now, and its level, dBFS; None if none has any.

    Listens for a second. Raises SourceError where the card cannot be opened.
    """
    found: tuple[int, float] | None = None
    for other in range(MOST_CHANNELS):
        if other == channel:
            continue
        source = Microphone(device, channel=other)
        try:
            power = [float(np.mean(np.square(block.samples))) for block in islice(source.blocks(), N_LOOKED_AT)]
        except SourceError:
            break  # there is no such channel
        finally:
            source.close()
        level_dbfs = 10 * math.log10(max(*power, 1e-10))
        if level_dbfs > (SOUND_DBFS if found is None else found[1]):
            found = other, level_dbfs
    return found
