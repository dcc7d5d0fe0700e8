"""The sound cards of this computer, by names that stay theirs. Reads /sys and /proc, opens no device.

The kernel numbers cards in the order in which it meets them: a number is another card after a reboot. PortAudio lists
what was there when it was loaded, and leaves out a card that another program holds; the kernel's list has it.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import SourceError

SYS_SOUND: Final = Path("/sys/class/sound")
PROC: Final = Path("/proc")

CARD_NAMES: Final = ("usb:", "usb-port:", "card:")
"""How a name of a card begins; every other name is a part of one of PortAudio's."""

LOOK_SECONDS: Final = 0.5
"""How soon a card that comes is seen."""


@dataclass(frozen=True)
class Card:
    """A sound card that can record, as the kernel knows it.

    number   the kernel's, of this moment: never to be written down
    device   its first device that can record: where a card has more, that is its microphone
    names    what it can be called in config.yaml, the most particular first
    product  what it calls itself, for a person; "" if it does not
    """

    number: int
    device: int
    names: tuple[str, ...]
    product: str

    @property
    def alsa_name(self) -> str:
        """How ALSA and PortAudio call it at this moment."""
        return f"hw:{self.number},{self.device}"


def cards(sys_sound: Path = SYS_SOUND) -> list[Card]:
    """Return the cards that can record, by number; none where there is no sound system."""
    found = []
    for folder in sys_sound.glob("card*"):
        number = folder.name.removeprefix("card")
        recording = [path.name.rpartition("D")[2].removesuffix("c") for path in sys_sound.glob(f"pcmC{number}D*c")]
        if number.isdecimal() and recording:
            with suppress(OSError):  # pulled out while we look
                found.append(_card(int(number), min(map(int, recording)), folder))
    return sorted(found, key=lambda card: card.number)


def find_card(device: str, there: Sequence[Card], *, proc: Path = PROC) -> Card:
    """Return the card that `device` names: `usb:VID:PID[:SERIAL]`, `usb-port:1-1.2` or `card:ID`.

    Raises SourceError, which lists the cards there are, if it is none of them or more than one.
    """
    wanted = device.casefold()
    found = [card for card in there if wanted in map(str.casefold, card.names)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = inputs_there(found, proc=proc)
        raise SourceError(f'input "{device}": {len(found)} cards are called so, expected one. {listed}')
    raise SourceError(f'input "{device}": there is no such card. {inputs_there(there, proc=proc)}')


def inputs_there(there: Sequence[Card], others: Sequence[str] = (), *, proc: Path = PROC) -> str:
    """Return a sentence that lists inputs as they can be written into config.yaml, and who holds them."""
    return f"Inputs that are there: {'; '.join([*(_shown(card, proc) for card in there), *others]) or 'none at all'}"


def holder_of(card: Card, *, proc: Path = PROC) -> str | None:
    """Return which program records from a card at this moment, say "pulseaudio (pid 812)"; None if none does.

    Inside the hardened service the names of other users' programs are hidden, and "pid 812" is all there is.
    """
    for status in sorted(proc.glob(f"asound/card{card.number}/pcm{card.device}c/sub*/status")):
        with suppress(OSError):  # closed, or pulled out, while we look
            for line in status.read_text(encoding="utf-8").splitlines():
                key, _, value = line.partition(":")
                if key.strip() == "owner_pid":
                    return _program(value.strip(), proc)
    return None


def wait_for_change(seconds: float, stop: threading.Event, sys_sound: Path = SYS_SOUND) -> bool:
    """Wait so long, or until `stop` is set; return whether an input came or went, and then at once."""
    end, before = time.monotonic() + seconds, _inputs(sys_sound)
    while (left := end - time.monotonic()) > 0 and not stop.wait(min(left, LOOK_SECONDS)):
        if _inputs(sys_sound) != before:
            return True
    return False


def _inputs(sys_sound: Path) -> set[str]:
    return {path.name for path in sys_sound.glob("pcmC*D*c")}


def _card(number: int, device: int, folder: Path) -> Card:
    names = [f"card:{_line(folder / 'id')}"]
    product = ""
    if usb := _usb_device(folder / "device"):
        identity = f"usb:{_line(usb / 'idVendor')}:{_line(usb / 'idProduct')}"
        names = [identity, f"usb-port:{usb.name}", *names]
        if (usb / "serial").exists() and (serial := _line(usb / "serial")):
            names.insert(0, f"{identity}:{serial}")
        if (usb / "product").exists():
            product = _line(usb / "product")
    return Card(number, device, tuple(names), product)


def _usb_device(device: Path) -> Path | None:
    """Return the folder of the USB device that a card belongs to: the nearest one above with a vendor."""
    if not device.exists():
        return None
    resolved = device.resolve()
    return next((folder for folder in (resolved, *resolved.parents) if (folder / "idVendor").exists()), None)


def _line(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _shown(card: Card, proc: Path) -> str:
    notes = [note for note in (card.product, _held(card, proc)) if note]
    return " or ".join(card.names) + (f" ({', '.join(notes)})" if notes else "")


def _held(card: Card, proc: Path) -> str | None:
    holder = holder_of(card, proc=proc)
    return f"held by {holder}" if holder else None


def _program(pid: str, proc: Path) -> str:
    with suppress(OSError):
        return f"{_line(proc / pid / 'comm')} (pid {pid})"
    return f"pid {pid}"
