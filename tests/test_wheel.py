"""The built wheel holds every room and its data; its commands start away from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("training_core", "blender_render", "mnvs", "sjc_papr", "animate_papr")
DATA = (".css", ".js", ".html", ".typed", ".json", ".safetensors", ".md")
COMMANDS = (
    "blender_render.render",
    "blender_render.validate",
    "blender_render.convert_videopapr",
    "mnvs.train",
    "mnvs.train_vae",
    "mnvs.generate",
    "mnvs.tiny",
    "mnvs.import_videopapr",
    "sjc_papr.train",
    "sjc_papr.train_prior",
    "sjc_papr.evaluate",
    "sjc_papr.import_papr",
    "animate_papr.train",
    "animate_papr.render",
    "animate_papr.export",
    "animate_papr.report",
)
SEPARATOR = "=== next ==="
# One process for all of them, because importing PyTorch is most of the time.
SHOW_HELP = f"""
import runpy, sys, training_core
print(training_core.__file__, end="")
commands, sys.argv = sys.argv[1:], ["command", "--help"]
for command in commands:
    print({SEPARATOR!r}, flush=True)
    try:
        runpy.run_module(command, run_name="__main__")
    except SystemExit as ending:
        assert not ending.code, command
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves a build folder, whose old files the next wheel gets."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-w", out, source], check=True)
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment that has the wheel, and the other packages of this one."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    (packages,) = venv.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--target", packages, wheel], check=True)
    # A .pth file of another environment is not followed, so an editable install is not seen.
    others = [folder for folder in sys.path if folder.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return python


def test_every_module_and_data_file_is_in_it(wheel: Path) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.suffix in (".py", *DATA) and "__pycache__" not in path.parts
    }
    assert any(path.endswith("py.typed") for path in wanted)
    assert any("/assets/" in path for path in wanted)
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted


def test_commands_show_their_help_elsewhere(installed: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [installed, "-c", SHOW_HELP, *COMMANDS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    where, *texts = done.stdout.split(SEPARATOR)
    assert Path(where).is_relative_to(installed.parents[1])
    assert len(texts) == len(COMMANDS) and all("usage:" in text for text in texts)
