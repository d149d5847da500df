"""Starting the project's own commands, and Blender, from tests."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
MAKE_ASSETS = Path(__file__).with_name("make_assets.py")

needs_blender = [
    pytest.mark.blender,
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed"),
]


def blender_version() -> tuple[int, ...]:
    """(5, 0) and the like; (0,) without Blender."""
    try:
        return tuple(int(part) for part in importlib.metadata.version("bpy").split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return (0,)


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def start_render(*arguments: str, log: Path) -> subprocess.Popen[str]:
    """The render command in a process of its own, its messages in ``log``."""
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "blender_render.render", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(),
            cwd=ROOT,
            text=True,
        )


def render(*arguments: str, log: Path) -> tuple[int, str]:
    """The render command to its end: exit code and messages."""
    code = start_render(*arguments, log=log).wait(timeout=300)
    return code, log.read_text()


def make_assets(folder: Path) -> None:
    command = [sys.executable, str(MAKE_ASSETS), str(folder)]
    subprocess.run(command, check=True, env=environment(), timeout=120, stdout=subprocess.DEVNULL)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def picture(path: Path) -> np.ndarray:
    """Pixels of a PNG as float64."""
    return np.asarray(Image.open(path)).astype(np.float64)


def info_of(root: Path) -> dict[str, Any]:
    """dataset.json of a dataset."""
    return json.loads((root / "dataset.json").read_text())
