"""The lens in every spelling that other people's files have: read as our own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from variants import Change, as_matrix, each_file, same_cameras, without_lens

from blender_render.dataset.readers import read_views
from blender_render.validate import validate


def zoom_every_second(folder: Path) -> None:
    """Frames say by their own angle what the shared fl_x contradicts."""

    def change(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame["camera_angle_x"] = content["camera_angle_x"]
        without_lens(content)
        content |= {"fl_x": 500.0, "fl_y": 510.0, "w": 64, "h": 48}

    each_file(folder, change)


def angle_y_only(content: dict[str, Any]) -> None:
    angle = 2.0 * np.arctan(0.5 * content["h"] / content["fl_y"])
    without_lens(content)
    content["camera_angle_y"] = float(angle)


def lens_in_object(content: dict[str, Any]) -> None:
    inner = {key: content[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    without_lens(content)
    content["camera"] = {"id": 1, **inner, "k1": 0.0}


def own_lens_in_object(folder: Path) -> None:
    """Frames say in an object ``camera`` what the shared one contradicts."""

    def change(content: dict[str, Any]) -> None:
        inner = {key: content[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for frame in content["frames"]:
            frame["camera"] = {**inner, "model": "iPhone 15"}
        without_lens(content)
        content["camera"] = {"fl_x": 500.0, "fl_y": 510.0, "w": 640, "h": 480}

    each_file(folder, change)


def own_lens_beside_shared_object(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame.update({key: content[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")})
        without_lens(content)
        content["camera"] = {"fl_x": 500.0, "fl_y": 510.0, "w": 640, "h": 480}

    each_file(folder, change)


def own_centre_beside_shared_object(folder: Path) -> None:
    """Frames say where their middle is, and nothing else of the lens."""

    def change(content: dict[str, Any]) -> None:
        lens = {key: content[key] for key in ("fl_x", "fl_y", "w", "h")}
        for frame in content["frames"]:
            frame.update(cx=content["cx"], cy=content["cy"])
        without_lens(content)
        content["camera"] = {**lens, "cx": 30.0, "cy": 20.0}

    each_file(folder, change)


def own_centre_beside_shared_matrix(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame.update(cx=content["cx"], cy=content["cy"])
        as_matrix(content)
        for frame in content["frames"]:
            shared = frame.pop("intrinsic_matrix")
        content["intrinsic_matrix"] = [[shared[0][0], 0.0, 30.0], shared[1], shared[2]]

    each_file(folder, change)


def null_beside_matrix(content: dict[str, Any]) -> None:
    as_matrix(content)
    content.update(fl_x=None, camera_angle_x=None)


# Exactly what our own form gives.
SAME: dict[str, Change] = {
    "intrinsic_matrix": lambda f: each_file(f, as_matrix),
    "a lens in an object": lambda f: each_file(f, lens_in_object),
    "each frame's lens in an object": own_lens_in_object,
    "each frame's lens beside a shared object": own_lens_beside_shared_object,
    "each frame's middle beside a shared object": own_centre_beside_shared_object,
    "each frame's middle beside a shared matrix": own_centre_beside_shared_matrix,
    "null beside intrinsic_matrix": lambda f: each_file(f, null_beside_matrix),
    "COLMAP's number of FULL_OPENCV": lambda f: each_file(f, lambda c: c.update(camera_model=6)),
    "the name of a telephone": lambda f: each_file(f, lambda c: c.update(model="iPhone 15")),
    "COLMAP's number of PINHOLE": lambda f: each_file(f, lambda c: c.update(camera_model=1)),
    "nerfstudio's number of a pinhole": lambda f: each_file(f, lambda c: c.update(camera_type=1)),
    "camera_angle_y alone": lambda f: each_file(f, angle_y_only),
    "camera_angle_x alone": lambda f: each_file(f, lambda c: without_lens(c, "camera_angle_x")),
    "a frame's angle against the shared fl_x": zoom_every_second,
    "no w and h": lambda f: each_file(
        f, lambda c: without_lens(c, "camera_angle_x", "fl_x", "fl_y", "cx", "cy")
    ),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_read_as_our_own(scene: Path, plain: Path, change: Change) -> None:
    change(scene)
    for split in ("train", "test"):
        found, wanted = read_views(scene, split), read_views(plain, split)
        same_cameras(found, wanted)
    assert validate(scene) == []
