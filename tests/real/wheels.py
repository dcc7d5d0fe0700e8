"""Wheels of this checkout and of all that it needs, for boxes without a network."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_GLIBC: Final = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""Older than that of any Debian that has a Python we run on."""


def fill(folder: Path, python: str) -> None:
    """Lay wheels for a Python, such as 3.13, on this machine's processor into a folder: what an installation takes."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    platforms = [f"--platform=manylinux_{glibc}_{platform.machine()}" for glibc in _GLIBC]
    another = [f"--python-version={python}", "--implementation=cp", *platforms, "--only-binary=:all:"]
    pinned = ["--require-hashes", "--requirement", str(ROOT / "systemd/requirements.txt")]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    _run([*pip, "download", *([] if python == own else another), "--dest", str(folder), *pinned])
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
