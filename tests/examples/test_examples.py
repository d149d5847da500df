"""Every script of examples/: as its docstring says, and with fewer steps for every day."""

import importlib
import os
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = {
    "render_dataset": "views.png",
    "papr": "runs/sjc_papr/example/metrics.json",
    "animate": "runs/animate_papr/example/export/export.json",
    "generate_views": "generated/sixview/sample.json",
}

# What follows the scripts' own arguments, so that all of those are read and checked too.
SHORTER = {
    "sjc_papr.train": ["optimize.steps=6"],
    "animate_papr.train": ["first.steps=8", "next.steps=6", "next.align.steps=3"],
    "mnvs.train_vae": ["optimize.steps=4"],
    "mnvs.train": ["train.steps=3"],
    "mnvs.generate": ["sampling.steps=2"],
}


def test_each_example_is_short_and_has_a_test():
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert [path.stem for path in scripts] == sorted(RESULTS)
    assert all(len(path.read_text().splitlines()) < 60 for path in scripts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all, so that the dataset is rendered once."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def folder_of_short_runs(tmp_path_factory):
    """Apart, because a run goes on where the one before stopped."""
    return tmp_path_factory.mktemp("short")


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


@pytest.mark.blender
@pytest.mark.parametrize("name", RESULTS)
def test_example_runs_with_fewer_steps(name, folder_of_short_runs, monkeypatch, capsys):
    for command, more in SHORTER.items():
        module = importlib.import_module(command)
        monkeypatch.setattr(module, "main", partial(followed_by, module.main, more))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(folder_of_short_runs)])
    runpy.run_path(str(ROOT / f"examples/{name}.py"), run_name="__main__")
    assert (folder_of_short_runs / RESULTS[name]).is_file(), capsys.readouterr().out


def followed_by(command, more, arguments):
    """The command with more arguments behind its own."""
    return command([*arguments, *more])
