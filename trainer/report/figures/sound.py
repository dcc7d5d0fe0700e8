"""Frames as a picture: time, mel bands and dB."""

from typing import Final

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge.ear import Features, Frontend
from trainer.report.figures.drawing import finish, style

_TICKS_HZ: Final = (8000, 4000, 2000, 1000, 3000, 6000, 500, 1500, 100)
"""In the order in which they are wanted."""


def spectrogram(frames: Features, frontend: Frontend, low_db: float, high_db: float) -> Markup:
    """Draw log-mel frames (M, F), dB; the picture is a PNG inside the SVG, and the axes are text."""
    s = frontend.settings
    seconds = frames.shape[1] * s.hop_samples / s.sample_rate_hz
    with style(grid=False):
        figure = Figure(figsize=(4.6, 2.0))
        axes = figure.add_axes((0.125, 0.20, 0.745, 0.76))
        image = axes.imshow(
            frames,
            cmap="magma",
            vmin=low_db,
            vmax=high_db,
            aspect="auto",
            origin="lower",
            extent=(0, seconds, -0.5, s.n_mels - 0.5),
            interpolation="none",
        )
        ticks, at = _frequency_ticks(frontend)
        axes.set_yticks(at, [f"{hz / 1000:g}k" if hz >= 1000 else f"{hz}" for hz in ticks])
        axes.set(xlabel="time, s", ylabel="frequency, Hz (mel)", ylim=(-0.5, s.n_mels - 0.5))
        bar = figure.colorbar(image, cax=figure.add_axes((0.885, 0.20, 0.02, 0.76)))
        bar.outline.set_linewidth(0)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
        bar.set_label("dB", labelpad=1)
        return finish(figure, f"Mel spectrogram of {seconds:.1f} s")


def _frequency_ticks(frontend: Frontend) -> tuple[list[int], list[float]]:
    """Return frequencies, Hz, with room for a label each, and the bands that they lie in."""
    s = frontend.settings
    ticks: dict[int, float] = {}
    for hz in _TICKS_HZ:
        band = float(np.interp(hz, frontend.band_edges_hz, np.arange(-1, s.n_mels + 1)))
        if s.f_min_hz <= hz <= s.f_max_hz and all(abs(band - other) > s.n_mels / 9 for other in ticks.values()):
            ticks[hz] = min(band, s.n_mels - 0.5)
    return list(ticks), list(ticks.values())
