"""The picture of the line, held: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A stage may use the values of the one before it and the settings at the door, and nothing else of `edge`.
MAY_IMPORT = {
    "frontend": set(),
    "ring": {"frontend"},
    "source": {"source"},
    "model": {"frontend", "ring"},
    "scorer": {"frontend"},
    "fit": {"scorer"},
    "event": {"config"},
    "publisher": {"config", "control", "outbox"},
    "outbox": {"config"},
    "control": set(),
    "config": {"strict_yaml"},
    "strict_yaml": set(),
    "notify": set(),
    "metrics": {"config"},
    "sensor": {"config"},
    "picture": {"frontend"},
    "evidence": {"clock", "config", "frontend", "picture", "source"},
    "demo_broker": set(),
    "subscriber": set(),
}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", modules_of("edge"), ids=str)
def test_the_ground_floor_rests_on_nothing(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports_of(path)}
    assert not roots & {"torch", "trainer", "export", "onnx", "sklearn", "scipy"}


@pytest.mark.parametrize("path", modules_of("trainer"), ids=str)
def test_the_trainer_does_not_know_the_exporter(path: Path) -> None:
    assert "export" not in {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("stage", MAY_IMPORT)
def test_stages_do_not_import_each_other(stage: str) -> None:
    package = ROOT / "edge" / stage
    paths = sorted(package.glob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
    used = {name.split(".")[1] for path in paths for name in imports_of(path) if name.startswith("edge.")}
    assert used <= MAY_IMPORT[stage] | {"errors"}


@pytest.mark.parametrize("module", ["edge.daemon", "edge.commands.enroll", "edge.commands.score"])
def test_a_device_loads_no_torch_no_scipy_and_no_sound_card(module: str) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    roots = {name.split(".")[0] for name in loaded.split()}
    assert not roots & {"torch", "scipy", "sklearn", "onnx", "trainer", "export"}
    assert not roots & {"sounddevice", "amqtt", "prometheus_client"}


def test_every_command_of_the_design_is_there() -> None:
    from edge.cli import earshot

    expected = ["run", "replay", "score", "enroll", "check", "bench", "simulate", "train", "export"]
    expected += ["evaluate", "reproduce", "report"]
    assert earshot.list_commands(None) == expected  # type: ignore[arg-type]
