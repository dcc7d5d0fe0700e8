"""The detector on disk, and what takes a whole one: ear and judge joined, its proof, its making.

    folder       reads, checks and writes it
    card, arrays, sections         what its files hold, held against what it is for
    line         samples to readings of one of its sections: ear and scorer
    judge        readings to episodes: which score decides, and at which threshold
    golden       whether it still gives what it gave where it was made, and can be heard with
    trial        the same in a process of its own, for who must not be harmed
    enrolment    a new one, from normal sound
    limits       which changes to that sound it would report

`archive` feeds recordings to a line, and `naming` knows what their names say.
"""

from edge.detector import folder
from edge.detector.archive import BLOCK_SAMPLES, FileScore, judge_file, readings_of, score_file
from edge.detector.card import Card, SectionCard
from edge.detector.enrolment import (
    NETWORK_HEADING,
    Promise,
    Recording,
    Stretch,
    enroll,
    enroll_windows,
    learn_section,
    measure,
    measure_normal,
    normal_windows,
    weekly_text,
)
from edge.detector.folder import Detector, file_sha256, read, write
from edge.detector.golden import golden_scores, verify
from edge.detector.judge import Judge
from edge.detector.limits import would_hear, would_hear_text
from edge.detector.line import Line, Reading
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
from edge.detector.trial import Trials

__all__ = [
    "BLOCK_SAMPLES",
    "NETWORK_HEADING",
    "Card",
    "Detector",
    "FileScore",
    "Judge",
    "Label",
    "Line",
    "Named",
    "Promise",
    "Reading",
    "Recording",
    "Section",
    "SectionCard",
    "Split",
    "Stretch",
    "Trials",
    "enroll",
    "enroll_windows",
    "file_sha256",
    "folder",
    "golden_scores",
    "judge_file",
    "learn_section",
    "machines_in",
    "measure",
    "measure_normal",
    "normal_windows",
    "only_normal",
    "parse_name",
    "read",
    "readings_of",
    "score_file",
    "section_of",
    "verify",
    "weekly_text",
    "whole_of",
    "would_hear",
    "would_hear_text",
    "write",
]
