"""What frontend and judge make of a sound that is always the same: a part of the key of all that was judged.

Other frames, another fit or another fusion give other numbers, and so other keys, without anybody having to say so.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np

from edge.ear import Frontend, FrontendSettings
from edge.judge import Domain, NormalWindows, Scorer, fit_section, log_score_at, score_of

_DIGITS: Final = 3
"""Significant: processors differ in the sixth."""


@cache
def judging() -> Mapping[str, list[str]]:
    """Return frames, scores and thresholds, as text of few digits."""
    rng = np.random.default_rng(0)
    n, n_target, n_dims, n_mels = 60, 6, 12, 32
    source, target = list[Domain](["source"]), list[Domain](["target"])
    normal = NormalWindows(
        domain=source * (n - n_target) + target * n_target,
        embedding=rng.normal(size=(n, n_dims)).astype(np.float32),
        texture=np.empty((n, 0), np.float32),
        logits=rng.normal(size=(n, 3)).astype(np.float32),
        bands=rng.normal(size=(n, 4, n_mels)).astype(np.float32),
        recording=[f"recording {i // 6}" for i in range(n)],
        apart=np.ones(n, np.bool_),
        trained_on=np.zeros(n, np.bool_),
        series=np.arange(n),
    )
    fit = fit_section(normal, class_index=0)
    scores = Scorer(fit.statistics)(2 * normal.embedding, normal.texture, normal.logits, 2 * normal.bands)
    noise = rng.normal(size=2048).astype(np.float32)
    return {
        "frames": _rounded(Frontend(FrontendSettings())(noise)[:, 0]),
        **{f"score.{name}": _rounded(values[:8]) for name, values in scores.items()},
        **{
            f"threshold.{name}": _rounded([score_of(log_score_at(own, 0.01), name)])
            for name, own in fit.ordinary.items()
        },
    }


def _rounded(values: Any) -> list[str]:  # noqa: ANN401  any row of numbers
    return [f"{value:.{_DIGITS}g}" for value in values]
