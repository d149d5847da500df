"""Datasets become the right tensors, and bad ones become one clear line."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_scene import (
    draw,
    edit_json,
    pack,
    posed,
    ring_of_cameras,
    unproject,
    write_dataset,
    write_frame,
)
from PIL import Image

from blender_render.dataset.readers import (
    composite,
    list_frames,
    read_dataset_info,
    read_views,
)
from blender_render.imaging.resize import area_resize, resize_depth, resize_rgba
from blender_render.pack import pack_dataset
from training_core.config import InputError


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    write_frame(tmp_path)
    return tmp_path


def test_views_are_what_was_drawn(frame: Path) -> None:
    views = read_views(frame, "test")
    assert len(views) == 3
    assert views.images.shape == (3, 48, 64, 4)
    assert views.images.dtype == torch.float32
    assert views.names == ("test/000", "test/001", "test/002")
    assert views.depth is not None
    for index, camera in enumerate(ring_of_cameras()[:3]):
        picture, depth = draw(camera, posed(0))
        assert np.array_equal((views.images[index].numpy() * 255).round(), picture)
        np.testing.assert_allclose(views.depth[index], depth, atol=1e-4)
        assert np.array_equal(views.cameras[index].cam_to_world, camera.cam_to_world)
    assert read_views(frame, "train").depth is None
    assert read_views(frame, "test", with_depth=False).depth is None


def test_depth_and_pose_give_points_on_the_balls(frame: Path) -> None:
    views = read_views(frame, "test")
    assert views.depth is not None
    for camera, depth in zip(views.cameras, views.depth.numpy(), strict=True):
        rows, columns = np.nonzero(depth)
        pixels = np.stack([columns + 0.5, rows + 0.5], 1)
        points = unproject(camera, pixels, depth[rows, columns])
        off = [np.abs(np.linalg.norm(points - c, axis=1) - r) for c, r, _ in posed(0)]
        assert np.min(off, axis=0).max() < 1e-3


def test_archive_and_folder_give_the_same_views(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "balls")
    archive = pack(folder, tmp_path / "balls.zip")
    assert list_frames(archive) == list_frames(folder) == ["frame_000", "frame_001"]
    assert read_dataset_info(archive) == read_dataset_info(folder)
    for name in list_frames(archive):
        a, b = read_views(folder / name, "train"), read_views(archive / name, "train")
        assert torch.equal(a.images, b.images)
        assert a.names == b.names


def test_nerf_synthetic_layout_reads_without_conversion(frame: Path) -> None:
    expected = read_views(frame, "train")

    def strip(content: dict) -> None:
        for key in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
            del content[key]
        for entry in content["frames"]:
            entry["rotation"] = 0.01

    edit_json(frame / "transforms_train.json", strip)
    views = read_views(frame, "train")
    assert torch.equal(views.images, expected.images)
    points = np.random.default_rng(0).normal(size=(5, 3))
    for a, b in zip(views.cameras, expected.cameras, strict=True):
        np.testing.assert_allclose(a.project(points)[0], b.project(points)[0], atol=1e-6)
    assert list_frames(frame) == [""]


def test_official_nerf_synthetic_folder(shared_data: Path) -> None:
    path = shared_data / "data" / "nerf_synthetic_lego_200"
    views = read_views(path, "test", resolution=(50, 50))
    assert views.images.shape == (13, 50, 50, 4)
    assert views.cameras[0].fl_x == pytest.approx(1111.11 / 16, rel=1e-4)


def test_frames_sort_by_number(tmp_path: Path) -> None:
    for number in ("1000", "005", "020", "100"):
        (tmp_path / f"frame_{number}").mkdir()
    (tmp_path / "depth_frame_000").mkdir()
    assert list_frames(tmp_path) == ["frame_005", "frame_020", "frame_100", "frame_1000"]


def test_composite_uses_alpha_not_a_threshold() -> None:
    rgba = torch.tensor([[1.0, 0.0, 0.5, 0.25], [0.3, 0.3, 0.3, 0.0]])
    np.testing.assert_allclose(
        composite(rgba, 1.0), [[1.0, 0.75, 0.875], [1.0, 1.0, 1.0]], atol=1e-6
    )
    np.testing.assert_allclose(composite(rgba, (0.0, 0.5, 1.0))[1], (0.0, 0.5, 1.0), atol=1e-6)


def test_area_resize_equals_counting_fine_squares() -> None:
    values = torch.rand(6, 10, 3)
    # Each pixel as 7 x 4 copies; then 10 → 7 and 6 → 4 are whole blocks of 10 and 6 copies.
    fine = values.repeat_interleave(4, 0).repeat_interleave(7, 1)
    blocks = fine.view(4, 6, 7, 10, 3).mean((1, 3))
    torch.testing.assert_close(area_resize(values, 7, 4), blocks)


def test_resizing_does_not_mix_hidden_colours_in() -> None:
    picture = torch.zeros(2, 2, 4)
    picture[0, 0] = torch.tensor([1.0, 0.5, 0.0, 1.0])
    picture[1, 1] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    small = resize_rgba(picture, 1, 1)
    torch.testing.assert_close(small[0, 0], torch.tensor([1.0, 0.5, 0.0, 0.25]))
    # Compositing before or after shrinking is the same.
    picture = torch.rand(12, 8, 4)
    before = area_resize(composite(picture, 0.3), 4, 3)
    torch.testing.assert_close(composite(resize_rgba(picture, 4, 3), 0.3), before)


def test_depth_resizes_over_what_is_covered() -> None:
    depth = torch.tensor([[2.0, 4.0, 0.0, 0.0], [2.0, 0.0, 0.0, 5.0]])
    torch.testing.assert_close(resize_depth(depth, 2, 1), torch.tensor([[8.0 / 3.0, 0.0]]))


def test_reading_smaller_scales_the_cameras(frame: Path) -> None:
    full, small = read_views(frame, "test"), read_views(frame, "test", resolution=(32, 16))
    assert small.images.shape == (3, 16, 32, 4)
    assert small.depth is not None
    assert small.depth.shape == (3, 16, 32)
    point = [(0.1, 0.2, 0.05)]
    for a, b in zip(full.cameras, small.cameras, strict=True):
        np.testing.assert_allclose(b.project(point)[0], a.project(point)[0] * (1 / 2, 1 / 3))
    premultiplied = full.images[..., :3] * full.images[..., 3:]
    blocks = premultiplied.view(3, 16, 3, 32, 2, 3).mean((2, 4))
    torch.testing.assert_close(small.images[..., :3] * small.images[..., 3:], blocks)


def cut_picture(frame: Path) -> None:
    path = frame / "train/005.png"
    path.write_bytes(path.read_bytes()[:-60])


def cut_json(frame: Path) -> None:
    path = frame / "transforms_train.json"
    path.write_text(path.read_text()[:700])


def rgb_picture(frame: Path) -> None:
    Image.new("RGB", (64, 48)).save(frame / "train/002.png")


def other_size(frame: Path) -> None:
    Image.new("RGBA", (32, 48)).save(frame / "train/002.png")


def no_frames(content: dict) -> None:
    content["frames"] = []


def first(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Change the third entry of the training split."""
    return lambda f: edit_json(f / "transforms_train.json", lambda c: change(c["frames"][2]))


def whole(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Change the training split's JSON."""
    return lambda f: edit_json(f / "transforms_train.json", change)


BAD = {
    "truncated PNG": (cut_picture, r"005\.png: damaged or cut-off"),
    "not a PNG": (lambda f: (f / "train/001.png").write_text("hi"), r"001\.png: damaged"),
    "empty file": (lambda f: (f / "train/001.png").write_bytes(b""), r"001\.png: damaged"),
    "missing picture": (lambda f: (f / "train/003.png").unlink(), r"003\.png: file is missing"),
    "no alpha": (rgb_picture, r"002\.png: RGBA expected, but .*without alpha"),
    "wrong size": (other_size, r"002\.png: wrong size 32x48"),
    "size against JSON": (whole(lambda c: c.update(w=65)), r"000\.png: wrong size 64x48"),
    "JSON cut off": (cut_json, r"train\.json: not valid JSON \(line \d+"),
    "JSON is a list": (
        lambda f: (f / "transforms_train.json").write_text("[]"),
        "a JSON object was expected",
    ),
    "no frames key": (whole(lambda c: c.pop("frames")), "'frames' is missing"),
    "empty split": (whole(no_frames), "'train' split is empty"),
    "absent split": (lambda f: (f / "transforms_train.json").unlink(), "no 'train' split"),
    "no lens": (
        whole(lambda c: (c.pop("fl_x"), c.pop("camera_angle_x"))),
        "'camera_angle_x' is missing",
    ),
    "degrees": (
        whole(lambda c: (c.pop("fl_x"), c.update(camera_angle_x=40.0))),
        "must be in radians",
    ),
    "focal is text": (whole(lambda c: c.update(fl_x="70")), "'fl_x' must be a finite number"),
    "negative focal": (whole(lambda c: c.update(fl_x=-70.0)), "must be positive"),
    "no file_path": (first(lambda e: e.pop("file_path")), "frame 2: key 'file_path' is missing"),
    "climbing path": (first(lambda e: e.update(file_path="../../x")), "leads out"),
    "no pose": (first(lambda e: e.pop("transform_matrix")), "'transform_matrix' is missing"),
    "NaN pose": (
        first(lambda e: e["transform_matrix"][1].__setitem__(2, math.nan)),
        r"frame 2 .*pose holds NaN",
    ),
    "3x4 pose": (first(lambda e: e["transform_matrix"].pop()), "not a 4x4 matrix"),
    "pose of words": (first(lambda e: e.update(transform_matrix="I")), "not a 4x4 matrix"),
    "scaled pose": (
        first(lambda e: e["transform_matrix"][0].__setitem__(0, 2.0)),
        "not orthonormal",
    ),
    "mirrored pose": (
        first(lambda e: [r.__setitem__(0, -r[0]) for r in e["transform_matrix"]]),
        "mirrored",
    ),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD)
def test_bad_data_ends_in_one_clear_line(
    frame: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(frame)
    with pytest.raises(InputError, match=message) as caught:
        read_views(frame, "train")
    assert str(frame) in str(caught.value) or "leads out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(read_views(frame, "val")) == 1, "the other splits are not affected"


BAD_DEPTH = {
    "8 bit": (
        lambda f: Image.new("L", (64, 48)).save(f / "test/001_depth.png"),
        r"001_depth\.png: 16-bit grey expected",
    ),
    "missing": (lambda f: (f / "test/001_depth.png").unlink(), "file is missing"),
    "no unit": (
        lambda f: edit_json(f / "transforms_test.json", lambda c: c.pop("depth_scale")),
        "'depth_scale' must be a positive number",
    ),
    "one without": (
        lambda f: edit_json(f / "transforms_test.json", lambda c: c["frames"][1].pop("depth_path")),
        "'depth_path' is missing",
    ),
    "size": (
        lambda f: Image.fromarray(np.zeros((4, 4), np.uint16)).save(f / "test/001_depth.png"),
        "wrong size 4x4",
    ),
}


@pytest.mark.parametrize("spoil, message", BAD_DEPTH.values(), ids=BAD_DEPTH)
def test_bad_depth(frame: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(frame)
    with pytest.raises(InputError, match=message):
        read_views(frame, "test")


def test_unfinished_datasets_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "balls", 1)
    assert len(read_views(folder / "frame_000", "val")) == 1
    (folder / "complete.json").unlink()
    with pytest.raises(InputError, match="incomplete"):
        read_views(folder / "frame_000", "val")
    archive = pack(folder, tmp_path / "packed.zip")
    with pytest.raises(InputError, match=r"packed\.zip: incomplete"):
        read_views(archive / "frame_000", "val")
    with pytest.raises(InputError, match="incomplete"):
        pack_dataset(folder, tmp_path / "again.zip")
    with pytest.raises(InputError, match="holds no frame folders"):
        list_frames(folder / "frame_000" / "train")
