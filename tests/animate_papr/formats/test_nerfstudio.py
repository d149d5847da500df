"""nerfstudio's form of a frame: the same cameras and pictures, named as its reader asks."""

import json
from pathlib import Path

import numpy as np
from tiny_animation import write_animation

from animate_papr.formats.nerfstudio import write_nerfstudio
from blender_render.dataset.readers import read_views


def test_cameras_and_pictures_are_the_datasets(tmp_path: Path) -> None:
    dataset = write_animation(tmp_path / "sphere")
    output = tmp_path / "out"
    count = write_nerfstudio(dataset, "frame_001", output, b"ply")
    content = json.loads((output / "transforms.json").read_text())
    # Its reader refuses a split that is not named once one is.
    splits = [content[f"{split}_filenames"] for split in ("train", "val", "test")]
    assert all(splits) and count == len(content["frames"])
    entries = {frame["file_path"]: frame for frame in content["frames"]}
    assert set().union(*splits) == set(entries)
    for split, names in zip(("train", "test"), (splits[0], splits[2]), strict=True):
        views = read_views(dataset / "frame_001", split)
        assert len(views) == len(names)
        for name, camera in zip(names, views.cameras, strict=True):
            said = entries[name]
            np.testing.assert_allclose(said["transform_matrix"], camera.cam_to_world, atol=1e-12)
            own = (camera.width, camera.height, camera.fl_x, camera.fl_y, camera.cx, camera.cy)
            assert [said[k] for k in ("w", "h", "fl_x", "fl_y", "cx", "cy")] == list(own)
        first = dataset / "frame_001" / f"{views.names[0]}.png"
        assert (output / names[0]).read_bytes() == first.read_bytes()
    assert (output / content["ply_file_path"]).read_bytes() == b"ply"
    assert content["orientation_override"] == "none"


def test_without_points_none_are_named(tmp_path: Path) -> None:
    write_nerfstudio(write_animation(tmp_path / "sphere"), "frame_000", tmp_path / "out", None)
    assert "ply_file_path" not in json.loads((tmp_path / "out" / "transforms.json").read_text())
