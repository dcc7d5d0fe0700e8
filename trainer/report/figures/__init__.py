"""The figures of a report: values in, inline SVG out. Text stays text, and colours are the page's, light or dark."""

from trainer.report.figures.drawing import plain
from trainer.report.figures.embedding import embedding_map, section_map
from trainer.report.figures.learning import CURVES, curves_in, learning_curve
from trainer.report.figures.scores import false_alarms, histogram, roc
from trainer.report.figures.sound import spectrogram

__all__ = [
    "CURVES",
    "curves_in",
    "embedding_map",
    "false_alarms",
    "histogram",
    "learning_curve",
    "plain",
    "roc",
    "section_map",
    "spectrogram",
]
