"""How a clip of a batch is heard otherwise each time: another beneath it, another level, another colour. Pure."""

import math

import torch
from torch import Tensor

from trainer.recipe import Recipe

BENEATH_DB = (-3.0, 20.0)
"""How much louder a clip is than what lies beneath it."""

FLOOR_DB = -100.0
"""As the frontend has it."""


def augment(features: Tensor, recipe: Recipe) -> Tensor:
    """Return log-mel frames (N, 1, M, F), dB, as `beneath`, `level_db` and `tilt_db` of the recipe have them.

    Powers are added where mixup (trainer/loss.py) averages levels, and the label stays. The dice are torch's own.
    """
    if recipe.beneath:
        features = _with_another_beneath(features, recipe.beneath)
    if recipe.level_db or recipe.tilt_db:
        changed = features + _uniform(features, recipe.level_db) + _tilt(features, recipe.tilt_db)
        features = changed.clamp(min=FLOOR_DB)
    return features


def _with_another_beneath(features: Tensor, probability: float) -> Tensor:
    """Add to some the clip that follows in the batch, by power."""
    power = 10 ** (features / 10)
    other = power.roll(1, 0)
    low, high = BENEATH_DB
    gain_db = -torch.empty(len(features), 1, 1, 1, device=features.device).uniform_(low, high)
    gain = 10 ** (gain_db / 10) * _mean(power) / _mean(other)
    chosen = torch.rand(len(features), 1, 1, 1, device=features.device) < probability
    return torch.where(chosen, 10 * torch.log10((power + gain * other).clamp(min=10 ** (FLOOR_DB / 10))), features)


def _mean(power: Tensor) -> Tensor:
    return power.mean((2, 3), keepdim=True).clamp(min=10 ** (FLOOR_DB / 10))


def _uniform(features: Tensor, extent: float) -> Tensor:
    return torch.empty(len(features), 1, 1, 1, device=features.device).uniform_(-extent, extent)


def _tilt(features: Tensor, extent_db: float) -> Tensor:
    """Return half a wave to one and a half over the bands, of a random height and phase."""
    band = torch.linspace(0, 1, features.shape[2], device=features.device)[:, None]
    waves = torch.randint(1, 4, (len(features), 1, 1, 1), device=features.device)
    phase = torch.rand(len(features), 1, 1, 1, device=features.device) * math.pi
    return _uniform(features, extent_db) * torch.cos(math.pi * waves * band + phase)
