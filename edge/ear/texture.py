"""What a window measures of the network's early map: a mean over time of every channel and frequency row.

A global embedding throws away what tells two states of one machine apart, if no class needed it. An early map keeps it:
local filters, the frequency axis kept, a mean over time. In that mean a moment counts by how quiet it is, as for the
bands (edge/ear/bands.py): the graph gives the weighted sums and the weights of each hop, and here they are added up.
"""

import numpy as np

from edge.ear.bands import FloatArray


class Texture:
    """The newest hops of one stream's sums: the window's, as far as they are of whole hops."""

    def __init__(self, n_hops: int, n_channels: int, n_rows: int) -> None:
        """Remember `n_hops` hops; a graph without a map has no channels. Memory: 4 bytes a hop, channel and row,
        all of it from the beginning (as for `FrameRing`).
        """
        self._sums: FloatArray = np.zeros((n_hops if n_channels else 0, n_channels + 1, n_rows), np.float32)

    def reset(self) -> None:
        """Forget everything."""
        self._sums.fill(0)

    def push(self, sums: FloatArray, weights: FloatArray) -> list[FloatArray]:
        """Append the sums (m, C, R) and the weights (m, R) of m hops; return the texture after each, (C R,)."""
        m, n_channels, _ = sums.shape
        if not n_channels:
            return [np.zeros(0, np.float32)] * m
        textures, flat, step = [], self._sums.reshape(-1), self._sums[0].size
        for hop, weight in zip(sums, weights, strict=True):
            flat[:-step] = flat[step:]
            self._sums[-1, :-1], self._sums[-1, -1] = hop, weight
            textures.append(_mean(self._sums))
        return textures


def _mean(sums: FloatArray) -> FloatArray:
    """Weights span thirteen orders of magnitude: added in float64."""
    total = sums.sum(axis=0, dtype=np.float64)
    return np.asarray(total[:-1] / np.maximum(total[-1], 1e-30), np.float32).ravel()
