"""`python -m benchmarks`: measure, print, and with `--report` write benchmarks/README.md anew.

Training takes minutes, so it is measured with `--training` only; a report without it keeps the figures that were there.
"""

import argparse
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.measure import ROUNDS, Table
from benchmarks.streaming import archive_replay, contenders, decision_every_hop, many_microphones
from benchmarks.training import training_step
from trainer.cores import usable_cores

REPORT: Final = Path(__file__).with_name("README.md")

FAST_FLAGS: Final = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "asimddp", "bf16")
"""What decides how fast a convolution is, as /proc/cpuinfo calls it on x86 and on ARM."""

PREFACE: Final = """# What the line costs

This page is written by `python -m benchmarks --report` (under a minute; it needs the `train` extra), its end by
`--training --report` (minutes). `make bench` prints the same. Nothing here is a test: no figure fails anything.

Milliseconds are processor time of one thread, the median of {rounds} rounds in which every contender has its turn, so
that whatever else the computer does disturbs all alike. They differ from computer to computer, and from run to run
where something else computes beside them: compare within a table. Weights are random; speed does not depend on them.

Measured on {machine}.
"""

AFTERWORD: Final = """## Where the time goes

Measured once, on one core of an x86 with AVX-512, and not again by this program.

Of a step, by onnxruntime's profiler: convolutions 65 %, cutting and joining the cached columns (Slice, Concat) 19 %,
changing their layout for the convolutions and back (ReorderInput, ReorderOutput) 13 %, the rest 3 %. Whole windows have
no caches to cut and join.

What follows a step finds the caches full of weights: frames that take 0.14 ms when made again and again take 0.3 to
0.4 ms then, band statistics 0.3 instead of 0.2, the scores 0.24 instead of 0.05.
"""


TRAINING: Final = "# What training costs\n"
"""Begins the part of the report that `--training` measures."""


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what the line costs.")
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.name} beside this file, too")
    parser.add_argument("--training", action="store_true", help="measure a training step too, in minutes")
    wanted = parser.parse_args()

    with contenders() as made:
        tables = [measure(made) for measure in (decision_every_hop, many_microphones, archive_replay)]
    for table in tables:
        print(table.as_markdown())
    if wanted.training:
        step = training_step()
        print(step.as_markdown())
    if wanted.report:
        training = _training_part(step) if wanted.training else _training_part_before()
        REPORT.write_text(_report(tables) + training, encoding="utf-8")
        print(f"wrote {REPORT}", file=sys.stderr)


def _report(tables: list[Table]) -> str:
    preface = PREFACE.format(rounds=ROUNDS, machine=_machine())
    return "\n".join([preface, *(table.as_markdown() for table in tables), AFTERWORD])


def _training_part(step: Table) -> str:
    return f"\n{TRAINING}\nMeasured on {_machine()}.\n\n{step.as_markdown()}"


def _training_part_before() -> str:
    before = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    _, heading, rest = before.partition(f"\n{TRAINING}")
    return heading + rest


def _machine() -> str:
    """Say what this was measured on, without saying when or whose it is."""
    described: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        described.setdefault(key.strip().lower(), value.strip())
    flags = (described.get("flags") or described.get("features", "")).split()
    fast = " ".join(flag for flag in FAST_FLAGS if flag in flags)
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("numpy", "onnxruntime", "torch"))
    return (
        f"{platform.machine()}, {described.get('model name', 'processor not named')}, {usable_cores()} cores ({fast}); "
        f"Python {platform.python_version()}, {versions}"
    )


if __name__ == "__main__":
    main()
