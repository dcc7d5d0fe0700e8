"""What is held out: whole recordings, of every section that can spare one, and the same ones again."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge.judge import Domain
from trainer.dataset import Clip
from trainer.holdout import choose_held_out


def section(name: str, n_recordings: int, *, parts: int = 1, domain: Domain = "source") -> list[Clip]:
    machine, number = name.split("/")
    return [
        Clip(
            Path(f"{machine}/section_{number}_{domain}_train_normal_{parts * i + part:04}_flight_{i}_part_{part}.wav"),
            *(machine, number, domain, "train", "normal", f"flight_{i}_part_{part}"),
        )
        for i in range(n_recordings)
        for part in range(parts)
    ]


def of(clips: Sequence[Clip], held_out: set[Path]) -> set[str]:
    """The recordings of the clips that are held out."""
    return {clip.recording for clip in clips if clip.path in held_out}


def test_nothing_by_default() -> None:
    assert choose_held_out(section("pump/00", 100), 0.0, 0) == set()


@pytest.mark.parametrize(("n", "fraction", "expected"), [(100, 0.1, 10), (5, 0.01, 1), (4, 0.5, 0), (5, 0.99, 4)])
def test_a_fraction_of_the_recordings_and_at_least_one(n: int, fraction: float, expected: int) -> None:
    assert len(choose_held_out(section("pump/00", n), fraction, 0)) == expected


def test_parts_of_a_recording_stay_together() -> None:
    clips = section("uav/00", 10, parts=7)
    held_out = choose_held_out(clips, 0.2, 0)
    assert len(of(clips, held_out)) == 2
    assert len(held_out) == 2 * 7


def test_three_target_clips_stay() -> None:
    clips = section("pump/00", 50) + section("pump/01", 3, domain="target")
    assert {path.name[:10] for path in choose_held_out(clips, 0.2, 0)} == {"section_00"}
    both = section("pump/00", 50) + [
        Clip(Path(f"{i}.wav"), "pump", "00", "target", "train", "normal") for i in range(3)
    ]
    assert len(choose_held_out(both, 0.2, 0)) == 10
    assert not choose_held_out(both, 0.2, 0) & {Path(f"{i}.wav") for i in range(3)}


def test_each_domain_that_has_enough_gives_its_share() -> None:
    clips = section("pump/00", 50)
    clips += [Clip(Path(f"{i}.wav"), "pump", "00", "target", "train", "normal") for i in range(20)]
    held_out = choose_held_out(clips, 0.2, 0)
    assert len(held_out) == 10 + 4
    assert len(held_out & {Path(f"{i}.wav") for i in range(20)}) == 4


def test_where_only_both_domains_have_enough_the_larger_gives() -> None:
    clips = [*section("pump/00", 4), Clip(Path("t.wav"), "pump", "00", "target", "train", "normal")]
    assert len(choose_held_out(clips, 0.2, 0)) == 1
    assert Path("t.wav") not in choose_held_out(clips, 0.2, 0)


def test_the_seed_chooses_and_nothing_else_does() -> None:
    pump, fan = section("pump/00", 50), section("fan/00", 50)
    chosen = choose_held_out(pump, 0.2, 0)
    assert choose_held_out(pump[::-1], 0.2, 0) == chosen
    assert choose_held_out(pump + fan, 0.2, 0) & {clip.path for clip in pump} == chosen
    assert choose_held_out(pump, 0.2, 1) != chosen
    # Another section of as many recordings gives others: no number is always the one that nobody hears.
    assert of(fan, choose_held_out(fan, 0.2, 0)) != {name.replace("pump", "fan") for name in of(pump, chosen)}
