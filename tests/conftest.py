"""What several tests need: a small network and detector made on the spot, sounds, and where real recordings lie."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from numpy.typing import NDArray

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
