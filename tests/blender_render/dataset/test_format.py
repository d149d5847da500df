"""Every writer is undone by its reader; markers, depth pictures and archives keep their word."""

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ball_scene import pack, ring_of_cameras, write_dataset

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.readers import read_dataset_info, read_transforms
from blender_render.geometry.cameras import Camera
from blender_render.imaging.depth import decode_depth, depth_scale_for, encode_depth
from blender_render.imaging.images import decode_rgba, encode_png
from training_core.config import InputError

RNG = np.random.default_rng(0)


def test_transforms_round_trip(tmp_path: Path) -> None:
    cameras = ring_of_cameras(5)
    names = [f"train/{fmt.image_name(i)}" for i in range(5)]
    depths = [f"{n}_depth.png" for n in names]
    fmt.write_transforms(tmp_path, "test", cameras, names, depths, 0.25)
    with open_tree(tmp_path) as tree:
        meta, frames = read_transforms(tree, "test")
    assert meta["depth_scale"] == 0.25
    assert [f["file_path"] for f in frames] == [f"./{n}" for n in names]
    assert [f["depth_path"] for f in frames] == [f"./{n}" for n in depths]
    for camera, frame in zip(cameras, frames, strict=True):
        read = fmt.camera_from_dict({**meta, **frame}, None, "here")
        assert np.array_equal(read.cam_to_world, camera.cam_to_world)
        assert fmt.intrinsics_dict(read) == fmt.intrinsics_dict(camera)
        assert meta["camera_angle_x"] == camera.camera_angle_x


def test_camera_round_trip_with_a_lens_of_its_own() -> None:
    camera = Camera(ring_of_cameras()[0].cam_to_world, 30, 20, 41.0, 39.5, 14.0, 11.5)
    read = fmt.camera_from_dict(json.loads(json.dumps(fmt.camera_dict(camera))), None, "here")
    assert fmt.camera_dict(read) == fmt.camera_dict(camera)


def test_nerf_synthetic_entries_need_only_the_angle() -> None:
    pose = ring_of_cameras()[0].cam_to_world.tolist()
    entry = {"camera_angle_x": 0.7, "transform_matrix": pose}
    camera = fmt.camera_from_dict(entry, (80, 60), "here")
    assert camera.camera_angle_x == pytest.approx(0.7)
    assert (camera.width, camera.height, camera.cx, camera.cy) == (80, 60, 40, 30)
    assert camera.fl_x == camera.fl_y


def test_writers_refuse_what_readers_could_not_use(tmp_path: Path) -> None:
    first, second = ring_of_cameras(2)
    with pytest.raises(ValueError, match="share"):
        fmt.write_transforms(tmp_path, "train", [first, replace(second, fl_x=1.0)], ["a", "b"])
    with pytest.raises(ValueError, match="2 cameras for 1"):
        fmt.write_transforms(tmp_path, "train", [first, second], ["a"])
    broken = replace(first, cam_to_world=np.full((4, 4), math.nan))
    with pytest.raises(ValueError, match="NaN"):
        fmt.write_transforms(tmp_path, "train", [broken], ["a"])
    with pytest.raises(ValueError, match="world_to_asset"):
        fmt.write_dataset_info(tmp_path, {"frames": [0], "resolution": [1, 1]})
    assert not list(tmp_path.iterdir())


def test_dataset_info_round_trip_and_marker(tmp_path: Path) -> None:
    info = {"frames": [0, 5], "resolution": [4, 3], "world_to_asset": {}, "note": "ä"}
    fmt.write_dataset_info(tmp_path, info)
    assert not fmt.is_complete(tmp_path)
    with pytest.raises(InputError, match="incomplete"):
        read_dataset_info(tmp_path)
    fmt.mark_complete(tmp_path, "abc")
    assert fmt.is_complete(tmp_path)
    assert fmt.is_complete(tmp_path, "abc")
    assert not fmt.is_complete(tmp_path, "abd")
    assert not fmt.is_complete(tmp_path / "absent")
    assert read_dataset_info(tmp_path) == {
        "schema_version": fmt.SCHEMA_VERSION,
        "kind": "multiview",
        **info,
    }


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    info = {"frames": [], "resolution": [], "world_to_asset": {}, "schema_version": 99}
    fmt.write_dataset_info(tmp_path, info)
    fmt.mark_complete(tmp_path, "abc")
    with pytest.raises(InputError, match="99"):
        read_dataset_info(tmp_path)


def test_config_hash_sees_values_not_order() -> None:
    assert fmt.config_hash({"a": 1, "b": [2.5]}) == fmt.config_hash({"b": [2.5], "a": 1})
    assert fmt.config_hash({"a": 1}) != fmt.config_hash({"a": 2})


def test_frame_names() -> None:
    assert [fmt.frame_name(n) for n in (0, 25, 1234)] == ["frame_000", "frame_025", "frame_1234"]
    assert fmt.frame_number("frame_1234") == 1234
    assert fmt.frame_number("frame_") is None
    assert fmt.frame_number("depth_frame_000") is None


def test_depth_round_trip_within_half_a_count() -> None:
    scale = depth_scale_for(4.0)
    depth = RNG.uniform(0.5, 4.0, (20, 30))
    depth[3:6] = 0.0
    depth[7, 7] = math.inf
    depth[8, 8] = scale / 100
    read = decode_depth(encode_depth(depth, scale), scale, "here")
    assert read.dtype == np.float32
    assert (read[3:6] == 0).all(), "no surface stays no surface"
    assert read[7, 7] == 0
    assert read[8, 8] > 0, "a surface stays a surface"
    depth[7, 7], depth[8, 8] = 0.0, scale
    assert np.abs(read - depth).max() <= 0.51 * scale
    assert scale < 1e-4


@pytest.mark.parametrize("value", [4.1, -0.1])
def test_depth_that_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        encode_depth(np.full((2, 2), value), depth_scale_for(4.0))


def test_pictures_round_trip() -> None:
    picture = RNG.integers(0, 256, (9, 7, 4)).astype(np.uint8)
    assert np.array_equal(decode_rgba(encode_png(picture), "here"), picture)


@pytest.mark.parametrize("prefix", ["", "balls/"])
def test_an_archive_reads_like_its_folder(tmp_path: Path, prefix: str) -> None:
    folder = write_dataset(tmp_path / "balls")
    archive = pack(folder, tmp_path / "balls.zip", prefix)
    assert fmt.is_complete(archive, "balls")
    with open_tree(folder) as plain, open_tree(archive) as packed:
        for rel in ("", "frame_001", "frame_001/test", "absent"):
            assert packed.list(rel) == plain.list(rel)
            assert packed.exists(rel) == plain.exists(rel)
        picture = "./frame_001/test/000.png"
        assert packed.read_bytes(picture) == plain.read_bytes(picture)
        assert packed.sub("frame_001").list() == plain.sub("frame_001").list()
        assert not packed.compressed
    with open_tree(archive / "frame_001") as inner:
        assert inner.list() == sorted(p.name for p in (folder / "frame_001").iterdir())


def test_archives_say_what_is_wrong(tmp_path: Path) -> None:
    archive = pack(write_dataset(tmp_path / "balls", 1), tmp_path / "balls.zip")
    with open_tree(archive) as tree, pytest.raises(InputError, match=r"absent\.png: .* missing"):
        tree.read_bytes("absent.png")
    with pytest.raises(InputError, match="no such folder"):
        open_tree(archive / "frame_007")
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(InputError, match="not a readable zip"):
        open_tree(tmp_path / "cut.zip")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="neither a folder nor"):
        open_tree(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="does not exist"):
        open_tree(tmp_path / "absent")


def test_damage_inside_an_archive_is_found(tmp_path: Path) -> None:
    archive = pack(write_dataset(tmp_path / "balls", 1), tmp_path / "balls.zip")
    raw = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        start = file.getinfo("frame_000/train/000.png").header_offset
    raw[start + 120] ^= 0xFF
    archive.write_bytes(raw)
    with open_tree(archive) as tree, pytest.raises(InputError, match=r"000\.png: cannot be read"):
        tree.read_bytes("frame_000/train/000.png")


@pytest.mark.parametrize("rel", ["../secret.png", "/etc/hostname", "a/../../secret.png"])
def test_paths_cannot_leave_the_dataset(tmp_path: Path, rel: str) -> None:
    (tmp_path / "secret.png").write_text("x")
    (tmp_path / "data").mkdir()
    with open_tree(tmp_path / "data") as tree, pytest.raises(InputError, match="leads out"):
        tree.read_bytes(rel)
