"""Scores a detector's test clips through the same line that it listens with on a device."""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from tqdm import tqdm

from edge.detector import Detector, Line, Section, score_file
from edge.errors import EarshotError
from edge.judge import Domain
from trainer.dataset import Clip
from trainer.evaluation.scores import Scored, System

DomainRule = Literal["min", "oracle"]
"""Which normal cloud a clip is held against.

min     the nearer one of those that the section knows: nobody tells a customer's device which domain it hears
oracle  that of the clip's own domain, as in the paper and the challenge, where the file name tells it
"""

DOMAIN_RULES: Final[tuple[DomainRule, ...]] = get_args(DomainRule)


def score_clips(
    detector: Detector, clips: Iterable[Clip], domain: DomainRule = "min"
) -> tuple[list[Scored], list[str]]:
    """Score the test clips of every section that the detector has; return them, and why others have no score.

    Clips without a label are scored too. Thresholds are the detector's, which were calibrated with `min`.
    """
    wanted = [clip for clip in clips if clip.split == "test" and clip.name in detector.sections]
    lines: dict[tuple[str, Domain | None], Line] = {}
    scored, skipped = [], []
    for clip in tqdm(wanted, "score", unit="clip"):
        section = detector.sections[clip.name]
        known = _known_domain(section, clip) if domain == "oracle" else None
        if (clip.name, known) not in lines:
            lines[clip.name, known] = Line(detector, section, known)
        try:
            scores = score_file(lines[clip.name, known], clip.path, clip.pickup)
        except EarshotError as error:
            skipped.append(str(error))
            continue
        thresholds = {str(score): value for score, value in section.card.thresholds.items()}
        scored.append(Scored(clip, {str(score): value for score, value in scores.items()}, thresholds))
    return scored, skipped


def score_detector(
    detector: Detector, clips: Iterable[Clip], domain: DomainRule = "min", *, name: str | None = None
) -> tuple[System, list[str]]:
    """Score a detector as a system: its name and seed from its card unless told otherwise; and what was left out."""
    scored, skipped = score_clips(detector, clips, domain)
    recipe = detector.card.training.get("recipe", {})
    about = f"{detector.card.network.get('preset', '')} network of {detector.path.name}".lstrip()
    return System(
        name or detector.card.name, int(recipe.get("seed", 0)), about, scored, default_score=detector.card.score
    ), skipped


def _known_domain(section: Section, clip: Clip) -> Domain | None:
    """The clip's own domain, or None (the nearest) where the section has never heard that one."""
    return clip.domain if clip.domain in section.card.domains else None
