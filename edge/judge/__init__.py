"""Measurements to verdicts: numbers in, numbers out. No file, no network connection, no clock.

    scorer       how far a sound is from the normal sounds of its section
    evidence     how surprising the newest scores are: of a window, a minute, an hour
    event        evidence to episodes
    sensor       whether the sound can be trusted at all
    soundcheck   and whether it is good enough to learn from
    states       whether the machine runs and idles
    fit          what normal means, from normal sound alone; `gaussian`, `folds` and `normal` are its parts
    condition    a mean more, for another load, season or place
    ordinary     what normal sound is expected to score
    learning     and what it turned out to: what a machine just enrolled goes on learning
    returns      and where it came back from by itself, and so may be
    changes      known changes, laid over normal frames
    limits       from which strength on these are reported, and how soon
    hindsight    what another threshold would have told of the last days
    drift        what changes over weeks
    passage      a machine on its way between two of its states
    why          what the newest sound has that ordinary sound has not

`calibration` turns that into thresholds that promise so many false alarms a week.
"""

from edge.judge import folds
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
from edge.judge.changes import Change, Changes, Kind, Place, added_sound, band_of, places
from edge.judge.condition import add_condition
from edge.judge.drift import Drift, drift
from edge.judge.event import Band, Event, EventDetector, Reason, moved_bands
from edge.judge.evidence import STEP_SHARE, Surprise, evidence_of, log_score_at, rarity, rate_at, rate_of, scales_of
from edge.judge.fit import STRANGER, Calibration, Fit, Shift, cross_fit, fit_section, network_shift, ordinary_of, refit
from edge.judge.gaussian import DOMAINS, Domain, Gaussian, fit_gaussian, fit_whitening, heard_conditions
from edge.judge.hindsight import Alarm, alarms_at
from edge.judge.learning import Learner, Learnt, Provisional
from edge.judge.limits import RANGES_DB, REPORTED, Limit, Trial, at_level, heard_normal, in_words, limits
from edge.judge.normal import MIN_WINDOWS, NormalWindows
from edge.judge.ordinary import PRIOR, Observed, Ordinary, Prior, expected, observed, student_quantile
from edge.judge.passage import Passage, pairs_of
from edge.judge.scorer import (
    SCORE_NAMES,
    Fusion,
    ScoreName,
    Scorer,
    SectionStatistics,
    confidence,
    fuse,
    log_score,
    quantities,
    score_of,
    sizes,
)
from edge.judge.sensor import SensorHealth
from edge.judge.soundcheck import Advice, check_sound, gain_moved
from edge.judge.states import BETWEEN, CLEAR, IDLE, RUNNING, States, find_states
from edge.judge.why import PORTRAIT_SECONDS, Cause, CauseKind, Portrait, Usual, cause_of, portrait

__all__ = [
    "BETWEEN",
    "CLEAR",
    "DOMAINS",
    "IDLE",
    "MIN_WINDOWS",
    "PORTRAIT_SECONDS",
    "PRIOR",
    "RANGES_DB",
    "REPORTED",
    "RUNNING",
    "SCORE_NAMES",
    "STEP_SHARE",
    "STRANGER",
    "Advice",
    "Alarm",
    "Band",
    "Calibration",
    "Cause",
    "CauseKind",
    "Change",
    "Changes",
    "Domain",
    "Drift",
    "Event",
    "EventDetector",
    "Fit",
    "Fusion",
    "Gaussian",
    "Kind",
    "Learner",
    "Learnt",
    "Limit",
    "NormalWindows",
    "Observed",
    "Ordinary",
    "Passage",
    "Place",
    "Portrait",
    "Prior",
    "Provisional",
    "RateCurve",
    "Reason",
    "Rules",
    "ScoreName",
    "ScoreSeries",
    "Scorer",
    "SectionStatistics",
    "SensorHealth",
    "Shift",
    "States",
    "Surprise",
    "TooLittleSoundError",
    "Trial",
    "Usual",
    "add_condition",
    "added_sound",
    "alarms_at",
    "at_level",
    "band_of",
    "cause_of",
    "check_sound",
    "confidence",
    "counting_keys",
    "cross_fit",
    "drift",
    "evidence_of",
    "expected",
    "find_states",
    "fit_gaussian",
    "fit_section",
    "fit_whitening",
    "folds",
    "fuse",
    "gain_moved",
    "heard_conditions",
    "heard_normal",
    "hours_needed",
    "in_words",
    "limits",
    "log_score",
    "log_score_at",
    "moved_bands",
    "network_shift",
    "observed",
    "openings",
    "ordinary_of",
    "pairs_of",
    "places",
    "portrait",
    "quantities",
    "rarest",
    "rarity",
    "rate_at",
    "rate_curve",
    "rate_of",
    "refit",
    "scales_of",
    "score_of",
    "sizes",
    "student_quantile",
    "unrefused_threshold",
]
