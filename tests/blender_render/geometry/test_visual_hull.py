"""The visual hull: right size, nothing lost at picture borders, honest about unknown depth."""

import math

import numpy as np
import pytest
import torch
from ball_scene import BALLS, draw, ring_of_cameras

from blender_render.geometry.cameras import Camera, look_at, multiview_cameras, spherical
from blender_render.geometry.visual_hull import carve, parallax_deg, reprojection_iou

UNIT_BOX = ([-0.6] * 3, [0.6] * 3)
ONE_BALL = (((0.1, 0.0, -0.05), 0.4, (1.0, 1.0, 1.0)),)


def masks_of(cameras: tuple[Camera, ...], balls: tuple = ONE_BALL) -> torch.Tensor:
    alpha = np.stack([draw(camera, balls)[0][..., 3] for camera in cameras])
    return torch.from_numpy(alpha).float() / 255.0


def test_hull_of_a_ball_is_the_ball() -> None:
    cameras = ring_of_cameras(24, (120, 90))
    hull = carve(masks_of(cameras), cameras, 48, UNIT_BOX, tolerance=0.0)
    volume = len(hull.points) * hull.voxel_size**3
    assert volume == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=0.08)
    low, high = hull.extent()
    np.testing.assert_allclose(low, np.array([0.1, 0.0, -0.05]) - 0.4, atol=0.05)
    np.testing.assert_allclose(high, np.array([0.1, 0.0, -0.05]) + 0.4, atol=0.05)


def test_every_voxel_lies_inside_every_mask() -> None:
    cameras = ring_of_cameras(12, (120, 90))
    masks = masks_of(cameras, BALLS)
    hull = carve(masks, cameras, 40, UNIT_BOX, tolerance=0.0)
    assert len(hull.points) > 500
    for camera, mask in zip(cameras, masks, strict=True):
        pixels = camera.project(hull.points.numpy())[0].astype(int)
        assert (mask[pixels[:, 1], pixels[:, 0]] > 0.5).all()


def test_voxels_are_cubes_that_fill_the_box() -> None:
    cameras = ring_of_cameras(6)
    everything = torch.ones(6, 48, 64)
    low, high = (-0.5, -0.25, -0.1), (0.5, 0.25, 0.1)
    hull = carve(everything, cameras, 20, (low, high))
    assert hull.voxel_size == pytest.approx(0.05)
    assert len(hull.points) == 20 * 10 * 4
    np.testing.assert_allclose(hull.extent()[0], low, atol=1e-6)
    np.testing.assert_allclose(hull.extent()[1], high, atol=1e-6)


def test_thin_parts_survive_a_coarse_grid() -> None:
    needle = tuple(((x, 0.013, 0.013), 0.012, (1.0, 1.0, 1.0)) for x in np.linspace(-0.4, 0.4, 80))
    cameras = ring_of_cameras(12, (240, 180))
    masks = masks_of(cameras, needle)
    thin = carve(masks, cameras, 20, UNIT_BOX, tolerance=0.0)
    kept = carve(masks, cameras, 20, UNIT_BOX, tolerance=0.75)
    assert len(thin.points) == 0
    low, high = kept.extent()
    assert high[0] - low[0] > 0.75


def test_what_a_picture_does_not_show_is_not_carved() -> None:
    # A narrow lens: each picture cuts the ball on all sides.
    cameras = multiview_cameras(30, 2.5, 0.25, (60, 60))
    masks = masks_of(cameras)
    assert masks[:, 0].any(), "the ball reaches the border"
    hull = carve(masks, cameras, 32, UNIT_BOX, min_parallax_deg=0.0)
    ball = torch.tensor(ONE_BALL[0][0])
    inside = (hull.points - ball).norm(dim=1) < 0.35
    assert inside.sum() * hull.voxel_size**3 > 0.8 * 4 / 3 * math.pi * 0.35**3


def test_space_without_parallax_is_left_out() -> None:
    # Two opposite views look along one line: depth is open, a shaft in X.
    cameras = tuple(
        Camera.from_angle_x(look_at(spherical(a, 0, 2.5)), 64, 64, 0.8) for a in (88, 90, 92, 270)
    )
    masks = masks_of(cameras)
    shaft = carve(masks, cameras, 24, UNIT_BOX, min_parallax_deg=0.0)
    assert np.ptp(shaft.extent()[0::1], axis=0)[0] == pytest.approx(1.2, abs=0.11)
    assert len(carve(masks, cameras, 24, UNIT_BOX, min_parallax_deg=20.0).points) == 0


def test_parallax_angles() -> None:
    origin = torch.zeros(1, 3)

    def at(*azimuths: float) -> float:
        cameras = [Camera.from_angle_x(look_at(spherical(a, 0, 2.0)), 8, 8, 0.8) for a in azimuths]
        return float(parallax_deg(origin, cameras))

    assert at(10, 190) == pytest.approx(0.0, abs=0.1)
    assert at(-20, 20) == pytest.approx(20.0, abs=0.1)
    assert at(0, 90, 180, 270) == pytest.approx(45.0, abs=0.1)


def test_agreement_forgives_a_broken_mask() -> None:
    cameras = ring_of_cameras(20)
    masks = masks_of(cameras)
    whole = carve(masks, cameras, 24, UNIT_BOX)
    masks[7] = 0.0
    assert len(carve(masks, cameras, 24, UNIT_BOX).points) == 0
    forgiving = carve(masks, cameras, 24, UNIT_BOX, min_agreement=0.9)
    assert len(forgiving.points) >= 0.95 * len(whole.points)


def test_the_order_of_the_pictures_does_not_matter() -> None:
    cameras = ring_of_cameras(10)
    masks = masks_of(cameras, BALLS)
    order = np.random.default_rng(0).permutation(10)
    a = carve(masks, cameras, 24, UNIT_BOX, min_agreement=0.9)
    b = carve(masks[order], [cameras[i] for i in order], 24, UNIT_BOX, min_agreement=0.9)
    assert torch.equal(a.points, b.points)


def test_reprojection_is_near_one_for_true_poses_and_not_for_others() -> None:
    cameras = ring_of_cameras(12, (240, 180))
    masks = masks_of(cameras, BALLS)
    hull = carve(masks, cameras, 64, UNIT_BOX, tolerance=0.0)
    assert reprojection_iou(hull, masks, cameras).min() > 0.87
    others = cameras[3:] + cameras[:3]
    assert reprojection_iou(hull, masks, others).mean() < 0.5


def test_nonsense_is_refused() -> None:
    cameras = ring_of_cameras(3)
    with pytest.raises(ValueError, match="2 masks for 3"):
        carve(torch.ones(2, 48, 64), cameras, 8, UNIT_BOX)
    with pytest.raises(ValueError, match="empty"):
        carve(torch.ones(3, 48, 64), cameras, 8, ([0, 0, 0], [1, 0, 1]))
    with pytest.raises(ValueError, match="empty"):
        carve(torch.zeros(3, 48, 64), cameras, 8, UNIT_BOX).extent()
