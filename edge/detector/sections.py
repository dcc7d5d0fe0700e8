"""`scorer.npz`: what is normal for each section, as arrays, and back. Read as if a stranger had sent it.

Every array is held against what it is for, of every section: its shape by the network's outputs, its numbers by what
is done with them at the first sound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Final

import numpy as np

from edge.arrays import Array, arrays_of
from edge.detector.card import Card, SectionCard, frontend_of
from edge.ear import Model
from edge.errors import shown
from edge.judge import (
    SCORE_NAMES,
    Calibration,
    Gaussian,
    Ordinary,
    RateCurve,
    ScoreName,
    SectionStatistics,
    log_score_at,
    ordinary_of,
    score_of,
    sizes,
)

LARGEST: Final = 1e15
"""Of any number: squared and summed it is still one in float32, whose largest is 3e38."""

LARGEST_LOG: Final = 100.0
"""Of a distance's logarithm, and how it varies: e^100 is no distance."""


@dataclass(frozen=True)
class Section:
    """One section of a detector: what is normal, and how normal clips scored that the fit had not seen.

    ordinary  what ordinary sound is expected to score, of every score
    weekly  thresholds by false alarms a week, of every score; empty where there was too little sound
    """

    card: SectionCard
    statistics: SectionStatistics
    ordinary: Mapping[ScoreName, Ordinary]
    calibration: Mapping[ScoreName, Calibration]
    weekly: Mapping[ScoreName, RateCurve] = field(default_factory=dict)

    def threshold(self, score: ScoreName, false_alarm_rate: float) -> float:
        """Return what the score of a window has to exceed, so that this part (0 to 1) of ordinary ones does."""
        return score_of(log_score_at(self.ordinary[score], false_alarm_rate), score)


def as_arrays(sections: Mapping[str, Section]) -> dict[str, Any]:
    """Return what `scorer.npz` holds of them."""
    arrays: dict[str, Any] = {}
    for name, section in sections.items():
        own = section.statistics
        for part, gaussian in own.parts.items():
            arrays[f"{name}:{part}.means"] = gaussian.means
            arrays[f"{name}:{part}.whitening"] = gaussian.whitening
            if gaussian.rest is not None:
                arrays[f"{name}:{part}.rest"] = gaussian.rest
            if gaussian.scale is not None:
                arrays[f"{name}:{part}.scale"] = gaussian.scale
        arrays[f"{name}:band_mean"] = own.band_mean
        arrays[f"{name}:band_deviation"] = own.band_deviation
        for score, typical in own.typical.items():
            arrays[f"{name}:typical.{score}"] = np.array(typical)
        for score, belief in section.ordinary.items():
            arrays[f"{name}:ordinary.{score}"] = np.array(astuple(belief))
        for score, calibration in section.calibration.items():
            arrays[f"{name}:calibration.{score}"] = calibration.scores
            if calibration.recording is not None:
                arrays[f"{name}:recording.{score}"] = calibration.recording
        for score, curve in section.weekly.items():
            arrays[f"{name}:weekly.{score}"] = curve.as_array()
    return arrays


def sections_of(data: bytes, card: Card, model: Model) -> dict[str, Section]:
    """Return the sections that `detector.json` names. Raises ValueError that names the array."""
    arrays = arrays_of(data)
    return {section.name: _section(_Own(arrays, section.name), section, card, model) for section in card.sections}


class _Own:
    """The arrays of one section. What is taken is what is needed, or a ValueError says in what it is not."""

    def __init__(self, arrays: Mapping[str, Array], section: str) -> None:
        self._arrays = arrays
        self._section = section

    def has(self, name: str) -> bool:
        return f"{self._section}:{name}" in self._arrays

    def take(self, name: str, shape: tuple[int | None, ...], kind: str = "f") -> Array:
        """Return an array of that shape, None for any size, of floats ("f") or integers ("iu"), none too large."""
        if not self.has(name):
            raise ValueError(f"{self._section}:{name} is missing: expected an array of shape {_words(shape)}")
        array = self._arrays[f"{self._section}:{name}"]
        fits = array.ndim == len(shape) and all(
            wanted in (None, size) for size, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype.kind not in kind or (kind == "f" and array.dtype.itemsize < 4):
            self.refuse(name, f"{array.dtype} of shape {array.shape}", f"{_KINDS[kind]} of shape {_words(shape)}")
        if kind == "f" and not (np.abs(array) <= LARGEST).all():  # NaN is not, either
            self.refuse(name, "NaN, infinity or a number out of this world", f"numbers up to {LARGEST:g}")
        return array

    def take_positive(self, name: str, shape: tuple[int | None, ...]) -> Array:
        array = self.take(name, shape)
        if not (array > 0).all():
            self.refuse(name, f"{array.min():g}", "numbers above 0")
        return array

    def refuse(self, name: str, came: str, expected: str) -> None:
        raise ValueError(f"{shown(self._section)}:{name} holds {came}: expected {expected}")


_KINDS: Final = {"f": "float32 or float64", "iu": "integers"}


def _words(shape: Iterable[int | None]) -> str:
    return f"({', '.join('n' if size is None else str(size) for size in shape)})"


def _section(own: _Own, section: SectionCard, card: Card, model: Model) -> Section:
    statistics = _statistics(own, section, card, model)
    known = {"fused", *statistics.parts} | ({"confidence"} if section.class_index is not None else set())
    calibration = {n: _calibration(own, n) for n in SCORE_NAMES if own.has(f"calibration.{n}")}
    if missing := {card.score, *section.thresholds} - set(calibration):
        raise ValueError(
            f"{section.name}: {', '.join(sorted(missing))} without calibration: expected that of each score"
        )
    for what, names in (("calibration", set(calibration)), ("score", {card.score})):
        if unknown := names - known:
            raise ValueError(f"{section.name}: {what} of {', '.join(sorted(unknown))}: expected one of {sorted(known)}")
    if without := set(calibration) - set(section.thresholds):
        raise ValueError(
            f"{section.name}: {', '.join(sorted(without))} without a threshold: expected one for each score"
        )
    believed = {n: _ordinary(own, n, calibrated) for n, calibrated in calibration.items()}
    hours = section.weekly.hours if section.weekly else 0.0
    weekly = {n: _weekly(own, n, hours) for n in SCORE_NAMES if own.has(f"weekly.{n}")}
    return Section(section, statistics, believed, calibration, weekly)


def _statistics(own: _Own, section: SectionCard, card: Card, model: Model) -> SectionStatistics:
    n_mels, n_domains = frontend_of(card).n_mels, len(section.domains)
    expected = sizes(model.embedding_dim, model.texture_dim, n_mels)
    names = [n for n in SCORE_NAMES if own.has(f"{n}.means")]
    if impossible := [n for n in names if not expected.get(n)]:
        own.refuse(f"{impossible[0]}.means", "what the network does not measure", "none")
    typical = {n: _typical(own, n) for n in SCORE_NAMES if own.has(f"typical.{n}")}
    if not typical or set(typical) - set(names):
        raise ValueError(f"{section.name}: typical of {sorted(typical)}: expected some of {sorted(names)}")
    deviation = own.take("band_deviation", (n_mels,))
    if deviation.min() < 0:
        own.refuse("band_deviation", f"{deviation.min():g}", "deviations of 0 or more")
    return SectionStatistics(
        parts={n: _gaussian(own, n, section, expected[n]) for n in names},
        typical=typical,
        band_mean=own.take("band_mean", (n_domains, n_mels)),
        band_deviation=deviation,
        class_index=section.class_index,
        fusion=section.fusion,
    )


def _gaussian(own: _Own, name: ScoreName, section: SectionCard, n_dims: int) -> Gaussian:
    domains = tuple(section.domains)
    means = own.take(f"{name}.means", (len(domains), n_dims))
    scale = own.take_positive(f"{name}.scale", (len(domains),)) if own.has(f"{name}.scale") else None
    if not own.has(f"{name}.rest"):
        return Gaussian(domains, means, own.take(f"{name}.whitening", (n_dims, n_dims)), scale=scale)
    rest = own.take_positive(f"{name}.rest", (n_dims,))
    return Gaussian(domains, means, own.take(f"{name}.whitening", (n_dims, None)), rest, scale)


def _typical(own: _Own, name: ScoreName) -> tuple[float, float]:
    ordinary, deviation = own.take_positive(f"typical.{name}", (2,)).tolist()
    return ordinary, deviation


def _calibration(own: _Own, name: ScoreName) -> Calibration:
    scores = own.take(f"calibration.{name}", (None,))
    if scores.size < 2:
        own.refuse(f"calibration.{name}", f"{scores.size} scores", "two at least")
    recording = own.take(f"recording.{name}", scores.shape, "iu") if own.has(f"recording.{name}") else None
    return Calibration(scores, recording)


def _ordinary(own: _Own, name: ScoreName, calibration: Calibration) -> Ordinary:
    """Return what is believed; what a detector of an older schema would have believed follows from its calibration."""
    if not own.has(f"ordinary.{name}"):
        return ordinary_of(calibration, name)
    belief = Ordinary(*own.take(f"ordinary.{name}", (6,)).tolist())
    scales = (belief.level_deviation, belief.deviation)
    largest = LARGEST if name == "confidence" else LARGEST_LOG
    if not (abs(belief.level) <= largest and min(scales) > 0 and max(scales) <= largest):
        own.refuse(f"ordinary.{name}", str(belief), f"deviations above 0, and levels up to {largest:g}")
    if min(belief.level_freedom, belief.freedom) < 1 or not 0 <= belief.trust <= 1:
        own.refuse(f"ordinary.{name}", str(belief), "degrees of freedom from 1 on, and a trust of 0 to 1")
    return belief


def _weekly(own: _Own, name: ScoreName, hours: float) -> RateCurve:
    curve = RateCurve.of(own.take(f"weekly.{name}", (4, None)), hours)
    if curve.per_week.size and (curve.per_week.min() <= 0 or (np.diff(curve.per_week) < 0).any()):
        own.refuse(f"weekly.{name}", "rates that fall, or of nothing", "rates above 0 that rise")
    if curve.per_week.size and min(curve.low.min(), curve.high.min(), curve.thresholds.min()) < 0:
        own.refuse(f"weekly.{name}", "rates or rarities below 0", "0 or more")
    return curve
