"""The map of a report: where the clips lie in the embedding of the detector that has their section."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from tqdm import tqdm

from edge.detector import Detector, measure
from edge.errors import EarshotError
from trainer.dataset import Clip
from trainer.report.content import Kind, Point

MAP_CLIPS: Final = 3000
"""On all maps together: each goes through the network once more."""

CELL_CLIPS: Final = (24, 120)
"""At least and at most, of each section and of each of: training clips, normal test clips, anomalies."""


def points_of(owners: Mapping[str, Detector], clips: Sequence[Clip], notes: list[str]) -> Iterator[Point]:
    """Yield the clips as points, thinned where there are many; those that cannot be read are added to the notes.

    owners: the detector of each section, by `machine/section`.
    """
    ears = {detector.path: detector.ear() for detector in owners.values()}
    for clip, kind in tqdm(list(_mapped(owners, clips)), "map", unit="clip"):
        detector = owners[clip.name]
        try:
            heard = measure(ears[detector.path], clip.path, clip.pickup)
        except EarshotError as error:
            notes.append(f"not on the map: {error}")
            continue
        embedding = np.stack([own.embedding for own in heard]).mean(axis=0)
        yield Point(clip.name, kind, embedding, space=detector.sha256)


def _mapped(owners: Mapping[str, Detector], clips: Sequence[Clip]) -> Iterator[tuple[Clip, Kind]]:
    """Yield clips and their kind, evenly thinned to `CELL_CLIPS` of a section and kind."""
    cells: dict[tuple[str, Kind], list[Clip]] = {}
    for clip in clips:
        kind: Kind | None = "train" if clip.split == "train" else clip.label
        if clip.name in owners and kind:
            cells.setdefault((clip.name, kind), []).append(clip)
    most = int(np.clip(MAP_CLIPS / max(1, len(cells)), *CELL_CLIPS))
    for (_, kind), own in cells.items():
        step = max(1.0, len(own) / most)
        yield from ((own[int(i * step)], kind) for i in range(int(len(own) / step)))
