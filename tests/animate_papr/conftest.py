"""Fixtures of the animation tests."""

import shutil
from pathlib import Path

import pytest
from synthetic_run import make_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; for reading only."""
    return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def own_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(finished_run, tmp_path / "butterfly"))
