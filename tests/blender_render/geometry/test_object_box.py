"""The object is found wherever it lies and whatever the unit."""

import math

import numpy as np
import pytest
import torch
from ball_scene import BALLS, draw, ring_of_cameras

from blender_render.geometry.cameras import Camera, look_at, multiview_cameras
from blender_render.geometry.object_box import object_box, placed

CAMERAS = ring_of_cameras(24, (80, 60))
LOW = np.min([np.subtract(centre, radius) for centre, radius, _ in BALLS], axis=0)
HIGH = np.max([np.add(centre, radius) for centre, radius, _ in BALLS], axis=0)

WORLDS = {
    "as it is": (1.0, (0.0, 0.0, 0.0)),
    "times 2.5": (2.5, (0.0, 0.0, 0.0)),
    "times 10": (10.0, (0.0, 0.0, 0.0)),
    "millimetres": (1000.0, (500.0, 0.0, -80.0)),
    "kilometres": (0.001, (0.0, 0.0, 0.0)),
    "shifted": (1.0, (3.0, -2.0, 2.0)),
    "map coordinates": (1.0, (431_000.0, 4_582_000.0, 120.0)),
}


def masks(cameras: tuple[Camera, ...]) -> torch.Tensor:
    drawn = np.stack([draw(camera, BALLS)[0][..., 3] for camera in cameras])
    return torch.from_numpy(drawn).float() / 255.0


@pytest.mark.parametrize("scale, offset", WORLDS.values(), ids=WORLDS)
def test_the_box_is_that_of_the_balls(scale: float, offset: tuple[float, float, float]) -> None:
    centre = -np.asarray(offset) / scale
    box = object_box(masks(CAMERAS), placed(CAMERAS, centre, scale))
    assert box is not None
    low, high = ((corner - np.asarray(offset)) / scale for corner in box)
    # Larger by the hull's own excess and a voxel, never smaller by more than a pixel.
    assert (low < LOW + 0.03).all() and (low > LOW - 0.12).all(), low
    assert (high > HIGH - 0.03).all() and (high < HIGH + 0.12).all(), high


def test_moved_cameras_see_the_same() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3)) * 0.3
    there = placed(CAMERAS, (1.0, 2.0, 3.0), 4.0)
    for a, b in zip(CAMERAS, there, strict=True):
        moved = (points - (1.0, 2.0, 3.0)) * 4.0
        np.testing.assert_allclose(a.project(points)[0], b.project(moved)[0])
        np.testing.assert_allclose(a.project(points)[1] * 4.0, b.project(moved)[1])


def test_nothing_is_found_where_nothing_tells() -> None:
    assert object_box(torch.zeros(24, 60, 80), CAMERAS) is None, "empty outlines"
    assert object_box(masks(CAMERAS[:1]), CAMERAS[:1]) is None, "one camera"
    row = tuple(
        Camera.from_angle_x(look_at((x, -3.0, 0.0), (x, 0.0, 0.0)), 80, 60, 0.8)
        for x in (-0.2, 0.0, 0.2)
    )
    assert object_box(masks(row), row) is None, "a row of cameras that look the same way"


def test_an_object_cut_by_the_pictures_is_kept_whole() -> None:
    near = multiview_cameras(24, 1.4, 0.7, (80, 60), seed=1)
    box = object_box(masks(near), near)
    assert box is not None
    assert (box[0] < LOW + 0.03).all() and (box[1] > HIGH - 0.03).all()
    assert math.dist(*box) < 2.0
