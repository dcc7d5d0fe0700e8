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
    ear: Ear, clips: Sequence[Clip], classes: Sequence[str], wanted: Sequence[str], false_alarm_rate: float
) -> Mapping[str, Section]:
    """Return the statistics and thresholds of the wanted sections with enough normal sound, by `machine/section`.

    classes: what the network tells apart, in the order of its logits. Those without statistics stay classes that
    nothing is scored against; where there was too little sound for them the log says so.
    """
    sections: dict[str, Section] = {}
    too_little: list[str] = []
    for name in tqdm(wanted, "fit", unit="section"):
        own = [clip for clip in clips if clip.name == name and clip.split == "train"]
        windows = measure_normal(ear, [(clip.path, clip.domain) for clip in own], skip=log.debug)
        n_windows = 0 if windows is None else len(windows)
        if windows is None or n_windows < MIN_WINDOWS:
            too_little.append(f"{name} ({n_windows})")
            continue
        machine, section = name.split("/")
        sections[name] = learn_section(
            machine, section, windows, class_index=classes.index(name), false_alarm_rate=false_alarm_rate
        )
    if too_little:
        log.info(
            "classes only, with fewer than %d whole windows of normal sound to score against: %s",
            MIN_WINDOWS,
            ", ".join(too_little),
        )
    return sections
