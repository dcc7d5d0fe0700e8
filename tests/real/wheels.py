"""Wheels of this checkout and of all that it needs, for boxes without a network."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_GLIBC: Final = ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "2014", "_2_12", "_2_5")
"""Older than that of any Debian that has a Python we run on; manylinux2014 is another name of 2.17."""


def fill(folder: Path, python: str) -> None:
    """Lay wheels for a Python, such as 3.13, on this machine's processor into a folder: what an installation takes."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    platforms = [f"--platform=manylinux{glibc}_{platform.machine()}" for glibc in _GLIBC]
    another = [f"--python-version={python}", "--implementation=cp", *platforms, "--only-binary=:all:"]
    pinned = ["--require-hashes", "--requirement", str(ROOT / "systemd/requirements.txt")]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    _run([*pip, "download", *([] if python == own else another), "--dest", str(folder), *pinned])
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
