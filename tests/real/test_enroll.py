"""`earshot enroll` by a microphone of real PortAudio: it checks, listens, is stopped, and goes on."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import COMMAND, DEMO, environment
from tests.real.microphone import VirtualMicrophone


def enroll(output: Path, microphone: VirtualMicrophone) -> "subprocess.Popen[bytes]":
    options = ["--minutes", "5", "--detector", str(DEMO / "detector"), "--output", str(output), "--json"]
    return subprocess.Popen(
        [*COMMAND, "enroll", "fan", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment(), **microphone.environment},
    )


@contextmanager
def records(process: "subprocess.Popen[bytes]") -> Iterator[Iterator[dict[str, Any]]]:
    assert process.stdout is not None
    try:
        yield (json.loads(line) for line in process.stdout)
    finally:
        process.kill()
        process.communicate()


def test_a_microphone_is_checked_and_what_it_heard_outlives_a_stop(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 2000, (16_000 * 300, 1)).astype(np.int16)
    with VirtualMicrophone() as microphone:
        process = enroll(tmp_path / "fan", microphone)
        microphone.play(noise)
        with records(process) as told:
            assert next(told)["stage"] == "checking"
            until = time.monotonic() + 120
            progress = next(each for each in told if each["running_minutes"] > 0.05 or time.monotonic() > until)
            assert progress["stage"] == "listening"
            assert progress["missing_minutes"] < 5
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        assert (tmp_path / "fan.heard").stat().st_size > 1000
        assert not (tmp_path / "fan").exists()

        again = enroll(tmp_path / "fan", microphone)
        with records(again) as told:
            assert next(told)["running_minutes"] > 0.05


def test_a_silent_microphone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with VirtualMicrophone() as microphone:
        process = enroll(tmp_path / "fan", microphone)
        try:
            _, stderr = process.communicate(timeout=150)
        finally:
            process.kill()
    assert process.returncode == 1
    assert b"nothing is learnt from this sound" in stderr
    assert b"silent" in stderr
