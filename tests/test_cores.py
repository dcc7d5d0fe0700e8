"""How many processors the trainer takes: those that are given to it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("joblib", reason="joblib: the train extra is not installed")

from tests.conftest import environment

ROOT = Path(__file__).parents[1]
SAY = "from trainer.cores import usable_cores; print(usable_cores(), usable_cores(1000))"


def said(omp_num_threads: str | None, affinity: set[int] | None = None) -> str:
    env = {key: value for key, value in environment().items() if key != "OMP_NUM_THREADS"}
    if omp_num_threads is not None:
        env["OMP_NUM_THREADS"] = omp_num_threads
    pin = f"import os; os.sched_setaffinity(0, {affinity}); " if affinity else ""
    done = subprocess.run([sys.executable, "-c", pin + SAY], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_one_that_is_pinned_to_a_processor_takes_one() -> None:
    some = next(iter(os.sched_getaffinity(0)))
    assert said(None, {some}) == "1 1"


@pytest.mark.parametrize(("variable", "expected"), [("1", 1), ("1,4", 1), ("64", None), ("", None), ("0", None)])
def test_a_batch_system_says_what_was_given(variable: str, expected: int | None) -> None:
    most = int(said(None).split()[0])
    assert said(variable) == f"{most if expected is None else expected} 1"


def test_nobody_counts_processors_for_himself() -> None:
    asking = [
        path.name
        for folder in ("edge", "trainer", "export", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bcpu_count\b", path.read_text(encoding="utf-8"))
    ]
    assert asking == ["cores.py"]
