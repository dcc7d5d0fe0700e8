"""Scores a detector's test clips through the same line that it listens with on a device."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

from tqdm import tqdm

from edge.detector import Detector, Line, Section, score_through
from edge.ear import Measurement
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


def score_clips(detector: Detector, clips: Iterable[Clip], rule: DomainRule = "min") -> tuple[list[Scored], list[str]]:
    """Score the test clips of every section that the detector has; return them, and why others have no score.

    Clips without a label are scored too. Thresholds are the detector's, which were calibrated with `min`.
    """
    scored, skipped = _score_by_rules(detector, clips, (rule,))
    return scored[rule], skipped


def score_detector(
    detector: Detector, clips: Iterable[Clip], rules: Sequence[DomainRule], *, name: str | None = None
) -> tuple[dict[DomainRule, System], list[str]]:
    """Score a detector as a system of each rule: its name and seed from its card unless told otherwise; and what was
    left out."""
    scored, skipped = _score_by_rules(detector, clips, rules)
    seed = int(detector.card.training.get("recipe", {}).get("seed", 0))
    about = f"{detector.card.network.get('preset', '')} network of {detector.path.name}".lstrip()
    called, score = name or detector.card.name, detector.card.score
    return {rule: System(called, seed, about, own, default_score=score) for rule, own in scored.items()}, skipped


def _score_by_rules(
    detector: Detector, clips: Iterable[Clip], rules: Sequence[DomainRule]
) -> tuple[dict[DomainRule, list[Scored]], list[str]]:
    """Hear each clip once: rules differ only in what it is held against."""
    wanted = [clip for clip in clips if clip.split == "test" and clip.name in detector.sections]
    lines: dict[str, Line] = {}
    skipped: list[str] = []
    scored: dict[DomainRule, list[Scored]] = {rule: [] for rule in rules}
    for clip in tqdm(wanted, "score", unit="clip"):
        section = detector.sections[clip.name]
        line = lines.setdefault(clip.name, Line(detector, section))
        try:
            scores = _scores(line, section, clip, rules)
        except EarshotError as error:
            skipped.append(str(error))
            continue
        thresholds = {str(score): value for score, value in section.card.thresholds.items()}
        for rule in rules:
            own = {score: value for (of, score), value in scores.items() if of == rule}
            scored[rule].append(Scored(clip, own, thresholds))
    return scored, skipped


def _scores(
    line: Line, section: Section, clip: Clip, rules: Sequence[DomainRule]
) -> Mapping[tuple[DomainRule, str], float]:
    domains: dict[DomainRule, Domain | None] = {"min": None, "oracle": _known_domain(section, clip)}

    def by_rule(heard: Measurement) -> dict[tuple[DomainRule, str], float]:
        return {(rule, score): value for rule in rules for score, value in line.scores(heard, domains[rule]).items()}

    return score_through(line.ear, by_rule, clip.path, clip.pickup)


def _known_domain(section: Section, clip: Clip) -> Domain | None:
    """The clip's own domain, or None (the nearest) where the section has never heard that one."""
    return clip.domain if clip.domain in section.card.domains else None
