"""Grades a detector on labelled clips, through the same line that it listens with on a device."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from edge.archive import score_file
from edge.detector import Detector
from edge.errors import EarshotError
from edge.line import Line
from edge.scorer import SCORE_NAMES, ScoreName
from trainer.dataset import Clip

log = logging.getLogger(__name__)

PAUC_MAX_FPR = 0.1
"""p of the paper's pAUC; the partial area is corrected after McClish, as the DCASE evaluators do."""


@dataclass(frozen=True)
class Scored:
    """A labelled clip and every score of it."""

    clip: Clip
    scores: Mapping[ScoreName, float]


@dataclass(frozen=True)
class Grade:
    """How well one score tells the anomalies of one section (and domain, or both) from its normal clips."""

    machine: str
    section: str
    domain: str
    score: ScoreName
    auc: float
    pauc: float
    n_normal: int
    n_anomaly: int
    false_alarms: float
    """Share of the normal clips above the detector's threshold."""
    hits: float
    """Share of the anomalies above it."""

    @property
    def hmean(self) -> float:
        """Harmonic mean of AUC and pAUC."""
        return float(hmean([self.auc, self.pauc]))


def score_clips(detector: Detector, clips: Iterable[Clip]) -> tuple[list[Scored], list[str]]:
    """Score the labelled test clips of every section that the detector has; return them, and why others have none."""
    wanted = [clip for clip in clips if clip.split == "test" and clip.label and clip.name in detector.sections]
    lines: dict[str, Line] = {}
    scored, skipped = [], []
    for clip in tqdm(wanted, "score", unit="clip"):
        line = lines.setdefault(clip.name, Line(detector, detector.sections[clip.name]))
        try:
            scored.append(Scored(clip, score_file(line, clip.path)))
        except EarshotError as error:
            skipped.append(str(error))
    return scored, skipped


def grade(detector: Detector, scored: Sequence[Scored]) -> list[Grade]:
    """Return the grades of every section, in both domains together and in each, for every score.

    Cells with clips of one label only have no grade.
    """
    grades = []
    for name, section in detector.sections.items():
        own = [s for s in scored if s.clip.name == name]
        domains = sorted({s.clip.domain for s in own})
        for domain in ["all", *(domains if len(domains) > 1 else [])]:
            cell = [s for s in own if domain in ("all", s.clip.domain)]
            truth = np.array([s.clip.label == "anomaly" for s in cell])
            if not truth.any() or truth.all():
                continue
            for score in (s for s in SCORE_NAMES if s in section.card.thresholds):
                values = np.array([s.scores[score] for s in cell])
                above = values > section.card.thresholds[score]
                grades.append(
                    Grade(
                        machine=section.card.machine,
                        section=section.card.section,
                        domain=domain,
                        score=score,
                        auc=float(roc_auc_score(truth, values)),
                        pauc=float(roc_auc_score(truth, values, max_fpr=PAUC_MAX_FPR)),
                        n_normal=int((~truth).sum()),
                        n_anomaly=int(truth.sum()),
                        false_alarms=float(above[~truth].mean()),
                        hits=float(above[truth].mean()),
                    )
                )
    return grades


def table(grades: Sequence[Grade]) -> str:
    """Return the grades as text: AUC / pAUC, a row a section and domain, a column a score, and a mean per machine."""
    names = [name for name in SCORE_NAMES if any(g.score == name for g in grades)]
    lines = [f"{'AUC / pAUC':28}" + "".join(f"{name:>16}" for name in names)]
    for machine in dict.fromkeys(g.machine for g in grades):
        own = [g for g in grades if g.machine == machine]
        rows = dict.fromkeys((g.section, g.domain) for g in own)
        for section, domain in rows:
            label = f"{machine} {section}" + ("" if domain == "all" else f"  {domain}")
            lines.append(_row(label, names, [g for g in own if (g.section, g.domain) == (section, domain)]))
        whole = [g for g in own if g.domain == "all"]
        lines.append(_row(f"{machine} mean", names, whole))
        harmonic = [[g.hmean for g in whole if g.score == name] for name in names]
        lines.append(f"{f'{machine} harmonic mean':28}" + "".join(f"{_hmean(values):>16}" for values in harmonic))
    return "\n".join(lines)


def _row(label: str, names: Sequence[ScoreName], grades: Sequence[Grade]) -> str:
    cells = []
    for name in names:
        own = [g for g in grades if g.score == name]
        cells.append(f"{np.mean([g.auc for g in own]):.3f} / {np.mean([g.pauc for g in own]):.3f}" if own else "-")
    return f"{label:28}" + "".join(f"{cell:>16}" for cell in cells)


def _hmean(values: Sequence[float]) -> str:
    return f"{float(hmean(values)):.3f}" if values else "-"
