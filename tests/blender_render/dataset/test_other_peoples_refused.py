"""Datasets that cannot be read rightly: refused by name, by training and validate alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ball_scene import edit_json, write_dataset
from PIL import Image
from variants import (
    Change,
    as_matrix,
    each_file,
    each_frame,
    each_picture,
    exif_turned,
    half_size,
    merge_files,
    on,
    rounded,
    without_lens,
    write_masks,
)

from blender_render.dataset.readers import list_frames, read_views
from blender_render.validate import validate
from training_core.config import InputError

WHITE = (255, 255, 255)


def edit_one(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda f: edit_json(f / "transforms_train.json", lambda c: change(c["frames"][2]))


def shared(**keys: Any) -> Change:
    return lambda f: each_file(f, lambda c: c.update(keys))


def full_size_lens(folder: Path) -> None:
    """Smaller files, the lens of the full size, and nothing that says so."""
    half_size(folder)
    each_file(folder, lambda c: without_lens(c, "fl_x", "fl_y", "cx", "cy"))


def full_size_focal(folder: Path) -> None:
    half_size(folder)
    each_file(folder, lambda c: without_lens(c, "fl_x", "camera_angle_x"))


def in_shares(content: dict[str, Any]) -> None:
    """The lens as programs without pixels write it."""
    without_lens(content)
    content.update(fl_x=1.2, fl_y=1.2)


def lfs_pointer(folder: Path) -> None:
    (folder / "train/002.png").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    )


def animated(folder: Path) -> None:
    image = Image.open(folder / "train/002.png")
    image.load()
    image.save(folder / "train/002.webp", save_all=True, append_images=[image.rotate(90)])
    (folder / "train/002.png").unlink()


REFUSED: dict[str, tuple[Change, tuple[str, ...]]] = {
    **{
        f"distortion {key}": (shared(**{key: 0.05}), ("transforms_", repr(key), "undistort"))
        for key in ("k1", "k2", "k3", "k4", "p1", "p2")
    },
    "distortion of one picture": (edit_one(lambda e: e.update(k1=-0.01)), ("frame 2", "'k1'")),
    "distortion as a list": (
        shared(distortion_params=[0.0, 0.1, 0.0, 0.0]),
        ("'distortion_params'", "undistort"),
    ),
    "distortion that is a word": (shared(k1="none"), ("'k1'", "finite number")),
    **{
        f"distortion {key}": (shared(**{key: value}), ("frame 0", repr(key), "undistort"))
        for key, value in (
            ("K1", 0.05),
            ("P2", -0.01),
            ("radial_distortion", [0.1, 0.0]),
            ("tangential_distortion", [0.0, 0.1]),
        )
    },
    "distortion in an object": (
        shared(camera={"k1": 0.05}),
        ("frame 0", "camera: 'k1' is 0.05", "undistort"),
    ),
    "another lens in an object": (
        shared(camera={"fl_x": 12.5}),
        ("frame 0", "camera: says fl_x=12.5, but fl_x="),
    ),
    "another lens in a matrix": (
        lambda f: each_file(
            f, lambda c: c.update(K=[[12.5, 0, c["cx"]], [0, 12.5, c["cy"]], [0, 0, 1]])
        ),
        ("frame 0", "says fl_x=12.5, but fl_x="),
    ),
    "orthographic": (shared(orthographic=True), ("'orthographic' is set", "pinhole")),
    "orthographic type": (shared(camera_type="ORTHO"), ("'camera_type' is 'ORTHO'", "pinhole")),
    "COLMAP's number of a fisheye": (
        shared(camera_model=5),
        ("'camera_model' is 5", "pinhole"),
    ),
    "nerfstudio's number of a fisheye": (shared(camera_type=2), ("'camera_type' is 2", "pinhole")),
    "a model that is a list": (shared(camera_model=[1]), ("'camera_model' is [1]", "pinhole")),
    "fisheye model": (shared(camera_model="OPENCV_FISHEYE"), ("OPENCV_FISHEYE", "pinhole")),
    "fisheye under another key": (shared(model="fisheye624"), ("fisheye624", "pinhole")),
    "another fisheye under another key": (shared(model="KANNALA_BRANDT"), ("KANNALA", "pinhole")),
    "a number under another key": (shared(model=5), ("'model' is 5", "pinhole")),
    "distortion in a shared object beside the frames' own": (
        lambda f: (
            each_frame(f, lambda e: e.update(camera={"id": 3})),
            each_file(f, lambda c: c.update(camera={"k1": 0.3})),
        ),
        ("'k1' is 0.3", "distortion"),
    ),
    "an object of another size beside": (
        shared(w=64, h=48, camera={"w": 640, "h": 480}),
        ("camera: says w=640, but w=64",),
    ),
    "is_fisheye": (shared(is_fisheye=True), ("'is_fisheye'", "pinhole")),
    "rolling shutter": (shared(rolling_shutter=[0.1, 0.0, 0.0]), ("'rolling_shutter'",)),
    "lens of the full size without w and h": (
        full_size_lens,
        ("frame 0", "principal point", "w and h"),
    ),
    "fl_x of the full size without w and h": (
        full_size_focal,
        ("fl_x", "camera_angle_x", "contradict", "w and h"),
    ),
    "fl_x and camera_angle_x contradict": (
        shared(camera_angle_x=1.4),
        ("fl_x", "camera_angle_x", "contradict"),
    ),
    "a lens in shares of the width": (
        lambda f: each_file(f, in_shares),
        ("fl_x=", "no focal length in pixels", "share of the width"),
    ),
    "skew": (
        lambda f: (
            each_file(f, as_matrix),
            each_frame(f, lambda e: e.update(intrinsic_matrix=[[9, 1, 3], [0, 9, 3], [0, 0, 1]])),
        ),
        ("'intrinsic_matrix'", "skew"),
    ),
    "intrinsic_matrix of words": (
        lambda f: each_frame(f, lambda e: e.update(intrinsic_matrix="K")),
        ("'intrinsic_matrix'", "3x3"),
    ),
    "time of each picture": (
        lambda f: each_file(f, lambda c: [e.update(time=i / 9) for i, e in enumerate(c["frames"])]),
        ("transforms_train.json", "'time'", "D-NeRF", "frame_000"),
    ),
    "time_id of each picture": (
        lambda f: each_file(f, lambda c: [e.update(time_id=i) for i, e in enumerate(c["frames"])]),
        ("transforms_train.json", "'time_id' takes 12 values", "frame_000"),
    ),
    "a timestamp of several pictures": (
        lambda f: each_file(
            f, lambda c: [e.update(timestamp=i % 4 / 30) for i, e in enumerate(c["frames"])]
        ),
        ("transforms_train.json", "'timestamp' takes 4 values", "frame_000"),
    ),
    "train_filenames that is no list": (
        lambda f: merge_files(f, train_filenames="train/000"),
        ("transforms.json", "'train_filenames' must be a list, is 'train/000'"),
    ),
    "test_filenames alone": (
        lambda f: merge_files(f, test_filenames=["test/000"]),
        ("transforms.json", "'test_filenames' is there, but no 'train_filenames'"),
    ),
    "EXIF orientation": (exif_turned, ("train/000.png", "EXIF orientation 6")),
    "opaque RGBA": (
        lambda f: each_picture(f, lambda i: on(i, WHITE).convert("RGBA")),
        ("train/000.png", "opaque everywhere", "data.background"),
    ),
    "Git LFS pointer": (lfs_pointer, ("train/002.png", "Git LFS pointer", "git lfs pull")),
    "animated picture": (animated, ("train/002.webp", "2 frames")),
    "a mask of another size": (
        lambda f: (
            write_masks(f, lambda p: p.with_name(f"{p.stem}_mask.png")),
            Image.new("L", (9, 9)).save(f / "train/001_mask.png"),
        ),
        ("train/001.png", "mask is 9x9"),
    ),
    "a path that leads out": (
        edit_one(lambda e: e.update(file_path="../../elsewhere/x.png")),
        ("my scene", "leads out of the dataset"),
    ),
    "an absolute path elsewhere": (
        edit_one(lambda e: e.update(file_path="/home/somebody/x.png")),
        ("/home/somebody/x.png", "leads out of the dataset"),
    ),
    "poses rounded to one digit": (
        lambda f: each_frame(f, lambda e: rounded(e, 1)),
        ("frame 0", "not orthonormal"),
    ),
    "a pose of null": (
        edit_one(lambda e: e.update(transform_matrix=None)),
        ("transforms_train.json: frame 2", "'transform_matrix' is not a 4x4 matrix of numbers"),
    ),
    "nulls in a pose": (
        edit_one(lambda e: e["transform_matrix"][1].__setitem__(3, None)),
        ("transforms_train.json: frame 2", "pose holds NaN"),
    ),
    "transposed poses": (
        lambda f: each_frame(
            f, lambda e: e.update(transform_matrix=np.transpose(e["transform_matrix"]).tolist())
        ),
        ("frame 0", "last row of the pose is not 0 0 0 1", "it is transposed"),
    ),
    "brackets without end": (
        lambda f: (f / "transforms_train.json").write_text("[" * 200_000),
        ("transforms_train.json",),
    ),
    "a number of a hundred digits": (shared(w=10**100), ("transforms_", "of 101 digits")),
    "a picture of no width": (shared(w=0), ("frame 0", "'w' and 'h' are 0")),
    "a path with a NUL": (
        edit_one(lambda e: e.update(file_path="train/\x00.png")),
        ("my scene", "is no name of a file"),
    ),
    "a kind that is not read": (
        lambda f: (
            Image.open(f / "train/002.png").save(f / "train/002.gif"),
            edit_one(lambda e: e.update(file_path="train/002.gif"))(f),
        ),
        ("train/002.gif", ".gif is not read", ".webp"),
    ),
    "144 megapixels": (
        lambda f: Image.new("1", (12_000, 12_000)).save(f / "train/002.png"),
        ("train/002.png", "12000x12000", "144 megapixels"),
    ),
    "an HTML page for a picture": (
        lambda f: (f / "train/002.png").write_text("<!DOCTYPE html><html>404</html>"),
        ("train/002.png", "no known kind"),
    ),
}


@pytest.mark.parametrize("change, words", REFUSED.values(), ids=REFUSED)
def test_refused_by_name(scene: Path, change: Change, words: tuple[str, ...]) -> None:
    change(scene)
    with pytest.raises(InputError) as caught:
        read_views(scene, "train")
    said = str(caught.value)
    for word in words:
        assert word in said, said
    assert "\n" not in said and "object at 0x" not in said
    assert said in validate(scene), "validate says the same"


def test_a_damaged_file_of_another_split_is_a_problem_of_the_dataset(scene: Path) -> None:
    (scene / "transforms_val.json").write_text("{")
    assert len(read_views(scene, "train")) == 12
    (problem,) = validate(scene)
    assert "transforms_val.json: not valid JSON (line 1" in problem


def test_a_folder_too_high_names_the_folders_below(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "balls")
    with pytest.raises(InputError, match=r"did you mean .*balls/frame_000\?"):
        read_views(folder, "train")
    with pytest.raises(InputError, match=r"did you mean .*balls\?"):
        list_frames(tmp_path)
    with pytest.raises(InputError, match=r"did you mean .*balls\?"):
        list_frames(tmp_path / "balls" / "..")


def test_too_few_pictures_to_split(scene: Path) -> None:
    merge_files(scene)
    edit_json(scene / "transforms.json", lambda c: c.update(frames=c["frames"][:3]))
    with pytest.raises(InputError, match=r"transforms\.json: no test split, and 3 pictures"):
        read_views(scene, "train")
    assert json.loads((scene / "transforms.json").read_text())["frames"]
