"""What several tests need: a small network and detector made on the spot, sounds, and where real recordings lie."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from numpy.typing import NDArray

from edge import detector as detectors
from edge.cli import main
from edge.detector.sections import Section

settings.register_profile("earshot", deadline=None)  # a busy machine is no defect
settings.load_profile("earshot")

REAL_DATA = Path(os.environ.get("EARSHOT_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Recordings that are not ours to ship; the tests that need them are skipped where they are missing."""

needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"real recordings: {REAL_DATA} is not there")

DEMO = Path(__file__).parents[1] / "edge" / "demo"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def demo_detector() -> Path:
    return DEMO / "detector"


@pytest.fixture(scope="session")
def demo_recording() -> Path:
    return next((DEMO / "recordings").glob("*.flac"))


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """Write samples, 16 kHz mono 16-bit unless told otherwise, and return the path."""

    def write(name: str, samples: NDArray[np.float32], rate_hz: int = 16_000, subtype: str = "PCM_16") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate_hz, subtype=subtype)
        return path

    return write


# --- The command, as a person calls it ---


class Ran(NamedTuple):
    """What became of a command."""

    code: int
    stdout: str
    stderr: str


COMMAND = [sys.executable, "-c", "from edge.cli import main; main()"]
"""`earshot`, in a process of its own."""


def environment() -> dict[str, str]:
    """A process's environment: our modules, and standard streams that refuse what is no UTF-8, as in most locales."""
    return {**os.environ, "PYTHONPATH": str(DEMO.parents[1]), "PYTHONIOENCODING": "utf-8:strict"}


def run_process(command: Sequence[str | Path], stdin: bytes = b"") -> Ran:
    """Run a command to its end. What it prints need not be UTF-8: names of files are not."""
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment(), check=False)
    return Ran(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


@pytest.fixture
def earshot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """Call the entry point of `earshot` with these arguments, in this process: for all that needs none of its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["earshot", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, *capsys.readouterr())

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def three_sections(demo_detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of pump/00, pump/01 and fan/00: thrice the shipped section, with thresholds 1, 2 and 3."""
    demo = detectors.read(demo_detector)
    only = demo.section(None)

    def renamed(machine: str, section: str, threshold: float) -> Section:
        thresholds = dict.fromkeys(only.card.thresholds, threshold)
        card = only.card.model_copy(update={"machine": machine, "section": section, "thresholds": thresholds})
        return replace(only, card=card)

    sections = [renamed("pump", "00", 1.0), renamed("pump", "01", 2.0), renamed("fan", "00", 3.0)]
    assert demo.card.golden is not None
    golden = demo.card.golden.model_copy(update={"section": "pump/00"})
    written = detectors.write(
        tmp_path_factory.mktemp("detectors") / "three",
        demo.card.model_copy(update={"sections": [section.card for section in sections], "golden": golden}),
        {section.card.name: section for section in sections},
        model=demo.path / "model.onnx",
        golden=demo.path / "golden.flac",
        model_card="# three\n",
    )
    return written.path
