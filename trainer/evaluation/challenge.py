"""The challenge's CSV files, as its official evaluator reads them (DCASE 2021 Task 2).

    <folder>/anomaly_score_<machine>_section_<NN>_<domain>_test.csv     section_03_source_test_0000.wav,9.0201
    <folder>/decision_result_<machine>_section_<NN>_<domain>_test.csv   section_03_source_test_0000.wav,1

No header, commas, "\\n"; 1 is an anomaly. The evaluator sorts the rows and matches them to its ground truth by their
place, so every clip must be there: a clip without a score would shift the rest, and is refused.
https://github.com/y-kawagu/dcase2021_task2_evaluator
"""

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge.errors import EarshotError
from trainer.dataset import Clip
from trainer.evaluation.scores import Scored, write_whole

log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Machine, section, domain."""


def write_challenge(scored: Sequence[Scored], folder: Path, score: str, expected: Sequence[Clip] = ()) -> list[Path]:
    """Write scores and, where clips have a threshold, decisions; return the files.

    score: which score of each clip, over which threshold.
    expected: the test clips that there are; EarshotError names those that have no score.
    """
    given = {s.clip.path for s in scored}
    if lacking := [clip.path for clip in expected if clip.path not in given]:
        raise EarshotError(
            f"{lacking[0]}: no score, and {len(lacking) - 1} more: expected one for every clip, because the evaluator "
            "tells clips by their place"
        )
    groups: dict[Key, list[Scored]] = {}
    for s in scored:
        groups.setdefault((s.clip.machine, s.clip.section, s.clip.domain), []).append(s)

    written = []
    for (machine, section, domain), own in sorted(groups.items()):
        if "_" in machine:
            log.warning("machine %s: the evaluator cuts names of files at underscores and would misread it", machine)
        rows = sorted(((s.clip.path.with_suffix(".wav").name, s) for s in own), key=lambda row: row[0])
        columns = {"anomaly_score": [f"{s.scores[score]:.9g}" for _, s in rows]}
        if all(score in s.thresholds for s in own):
            columns["decision_result"] = [str(int(s.scores[score] > s.thresholds[score])) for _, s in rows]
        for what, values in columns.items():
            path = folder / f"{what}_{machine}_section_{section}_{domain}_test.csv"
            write_whole(path, _csv(zip((name for name, _ in rows), values, strict=True)))
            written.append(path)
    return written


def _csv(rows: Iterable[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
