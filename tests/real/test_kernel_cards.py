"""Sound cards of a real kernel through ALSA and PortAudio, without a sound server: as on a Raspberry Pi.

Few computers that run tests have such cards; a virtual machine has them (tests/real/vm.py):

    sudo python -m tests.real.vm DIR

Where the kernel has the modules, by itself: modprobe snd-aloop pcm_substreams=1; modprobe snd-dummy model=ac97.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from edge.errors import SourceError
from edge.source import Microphone, Samples, describe_input
from edge.source.devices import cards
from edge.source.sound_card import SoundCard
from tests.real.daemon import PUMP, Earshot, events_of
from tests.real.microphone import SOAK, Ear
from tests.real.mosquitto import Listener, Mosquitto, wait_until

LOOPBACK: Final = "card:Loopback"
DUMMY: Final = "card:Dummy"
DRIVER: Final = Path("/sys/bus/platform/drivers/snd_aloop")
NAMED: Final = {name for card in cards() for name in card.names}
RATE_HZ: Final = 48_000

pytestmark = [
    pytest.mark.skipif(
        not {LOOPBACK, DUMMY} <= NAMED, reason="no card of snd-aloop and of snd-dummy: tests/real/vm.py"
    ),
    pytest.mark.timeout(600),
]


@contextmanager
def played(frames: Samples) -> Iterator[None]:
    """Play frames, shape (n, channels), and then silence, to what the loopback's first input hears."""
    import sounddevice

    outputs = [info for info in sounddevice.query_devices() if "Loopback" in info["name"] and ",1)" in info["name"]]
    with sounddevice.OutputStream(
        RATE_HZ, device=outputs[0]["index"], channels=frames.shape[1], dtype="float32", latency=0.5
    ) as stream:
        over = threading.Event()

        def play() -> None:
            stream.write(frames)
            while not over.is_set():
                stream.write(np.zeros((4800, frames.shape[1]), np.float32))

        player = threading.Thread(target=play)
        player.start()
        try:
            yield
        finally:
            over.set()
            player.join()


def loopback(*, timeout_seconds: float = 3.0) -> SoundCard:
    return SoundCard(LOOPBACK, channels=[0], rate_hz=RATE_HZ, timeout_seconds=timeout_seconds)


def pull_out() -> None:
    """Take the card away. The driver returns when the last one has closed it, as it does with a USB plug."""
    threading.Thread(target=(DRIVER / "unbind").write_text, args=("snd_aloop.0",), daemon=True).start()


def put_back() -> None:
    wait_until(lambda: not (DRIVER / "snd_aloop.0").exists(), "the card is gone")
    (DRIVER / "bind").write_text("snd_aloop.0")


def test_every_sample_of_both_channels_comes_through() -> None:
    values = np.random.default_rng(0).integers(-(2**15), 2**15, (RATE_HZ, 2))
    frames = values.astype(np.float32) / np.float32(2**15)
    card = SoundCard(LOOPBACK, channels=[0, 1], rate_hz=RATE_HZ)
    inboxes = [card.listen(channel) for channel in (0, 1)]
    pieces = [inbox.pieces() for inbox in inboxes]
    heard = [[next(each).samples] for each in pieces]
    with played(frames):
        for each, samples in zip(pieces, heard, strict=True):
            while sum(map(len, samples)) < 4 * RATE_HZ:
                samples.append(next(each).samples)
    for channel in (0, 1):
        whole = np.concatenate(heard[channel])
        at = whole.tobytes().find(frames[:64, channel].tobytes()) // 4
        np.testing.assert_array_equal(whole[at : at + RATE_HZ], frames[:, channel])
    for inbox in inboxes:
        card.leave(inbox)


def test_it_is_opened_with_what_it_has() -> None:
    assert re.fullmatch(r"Dummy: .*\(hw:\d+,0\), 48000 Hz, 2 channel\(s\), channel 1", describe_input(DUMMY, channel=1))
    assert ", 48000 Hz, 2 channel(s)," in describe_input(LOOPBACK)  # which can do 44.1 kHz too
    with pytest.raises(SourceError, match=r"16000 Hz, .*Invalid sample rate"):
        describe_input(DUMMY, rate_hz=16_000)
    with pytest.raises(SourceError, match=rf'"card:Pump": .*Inputs that are there: .*{LOOPBACK}'):
        describe_input("card:Pump")


def test_a_card_that_is_held_is_busy_and_its_holder_named() -> None:
    with Ear(Microphone(channel=0, card=loopback())):
        for look in (lambda: describe_input(LOOPBACK), lambda: next(Microphone(LOOPBACK).blocks())):
            with pytest.raises(SourceError, match=rf'^input "{LOOPBACK}": busy: python\S* \(pid \d+\) records from it'):
                look()


def test_pulled_out_and_put_back_it_is_heard_again() -> None:
    with Ear(Microphone(channel=0, card=loopback())) as listener:
        waits = []
        for _ in range(SOAK):
            pull_out()
            first = listener.loses()
            assert first.startswith("Loopback: "), first
            assert "there is no such card" in listener.loses()
            n_before = len(listener.blocks)
            put_back()
            began = time.monotonic()
            listener.hears()
            waits.append(time.monotonic() - began)
            assert listener.blocks[n_before].starts_anew
    print(f"{SOAK} times; heard again after {np.median(waits):.2f} s, at most {max(waits):.2f} s")
    assert listener.microphone.restarts == SOAK


def test_it_stays_itself_under_another_number() -> None:
    """The kernel gives the lowest number that is free: the card that comes back first takes the other one's."""
    dummy = Path("/sys/bus/platform/drivers/snd_dummy")
    before = {name: card.number for card in cards() for name in card.names}
    (DRIVER / "unbind").write_text("snd_aloop.0")
    (dummy / "unbind").write_text("snd_dummy.0")
    first, second = sorted(
        [(DRIVER, "snd_aloop.0", LOOPBACK), (dummy, "snd_dummy.0", DUMMY)], key=lambda e: -before[e[2]]
    )
    for driver, device, _ in (first, second):
        (driver / "bind").write_text(device)

    after = {name: card.number for card in cards() for name in card.names}
    assert after[LOOPBACK] == before[DUMMY]
    assert after[DUMMY] == before[LOOPBACK]
    assert describe_input(DUMMY).startswith("Dummy: ")
    with Ear(Microphone(channel=0, card=loopback())) as listener:
        listener.hears()


def test_the_daemon_loses_it_and_hears_it_again(tmp_path: Path) -> None:
    """Real PortAudio spins for ever here (PortAudio/portaudio#1037), in the child, which is killed for it."""
    with (
        Mosquitto(tmp_path) as broker,
        Listener(broker) as listener,
        Earshot(tmp_path, f"type: microphone, device: '{LOOPBACK}'", broker) as earshot,
    ):

        def wait_for(availability: str) -> None:
            wait_until(lambda: listener.last(f"{PUMP}/availability") == availability, availability, 90)

        wait_for("online")
        for _ in range(SOAK):
            pull_out()
            wait_for("offline")
            time.sleep(15)  # attempts become rare
            put_back()
            began = time.monotonic()
            wait_for("online")
            print(f"heard again {time.monotonic() - began:.1f} s after it came back")
        assert earshot.log().count("heard again, after a gap of") == SOAK
        assert f"{RATE_HZ} Hz" in earshot.log()
        assert events_of(listener) == []
        assert "Traceback" not in earshot.log()
        earshot.end()
        assert earshot.process.returncode == 0
