"""One scene of ours, which tests change into what other people have."""

import shutil
from pathlib import Path

import pytest
from ball_scene import write_frame


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "scene"
    write_frame(folder)
    return folder


@pytest.fixture
def scene(plain: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(plain, tmp_path / "my scene ü"))
