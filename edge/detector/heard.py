"""`normal.npz`: the windows that a machine was enrolled from. What is learnt later is fitted together with them.

Float16, of windows that do not overlap: 2 kB each, `MOST_WINDOWS` at most, spread over all. Numbers of 9.6 s each:
nobody can make sound of them. Read as if a stranger had sent it.
"""

from typing import Any, Final

import numpy as np

from edge.arrays import arrays_of
from edge.detector.card import SectionCard
from edge.ear import Model, measured_shapes
from edge.judge import NormalWindows, heard_conditions

MOST_WINDOWS: Final = 2000
"""More than five hours, 4 MB: what a covariance of these dimensions can use."""


def as_arrays(windows: NormalWindows) -> dict[str, Any]:
    """Return what the file holds: which condition and recording each window is of as a number, not by its name."""
    apart = windows.take(windows.apart)
    chosen = np.unique(np.linspace(0, len(apart) - 1, min(len(apart), MOST_WINDOWS)).astype(np.int64))
    numbers = {name: i for i, name in enumerate(heard_conditions(windows.domain))}
    condition = np.array([numbers[name] for name in apart.domain], np.int32)
    recording = np.unique(np.array(apart.recording), return_inverse=True)[1].astype(np.int32)
    measured = {name: getattr(apart, name)[chosen].astype(np.float16) for name in ("embedding", "texture", "logits")}
    bands = apart.bands[chosen].astype(np.float16)
    return {**measured, "bands": bands, "condition": condition[chosen], "recording": recording[chosen]}


def windows_of(data: bytes, card: SectionCard, model: Model) -> NormalWindows:
    """Return the windows, under the names that the section has for its conditions.

    Raises ValueError that names the array, if it was not measured by this network, of this section.
    """
    arrays = arrays_of(data)
    names = card.conditions or tuple(card.domains)
    n = len(arrays["condition"]) if "condition" in arrays else 0
    shapes = {name: (n, *shape) for name, shape in measured_shapes(model).items()}
    shapes |= {"condition": (n,), "recording": (n,)}
    came = {name: array.shape for name, array in arrays.items()}
    if came != shapes or not n:
        raise ValueError(f"holds {came}: expected {shapes}, as the network measures")
    measured = {name: arrays[name].astype(np.float32) for name in ("embedding", "texture", "logits", "bands")}
    if not all(np.isfinite(x).all() for x in measured.values()):
        raise ValueError("holds NaN or infinity: expected what was measured")
    condition = arrays["condition"].astype(np.int64)
    if condition.min() < 0 or condition.max() >= len(names):
        raise ValueError(f"condition {condition.min()} to {condition.max()}: expected 0 to {len(names) - 1}")
    return NormalWindows(
        domain=[names[i] for i in condition],
        embedding=measured["embedding"],
        texture=measured["texture"],
        logits=measured["logits"],
        bands=measured["bands"],
        recording=[f"enrolled-{i}" for i in arrays["recording"]],
        apart=np.ones(n, np.bool_),
        trained_on=np.zeros(n, np.bool_),
        series=np.arange(n),
    )
