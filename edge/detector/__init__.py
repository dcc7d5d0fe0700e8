"""The detector on disk, and what takes a whole one: ear and judge joined, its proof, its making.

    folder       reads, checks and writes it
    card, arrays, sections         what its files hold, held against what it is for
    line         samples to readings of one of its sections: ear and scorer
    judge        readings to episodes: which score decides, and at which threshold
    explaining   and why they are episodes, from the sound itself
    golden       whether it still gives what it gave where it was made, and can be heard with
    trial        the same in a process of its own, for who must not be harmed
    measuring    normal recordings to what their windows measure; `rows` holds it
    enrolment    a new one, from that
    lesson       the same from live sound, block by block; `checking` whether it is good enough
    conditions   another load, season or place of a machine that is known; `heard` is what it is fitted together with
    limits       which changes to that sound it would report

`archive` feeds recordings to a line, and `naming` knows what their names say.
"""

from edge.detector import folder
from edge.detector.archive import BLOCK_SAMPLES, FileScore, judge_file, readings_of, score_file, score_through
from edge.detector.card import Card, SectionCard
from edge.detector.conditions import LEAST_WINDOWS, next_condition, shortest, teach
from edge.detector.enrolment import (
    NETWORK_HEADING,
    Promise,
    enroll,
    enroll_windows,
    learn_section,
    weekly_text,
)
from edge.detector.explaining import KEEPS_LIVE_SECONDS, KEEPS_SECONDS, Explaining
from edge.detector.folder import EXAMPLE, Detector, expect_place, file_sha256, put_in_place, read, write
from edge.detector.golden import golden_scores, verify
from edge.detector.judge import Judge
from edge.detector.lesson import LEAST_CONDITION_MINUTES, LEAST_MINUTES, MOST_MINUTES, Lesson, Progress
from edge.detector.limits import trials_of, would_hear, would_hear_text
from edge.detector.line import Line, Reading
from edge.detector.measuring import Recording, Stretch, measure, measure_normal, normal_windows
from edge.detector.naming import (
    Label,
    Named,
    Split,
    machines_in,
    only_normal,
    parse_name,
    section_of,
    whole_of,
)
from edge.detector.sections import Section
from edge.detector.sound import Recordings
from edge.detector.trial import Trials

__all__ = [
    "BLOCK_SAMPLES",
    "EXAMPLE",
    "KEEPS_LIVE_SECONDS",
    "KEEPS_SECONDS",
    "LEAST_CONDITION_MINUTES",
    "LEAST_MINUTES",
    "LEAST_WINDOWS",
    "MOST_MINUTES",
    "NETWORK_HEADING",
    "Card",
    "Detector",
    "Explaining",
    "FileScore",
    "Judge",
    "Label",
    "Lesson",
    "Line",
    "Named",
    "Progress",
    "Promise",
    "Reading",
    "Recording",
    "Recordings",
    "Section",
    "SectionCard",
    "Split",
    "Stretch",
    "Trials",
    "enroll",
    "enroll_windows",
    "expect_place",
    "file_sha256",
    "folder",
    "golden_scores",
    "judge_file",
    "learn_section",
    "machines_in",
    "measure",
    "measure_normal",
    "next_condition",
    "normal_windows",
    "only_normal",
    "parse_name",
    "put_in_place",
    "read",
    "readings_of",
    "score_file",
    "score_through",
    "section_of",
    "shortest",
    "teach",
    "trials_of",
    "verify",
    "weekly_text",
    "whole_of",
    "would_hear",
    "would_hear_text",
    "write",
]
