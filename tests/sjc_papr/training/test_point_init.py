"""Where points start."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_scene import RADIUS, draw_sphere, sphere_views

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import multiview_cameras
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points
from training_core.config import InputError


def test_hull_points_lie_around_the_object(views: Views) -> None:
    config = PointsConfig(init="hull", count=300, hull_resolution=32, hull_interior=0.0)
    rows = initial_points(views, config, 8, seed=0)
    assert rows.positions.shape == (300, 3) and rows.features.shape == (300, 8)
    # The hull of ten coarse images is a little larger than the sphere.
    distance = rows.positions.norm(dim=1)
    assert rows.positions.abs().max() < RADIUS * 1.35
    assert 0.85 * RADIUS < distance.median() < 1.25 * RADIUS
    assert rows.positions.mean(0).abs().max() < 0.1 * RADIUS


def test_interior_points_lie_inside(views: Views) -> None:
    config = PointsConfig(init="hull", count=400, hull_resolution=32, hull_interior=1.0)
    distance = initial_points(views, config, 2, seed=0).positions.norm(dim=1)
    # A third of a ball's volume lies within 0.7 of its radius; the hull is a little larger.
    assert 0.15 < (distance < 0.7 * RADIUS).float().mean() < 0.4
    assert distance.median() < RADIUS


def test_an_object_that_fills_the_pictures_has_no_ghosts_around_it() -> None:
    """Corners of the searched box are then outside most images, and nothing carves them."""
    angle = 0.69
    rig = multiview_cameras(24, 1.1 * RADIUS / math.sin(0.5 * angle), angle, (32, 32))
    drawn = np.stack([draw_sphere(camera)[0] for camera in rig])
    views = Views(torch.tensor(drawn).float(), rig, None, tuple("abcdefghijklmnopqrstuvwx"))
    config = PointsConfig(init="hull", count=1000, hull_resolution=40)
    distance = initial_points(views, config, 2, seed=0).positions.norm(dim=1)
    assert (distance > 1.3 * RADIUS).float().mean() < 0.02


def test_an_object_larger_than_usual_is_still_found() -> None:
    small = sphere_views(10)
    # The same images of a world twice as large.
    doubled = tuple(
        replace(camera, cam_to_world=_times_two(camera.cam_to_world)) for camera in small.cameras
    )
    config = PointsConfig(init="hull", count=200, hull_resolution=32, hull_interior=0.0)
    distance = initial_points(replace(small, cameras=doubled), config, 2, 0).positions.norm(dim=1)
    assert 1.7 * RADIUS < distance.median() < 2.5 * RADIUS


def _times_two(pose: np.ndarray) -> np.ndarray:
    scaled = pose.copy()
    scaled[:3, 3] *= 2.0
    return scaled


def test_depth_points_lie_on_the_surface(views: Views) -> None:
    rows = initial_points(views, PointsConfig(init="depth", count=500), 4, seed=0)
    assert rows.positions.shape == (500, 3)
    assert (rows.positions.norm(dim=1) - RADIUS).abs().max() < 1e-4


def test_cube_points_fill_the_cube(views: Views) -> None:
    rows = initial_points(views, PointsConfig(init="cube", count=500, cube_half_width=0.3), 4, 0)
    assert 0.25 < rows.positions.abs().max() <= 0.3
    assert rows.positions.abs().amin(0).max() < 0.05


@pytest.mark.parametrize("init", ["hull", "depth", "cube"])
def test_the_seed_decides(views: Views, init: str) -> None:
    config = PointsConfig(init=init, count=100, hull_resolution=24)
    first, same, other = (initial_points(views, config, 4, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first.positions, other.positions)
    assert not torch.equal(first.features, other.features)


@pytest.mark.parametrize("init", ["hull", "depth", "cube"])
def test_any_count_is_met(views: Views, init: str) -> None:
    for count in (1, 7, 20000):
        config = PointsConfig(init=init, count=count, hull_resolution=16, influence=0.4)
        rows = initial_points(views, config, 2, seed=0)
        assert rows.positions.shape == (count, 3) and rows.positions.isfinite().all()
        assert (rows.influence == torch.tensor(0.4)).all()


def test_inverted_poses_are_refused_with_advice(views: Views) -> None:
    inverted = tuple(
        replace(camera, cam_to_world=np.linalg.inv(camera.cam_to_world)) for camera in views.cameras
    )
    with pytest.raises(InputError, match=r"no visual hull.*blender_render\.validate"):
        initial_points(replace(views, cameras=inverted), PointsConfig(init="hull"), 2, 0)


def test_empty_masks_are_refused(views: Views) -> None:
    empty = replace(views, images=torch.zeros_like(views.images), depth=views.depth * 0.0)
    with pytest.raises(InputError, match=r"no visual hull"):
        initial_points(empty, PointsConfig(init="hull"), 2, 0)
    with pytest.raises(InputError, match="no depth picture shows a surface"):
        initial_points(empty, PointsConfig(init="depth"), 2, 0)


def test_depth_that_is_not_there_is_refused(views: Views) -> None:
    with pytest.raises(InputError, match="without depth"):
        initial_points(replace(views, depth=None), PointsConfig(init="depth"), 2, 0)
