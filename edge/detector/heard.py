"""The windows that a machine was enrolled from, in its detector: what is learnt later is fitted together with them.

    normal.npz      float16, of windows that do not overlap: 2 kB each, `MOST_WINDOWS` at most, spread over all

Numbers of 9.6 s each: nobody can make sound of them. Plain arrays, no pickle.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.ear import HopPlan, Model
from edge.errors import DetectorError
from edge.judge import NormalWindows

FILE: Final = "normal.npz"

MOST_WINDOWS: Final = 2000
"""More than five hours, 4 MB: what a covariance of these dimensions can use."""

_MEASURED: Final = ("embedding", "texture", "logits", "bands")


def save(folder: Path, windows: NormalWindows) -> None:
    """Write the windows that a fit took into a folder; which recording each is of as a number, not by its name."""
    apart = windows.take(windows.apart)
    chosen = np.unique(np.linspace(0, len(apart) - 1, min(len(apart), MOST_WINDOWS)).astype(np.int64))
    conditions, condition = np.unique(np.array(apart.domain), return_inverse=True)
    recording = np.unique(np.array(apart.recording), return_inverse=True)[1]
    arrays: dict[str, Any] = {name: getattr(apart, name)[chosen].astype(np.float16) for name in _MEASURED}
    arrays |= {"condition": condition[chosen].astype(np.int32), "recording": recording[chosen].astype(np.int32)}
    np.savez(folder / FILE, **arrays, conditions=conditions)


def load(folder: Path, model: Model, plan: HopPlan) -> NormalWindows | None:
    """Return the windows in a detector's folder; None where there are none, as in detectors made before.

    Raises DetectorError that names the file, if what is in it was not measured by this network.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            own = {name: stored[name] for name in (*_MEASURED, "condition", "recording", "conditions")}
        measured = {name: own[name].astype(np.float32) for name in _MEASURED}
        names = [str(own["conditions"][i]) for i in own["condition"]]
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise DetectorError(f"{path}: {error}: expected the windows that the machine was enrolled from") from error
    n = len(names)
    channels, rows = model.texture_shape
    expected = {
        "embedding": (n, model.embedding_dim),
        "texture": (n, channels * rows),
        "logits": (n, model.n_classes),
        "bands": (n, 4, plan.frontend.n_mels),
    }
    came = {name: measured[name].shape for name in expected}
    if came != expected or not all(np.isfinite(x).all() for x in measured.values()):
        raise DetectorError(f"{path}: {came}, or no numbers: expected {expected}, as its network measures")
    return NormalWindows(
        domain=names,
        **measured,
        recording=[f"enrolled-{i}" for i in own["recording"]],
        apart=np.ones(n, np.bool_),
        trained_on=np.zeros(n, np.bool_),
        series=np.arange(n),
    )
