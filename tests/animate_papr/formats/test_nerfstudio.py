"""nerfstudio's form of a frame: the same cameras and pictures, named as its reader asks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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


def test_splits_are_those_that_the_run_drew(tmp_path: Path) -> None:
    frame = write_animation(tmp_path / "sphere") / "frame_000"
    entries = json.loads((frame / "transforms_train.json").read_text())
    for split in ("train", "val", "test"):
        (frame / f"transforms_{split}.json").unlink(missing_ok=True)
    (frame / "transforms.json").write_text(json.dumps(entries))
    drawn = []
    for seed in (0, 3):
        write_nerfstudio(frame, "", tmp_path / str(seed), None, split_seed=seed)
        content = json.loads((tmp_path / str(seed) / "transforms.json").read_text())
        where = {e["file_path"]: e["transform_matrix"] for e in content["frames"]}
        for split in ("train", "test"):
            views = read_views(frame, split, split_seed=seed)
            poses = [where[name] for name in content[f"{split}_filenames"]]
            np.testing.assert_allclose(poses, [c.cam_to_world for c in views.cameras], atol=1e-12)
        drawn.append([where[name] for name in content["test_filenames"]])
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("kind", ["masks", "white"])
def test_images_without_alpha_get_the_runs(tmp_path: Path, kind: str) -> None:
    """From masks beside them, or from the colour behind the object; the others stay as they are."""
    frame = write_animation(tmp_path / "sphere") / "frame_000"
    for path in sorted((frame / "train").glob("*.png")):
        rgba = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        Image.alpha_composite(white, rgba).convert("RGB").save(path)
        if kind == "masks":
            rgba.getchannel("A").save(path.with_name(f"{path.stem}_mask.png"))
    no_alpha = "refuse" if kind == "masks" else "white"
    write_nerfstudio(frame, "", tmp_path / "out", None, no_alpha=no_alpha)
    views = read_views(frame, "train", no_alpha=no_alpha)
    content = json.loads((tmp_path / "out" / "transforms.json").read_text())
    for name, image in zip(content["train_filenames"], views.images, strict=True):
        written = np.asarray(Image.open(tmp_path / "out" / name))
        np.testing.assert_array_equal(written, np.rint(image.numpy() * 255))
    assert 0.0 < float(views.images[..., 3].mean()) < 1.0
