"""Samples to measurements: frames, a network, band statistics. It needs no detector, and is handed its parts.

    ear          blocks of samples in, what each window measures out
    frontend, ring, model, bands    its parts, in the order of use
    still        stretches of one value, sample by sample

It compares nothing: what is normal is the judge's business.
"""

from edge.ear.bands import DEAD_DB, QUIET_PER_DB, QUIET_ROWS, FloatArray, band_levels, band_statistics
from edge.ear.ear import Ear, Measurement
from edge.ear.frontend import Features, Frontend, FrontendSettings, Samples
from edge.ear.model import Model
from edge.ear.ring import HOP_FRAMES, HopPlan
from edge.ear.still import still_stretches

__all__ = [
    "DEAD_DB",
    "HOP_FRAMES",
    "QUIET_PER_DB",
    "QUIET_ROWS",
    "Ear",
    "Features",
    "FloatArray",
    "Frontend",
    "FrontendSettings",
    "HopPlan",
    "Measurement",
    "Model",
    "Samples",
    "band_levels",
    "band_statistics",
    "still_stretches",
]
