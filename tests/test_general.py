"""The general network's diet: what it may learn from, what it must not, and whom it owes it to."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge.errors import EarshotError  # noqa: E402
from tests.conftest import DEMO, REAL_DATA, needs_real_data  # noqa: E402
from trainer.augment import augment  # noqa: E402
from trainer.general import ALTERATIONS, alter  # noqa: E402
from trainer.general.credits import as_markdown, read_credits  # noqa: E402
from trainer.general.recordings import recordings  # noqa: E402
from trainer.recipe import Recipe, load_recipe  # noqa: E402

WriteWav = Callable[..., Path]

ESC_LINE = (
    "- **[{clip}.ogg](https://github.com/x/{clip}.ogg)**:   clip derived from [a (loud) dog.wav](http://free/{clip}/) "
    "by *Ann | Bo* ([{licence}](http://creativecommons.org/licenses/{licence}/))\n"
)


@pytest.fixture
def data(tmp_path: Path, write_wav: WriteWav, rng: np.random.Generator) -> Path:
    """A folder of recordings as they lie on a disk, with their licences."""
    names = (
        "sounds/pump/big_0 sounds/pump/big_1 sounds/train/loco_0 motors/prop_20pct/a motors/prop_20pct/b "
        "background/dog/1-10-A-0 background/dog/1-11-A-0 background/rain/1-12-A-10"
    )
    for name in names.split():
        write_wav(f"data/{name}.flac", rng.normal(0, 0.1, 16_000).astype(np.float32))
    (tmp_path / "data/sounds/manifest.csv").write_text(
        "file,source,original file,class,licence,credit\n"
        "pump/big_0.flac,s,big.wav,pump,CC0,Ann\npump/big_1.flac,s,big.wav,pump,CC0,Ann\n"
        "train/loco_0.flac,s,loco.wav,train,CC BY-NC 4.0,Bo\n"
    )
    lines = [("1-10-A", "CC-BY"), ("1-11-A", "CC-Sampling+"), ("1-12-A", "CC0")]
    (tmp_path / "data/background/LICENCE-ESC-10.md").write_text(
        "".join(ESC_LINE.format(clip=clip, licence=licence) for clip, licence in lines)
    )
    (tmp_path / "data/motors/LICENSE").write_text("MIT License\n\nCopyright (c) 2026 Cy\n")
    return tmp_path / "data"


def test_a_class_a_recording_and_nothing_of_what_strangers_are_graded_under(data: Path) -> None:
    classes = [clip.name for clip in recordings(data)]
    assert classes == [
        *("sounds/big", "sounds/big", "sounds/loco"),
        *("background/dog-1-10-A-0", "background/dog-1-11-A-0"),
        *("motors/prop_20pct", "motors/prop_20pct"),
    ]


def test_whoever_is_owed_is_named_and_what_is_not_free_is_told(data: Path) -> None:
    credited = read_credits(data, [clip.path for clip in recordings(data)])
    assert [path.stem for path, own in credited.items() if not own.is_free] == ["loco_0", "1-11-A-0"]
    text = as_markdown(data, {path: own for path, own in credited.items() if own.is_free})
    assert text.count("| big.wav | s | CC0 | Ann |") == 1
    assert "| 1-10-A | [a (loud) dog.wav](http://free/1-10-A/) | Ann \\| Bo | [CC-BY](http" in text
    assert "Copyright (c) 2026 Cy" in text
    assert "loco" not in text


def test_a_recording_without_a_licence_is_refused(data: Path) -> None:
    manifest = data / "sounds" / "manifest.csv"
    manifest.write_text("".join(line for line in manifest.open() if "big_1" not in line))
    with pytest.raises(EarshotError, match=r"big_1\.flac: its licence is not told .*expected a line for pump/big_1"):
        read_credits(data, [clip.path for clip in recordings(data)])


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_an_alteration_is_heard_and_is_the_same_again(kind: str, rng: np.random.Generator) -> None:
    sound = rng.normal(0, 0.1, 48_000).astype(np.float32)
    first, again = (alter(sound, kind, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert np.abs(first).max() <= 1
    if kind == "pitch":
        assert 2 ** (-3 / 12) - 0.01 < first.size / sound.size < 1.01
    else:
        assert first.size == sound.size
        assert np.square(first - sound).mean() > 1e-4 * np.square(sound).mean()


def test_a_tone_rises_above_its_band(rng: np.random.Generator) -> None:
    sound = rng.normal(0, 0.1, 160_000).astype(np.float32)
    before, after = (np.abs(np.fft.rfft(x)) ** 2 for x in (sound, alter(sound, "tone", np.random.default_rng(3))))
    raised = after.sum() / before.sum()
    assert 1.0 < raised < 30
    assert after.max() > 100 * np.median(after)


# --- What is done to each clip of a batch ---


def test_a_recipe_without_it_leaves_clips_as_they_are() -> None:
    frames = torch.randn(4, 1, 128, 16) * 10 - 60
    assert augment(frames, Recipe()) is frames


def test_levels_and_colours_stay_within_what_was_asked() -> None:
    torch.manual_seed(0)
    frames = torch.full((64, 1, 128, 16), -60.0)
    changed = augment(frames, Recipe(level_db=12.0, tilt_db=3.0)) - frames
    assert changed.abs().max() <= 15
    assert changed.mean((1, 2, 3)).std() > 3
    assert changed.std(2).amax() > 0.5
    assert changed.std(3).amax() < 1e-4


def test_what_lies_beneath_only_adds() -> None:
    torch.manual_seed(0)
    frames = torch.randn(32, 1, 128, 16) * 8 - 60
    mixed = augment(frames, Recipe(beneath=1.0))
    assert (mixed - frames).min() > -1e-3
    power = [(10 ** (x / 10)).mean((1, 2, 3)) for x in (frames, mixed)]
    added_db = 10 * torch.log10(power[1] / power[0] - 1)
    assert added_db.min() > -20.1
    assert added_db.max() < 3.1


def test_the_recipe_for_strangers_is_a_narrow_network() -> None:
    network = load_recipe("strangers").network()
    assert (network.stem_channels, network.window_frames, network.pad_time) == (16, 155, False)


# --- What ships ---


def test_the_shipped_network_has_heard_nothing_that_strangers_are_graded_on() -> None:
    card = (DEMO / "detector" / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, _, network = card.partition("## The network")
    background = network.partition("### Background")[2].partition("### Motors")[0]
    clips = re.findall(r"^\| (\d-\d+-[A-Z]) \|", background, re.MULTILINE)
    assert len(clips) > 60
    assert not re.search(r"UAV|Propeller-Anomaly|Fan_State|EH5TinyML|1010code|tiiuae", card)
    assert "Sampling+" not in card
    assert not re.search(r"/(tmp|home|work|root)/", card)


@needs_real_data
def test_no_background_that_strangers_are_graded_under_is_in_the_card() -> None:
    card = (DEMO / "detector" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for kind in ("rain", "sea_waves", "crackling_fire", "helicopter"):
        clips = sorted((REAL_DATA / "background" / kind).glob("*.flac"))
        assert clips
        for path in clips:
            assert f"| {path.stem.rpartition('-')[0]} |" not in card
