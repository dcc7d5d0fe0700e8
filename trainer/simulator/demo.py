"""Makes what the repository ships: the pump that `make run` plays, six clips of it, and the detector that hears it.

    python -m trainer.general DATA --output RUN
    earshot export RUN --texture --output GENERAL --name general
    python -m trainer.simulator.demo GENERAL edge/demo

The pump is enrolled from clips of its normal sound on a network that has heard neither it nor them: simulated machines
of that network's training are of another factory (another seed), and the six clips are test clips. Its card says that
it is an example, and what it would hear.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import soundfile

from edge import detector as detectors
from edge.detector import EXAMPLE, enroll
from trainer.simulator.dataset import Plan, write
from trainer.simulator.recording import episode

PUMP: Final = Plan(machines=("pump",), sections=1, train_source=48, train_target=0, test=12)
"""Eight minutes of normal sound, each clip a start of its own."""

_FAULT: Final = re.compile(r"fault_([a-z]+)_sev_(\d+)")


def main(base: Path, demo: Path) -> None:
    """Write `recordings`, `clips` and `detector` of the demo, which is enrolled on `base`."""
    _write_recording(demo / "recordings")
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "made")
        write(made, PUMP)
        clips = demo / "clips" / "pump" / "test"
        shutil.rmtree(clips, ignore_errors=True)
        clips.mkdir(parents=True)
        for path in _chosen(made / "pump" / "test"):
            shutil.copyfile(path, clips / path.name)
        normal, network = sorted(made.glob("pump/train/*")), detectors.read(base)
        enroll("pump", normal, network, demo / "detector", limits=True, notes={EXAMPLE: True})
    shutil.rmtree(demo / "detector.old", ignore_errors=True)


def _chosen(test: Path) -> list[Path]:
    """Return three clips of the healthy pump, and of each fault the worst."""
    worst: dict[str, tuple[int, Path]] = {}
    for path in sorted(test.glob("section_00_source_*_anomaly_*")):
        named = _FAULT.search(path.stem)
        if named is not None:
            worst[named[1]] = max(worst.get(named[1], (0, path)), (int(named[2]), path))
    return [*sorted(test.glob("section_00_source_*_normal_*"))[:3], *(path for _, path in worst.values())]


def _write_recording(folder: Path) -> None:
    """Write 45 s of a pump whose bearing begins to knock after 14 s, and is mended 10 s later."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = episode("pump", 0, fault="bearing", start_seconds=14, end_seconds=24, seconds=45, seed=0)
    soundfile.write(folder / "pump.flac", samples, 16_000, subtype="PCM_16")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
