"""What more than one file of these tests needs."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of this checkout and of all that it needs."""
    folder = tmp_path_factory.mktemp("wheels")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), f"{root}[web]"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return folder
