"""Microphones on real PortAudio, in the process that the product gives them, through all that befalls them.

    apt-get install --no-install-recommends libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils gcc libc6-dev

With EARSHOT_SOAK=50 the microphone is taken away fifty times.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from edge.errors import SourceError
from edge.source import Block, Input, Microphone, Samples, describe_input, microphones
from edge.source.block import BLOCK_SECONDS
from edge.source.sound_card import Inbox, SoundCard
from tests.real.microphone import SOAK, Ear, Faults, Frames, VirtualMicrophone, children, heard_here
from tests.real.mosquitto import wait_until

NOISE: Final = np.random.default_rng(0).integers(-(2**15), 2**15, (24_000, 2), np.int16)
"""No two stretches of it are alike, and every value of 16 bits is in it, about."""


@pytest.fixture
def virtual() -> Iterator[VirtualMicrophone]:
    with VirtualMicrophone() as microphone, heard_here(microphone.environment):
        before = len(children())
        yield microphone
        assert len(children()) == before, "a process was left, or was not collected"


def ear(card: SoundCard) -> Ear:
    return Ear(Microphone(channel=card.channels[0], card=card))


def quick_card(device: str | None = None, *, rate_hz: int | None = 16_000, timeout_seconds: float = 1.0) -> SoundCard:
    return SoundCard(device, channels=[0], rate_hz=rate_hz, timeout_seconds=timeout_seconds)


# --- What is heard is what was played ---


def heard_in(inbox: Inbox, virtual: VirtualMicrophone, played: Frames) -> Samples:
    """Return what came in of `played`, at the card's own rate, and a little of the silence around it."""
    pieces = inbox.pieces()
    before = next(pieces)
    virtual.play(played)
    n_pieces = round((len(played) / virtual.rate_hz + 1.3) / BLOCK_SECONDS)
    return np.concatenate([piece.samples for piece in [before, *islice(pieces, n_pieces)]])


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (48_000, 2)])
def test_every_sample_comes_through_as_it_was_played(rate_hz: int, channels: int) -> None:
    with VirtualMicrophone(rate_hz=rate_hz, channels=channels) as virtual, heard_here(virtual.environment):
        card = SoundCard(None, channels=range(channels), rate_hz=rate_hz)
        # One after the other: through the same child, for the first is still listened to.
        inboxes = [card.listen(channel) for channel in range(channels)]
        for channel, inbox in enumerate(inboxes):
            played = NOISE[:, :channels]
            heard = heard_in(inbox, virtual, played)
            expected = played[:, channel].astype(np.float32) / 2**15
            at = heard.tobytes().find(expected[:64].tobytes()) // 4
            np.testing.assert_array_equal(heard[at : at + len(expected)], expected)
        for inbox in inboxes:
            card.leave(inbox)


def test_at_16_khz_the_blocks_are_what_was_played_bit_for_bit(virtual: VirtualMicrophone) -> None:
    microphone = Microphone(rate_hz=16_000)
    blocks: list[Block] = []
    began = time.monotonic()
    for block in microphone.blocks():
        if not blocks:
            virtual.play(NOISE[:, :1])
        blocks.append(block)
        if len(blocks) == 12:
            microphone.close()

    heard = np.concatenate([block.samples for block in blocks])
    expected = NOISE[:, 0].astype(np.float32) / 2**15
    at = heard.tobytes().find(expected[:64].tobytes()) // 4
    np.testing.assert_array_equal(heard[at : at + len(expected)], expected)
    assert [block.starts_anew for block in blocks] == [True] + [False] * 11
    assert [block.start_sample for block in blocks] == [round(16_000 * BLOCK_SECONDS) * n for n in range(12)]
    assert began - 0.2 < blocks[0].time < blocks[-1].time < time.monotonic()


def test_one_channel_is_heard_at_16_khz_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    seconds = np.arange(3 * 48_000) / 48_000
    left, right = 0.5 * np.sin(2 * np.pi * 440 * seconds), 0.25 * np.sin(2 * np.pi * 1000 * seconds)
    with VirtualMicrophone(rate_hz=48_000, channels=2) as virtual, heard_here(virtual.environment):
        microphone = Microphone(channel=1, rate_hz=48_000)
        blocks = microphone.blocks()
        next(blocks)
        virtual.play((np.stack([left, right], axis=1) * 2**15).astype(np.int16))
        heard = np.concatenate([block.samples for block in islice(blocks, round(2.2 / BLOCK_SECONDS))])
        blocks.close()  # type: ignore[attr-defined] # a generator

    # A tone of 1 kHz at 0.25, and nothing of the other channel's 440 Hz.
    spectrum = np.abs(np.fft.rfft(heard[-16_000:])) / 8000
    assert spectrum[1000] == pytest.approx(0.25, rel=0.01)
    assert spectrum[440] < 1e-3
    assert "default: 48000 Hz 2 ch -> 16000 Hz ch 1" in caplog.text


def test_the_channels_of_one_card_share_one_process_and_its_end() -> None:
    with VirtualMicrophone(channels=2) as virtual, heard_here(virtual.environment):
        before = set(children())
        both = microphones({"fan": Input(None, 0, 16_000), "pump": Input(None, 1, 16_000)})
        with Ear(both["fan"]) as fan:
            first = set(children()) - before
            with Ear(both["pump"]) as pump:
                fan.hears()
                assert set(children()) - before == first
                assert len(first) == 1
            fan.hears()  # the child does not end with the second

            with Ear(both["pump"]) as pump:
                os.kill(first.pop(), signal.SIGKILL)
                assert "its process was ended by SIGKILL" in fan.loses()
                wait_until(lambda: pump.errors, "the other one is told")
                fan.hears()
                pump.hears()
                assert len(set(children()) - before) == 1

        assert set(children()) == before
        assert [both[name].restarts for name in ("fan", "pump")] == [1, 2]


# --- What befalls it ---


def test_taken_away_and_given_back_it_is_heard_again(
    virtual: VirtualMicrophone, record_property: Callable[[str, object], None]
) -> None:
    waits = []
    with ear(quick_card()) as listener:
        for _ in range(SOAK):
            virtual.unplug()
            listener.loses()
            n_before = len(listener.blocks)
            virtual.plug()
            plugged = time.monotonic()
            listener.hears()  # within PATIENCE_SECONDS, or it fails
            waits.append(time.monotonic() - plugged)
            assert listener.blocks[n_before].starts_anew
    record_property("longest_wait_seconds", round(max(waits), 2))
    print(f"{SOAK} times; heard again after {np.median(waits):.2f} s, at most {max(waits):.2f} s")

    assert sum(block.starts_anew for block in listener.blocks) == 1 + SOAK
    assert listener.microphone.restarts == SOAK
    assert listener.microphone.overruns == 0
    assert listener.microphone.gap_seconds > 0


def test_a_sound_server_that_dies_and_comes_back(virtual: VirtualMicrophone) -> None:
    with ear(quick_card(timeout_seconds=15)) as listener:
        virtual.kill()
        assert listener.loses() == "default: the stream has ended; unplugged?"
        assert listener.loses().startswith("default input: ")  # there is nothing to open now
        virtual.start()
        listener.hears()


def test_a_sound_server_that_hangs_and_goes_on(virtual: VirtualMicrophone) -> None:
    with ear(quick_card()) as listener:
        virtual.freeze()
        assert listener.loses() == "default: no sound for 1 s; unplugged, or its driver hangs"
        virtual.thaw()
        listener.hears()


def test_a_microphone_that_gives_nothing_is_lost_in_time(virtual: VirtualMicrophone) -> None:
    virtual.mute()
    began = time.monotonic()
    with pytest.raises(SourceError, match="default: no sound for 1 s; unplugged, or its driver hangs"):
        next(ear(quick_card()).microphone.blocks())
    assert time.monotonic() - began < 20


def test_a_process_that_is_stopped_is_killed(virtual: VirtualMicrophone) -> None:
    before = set(children())
    with ear(quick_card()) as listener:
        os.kill((set(children()) - before).pop(), signal.SIGSTOP)
        assert "no sound for 1 s" in listener.loses()
        listener.hears()


PARENT: Final = """
from edge.source import Microphone
for n, block in enumerate(Microphone(rate_hz=16_000).blocks()):
    if n == 0:
        print("heard", flush=True)
"""


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGSTOP])
def test_no_process_outlives_the_daemon(virtual: VirtualMicrophone, ended_by: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"heard\n"
    (child,) = children(parent.pid)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(child, number)  # as systemd and a terminal do to all: when to stop is the daemon's to say
    time.sleep(0.3)
    assert alive(child)

    parent.send_signal(ended_by)
    if ended_by == signal.SIGSTOP:  # hung for a while, and killed then: the pipe is full
        time.sleep(1.5)
        parent.kill()
    parent.wait()
    wait_until(lambda: not alive(child), "the child is gone")


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


# --- Faults of hardware, which PulseAudio has not: tests/real/alsafault.c ---


@contextmanager
def faulty(virtual: VirtualMicrophone, folder: Path, rates_hz: str = "") -> Iterator[Faults]:
    faults = Faults(folder, rates_hz=rates_hz)
    with heard_here(faults.environment):
        yield faults


def test_a_card_that_is_pulled_out_is_lost_though_portaudio_says_nothing(
    virtual: VirtualMicrophone, tmp_path: Path
) -> None:
    with faulty(virtual, tmp_path) as faults, ear(quick_card()) as listener:
        for _ in range(2):
            faults.set("u")
            assert listener.loses() == "default: no sound for 1 s; unplugged, or its driver hangs"
            assert "Inputs that are there: none at all" in listener.loses()
            faults.set("-")
            listener.hears()


def test_samples_lost_in_the_driver_are_a_gap(virtual: VirtualMicrophone, tmp_path: Path) -> None:
    with faulty(virtual, tmp_path) as faults, ear(quick_card()) as listener:
        for n in range(1, 4):
            faults.set("x")
            wait_until(lambda n=n: listener.microphone.overruns == n, "an overrun")  # type: ignore[misc]
            listener.hears()

    starts = [block for block in listener.blocks if block.starts_anew]
    assert len(starts) == 4
    assert [block.start_sample for block in starts] == [0] * 4
    assert listener.errors == []


def test_a_busy_card_says_so_and_how_to_free_it(virtual: VirtualMicrophone, tmp_path: Path) -> None:
    with faulty(virtual, tmp_path) as faults:
        faults.set("b")
        with pytest.raises(SourceError, match=r"^default input: busy: another program .* Stop that program; "):
            next(Microphone(rate_hz=16_000).blocks())
        with pytest.raises(SourceError, match=r"^default input: busy: "):
            describe_input(None)


def test_rates_that_a_card_has_not_are_refused_or_left_alone(virtual: VirtualMicrophone, tmp_path: Path) -> None:
    with faulty(virtual, tmp_path, rates_hz="48000,96000"):
        with pytest.raises(SourceError, match=r"default input: .*16000 Hz, .*Invalid sample rate"):
            describe_input(None, rate_hz=16_000)
        assert describe_input(None) == "default, 48000 Hz, 2 channel(s), channel 0"


# --- Names ---


@pytest.mark.parametrize("device", ["USB PnP", "card:Device", "usb:0d8c:0014"])
def test_an_unknown_name_lists_what_is_there(virtual: VirtualMicrophone, device: str) -> None:
    for look in (lambda: next(Microphone(device).blocks()), lambda: describe_input(device)):
        with pytest.raises(SourceError, match=f'^input "{device}": .*Inputs that are there: ') as refused:
            look()
        if ":" not in device:
            assert '"default"' in str(refused.value)


def test_a_channel_that_is_not_there(virtual: VirtualMicrophone) -> None:
    with pytest.raises(SourceError, match=r"default input: has \d+ channel\(s\), there is no channel 1000"):
        describe_input(None, channel=1000)


def test_without_portaudio_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"PortAudio is not installed .*apt install libportaudio2"):
        describe_input(None)
