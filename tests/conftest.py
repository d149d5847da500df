"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; before PyTorch is imported, and for the commands that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs and official numbers; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("VIDEOPAPR_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"reference data not found at {folder} (set VIDEOPAPR_SHARED)")
    return folder
