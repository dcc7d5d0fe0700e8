"""What the ablation does around its trainings: no run is done twice, and a stranger must be one of the data."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="torch: the train extra is not installed")

with mock.patch.dict(os.environ):  # benchmarks have one BLAS thread; other tests compare with processes that have all
    from benchmarks.ablation import main


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """All that is asked for has been done: seed 0 of the streaming preset."""
    clip = tmp_path / "fan" / "train" / "section_00_source_train_normal_0000_load_1.wav"
    clip.parent.mkdir(parents=True)
    clip.touch()
    cells = {"known:fan/00": {"mahalanobis": [0.8, 0.8], "fused": [0.9, 0.6]}}
    row = {"variant": "streaming", "seed": 0, "megamacs": 392.0, "cells": cells}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    return [str(tmp_path), "--known", str(tmp_path / "fan"), "--variant", "streaming", "--seed", "0"]


def test_the_table_is_printed_where_nothing_is_left_to_run(arguments: list[str]) -> None:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0, ran.output
    assert "| streaming | 1 | 392 | 0.800 | 0.720 | nan | nan |" in ran.output


def test_a_stranger_that_is_not_in_the_data_is_refused(arguments: list[str]) -> None:
    ran = CliRunner().invoke(main, [*arguments, "--hold-out", "fan/77"])
    assert ran.exit_code == 2
    assert "fan/77: not in the data" in ran.output
