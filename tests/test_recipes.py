"""The recipes that ship: the paper's Table 7, the defaults written out, and both as strict as the configuration."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge.errors import ConfigError
from trainer.network import preset
from trainer.recipe import SHIPPED, Recipe, load_recipe

TABLE_7 = {
    "ToyCar": (False, 1000),
    "ToyTrain": (False, 2000),
    "fan": (True, 0),
    "gearbox": (True, 2000),
    "pump": (True, 0),
    "slider": (False, 0),
    "valve": (True, 2000),
}
"""Centre loss, f_min in Hz."""

TABLE_2 = dict.fromkeys(TABLE_7, "confidence") | dict.fromkeys(("ToyCar", "ToyTrain", "gearbox"), "mahalanobis")
"""The better score, by test labels."""


@pytest.mark.parametrize("machine", TABLE_7)
def test_a_machine_of_the_paper(machine: str) -> None:
    recipe = load_recipe(machine)
    assert (recipe.centre_weight > 0, recipe.f_min_hz) == TABLE_7[machine]
    assert recipe.score == TABLE_2[machine]


@pytest.mark.parametrize("name", ["general", *TABLE_7])
def test_the_set_up_of_the_paper(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.network() == preset("paper")
    assert (recipe.learning_rate, recipe.batch_size, recipe.epochs) == (0.001, 64, 50)
    assert recipe.constant_rate
    assert recipe.weight_decay == 0
    assert recipe.mixup_labels == "kept"


def test_quick_is_the_default_with_every_key() -> None:
    assert load_recipe("quick") == Recipe()
    text = (SHIPPED / "quick.yaml").read_text(encoding="utf-8")
    written = re.findall(r"^(\w+): .+ # \S", text, re.MULTILINE)
    assert set(written) | {"epochs"} == set(Recipe.model_fields), "a key of quick.yaml is missing or has no comment"


def test_an_unknown_name_lists_what_ships() -> None:
    with pytest.raises(ConfigError, match=r"recipe bearing: .*ToyCar, ToyTrain, fan, gearbox, general, pump, quick"):
        load_recipe("bearing")


def test_a_path_is_a_path_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "fan").write_text("epochs: 7\n")
    (tmp_path / "fan.yaml").write_text("epochs: 8\n")
    assert load_recipe(tmp_path / "fan").epochs == 7
    assert load_recipe(f"{tmp_path}/fan.yaml").epochs == 8
    with pytest.raises(ConfigError, match=r"gone\.yaml:1:1: cannot be read"):
        load_recipe("gone.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: 0\nlerning_rate: 0.1\npreset: papyrus\n", ["yaml:1:", "learning_rate?", "'papyrus'", "paper"]),
        ("centre_weight: -1\ncentre_decay: 1.0\n", ["centre_weight: got -1", "centre_decay: got 1.0"]),
        ("holdout: 1.0\nscore: best\n", ["holdout: got 1.0", "score: got 'best', expected one of fused"]),
        (
            "compile: sometimes\nseed: -1\n",
            ["compile: got 'sometimes', expected one of true, false, auto", "seed: got -1"],
        ),
        ("epochs: 3\nepochs: 4\n", ["epochs: given twice, first in line 1"]),
        ("constant_rate: true\nwarmup: 0.2\n", ["warmup does nothing where constant_rate is true: got 0.2"]),
        ("mixup_alpha: 0.0\nmixup_labels: kept\n", ["mixup_labels does nothing where mixup_alpha is 0: got kept"]),
        ("preset: paper\nsubclusters: 4\n", ["subclusters does nothing where the classifier is linear: got 4"]),
        ("score: texture\n", ["score: got 'texture', expected one of fused, mahalanobis, bands, l90, confidence"]),
        ("mixup_labels: yes\n", ["mixup_labels: got 'yes'"]),
        ("stage_channels: [64, 64]\n", ["stage_channels"]),
        ("- epochs\n", ["got a list, expected keys such as preset and f_min_hz"]),
    ],
)
def test_every_mistake_is_named(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("preset", "seconds"), [("streaming", 9.6), ("paper", 9.984)])
def test_a_recipe_says_how_long_its_windows_are(preset: str, seconds: float) -> None:
    assert Recipe.model_validate({"preset": preset}).window_seconds == pytest.approx(seconds)
