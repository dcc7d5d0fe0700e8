"""What a decision costs each hop, beside another version of this project, in one run.

    git worktree add ../peer 76ecdea && python -m benchmarks.hop ../peer

Each version runs in a process of its own, with a detector that it makes for itself: the streaming preset with random
weights, of which a simulated pump is a section that was trained on. They take turns: so many hops one, so many the
other, processor time. A decision is a hop of sound through line and judge.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Table, ms

Samples = NDArray[np.float32]

CLASSES: Final = 36
LEARNT: Final = 4
LEARNT_SECONDS: Final = 60.0
HEARD_SECONDS: Final = 40.0
WARM_HOPS: Final = 60
TURNS: Final = 60
HOPS_A_TURN: Final = 5
REPETITIONS: Final = 3

ROOMS: Final = ("edge.detector", "edge.detector.enrolment", "edge.ear")
ROOMS_BEFORE: Final = ("edge.detector", "edge.enroll", "edge.frontend", "edge.judge", "edge.line", "edge.model")
"""Where this version has what a line is made of, and where 76ecdea had it."""


class Version:
    """A checkout at work: hears when asked."""

    def __init__(self, folder: Path) -> None:
        """Start it; returns before it is ready."""
        # This file with the other one's modules.
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, "--work"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self, n_hops: int) -> float:
        """Return what each of the next hops took, s."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{n_hops}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> "Version":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def beside(peer: Path) -> Table:
    """Return what a decision takes here and there."""
    with ExitStack() as stack:
        versions = [stack.enter_context(Version(folder)) for folder in (Path(__file__).parents[1], peer)]
        for version in versions:
            version.hear(WARM_HOPS)
        rows = []
        for repetition in range(REPETITIONS):
            turns = [[version.hear(HOPS_A_TURN) for version in versions] for _ in range(TURNS)]
            own, other = (statistics.median(column) for column in zip(*turns, strict=True))
            rows.append([f"{repetition + 1}", ms(own), ms(other), f"{own / other:.2f}"])
    note = f"Milliseconds of processor; medians of {TURNS} turns of {HOPS_A_TURN} hops."
    return Table("A decision a hop", ["repetition", "here", f"{peer.name}", "ratio"], rows, note)


def work() -> None:
    """Be a version: for each line of stdin hear so many hops, and say what one took."""
    with tempfile.TemporaryDirectory() as folder:
        decide, hop_samples = _decision(Path(folder))
        heard = _sound("heard", HEARD_SECONDS)
        hops = [heard[at : at + hop_samples] for at in range(0, heard.size - hop_samples, hop_samples)]
        n_heard = 0
        for line in sys.stdin:
            started = time.process_time()
            for _ in range(int(line)):
                decide(hops[n_heard % len(hops)], n_heard * hop_samples / 16_000)
                n_heard += 1
            print((time.process_time() - started) / int(line), flush=True)


def _decision(folder: Path) -> tuple[Callable[[Samples, float], None], int]:
    """Return what decides on a hop that ends at a time, s, and how many samples a hop has."""
    is_old = find_spec("edge.line") is not None
    of = _Rooms(ROOMS_BEFORE if is_old else ROOMS)
    model, card = _network(folder, of)
    bare = of.Detector(folder, card, model, {}, "")
    ear = of.Ear(bare) if is_old else bare.ear()
    stretches = []
    for i in range(LEARNT):
        ear.reset()
        stretches.append(of.Stretch(f"{i}", ear.feed(_sound(f"learnt {i}", LEARNT_SECONDS))))
    plan = bare.plan
    section = of.learn_section(
        "pump",
        "00",
        of.normal_windows(ear, stretches),
        class_index=0,
        promise=of.Promise(0.01),
        **({"hop_seconds": plan.hop_seconds} if is_old else {"plan": plan}),
    )
    card = card.model_copy(update={"sections": [section.card]})
    detector = of.Detector(folder, card, model, {section.card.name: section}, "")
    line = of.Line(detector, section)
    judge = of.Judge(import_module("edge.config").EventSettings(), detector, section)

    def decide(samples: Samples, end: float) -> None:
        for reading in line.feed(samples):
            judge.hear(reading, end)

    return decide, plan.hop_samples


class _Rooms:
    """What is called so in any of these modules."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._modules = [import_module(name) for name in names]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # a class or a function of another version
        return next(getattr(module, name) for module in self._modules if hasattr(module, name))


def _network(folder: Path, of: _Rooms) -> tuple[Any, Any]:
    """Return a streaming network with random weights, and the card of a detector that has it."""
    import torch  # not in the process that only counts

    networks = import_module("trainer.network")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = networks.Network(networks.preset("streaming"), CLASSES).eval()
    import_module("export.graph").write_onnx(network, folder / "model.onnx", {})
    frontend = of.FrontendSettings()
    card = of.Card(
        name="hop",
        version="",
        created="",
        frontend=asdict(frontend),
        frontend_fingerprint=frontend.fingerprint,
        window_frames=network.settings.window_frames,
        network=asdict(network.settings),
        classes=[f"{i}" for i in range(CLASSES)],
        sections=[],
        score="fused",
        false_alarm_rate=0.01,
        training={},
        metrics={},
    )
    return of.Model(folder / "model.onnx"), card


def _sound(name: str, seconds: float) -> Samples:
    simulator = import_module("trainer.simulator.recording")
    scene = simulator.Scene(machine="pump", section=0, domain="source", name=name, seed=0)
    sound: Samples = simulator.clip(scene, seconds=seconds).astype(np.float32)
    return sound


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hop", description=__doc__.split("\n")[0])
    parser.add_argument("peer", type=Path, nargs="?", help="a checkout of another version")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.work:
        work()
    elif wanted.peer is None:
        parser.error("expected a checkout of another version")
    else:
        print(beside(wanted.peer.resolve()).as_markdown())


if __name__ == "__main__":
    main()
