"""Samples to measurements: frames, a network, band statistics. It needs no detector, and is handed its parts.

    ear          blocks of samples in, what each window measures out
    ring, frontend                  its parts, in the order of use
    meter                           frames to what each window measures: the rest of an ear; and its parts
    model, texture, bands           `graph`: what an ONNX file holds, before any of it runs
    offset       a constant in the samples, which is no sound
    still        stretches of one value, sample by sample
    newest       the newest sound itself, for who looks again

It compares nothing: what is normal is the judge's business.
"""

from edge.ear.bands import DEAD_DB, QUIET_PER_DB, QUIET_ROWS, FloatArray, band_levels, band_statistics
from edge.ear.ear import OFFSET_MOVED, Ear, level_dbfs
from edge.ear.frontend import POWER_FLOOR, Features, Frontend, FrontendSettings, Samples
from edge.ear.meter import Measurement, Meter, measured_shapes
from edge.ear.model import MOST_GRAPH_BYTES, Model
from edge.ear.newest import FULL_SCALE, Newest, Pcm, as_pcm
from edge.ear.offset import heard_from
from edge.ear.ring import HOP_FRAMES, HopPlan
from edge.ear.still import still_stretches

__all__ = [
    "DEAD_DB",
    "FULL_SCALE",
    "HOP_FRAMES",
    "MOST_GRAPH_BYTES",
    "OFFSET_MOVED",
    "POWER_FLOOR",
    "QUIET_PER_DB",
    "QUIET_ROWS",
    "Ear",
    "Features",
    "FloatArray",
    "Frontend",
    "FrontendSettings",
    "HopPlan",
    "Measurement",
    "Meter",
    "Model",
    "Newest",
    "Pcm",
    "Samples",
    "as_pcm",
    "band_levels",
    "band_statistics",
    "heard_from",
    "level_dbfs",
    "measured_shapes",
    "still_stretches",
]
