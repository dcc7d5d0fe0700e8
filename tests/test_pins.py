"""What a device installs: every package that `earshot[web]` needs, one version each, to the byte, from nowhere in
particular."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(name: str) -> dict[str, str]:
    """Versions by name; every line that is none fails."""
    text = (ROOT / "systemd" / name).read_text(encoding="utf-8").replace(" \\\n   ", "")
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            pin = PIN.fullmatch(line)
            assert pin, line
            found[pin["name"]] = pin["version"]
    return found


def wanted(name: str) -> list[str]:
    everything = project()
    own: list[str] = everything["build-system"]["requires"]
    if name == "requirements.txt":
        own = [*everything["project"]["dependencies"], *everything["project"]["optional-dependencies"]["web"]]
    return own


def with_all_they_need(texts: list[str], extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Yield requirements, and those of what is installed here, all the way down."""
    for text in texts:
        requirement = Requirement(text)
        chosen = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker and not any(requirement.marker.evaluate(extra) for extra in chosen):
            continue
        yield requirement
        try:
            yield from with_all_they_need(requires(requirement.name) or [], frozenset(requirement.extras))
        except PackageNotFoundError:
            continue


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_every_package_that_is_needed_is_pinned_at_a_version_that_will_do(name: str) -> None:
    pinned = pins(name)
    for requirement in with_all_they_need(wanted(name)):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement}: run scripts/pin-packages"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {version} is pinned"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_no_host_is_written_down(name: str) -> None:
    text = (ROOT / "systemd" / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted| @ |/simple", text)


def test_wheels_of_both_machines_and_every_python_are_there() -> None:
    """numpy has a wheel for each: two machines, four Pythons."""
    text = (ROOT / "systemd" / "requirements.txt").read_text(encoding="utf-8").replace(" \\\n   ", "")
    (numpy,) = (line for line in text.splitlines() if line.startswith("numpy=="))
    assert numpy.count("--hash") == 8
    promised = [c.rsplit(" ", 1)[-1] for c in project()["project"]["classifiers"] if "Python :: 3." in c]
    script = (ROOT / "scripts" / "pin-packages").read_text(encoding="utf-8")
    assert f"PYTHONS: Final = ({', '.join(repr(v) for v in promised)})".replace("'", '"') in script
