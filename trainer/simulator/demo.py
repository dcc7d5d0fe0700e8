"""Makes what the repository ships: the recording that `make run` plays, `edge/demo/recordings/pump.flac`.

    python -m trainer.simulator.demo edge/demo/recordings

The detector beside it was made from recordings of the same simulated machines:

    earshot simulate DATA --sections 2 --train-source 24 --train-target 3 --test 12
    earshot train DATA --output RUN
    earshot export RUN --output edge/demo/detector --name simulated-pump --section pump/00 --false-alarm-rate 0.001

and `edge/demo/clips` are six of the test clips in DATA, which the network has not heard.
"""

import sys
from pathlib import Path

import soundfile

from trainer.simulator.recording import episode


def main(folder: Path) -> None:
    """Write 45 s of a pump whose bearing begins to knock after 14 s, and is mended 10 s later."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = episode("pump", 0, fault="bearing", start_seconds=14, end_seconds=24, seconds=45, seed=0)
    soundfile.write(folder / "pump.flac", samples, 16_000, subtype="PCM_16")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
