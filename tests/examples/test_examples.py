"""Every script of examples/, run as its docstring says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = {
    "render_dataset": "views.png",
    "papr": "runs/sjc_papr/example/metrics.json",
    "animate": "runs/animate_papr/example/export/export.json",
    "generate_views": "generated/sixview/sample.json",
}


def test_each_example_is_short_and_has_a_test():
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert [path.stem for path in scripts] == sorted(RESULTS)
    assert all(len(path.read_text().splitlines()) < 60 for path in scripts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all, so that the dataset is rendered once."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.blender
@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
def test_example_runs(name, folder):
    script = ROOT / f"examples/{name}.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / RESULTS[name]).is_file(), done.stdout
