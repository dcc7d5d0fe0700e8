"""The table of the README, held: which wing lies on which floor, and who may import whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Wing: its floor, and whose doors it may use. Below all of them lie those of `GROUND`.
WINGS: dict[str, tuple[int, set[str]]] = {
    "commands": (6, {"config", "source", "ear", "judge", "voice", "demo", "detector", "daemon", "memory", "page"}),
    "daemon": (5, {"config", "source", "ear", "judge", "memory", "voice", "detector", "page"}),
    "detector": (4, {"config", "source", "ear", "judge"}),
    "demo": (4, {"voice"}),
    "page": (4, {"config", "ear", "memory", "voice"}),
    "judge": (3, {"config", "ear"}),
    "voice": (3, {"config"}),
    "memory": (3, {"config", "source", "ear"}),
    "ear": (2, set()),
    "source": (2, set()),
    "config": (1, set()),
}
GROUND = {"arrays", "clock", "errors", "files", "outlet", "__version__"}
AT_THE_TOP = {"__init__", "arrays", "cli", "clock", "errors", "files", "outlet", "talk"}


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports, and those that it takes from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def doors(wing: str) -> set[str]:
    """What the `__init__.py` of a wing hands out."""
    for node in ast.parse((ROOT / "edge" / wing / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@pytest.mark.parametrize("path", modules_of("edge"), ids=name_of)
def test_the_ground_floor_rests_on_nothing(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports_of(path)}
    assert not roots & {"torch", "trainer", "export", "onnx", "sklearn", "scipy"}


@pytest.mark.parametrize("path", modules_of("trainer"), ids=name_of)
def test_the_trainer_does_not_know_the_exporter(path: Path) -> None:
    assert "export" not in {name.split(".")[0] for name in imports_of(path)}
    words = [n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)]
    assert not [word for word in words if isinstance(word, str) and re.fullmatch(r"export(\.\w+)+", word)]


def test_every_wing_is_in_the_table() -> None:
    assert {path.parent.name for path in (ROOT / "edge").glob("*/__init__.py")} == set(WINGS)
    assert {path.stem for path in (ROOT / "edge").glob("*.py")} == AT_THE_TOP


def test_the_table_of_the_readme_is_this_one() -> None:
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| .+ \| (.*)\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert {wing: (int(floor), set(re.findall(r"\w+", may))) for floor, wing, may in rows} == WINGS


def test_imports_run_down() -> None:
    for wing, (floor, may) in WINGS.items():
        assert all(WINGS[other][0] < floor for other in may), wing


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_what_the_table_allows_and_all_of_it(wing: str) -> None:
    used = {name.split(".")[1] for path in modules_of(f"edge/{wing}") for name in imports_of(path) if "edge." in name}
    assert used - {wing} - GROUND - ({"cli"} if wing == "commands" else set()) == WINGS[wing][1]


@pytest.mark.parametrize(
    "path", [p for package in ("edge", "trainer", "export", "benchmarks") for p in modules_of(package)], ids=name_of
)
def test_a_wing_is_entered_by_its_door(path: Path) -> None:
    inside = path.relative_to(ROOT).parts[1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("edge."):
            continue
        _, wing, *room = str(node.module).split(".")
        if wing in WINGS and wing != inside:
            assert not room, f"{node.module}: expected `from edge.{wing} import ...`"
            assert {alias.name for alias in node.names} <= doors(wing)


@pytest.mark.parametrize("module", ["edge.daemon", "edge.commands.enroll", "edge.commands.score"])
def test_a_device_loads_no_torch_no_scipy_and_no_sound_card(module: str) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    roots = {name.split(".")[0] for name in loaded.split()}
    assert not roots & {"torch", "scipy", "sklearn", "onnx", "trainer", "export"}
    assert not roots & {"sounddevice", "amqtt", "prometheus_client", "starlette", "uvicorn"}


def test_every_command_of_the_design_is_there() -> None:
    from edge.cli import earshot

    expected = ["run", "replay", "score", "enroll", "check", "forget", "bench", "simulate", "train", "export"]
    expected += ["evaluate", "reproduce", "report"]
    assert earshot.list_commands(None) == expected  # type: ignore[arg-type]
