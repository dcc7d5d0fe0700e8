"""A sound card from the outside: the child process that holds it (edge/source/capture.py), and those who listen to it.

A card can be opened once only, so all who listen to its channels share one child: it starts with the first of them,
ends with the last, and what happens to it happens to all. The child is trusted with nothing: what it writes is
measured by its age, and a child that hangs is killed.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.errors import SourceError
from edge.source import capture, devices
from edge.source.block import BLOCK_SECONDS, Samples
from edge.source.capture import HEADER

log = logging.getLogger(__name__)

# By its path, not with -m: that would import edge.source, and so numpy and libsndfile, first. -P: nor its neighbours.
COMMAND: Final = (sys.executable, "-P", str(Path(capture.__file__)))

INBOX_SECONDS: Final = 10.0
"""How far a listener, or we, may fall behind before samples are dropped."""

OPEN_SECONDS: Final = 20.0
"""Starting Python, PortAudio's look at every device and the opening, on a slow and busy computer."""

END_SECONDS: Final = 2.0
"""How long a killed process may take to go; one that hangs inside a driver goes when the driver lets it."""

MOST_ANSWER_BYTES: Final = 65_536
LONGEST_PIECE_SECONDS: Final = 60


@dataclass(frozen=True)
class Opening:
    """What was opened: the device by PortAudio's name, at a rate that it has and with so many channels."""

    name: str
    rate_hz: int
    channels: int


@dataclass(frozen=True)
class Piece:
    """Samples of one channel, shape (n,), float32, n >= 1, at the rate of `opening`.

    time       capture time of the first one, monotonic seconds
    after_gap  some were lost just before
    """

    samples: Samples
    time: float
    after_gap: bool
    opening: Opening


class Inbox:
    """What one listener has not taken yet: bounded; what does not fit is dropped and leaves a gap, never a delay.

    dropped_seconds  how much did not fit: its listener was too slow
    """

    def __init__(self, channel: int, *, max_pieces: int) -> None:
        self.channel = channel
        self.dropped_seconds = 0.0
        self._max_pieces = max_pieces
        self._pieces: deque[Piece] = deque()
        self._lost = False
        self._closed = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()

    def put(self, samples: Samples, captured: float, lost: bool, opening: Opening) -> None:
        """Take a piece if there is room."""
        with self._changed:
            lost = lost or self._lost
            self._lost = len(self._pieces) >= self._max_pieces
            if self._lost:
                self.dropped_seconds += samples.size / opening.rate_hz
            else:
                self._pieces.append(Piece(samples, captured, lost, opening))
                self._changed.notify()

    def fail(self, failure: Exception) -> None:
        """Note that nothing more will come, and why."""
        with self._changed:
            self._failure = failure
            self._changed.notify()

    def close(self) -> None:
        """End `pieces()` at once, waiting or not. May be called from any thread, and more than once."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def pieces(self) -> Iterator[Piece]:
        """Yield what comes, until `close()`. Raises what `fail` was given, once all before it has been taken."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._failure or self._closed)
                if self._closed:
                    return
                if not self._pieces:
                    assert self._failure is not None
                    raise self._failure
                piece = self._pieces.popleft()
            yield piece


class SoundCard:
    """One device at one rate, and its listeners. After a failure the next listener opens it anew."""

    def __init__(
        self,
        device: str | None,
        *,
        channels: Sequence[int],
        rate_hz: int | None = None,
        block_seconds: float = BLOCK_SECONDS,
        timeout_seconds: float = 5.0,
        command: Sequence[str] = COMMAND,
        sys_sound: Path = devices.SYS_SOUND,
        proc: Path = devices.PROC,
    ) -> None:
        """Open nothing.

        device           as in config.yaml; None: the default one
        channels         all that will ever be listened to
        rate_hz          None: 48 kHz, or what the card has
        timeout_seconds  how old the newest frame may be; at least three blocks
        command          what starts the child, in front of its settings
        sys_sound, proc  where the kernel tells of cards, and of who holds them
        """
        self.device = device
        self.channels = sorted(set(channels))
        self.rate_hz = rate_hz
        self.block_seconds = block_seconds
        self.timeout_seconds = max(timeout_seconds, 3 * block_seconds)
        self.command = command
        self.sys_sound = sys_sound
        self.proc = proc
        self._lock = threading.Lock()
        self._run: _Run | None = None

    def __str__(self) -> str:
        return "default input" if self.device is None else f'input "{self.device}"'

    def listen(self, channel: int) -> Inbox:
        """Return where the sound of `channel` will come in, and open the device if nobody else listens."""
        inbox = Inbox(channel, max_pieces=max(2, round(INBOX_SECONDS / self.block_seconds)))
        with self._lock:
            if self._run is None or self._run.over:
                self._run = _Run(self, self._lock, after=self._run)
                self._run.thread.start()
            self._run.inboxes.append(inbox)
        return inbox

    def leave(self, inbox: Inbox) -> None:
        """Listen no more; the last one to go waits until the device is closed."""
        inbox.close()
        with self._lock:
            run = self._run
            if run is None or inbox not in run.inboxes:
                return
            run.inboxes.remove(inbox)
            last = not run.inboxes
            if last:
                run.end()
        if last:
            run.thread.join()

    def describe(self) -> str:
        """Return how the device would be opened, for a person; it is not opened. Raises SourceError."""
        child = _start(self, settings_for(self, open_it=False))
        try:
            opening = _opening(self, _Pipe(child))
        finally:
            _end(child, str(self))
        return f"{opening.name}, {opening.rate_hz} Hz, {opening.channels} channel(s)"


class _Run:
    """One life of the child, in a thread of its own: from its start to its end, whoever ends it."""

    def __init__(self, card: SoundCard, lock: threading.Lock, *, after: "_Run | None") -> None:
        self.inboxes: list[Inbox] = []  # with `over` and `_child`, under the lock of the card
        self.over = False
        self.thread = threading.Thread(target=self._live, name=f"capture {card}", daemon=True)
        self._card = card
        self._lock = lock
        self._before = after.thread if after else None
        self._child: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        """End it from outside; whoever calls this holds the lock."""
        self.over = True
        if self._child is not None:
            self._child.kill()

    def _live(self) -> None:
        try:
            if self._before is not None:
                self._before.join()  # the device is closed before it is opened again
                self._before = None
            self._hear()
        except SourceError as error:
            failure: Exception = error
        except Exception as error:
            log.exception("%s: a defect of ours", self._card)
            failure = error
        else:
            return
        finally:
            if self._child is not None:
                _end(self._child, str(self._card))
        with self._lock:
            self.over = True
            inboxes = tuple(self.inboxes)
        for inbox in inboxes:
            inbox.fail(failure)

    def _hear(self) -> None:
        """Hand round what the child writes, until `end`. Raises SourceError if it stops by itself."""
        card = self._card
        settings = settings_for(card, open_it=True)
        with self._lock:
            if self.over:
                return
            # Here, not in the thread of a listener: Linux kills the child when the thread that started it ends.
            self._child = _start(card, settings)
        pipe = _Pipe(self._child)
        opening = _opening(card, pipe)
        while True:
            samples, captured, lost = _frame(pipe, opening, card)
            with self._lock:
                if self.over:
                    return
                inboxes = tuple(self.inboxes)
            for inbox in inboxes:
                inbox.put(samples[card.channels.index(inbox.channel)], captured, lost, opening)


# --- The child ---


def settings_for(card: SoundCard, *, open_it: bool) -> dict[str, Any]:
    """Return what the child is told. A name of a card is looked up here and now, and never kept.

    Raises SourceError, which lists the cards there are.
    """
    named = _named_card(card)
    return {
        "device": card.device,
        "card": None if named is None else named.alsa_name,
        "channels": card.channels,
        "rate_hz": card.rate_hz,
        "block_seconds": card.block_seconds,
        "inbox_seconds": INBOX_SECONDS,
        "parent": os.getpid(),
        "open": open_it,
    }


def _start(card: SoundCard, settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    try:
        # Its stderr goes nowhere: a driver in an endless loop writes thousands of lines a second.
        return subprocess.Popen(
            [*card.command, json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise SourceError(f"{card}: the process that records cannot be started: {error}") from error


def _end(child: subprocess.Popen[bytes], name: str) -> None:
    child.kill()
    with suppress(subprocess.TimeoutExpired):  # what stays is collected when the next one starts (subprocess._cleanup)
        child.wait(END_SECONDS)
    if child.returncode is None:
        log.error("%s: the driver does not let its process %d go", name, child.pid)
    assert child.stdout is not None
    child.stdout.close()


class _TooOld(Exception):  # noqa: N818 # caught here, where a reason is known
    pass


class _Ended(Exception):  # noqa: N818
    pass


class _Pipe:
    """What a child writes, with a limit to how long it may take."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self.child = child
        self._descriptor = child.stdout.fileno()
        self._poll = select.poll()  # unlike select(), good for descriptors of 1024 and more
        self._poll.register(self._descriptor, select.POLLIN)
        self._held = b""

    def line(self, *, until: float) -> bytes:
        """Return the next line, without its end. Raises _TooOld, _Ended, or ValueError if it is no line."""
        while b"\n" not in self._held:
            if len(self._held) > MOST_ANSWER_BYTES:
                raise ValueError("no line")
            self._held += self._some(until)
        line, _, self._held = self._held.partition(b"\n")
        return line

    def read(self, n_bytes: int, *, until: float) -> bytes:
        """Return the next `n_bytes`. Raises _TooOld if they have not come by `until`, _Ended if they will not come."""
        pieces, n_held = [self._held], len(self._held)
        while n_held < n_bytes:
            pieces.append(self._some(until))
            n_held += len(pieces[-1])
        data = b"".join(pieces)
        self._held = data[n_bytes:]
        return data[:n_bytes]

    def _some(self, until: float) -> bytes:
        wait_seconds = until - time.monotonic()
        if wait_seconds <= 0 or not self._poll.poll(wait_seconds * 1000):
            raise _TooOld
        data = os.read(self._descriptor, 65_536)
        if not data:
            raise _Ended
        return data


def _opening(card: SoundCard, pipe: _Pipe) -> Opening:
    """Return what the child has opened. Raises SourceError, with its reason if it gave one."""
    try:
        answer = json.loads(pipe.line(until=time.monotonic() + OPEN_SECONDS))
        if "error" not in answer:
            return Opening(str(answer["name"]), int(answer["rate_hz"]), int(answer["channels"]))
    except _TooOld:
        raise SourceError(f"{card}: cannot be opened: its driver hangs, for {OPEN_SECONDS:g} s now") from None
    except _Ended:
        raise SourceError(f"{card}: cannot be opened: {_end_of(pipe.child)}") from None
    except (ValueError, KeyError, TypeError):
        raise SourceError(f"{card}: cannot be opened: its process writes nonsense") from None
    raise SourceError(f"{card}: {_refusal(card, answer)}")


def _refusal(card: SoundCard, answer: dict[str, Any]) -> str:
    """Return the child's reason, and what a person can do about it."""
    named = _named_card(card)
    if named is not None and (holder := devices.holder_of(named, proc=card.proc)):
        # PortAudio leaves a card out of its list while somebody else records from it.
        return f"busy: {holder} records from it, and a card can be opened once only. {_HOW_TO_FREE}"
    if answer["busy"]:
        there = devices.cards(card.sys_sound)
        holders = [holder for each in there if (holder := devices.holder_of(each, proc=card.proc))]
        by = f", perhaps {' or '.join(holders)}" if holders else ""
        return f"busy: another program records from it{by} ({answer['error']}). {_HOW_TO_FREE}"
    return f"{answer['error']}. {_inputs(card, answer)}" if answer["inputs"] is not None else str(answer["error"])


def _named_card(card: SoundCard) -> devices.Card | None:
    """Return the card that is meant; None if the device is a name of PortAudio's. Raises SourceError if not there."""
    if card.device is None or not card.device.startswith(devices.CARD_NAMES):
        return None
    return devices.find_card(card.device, devices.cards(card.sys_sound), proc=card.proc)


def _inputs(card: SoundCard, answer: dict[str, Any]) -> str:
    # Those that stand for a card have its number in their name; the kernel's list has better names for them.
    others = [json.dumps(name, ensure_ascii=False) for name in answer["inputs"] or () if "(hw:" not in name]
    return devices.inputs_there(devices.cards(card.sys_sound), others, proc=card.proc)


_HOW_TO_FREE: Final = (
    "Stop that program; a desktop's sound server with "
    "`systemctl --user mask --now pipewire.socket pipewire.service pulseaudio.socket pulseaudio.service`"
)


def _frame(pipe: _Pipe, opening: Opening, card: SoundCard) -> tuple[Samples, float, bool]:
    """Return the next frames, shape (channels, n), the capture time of the first, and whether some were lost before."""
    until = time.monotonic() + card.timeout_seconds
    try:
        captured, n_samples, lost = HEADER.unpack(pipe.read(HEADER.size, until=until))
        if not 0 < n_samples <= LONGEST_PIECE_SECONDS * opening.rate_hz:
            raise SourceError(f"{opening.name}: its process writes nonsense: a piece of {n_samples} samples")
        data = pipe.read(4 * n_samples * len(card.channels), until=until)
    except _TooOld:
        reason = f"no sound for {card.timeout_seconds:g} s; unplugged, or its driver hangs"
        raise SourceError(f"{opening.name}: {reason}") from None
    except _Ended:
        raise SourceError(f"{opening.name}: {_end_of(pipe.child)}") from None
    return np.frombuffer(data, np.float32).reshape(len(card.channels), n_samples), captured, lost


def _end_of(child: subprocess.Popen[bytes]) -> str:
    """Return why a child that has closed its pipe has ended."""
    try:
        code = child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        code = 0
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}" if code else "the stream has ended; unplugged?"
