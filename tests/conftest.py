"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# They start first, the longest before the others: one that started last would run alone at the end.
LONGEST = (
    "blender_render/blender/test_render_restart.py",
    "blender_render/blender/test_render_blender.py",
    "slurm/test_real_slurm.py",
    "slurm/test_real_render.py",
    "slurm/test_real_commands.py",
    "scripts/test_pipeline_kill.py",
    "scripts/test_pipeline.py",
    "blender_render/blender/test_render_real.py",
    "examples/test_examples.py",
    "blender_render/test_convert.py",
    "mnvs/test_train.py",
    "mnvs/training/test_processes.py",
    "sjc_papr/test_train_kill.py",
    "sjc_papr/training/test_processes.py",
    "animate_papr/test_train_kill.py",
    "blender_render/blender/test_render_geometry.py",
    "scripts/test_gpu_check.py",
    "compatibility/test_older_runs.py",
    "test_wheel.py",
    "test_documented_commands.py",
    "test_missing_extras.py",
    "sjc_papr/data/test_worlds_train_alike.py",
    "sjc_papr/networks/test_fast_path.py",
)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; before PyTorch is imported, and for the commands that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file, see LONGEST. Raises UsageError where one of those is no longer there."""
    tests = ROOT / "tests"
    places = {tests / name: place for place, name in enumerate(LONGEST)}
    if lost := [str(path) for path in places if not path.is_file()]:
        raise pytest.UsageError(f"tests/conftest.py names files that are not there: {lost}")
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs and official numbers; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("VIDEOPAPR_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"reference data not found at {folder} (set VIDEOPAPR_SHARED)")
    return folder
