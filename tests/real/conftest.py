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
    pip = [sys.executable, "-m", "pip"]
    pinned = ["--require-hashes", "--requirement", str(root / "systemd/requirements.txt")]
    for command in (["download", "--dest", str(folder), *pinned], ["wheel", "--no-deps", "-w", str(folder), str(root)]):
        subprocess.run([*pip, *command, "--quiet"], check=True, stdin=subprocess.DEVNULL)
    return folder
