"""How a network is trained: one YAML file a recipe, every key strict, defaults in sight."""

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from edge.config import Settings, load_settings
from edge.ear import FrontendSettings
from edge.errors import ConfigError
from trainer.network import Branch, Classifier, NetworkSettings, Stem, preset


class Recipe(Settings):
    """Settings of one training run; every key has a default. `recipes/quick.yaml` says what each is for."""

    preset: Literal["streaming", "paper"] = "streaming"
    f_min_hz: float = Field(0.0, ge=0, lt=8000, description="high-pass cut-off of the frontend, Hz (Table 7)")
    window_frames: int | None = Field(None, ge=139, description="frames that the network takes at once")
    pad_time: bool | None = Field(None, description="zero padding along time; null, here and below: as in the preset")
    slope_per_channel: bool | None = Field(None, description="a PReLU slope a channel, else one a layer")
    linear_branch: Branch | None = None
    stem: Stem | None = None
    stem_channels: int | None = Field(None, ge=1)
    stage_channels: tuple[int, ...] | None = Field(None, min_length=3, max_length=3, strict=False)
    expansions: tuple[int, ...] | None = Field(None, min_length=3, max_length=3, strict=False)
    head_channels: int | None = Field(None, ge=1)
    classifier: Classifier | None = None
    subclusters: int = Field(16, ge=1, description="directions a class, of the sub-cluster AdaCos classifier")
    dropout: float = Field(0.2, ge=0, lt=1)

    epochs: int = Field(16, ge=1)
    batch_size: int = Field(16, ge=2, description="clips a step")
    learning_rate: float = Field(1e-3, gt=0, description="peak, Adam")
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1, description="fraction of all steps; a cosine falls to zero after it")
    constant_rate: bool = Field(False, description="keep the learning rate, as the paper does")
    mixup_alpha: float = Field(0.5, ge=0, description="Beta(alpha, alpha) of the mixing weight; 0 turns mixup off")
    mixup_labels: Literal["mixed", "kept"] = Field("mixed", description="kept: the label of the louder clip, Eq. 6")
    beneath: float = Field(0.0, ge=0, le=1, description="fraction of clips that have another one beneath, by power")
    level_db: float = Field(0.0, ge=0, description="clips are made louder or softer by up to this")
    tilt_db: float = Field(0.0, ge=0, description="and of another colour by up to this")
    centre_weight: float = Field(0.0, ge=0, description="of the centre loss; 0 measures it only, 1 / lambda of Eq. 3")
    centre_decay: float = Field(
        0.9, ge=0, lt=1, description="class centres are averaged over the batches that hold one"
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="weights are averaged over steps; 0 keeps the last ones")
    seed: int = Field(0, ge=0)

    holdout: float = Field(0.15, ge=0, lt=1, description="fraction of each section's recordings kept for calibration")
    score: Literal["fused", "mahalanobis", "bands", "l90", "confidence"] = Field(
        "fused", description="what the detector alarms by"
    )

    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where the CPU has it")
    compile: Literal[True, False, "auto"] = Field(
        "auto", description="torch.compile; auto: where it pays within the run"
    )
    threads: int = Field(0, ge=0, description="of the CPU; 0 takes every core")

    @model_validator(mode="after")
    def _every_key_acts(self) -> Self:
        """Refuse what another key makes mean nothing: who writes it expects it to act."""
        idle = {
            "warmup": self.constant_rate and "constant_rate is true",
            "mixup_labels": self.mixup_alpha == 0 and "mixup_alpha is 0",
            "subclusters": self.network().classifier == "linear" and "the classifier is linear",
        }
        for key, why in idle.items():
            usual = type(self).model_fields[key].default
            if why and (given := getattr(self, key)) != usual:
                raise ValueError(f"{key} does nothing where {why}: got {given}, expected {usual} or no such key")
        return self

    def network(self) -> NetworkSettings:
        """Return the settings of the network that this recipe trains."""
        own = (
            *(
                "window_frames",
                "pad_time",
                "slope_per_channel",
                "linear_branch",
                "stem",
                "stem_channels",
                "stage_channels",
            ),
            *("expansions", "head_channels", "classifier", "subclusters", "dropout"),
        )
        given = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        return replace(preset(self.preset), **given)

    @property
    def window_seconds(self) -> float:
        """How much sound the network takes at once: a shorter clip is repeated."""
        frontend = FrontendSettings()
        n_samples = (self.network().window_frames - 1) * frontend.hop_samples + frontend.frame_samples
        return n_samples / frontend.sample_rate_hz


SHIPPED: Final = Path(__file__).with_name("recipes")
"""The paper's: `general`, then one a machine type (Table 7); and `quick`, the defaults written out."""


def load_recipe(name: str | Path) -> Recipe:
    """Read a shipped recipe by its name (`fan`), or the file at a path (`fan.yaml`, `mine/fan`).

    Raises ConfigError with every mistake, by file, line and key; or that lists what ships, where nothing has the name.
    """
    path = Path(name)
    if path.suffix or path.name != str(name):
        return load_settings(path, Recipe)
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}
    if path.name not in shipped:
        raise ConfigError(
            f"recipe {path.name}: not known: expected a path with a suffix, or one of {', '.join(shipped)}"
        )
    return load_settings(shipped[path.name], Recipe)
