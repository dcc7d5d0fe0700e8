"""Measurements to verdicts: numbers in, numbers out. No file, no network connection, no clock.

    scorer       how far a sound is from the normal sounds of its section
    event        scores to episodes
    sensor       whether the sound can be trusted at all
    fit          what normal means, from normal sound alone

`calibration` turns normal scores into thresholds that promise so many false alarms a week.
"""

from edge.judge.calibration import (
    RateCurve,
    Rules,
    ScoreSeries,
    TooLittleSoundError,
    counting_keys,
    hours_needed,
    openings,
    rarest,
    rate_curve,
    unrefused_threshold,
)
from edge.judge.event import Event, EventDetector, Reason, moved_bands
from edge.judge.fit import (
    MIN_WINDOWS,
    Calibration,
    NormalWindows,
    Shift,
    cross_fit,
    fit_gaussian,
    fit_section,
    network_shift,
)
from edge.judge.scorer import (
    DOMAINS,
    FUSED_PARTS,
    SCORE_NAMES,
    Domain,
    Fusion,
    Gaussian,
    ScoreName,
    Scorer,
    SectionStatistics,
    confidence,
)
from edge.judge.sensor import SensorHealth

__all__ = [
    "DOMAINS",
    "FUSED_PARTS",
    "MIN_WINDOWS",
    "SCORE_NAMES",
    "Calibration",
    "Domain",
    "Event",
    "EventDetector",
    "Fusion",
    "Gaussian",
    "NormalWindows",
    "RateCurve",
    "Reason",
    "Rules",
    "ScoreName",
    "ScoreSeries",
    "Scorer",
    "SectionStatistics",
    "SensorHealth",
    "Shift",
    "TooLittleSoundError",
    "confidence",
    "counting_keys",
    "cross_fit",
    "fit_gaussian",
    "fit_section",
    "hours_needed",
    "moved_bands",
    "network_shift",
    "openings",
    "rarest",
    "rate_curve",
    "unrefused_threshold",
]
