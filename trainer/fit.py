"""Fits every section of a trained network, with the device's own functions, from the recordings themselves."""

import logging
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from edge.detector import Section
from edge.enroll import learn_section, measure_normal
from edge.fit import MIN_WINDOWS
from edge.line import Ear
from trainer.dataset import Clip

log = logging.getLogger(__name__)


def fit_sections(
    ear: Ear, clips: Sequence[Clip], classes: Sequence[str], false_alarm_rate: float
) -> Mapping[str, Section]:
    """Return the statistics and thresholds of every section with enough normal sound, by `machine/section`.

    The others stay classes of the network that nothing is scored against; each is named in the log with the reason.
    """
    sections: dict[str, Section] = {}
    for class_index, name in enumerate(tqdm(classes, "fit", unit="section")):
        own = [clip for clip in clips if clip.name == name and clip.split == "train"]
        windows = measure_normal(ear, [(clip.path, clip.domain) for clip in own], skip=log.debug)
        n_windows = 0 if windows is None else len(windows)
        if windows is None or n_windows < MIN_WINDOWS:
            log.info(
                "%s: %d whole windows of normal sound, %d are needed: a class, but nothing to score against",
                name,
                n_windows,
                MIN_WINDOWS,
            )
            continue
        machine, section = name.split("/")
        sections[name] = learn_section(
            machine, section, windows, class_index=class_index, false_alarm_rate=false_alarm_rate
        )
    return sections
