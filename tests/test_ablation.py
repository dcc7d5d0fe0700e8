"""What the ablation does around its trainings: no run is done twice, and a stranger must be one of the data."""

import os
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="torch: the train extra is not installed")

with mock.patch.dict(os.environ):  # benchmarks have one BLAS thread; other tests compare with processes that have all
    from benchmarks import ablation


ROW = {"megamacs": 392.0, "cells": {"known:fan/00": {"mahalanobis": [0.8, 0.8], "fused": [0.9, 0.6]}}}


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is asked for has been done: seed 0 of the streaming preset."""
    clip = tmp_path / "fan" / "train" / "section_00_source_train_normal_0000_load_1.wav"
    clip.parent.mkdir(parents=True)
    clip.touch()
    trained: list[Path] = []
    monkeypatch.setattr(ablation, "train", lambda _clips, _recipe, run, **_: trained.append(run))
    monkeypatch.setattr(ablation, "load_network", lambda _run: (mock.Mock(), []))
    monkeypatch.setattr(ablation, "grade", lambda *_: ROW["cells"])
    monkeypatch.setattr(ablation, "megamacs", lambda _settings: ROW["megamacs"])
    arguments = [str(tmp_path), "--known", str(tmp_path / "fan"), "--variant", "streaming", "--seed", "0"]
    ran = CliRunner().invoke(ablation.main, arguments)
    assert ran.exit_code == 0, ran.output
    assert len(trained) == 1
    monkeypatch.setattr(ablation, "train", mock.Mock(side_effect=[None]))
    return arguments


def test_what_was_run_is_not_run_again(arguments: list[str], tmp_path: Path) -> None:
    ran = CliRunner().invoke(ablation.main, arguments)
    assert ran.exit_code == 0, ran.output
    assert "| streaming | 1 | 392 | 0.800 | 0.720 | nan | nan |" in ran.output
    assert not ablation.train.called  # type: ignore[attr-defined]
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_other_epochs_are_another_run(arguments: list[str], tmp_path: Path) -> None:
    ran = CliRunner().invoke(ablation.main, [*arguments, "--epochs", "3"])
    assert ran.exit_code == 0, ran.output
    assert ablation.train.called  # type: ignore[attr-defined]
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2


def test_a_stranger_that_is_not_in_the_data_is_refused(arguments: list[str]) -> None:
    ran = CliRunner().invoke(ablation.main, [*arguments, "--hold-out", "fan/77"])
    assert ran.exit_code == 2
    assert "fan/77: not in the data" in ran.output
