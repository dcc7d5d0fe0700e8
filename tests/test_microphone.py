"""Microphones as far as they go without a sound card: the rest is in tests/real/test_microphone.py.

The process that holds the card is a real one here too, but it plays what the test wrote down for it (`PLAYER`).
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.settings import MicrophoneSettings, load
from edge.errors import ConfigError, SourceError
from edge.source import Block, Input, Microphone, microphones
from edge.source import capture as child
from edge.source.devices import cards, find_card, holder_of, wait_for_change
from edge.source.sound_card import Inbox, Opening, SoundCard

PLAYER = """
import json, os, sys, time
from array import array
from struct import pack

out = sys.stdout.buffer
def steps(wanted):
    for what, *values in wanted:
        if what == "repeat":
            for _ in range(values[0]):
                yield from steps(values[1])
        else:
            yield what, *values

for what, *values in steps(json.loads(sys.argv[1])):
    if what == "say":
        out.write(json.dumps(*values).encode() + b"\\n")
    elif what == "echo":
        out.write(json.dumps({"error": sys.argv[2], "busy": False, "inputs": None}).encode() + b"\\n")
    elif what == "frame":
        captured, lost, n_samples, *channels = values
        out.write(pack("=dI?", captured, n_samples, lost))
        for value in channels:
            out.write(array("f", [value] * n_samples).tobytes())
    elif what == "note":
        open(*values, "a").write(f"{os.getpid()} ")
    elif what == "raw":
        out.write(bytes.fromhex(*values))
    elif what == "exit":
        out.flush()
        os._exit(*values)
    elif what == "wait":
        out.flush()
        time.sleep(*values)
    out.flush()
"""

FOR_EVER = ["wait", 600]
MONO = ["say", {"name": "mic", "rate_hz": 16_000, "channels": 1}]


def playing(
    *what: Sequence[object], channels: tuple[int, ...] = (0,), timeout_seconds: float = 30.0, device: str | None = None
) -> SoundCard:
    """Return a card whose process does these things, each time it is opened, instead of listening."""
    command = (sys.executable, "-S", "-c", PLAYER, json.dumps(what))
    return SoundCard(device, channels=channels, block_seconds=0.1, timeout_seconds=timeout_seconds, command=command)


def frame(captured: float, *values: float, n: int = 1600, lost: bool = False) -> list[object]:
    return ["frame", captured, lost, n, *(values or (0.5,))]


def hear(card: SoundCard, *, channel: int | None = None) -> Microphone:
    return Microphone(channel=card.channels[0] if channel is None else channel, card=card)


def blocks_of(microphone: Microphone, n: int | None = None) -> list[Block]:
    """Return the first `n` blocks, or all until it is lost."""
    blocks: list[Block] = []
    if n is None:
        with pytest.raises(SourceError):
            blocks.extend(microphone.blocks())
        return blocks
    listening = microphone.blocks()
    blocks.extend(islice(listening, n))
    listening.close()  # type: ignore[attr-defined] # a generator: it lets go of the card
    return blocks


# --- Frames into blocks ---


def test_every_channel_gets_its_own_samples_and_the_time_of_their_capture() -> None:
    said: list[object] = ["say", {"name": "array", "rate_hz": 16_000, "channels": 4}]
    card = playing(said, frame(100.0, 0.25, -0.5, n=800), frame(100.05, 0.125, 1.0, n=1600), FOR_EVER, channels=(1, 3))
    for channel, values in ((1, (0.25, 0.125)), (3, (-0.5, 1.0))):
        first, second = blocks_of(hear(card, channel=channel), 2)

        np.testing.assert_array_equal(first.samples, np.full(800, values[0], np.float32))
        np.testing.assert_array_equal(second.samples, np.full(1600, values[1], np.float32))
        assert (first.start_sample, first.starts_anew, first.time, first.recording) == (0, True, 100.0, "array")
        assert (second.start_sample, second.starts_anew) == (800, False)
        assert second.time == pytest.approx(100.05)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_what_was_lost_begins_a_new_stretch_and_is_counted(rate_hz: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    n = rate_hz // 2
    times = [(10.0, False), (10.5, False), (13.0, True), (13.5, False)]
    said: list[object] = ["say", {"name": "mic", "rate_hz": rate_hz, "channels": 1}]
    microphone = hear(playing(said, *(frame(at, n=n, lost=lost) for at, lost in times), ["exit", 0]))
    blocks = blocks_of(microphone)

    assert [block.starts_anew for block in blocks] == [True, False, True, False]
    assert [block.start_sample == 0 for block in blocks] == [True, False, True, False]
    assert [block.time for block in blocks if block.starts_anew] == [10.0, 13.0]
    assert microphone.overruns == 1
    assert microphone.gap_seconds == pytest.approx(2.0, abs=0.1)  # the resampler holds some back
    assert "mic: samples were lost, gap no. 1, 2.0" in caplog.text
    assert f"mic: {rate_hz} Hz 1 ch -> 16000 Hz ch 0" in caplog.text


def test_what_was_lost_and_nobody_said_so_is_found_by_the_clock() -> None:
    captured = [n * 0.5 + (2.0 if n >= 10 else 0.0) for n in range(60)]
    microphone = hear(playing(MONO, *(frame(at, n=8000) for at in captured), ["exit", 0]))
    blocks = blocks_of(microphone)

    begins = [block for block in blocks if block.starts_anew]
    assert [block.time for block in begins] == [0.0, pytest.approx(17.5)]  # ten seconds and a half after they were lost
    assert microphone.overruns == 1
    assert microphone.gap_seconds == pytest.approx(2.0, abs=0.1)


def test_a_burst_after_a_pause_in_which_nothing_was_lost_is_no_gap() -> None:
    captured = [n * 0.5 + (3.0 - 0.5 * (n - 10) if 10 <= n < 16 else 0.0) for n in range(60)]
    microphone = hear(playing(MONO, *(frame(at, n=8000) for at in captured), ["exit", 0]))
    blocks = blocks_of(microphone)

    assert [block.starts_anew for block in blocks] == [True] + [False] * 59
    assert blocks[-1].time == pytest.approx(29.5, abs=0.05)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_time_follows_a_card_whose_clock_is_wrong(rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """900 ppm, followed in seconds here instead of minutes: uncorrected it would be 90 ms out at the end."""
    monkeypatch.setattr("edge.source.block.DRIFT_SECONDS", 10.0)
    captured = [index * 0.5 / (1 + 900e-6) for index in range(200)]
    said: list[object] = ["say", {"name": "mic", "rate_hz": rate_hz, "channels": 1}]
    microphone = hear(playing(said, *(frame(at, n=rate_hz // 2) for at in captured), ["exit", 0]))
    blocks = blocks_of(microphone)

    last = blocks[-1]
    assert last.time == pytest.approx(last.start_sample / 16_000 / (1 + 900e-6), abs=0.02)
    assert not any(block.starts_anew for block in blocks[1:])


def test_a_listener_that_falls_behind_loses_the_newest_and_learns_of_it() -> None:
    inbox = Inbox(0, max_pieces=2)
    opening = Opening("mic", 16_000, 1)
    for number in range(5):
        inbox.put(np.full(1, number, np.float32), float(number), False, opening)
    pieces = inbox.pieces()
    kept = [next(pieces), next(pieces)]
    inbox.put(np.full(1, 5, np.float32), 5.0, False, opening)
    inbox.put(np.full(1, 6, np.float32), 6.0, False, opening)

    heard = [(float(piece.samples[0]), piece.after_gap) for piece in [*kept, next(pieces), next(pieces)]]
    assert heard == [(0, False), (1, False), (5, True), (6, False)]
    assert inbox.dropped_seconds == pytest.approx(3 / 16_000)


# --- Ends ---


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ([MONO, FOR_EVER], "mic: no sound for 0.3 s; unplugged, or its driver hangs"),
        ([MONO, frame(0.0), FOR_EVER], "mic: no sound for 0.3 s"),
        ([MONO, ["raw", "00" * 5], FOR_EVER], "mic: no sound for 0.3 s"),
        ([MONO, frame(0.0), ["exit", 0]], "mic: the stream has ended; unplugged"),
        ([MONO, ["raw", "00" * 5], ["exit", 0]], "mic: the stream has ended; unplugged"),
        ([MONO, ["exit", 3]], "mic: its process ended with exit code 3"),
        ([MONO, ["raw", "ff" * 100], FOR_EVER], "mic: its process writes nonsense: a piece of 4294967295 samples"),
        ([MONO, frame(0.0, n=0), FOR_EVER], "mic: its process writes nonsense: a piece of 0 samples"),
        ([MONO, frame(0.0, float("nan"))], "mic: a sample is not a number"),
        ([MONO, frame(0.0, 1e9)], r"mic: a sample is 1e\+09"),
        ([["exit", 3]], "default input: cannot be opened: its process ended with exit code 3"),
        ([["raw", "ff0a"], FOR_EVER], "default input: cannot be opened: its process writes nonsense"),
        ([["say", {"name": "mic"}], FOR_EVER], "default input: cannot be opened: its process writes nonsense"),
        (
            [["repeat", 100, [["raw", "20" * 1000]]], FOR_EVER],
            "default input: cannot be opened: its process writes nonsense",
        ),
        (
            [["say", {"error": "no such thing", "busy": False, "inputs": ["Käse", "USB (hw:1,0)"]}]],
            'default input: no such thing. Inputs that are there: "Käse"$',
        ),
    ],
)
def test_whatever_becomes_of_the_process_is_an_error_that_says_so(what: list[Sequence[object]], words: str) -> None:
    card = playing(*what, timeout_seconds=0.3)
    microphone = hear(card)
    with pytest.raises(SourceError, match=words):
        list(microphone.blocks())


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SourceError, match="the process that records cannot be started"):
        next(hear(SoundCard(None, channels=[0], command=["/no/such/python"])).blocks())


def test_closing_ends_the_blocks_though_some_are_left() -> None:
    microphone = hear(playing(MONO, *(frame(n * 0.1) for n in range(5)), FOR_EVER))
    blocks = microphone.blocks()
    next(blocks)
    microphone.close()

    assert list(blocks) == []


def test_closing_wakes_who_waits() -> None:
    microphone = hear(playing(MONO, frame(0.0), FOR_EVER))
    blocks = microphone.blocks()
    next(blocks)
    threading.Timer(0.2, microphone.close).start()

    assert list(blocks) == []


def test_lost_and_heard_again_it_counts_what_it_missed() -> None:
    """After an error the same source is opened again; a close in between is no harm."""
    card = playing(MONO, frame(time.monotonic()), ["exit", 0])
    microphone = hear(card)
    assert len(blocks_of(microphone)) == 1
    microphone.close()
    card.command = playing(MONO, frame(time.monotonic() + 5), ["exit", 0]).command
    (again,) = blocks_of(microphone)

    assert again.starts_anew
    assert again.start_sample == 0
    assert microphone.restarts == 1
    assert microphone.overruns == 0
    assert 4.8 < microphone.gap_seconds < 60


# --- Who shares what ---


def test_channels_of_one_device_share_a_card_and_others_do_not() -> None:
    made = microphones(
        {
            "a": Input("card:Array", 0),
            "b": Input("card:Array", 3),
            "c": Input("card:Array", 3),
            "d": Input("card:Array", 0, 48_000),
            "e": Input(),
        }
    )
    shared = {name: microphone._card for name, microphone in made.items()}

    assert shared["a"] is shared["b"] is shared["c"]
    assert shared["a"].channels == [0, 3]
    assert len({id(card) for card in shared.values()}) == 3


def steady(starts: Path) -> list[list[object]]:
    """Note that it was started; then a frame every 10 ms, for ever."""
    said: list[object] = ["say", {"name": "mic", "rate_hz": 16_000, "channels": 2}]
    return [["note", str(starts)], said, ["repeat", 10**6, [frame(0.0, 0.1, -0.1, n=160), ["wait", 0.01]]]]


def test_the_process_ends_with_the_last_listener_and_starts_with_the_next(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    card = playing(*steady(pids), channels=(0, 1))
    first, second = hear(card, channel=0).blocks(), hear(card, channel=1).blocks()
    assert next(first).samples[0] == pytest.approx(0.1)
    assert next(second).samples[0] == pytest.approx(-0.1)
    first.close()  # type: ignore[attr-defined] # a generator
    next(second)
    (pid,) = pids.read_text().split()
    os.kill(int(pid), 0)  # it is there

    second.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)

    third = hear(card, channel=0).blocks()
    next(third)
    third.close()  # type: ignore[attr-defined]
    assert len(pids.read_text().split()) == 2


def test_many_who_come_and_go_leave_no_process_and_no_thread(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    card = playing(*steady(pids), channels=(0, 1))
    threads_before = threading.active_count()
    heard = [0] * 6

    def come_and_go(index: int) -> None:
        for n in range(5):
            for block in islice(hear(card, channel=index % 2).blocks(), 1 + (index + n) % 3):
                heard[index] += block.samples.size > 0

    listeners = [threading.Thread(target=come_and_go, args=(index,)) for index in range(6)]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        listener.join(60)

    assert heard == [sum(1 + (index + n) % 3 for n in range(5)) for index in range(6)]
    assert threading.active_count() == threads_before
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


# --- What runs in the process that holds the card ---


class Status(NamedTuple):
    """The one flag of PortAudio's that we read."""

    input_overflow: bool = False


@given(n_channels=st.integers(1, 8), n_samples=st.integers(1, 50), data=st.data())
def test_channels_are_taken_apart(n_channels: int, n_samples: int, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, n_channels - 1), min_size=1, unique=True).map(sorted))
    frames = np.arange(n_samples * n_channels, dtype=np.float32).reshape(n_samples, n_channels)
    planar = np.frombuffer(child._planar(frames.tobytes(), n_channels, wanted), np.float32)

    np.testing.assert_array_equal(planar.reshape(len(wanted), n_samples), frames.T[wanted])


def test_what_nobody_fetches_is_dropped_and_said() -> None:
    inbox = child._Inbox(2)
    for value in b"abc":
        inbox.put(bytes([value]), 1, None, Status())
    pieces = inbox.pieces(os.getppid())
    kept = [next(pieces), next(pieces)]
    inbox.put(b"d", 1, None, Status())
    inbox.put(b"e", 1, None, Status(input_overflow=True))
    kept += [next(pieces), next(pieces)]
    inbox.end()

    assert [(data, lost) for _, lost, data in kept] == [(b"a", False), (b"b", False), (b"d", True), (b"e", True)]
    assert list(pieces) == []


def test_importing_sources_loads_no_portaudio() -> None:
    code = "import edge.source, sys; sys.exit('sounddevice' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_process_loads_nothing_of_ours_and_no_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = (
        "import sys\nraise OSError(sorted({'numpy', 'edge', 'typing', 'soundfile', 'argparse'} & set(sys.modules)))"
    )
    (tmp_path / "sounddevice.py").write_text(report)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(
        SourceError, match=r"PortAudio is not installed \(\[\]\): on Debian, `apt install libportaudio2`"
    ):
        next(Microphone().blocks())


# --- Cards by name ---


class Computer:
    """/sys/class/sound and /proc of a computer, as far as they are read, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.sys_sound = folder / "sys/class/sound"
        self.proc = folder / "proc"
        self._devices = folder / "sys/devices"
        self.sys_sound.mkdir(parents=True)

    def plug(
        self,
        number: int,
        name: str,
        *,
        usb: str = "",
        port: str = "1-1",
        serial: str = "",
        product: str = "",
        records: bool = True,
    ) -> None:
        """Give card `number` the ALSA id `name`; usb: "VID:PID"."""
        device = self._devices / (f"usb1/{port}/{port}:1.0" if usb else f"platform/{name}")
        card = device / f"sound/card{number}"
        card.mkdir(parents=True)
        (card / "id").write_text(f"{name}\n")
        (card / "device").symlink_to("../..")
        (self.sys_sound / card.name).symlink_to(card)
        (self.sys_sound / f"pcmC{number}D0{'c' if records else 'p'}").mkdir()
        if usb:
            about = {"idVendor": usb[:4], "idProduct": usb[5:], "serial": serial, "product": product}
            for key, value in about.items():
                if value:
                    (device.parent / key).write_text(f"{value}\n")

    def unplug(self, number: int) -> None:
        for path in self.sys_sound.glob(f"*[dC]{number}*"):
            path.unlink() if path.is_symlink() else path.rmdir()

    def hold(self, number: int, pid: int, program: str = "") -> None:
        status = self.proc / f"asound/card{number}/pcm0c/sub0/status"
        status.parent.mkdir(parents=True)
        status.write_text(f"state: RUNNING\nowner_pid   : {pid}\ntrigger_time: 1.0\n")
        if program:
            (self.proc / str(pid)).mkdir()
            (self.proc / str(pid) / "comm").write_text(f"{program}\n")


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    made = Computer(tmp_path)
    made.plug(0, "Headphones", records=False)
    made.plug(1, "Device", usb="0d8c:0014", port="1-1.2", product="USB PnP Sound Device")
    made.plug(2, "Device_1", usb="0d8c:0014", port="1-1.3", product="USB PnP Sound Device")
    made.plug(10, "Array", usb="2886:0018", port="2-1", serial="A:B7", product="ReSpeaker 4 Mic Array")
    made.plug(4, "sndrpii2s")
    return made


@pytest.mark.parametrize(
    ("device", "number"),
    [
        ("usb:2886:0018", 10),
        ("usb:2886:0018:A:B7", 10),
        ("usb-port:2-1", 10),
        ("usb-port:1-1.2", 1),
        ("usb-port:1-1.3", 2),
        ("card:Device", 1),
        ("card:device_1", 2),
        ("card:sndrpii2s", 4),
    ],
)
def test_a_card_is_found_by_what_stays_its_own(computer: Computer, device: str, number: int) -> None:
    assert find_card(device, cards(computer.sys_sound)).number == number


@pytest.mark.parametrize(
    "device",
    [
        "usb:2886:0019",
        "usb:2886:0018:B7",
        "usb:2886",
        "usb-port:1-1",
        "usb-port:1-1.20",
        "card:1",
        "card:",
        "card:Headphones",
    ],
)
def test_a_wrong_name_lists_the_cards_as_they_can_be_written_down(computer: Computer, device: str) -> None:
    computer.hold(4, 812, "pipewire")
    with pytest.raises(SourceError) as refused:
        find_card(device, cards(computer.sys_sound), proc=computer.proc)

    assert str(refused.value) == (
        f'input "{device}": there is no such card. Inputs that are there: '
        "usb:0d8c:0014 or usb-port:1-1.2 or card:Device (USB PnP Sound Device); "
        "usb:0d8c:0014 or usb-port:1-1.3 or card:Device_1 (USB PnP Sound Device); "
        "card:sndrpii2s (held by pipewire (pid 812)); "
        "usb:2886:0018:A:B7 or usb:2886:0018 or usb-port:2-1 or card:Array (ReSpeaker 4 Mic Array)"
    )


def test_two_of_a_kind_are_told_apart_by_their_port(computer: Computer) -> None:
    with pytest.raises(SourceError, match=r"2 cards are called so, expected one\. .*usb-port:1-1\.2 .*usb-port:1-1\.3"):
        find_card("usb:0d8c:0014", cards(computer.sys_sound))


def test_a_computer_without_sound_has_no_cards(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Inputs that are there: none at all"):
        find_card("card:Device", cards(tmp_path / "no such folder"))


def test_a_card_is_looked_up_at_every_opening(computer: Computer) -> None:
    card = SoundCard(
        "card:Array",
        channels=[0],
        command=playing(["echo"]).command,
        sys_sound=computer.sys_sound,
        proc=computer.proc,
    )
    told = []
    for number in (10, 3):
        with pytest.raises(SourceError) as refused:
            card.describe()
        told.append(json.loads(str(refused.value).partition(": ")[2])["card"])
        computer.unplug(number)
        if number == 10:
            computer.plug(3, "Array", usb="2886:0018", port="1-1.4")

    assert told == ["hw:10,0", "hw:3,0"]
    with pytest.raises(SourceError, match='input "card:Array": there is no such card'):
        next(hear(card).blocks())


@pytest.mark.parametrize("busy", [True, False])  # False: PortAudio does not even list what others hold
def test_a_busy_card_is_said_to_be_and_by_whom(computer: Computer, busy: bool) -> None:
    computer.hold(10, 812, "pipewire")
    answer = {"error": "Device unavailable", "busy": busy, "inputs": None if busy else []}
    for device in ("card:Array", "ReSpeaker"):
        card = playing(["say", answer], device=device)
        card.sys_sound, card.proc = computer.sys_sound, computer.proc
        with pytest.raises(SourceError, match=r"pipewire \(pid 812\)") as refused:
            card.describe()
        if busy or device == "card:Array":
            assert str(refused.value).startswith(f'input "{device}": busy: ')
            assert "systemctl --user mask --now pipewire.socket" in str(refused.value)


def test_who_holds_a_card(computer: Computer) -> None:
    computer.hold(1, 812, "pulseaudio")
    computer.hold(2, 4000)  # its name is hidden from us
    closed = computer.proc / "asound/card10/pcm0c/sub0/status"
    closed.parent.mkdir(parents=True)
    closed.write_text("closed\n")

    there = cards(computer.sys_sound)
    assert [card.number for card in there] == [1, 2, 4, 10]
    holders = [holder_of(card, proc=computer.proc) for card in there]
    assert holders == ["pulseaudio (pid 812)", "pid 4000", None, None]


def test_of_a_card_with_two_inputs_the_first_is_meant(computer: Computer) -> None:
    """While it is held, PortAudio lists the other one only: that must not be taken in its place."""
    for device in (2, 10):
        (computer.sys_sound / f"pcmC4D{device}c").mkdir()
    (computer.sys_sound / "pcmC4D0c").rmdir()
    card = find_card("card:sndrpii2s", cards(computer.sys_sound))
    assert card.alsa_name == "hw:4,2"
    computer.hold(4, 812)  # device 0
    assert holder_of(card, proc=computer.proc) is None


def test_who_waits_for_a_card_need_not_wait_once_one_has_come(computer: Computer) -> None:
    stop = threading.Event()
    assert not wait_for_change(0.1, stop, computer.sys_sound)
    for change in (lambda: computer.plug(5, "New", usb="0d8c:0014", port="1-1.4"), lambda: computer.unplug(5)):
        timer = threading.Timer(0.1, change)
        timer.start()
        began = time.monotonic()
        assert wait_for_change(60, stop, computer.sys_sound)
        assert time.monotonic() - began < 30
        timer.join()
    stop.set()
    assert not wait_for_change(60, stop, computer.sys_sound)


# --- What config.yaml takes for a name ---


@pytest.mark.parametrize(
    ("device", "good"),
    [
        ("usb:0d8c:0014", True),
        ("usb:0d8c:0014:A:B7", True),
        ("usb-port:1-1.2", True),
        ("card:Device_1", True),
        ("USB PnP Sound Device", True),
        ("usb:d8c:14", False),
        ("usb-port:2", False),
        ("card:1", False),  # numbers are of this boot only
        ("hw:1,0", False),
        ("plughw:CARD=Device", False),
        ("3", False),
    ],
)
def test_a_device_is_named_by_what_stays(device: str, good: bool) -> None:
    values = {"name": "fan", "type": "microphone", "detector": "d", "device": device}
    if good:
        assert MicrophoneSettings.model_validate(values).device == device
    else:
        with pytest.raises(ValueError, match=r"expected usb:VID:PID\[:SERIAL\], usb-port:1-1\.2, card:ID, or a part"):
            MicrophoneSettings.model_validate(values)


def test_one_card_has_one_rate(tmp_path: Path) -> None:
    source = "{name: %s, type: microphone, detector: d, device: 'card:Array', channel: %d, rate_hz: %s}"
    file = tmp_path / "config.yaml"
    for rate, good in (("48000", True), ("null", False)):
        file.write_text(f"sources: [{source % ('a', 0, '48000')}, {source % ('b', 1, rate)}]")
        if good:
            assert len(load(file).sources) == 2
        else:
            with pytest.raises(ConfigError, match="one microphone has several rate_hz"):
                load(file)
