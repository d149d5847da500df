"""`validate` names each fault of a six-view video in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ball_scene import edit_json, turn, write_sixview
from PIL import Image

from blender_render.validate import validate

SIX_FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing": (lambda d: (d / "view_4/001.png").unlink(), ("view_4/001.png", "missing")),
    "rig": (
        lambda d: edit_json(d / "sample.json", lambda c: c.update(rig=["v1.1"])),
        ("sample.json", "'rig' must be a name"),
    ),
    "turned": (lambda d: turn(d / "view_1/000.png"), ("view_1/000.png", "stored turned")),
    "angle": (
        lambda d: edit_json(d / "sample.json", lambda c: c["views"][3].update(azimuth_deg=150)),
        ("view 3", "azimuth_deg is 150", "210.0"),
    ),
    "elevation": (
        lambda d: edit_json(d / "sample.json", lambda c: c["views"][1].update(elevation_deg=20)),
        ("view 1", "elevation_deg is 20", "-20.0"),
    ),
    "size": (
        lambda d: Image.new("RGBA", (20, 20), (9, 9, 9, 9)).save(d / "view_2/001.png"),
        ("view_2/001.png", "wrong size 20x20"),
    ),
    "views": (lambda d: edit_json(d / "sample.json", lambda c: c["views"].pop()), ("six 'views'",)),
    "no motion": (
        lambda d: [shutil.copy(f / "000.png", f / "001.png") for f in d.iterdir() if f.is_dir()],
        ("no motion",),
    ),
}


@pytest.mark.parametrize("spoil, words", SIX_FAULTS.values(), ids=SIX_FAULTS)
def test_faults_of_six_view_videos(
    tmp_path: Path, spoil: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    dataset = write_sixview(tmp_path / "six")
    spoil(dataset)
    (problem,) = validate(dataset)
    assert "\n" not in problem and all(word in problem for word in words), problem
