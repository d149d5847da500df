"""Blender's own files: NLA tracks, alone and together, and scripts that must not run."""

import subprocess
import sys
from pathlib import Path

import pytest
from blender_runs import environment, info_of, make_assets, needs_blender, render

pytestmark = [*needs_blender, pytest.mark.slow]

OPEN = """
import os, sys, bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1], use_scripts=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    make_assets(folder)
    return folder / "tracks.blend"


@pytest.mark.parametrize(
    ("action", "longest", "centre"),
    [
        ("slide", 4.0, (1.5, 0.0, 0.0)),
        ("grow", 3.0, (0.0, 0.0, 0.0)),
        ("as stored", 4.0, (1.5, 0.0, 0.0)),
        ("", 4.0, (1.5, 0.0, 0.0)),
    ],
)
def test_a_track_plays_alone_and_all_together(
    blend: Path, tmp_path: Path, action: str, longest: float, centre: tuple[float, ...]
) -> None:
    """The box over all frames says what moved; scripts of the file stay text."""
    small = ["rig.train=1", "rig.val=1", "rig.test=1", "rig.resolution=16", "engine.samples=1"]
    code, said = render(
        f"assets=[{blend}]",
        f"output={tmp_path / 'out'}",
        f"action='{action}'",
        "frames.count=4",
        "frames.loop=no",
        *small,
        log=tmp_path / "log",
    )
    assert code == 0, said
    way = info_of(tmp_path / "out" / "tracks")["world_to_asset"]
    assert way["scale"] == pytest.approx(longest, abs=1e-3)
    assert way["offset"] == pytest.approx(centre, abs=1e-3)
    assert not blend.with_name("tracks.blend.ran").exists()


def test_the_script_would_run_if_it_were_let(blend: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tracks.blend"
    copy.write_bytes(blend.read_bytes())
    command = [sys.executable, "-c", OPEN, str(copy)]
    subprocess.run(command, check=True, env=environment(), timeout=120)
    assert copy.with_name("tracks.blend.ran").exists()
