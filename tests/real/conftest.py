"""What more than one file of these tests needs."""

import sys
from pathlib import Path

import pytest

from tests.real.wheels import fill


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of this checkout and of all that it needs, for this Python."""
    folder = tmp_path_factory.mktemp("wheels")
    fill(folder, f"{sys.version_info.major}.{sys.version_info.minor}")
    return folder
